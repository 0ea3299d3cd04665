package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a node with a requester that runs tasks as run says.
type world struct {
	t     *testing.T
	home  string
	store *store.Store
	jobs  *Jobs
	slots int
	stop  func() // ends the node in good order

	ctx context.Context // of the requester
	run func(ctx context.Context, args []string) (exit int32, code protocol.Code)

	mu     sync.Mutex
	runs   map[protocol.TaskID]int
	flying int
	most   int
	left   []string // tasks that were taken up
	busy   int      // how often the requester has no room
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, home: t.TempDir(), slots: 2, runs: make(map[protocol.TaskID]int)}
	w.run = func(context.Context, []string) (int32, protocol.Code) { return 0, "" }
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start starts the node, on what an earlier run of it has left.
func (w *world) start() {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(w.home, store.Config{Logger: log})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = s
	w.jobs = New(Config{Tasks: w, Store: s, Slots: func([]string) int { return w.slots }, Logger: log})
	below, stopBelow := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = below
	ended := make(chan error, 1)
	go func() { ended <- w.jobs.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		stopBelow()
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) restart() {
	w.stop()
	w.start()
}

// Part implements [Tasks]: a task's stdout is its args.
func (w *world) Part(ctx context.Context, id protocol.TaskID, spec *protocol.Spec, _ *protocol.Terms, name string, left *protocol.Task) (*protocol.Task, error) {
	w.mu.Lock()
	if w.busy > 0 {
		w.busy--
		w.mu.Unlock()
		return nil, protocol.Errorf(protocol.CodeBusy, "too many tasks are open already")
	}
	w.runs[id]++
	w.flying++
	w.most = max(w.most, w.flying)
	if left != nil {
		w.left = append(w.left, left.Name)
	}
	below := w.ctx
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.flying--
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(below, cancel)()
	exit, code := w.run(ctx, spec.Args[1:])
	if below.Err() != nil {
		return nil, errStopping
	}
	r := &protocol.Result{ExitCode: exit, Code: string(code), Stderr: protocol.NewBlob(nil), Receipts: []*protocol.Receipt{{}}}
	if code != "" {
		r.ExitSource = protocol.FromSystem
	}
	if ctx.Err() != nil {
		r.Code, r.ExitSource = string(protocol.CodeCancelled), protocol.FromSystem
	}
	r.Stdout = protocol.NewBlob([]byte(strings.Join(spec.Args[1:], " ") + "\n"))
	return &protocol.Task{Id: string(id), Name: name, Result: r}, nil
}

// submission is a job of items with an arg each.
func (w *world) submission(args ...string) *protocol.Job {
	w.t.Helper()
	module := w.put(strings.NewReader("a module"))
	spec := &protocol.Spec{
		Module: &protocol.Blob{Digest: module[:], Size: 8}, Args: []string{"prog"}, Stdin: protocol.NewBlob(nil),
		Limits: protocol.DefaultLimits(), Profile: protocol.Profile,
	}
	raw, err := spec.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	var items strings.Builder
	for _, arg := range args {
		fmt.Fprintf(&items, `{"label":%q,"args":[%q]}`+"\n", arg, arg)
	}
	digest := w.put(strings.NewReader(items.String()))
	return &protocol.Job{Spec: raw, Terms: &protocol.Terms{Replicas: 1}, Name: "prog", Items: digest[:], Rules: new(protocol.JobRules)}
}

func (w *world) put(r io.Reader) protocol.Digest {
	w.t.Helper()
	d, _, err := w.store.Blobs().Put(r, protocol.MaxBlob)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) submit(j *protocol.Job) protocol.TaskID {
	w.t.Helper()
	got, err := w.jobs.Submit(w.t.Context(), j, false, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return protocol.TaskID(got.Id)
}

// end follows a job to its end and returns it with its results by task.
func (w *world) end(id protocol.TaskID) (*protocol.Job, map[uint64][]*protocol.JobResult) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	results, last := make(map[uint64][]*protocol.JobResult), uint64(0)
	j, err := w.jobs.Follow(ctx, id, nil, 0, func(one *protocol.JobResult) error {
		if last++; one.Number != last {
			w.t.Errorf("result %d comes as number %d", last, one.Number)
		}
		results[one.Index] = append(results[one.Index], one)
		return nil
	}, func(*protocol.Job) error { return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return j, results
}

func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i+1))
	}
	return list
}

func TestEachTaskEndsOnce(t *testing.T) {
	w := newWorld(t)
	w.run = func(_ context.Context, args []string) (int32, protocol.Code) {
		if args[0] == "7" {
			return 3, ""
		}
		return 0, ""
	}
	j, results := w.end(w.submit(w.submission(numbers(500)...)))
	if j.State != protocol.StateDone || j.Tasks != 500 || j.Passed != 499 || j.Failed != 1 || j.Results != 500 || j.EndedUnixMs == 0 {
		t.Errorf("it ends as %v", j)
	}
	for i := range uint64(500) {
		list := results[i+1]
		if len(list) != 1 || string(list[0].Result.Stdout.Inline) != fmt.Sprintln(i+1) || len(list[0].Result.Receipts) > 0 {
			t.Fatalf("task %d has %v", i+1, list)
		}
	}
	if results[7][0].Result.ExitCode != 3 {
		t.Errorf("task 7 has %v", results[7][0].Result)
	}
}

func TestShortJobsAreSeenToEnd(t *testing.T) {
	w := newWorld(t)
	for range 500 {
		if j, results := w.end(w.submit(w.submission("a"))); j.Passed != 1 || len(results) != 1 {
			t.Fatalf("it ends as %v", j)
		}
	}
}

func TestTasksUnderWayAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		inFlight uint32
		jobs     int
		most     int
	}{
		"by the rule":          {3, 1, 3},
		"by the slots":         {0, 1, 4}, // one runs and one waits in each
		"by the slots, shared": {0, 2, 6}, // the first has had 4 until the other came
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run = func(context.Context, []string) (int32, protocol.Code) {
				time.Sleep(60 * time.Millisecond) // longer than what is sent ahead
				return 0, ""
			}
			var ids []protocol.TaskID
			for i := range c.jobs {
				j := w.submission(numbers(12 + i)...)
				j.Rules.InFlight = c.inFlight
				ids = append(ids, w.submit(j))
			}
			for _, id := range ids {
				w.end(id)
			}
			if w.most > c.most || w.most < 2 {
				t.Errorf("%d were under way at once", w.most)
			}
		})
	}
}

func TestOwnFailuresAreTriedAgainAndThoseOfProgramsAreNot(t *testing.T) {
	w := newWorld(t)
	w.run = func(_ context.Context, args []string) (int32, protocol.Code) {
		switch args[0] {
		case "1":
			return 1, ""
		case "2":
			return 125, protocol.CodeLost
		default:
			return 134, protocol.CodeTrap
		}
	}
	j := w.submission(numbers(3)...)
	j.Rules.Retries = 2
	id := w.submit(j)
	_, results := w.end(id)
	for index, want := range []int{1: 1, 2: 3, 3: 1} {
		if index == 0 {
			continue
		}
		if got := w.runs[protocol.Part(id, uint64(index))]; got != want || len(results[uint64(index)]) != 1 {
			t.Errorf("task %d was run %d times, want %d, and has %d results", index, got, want, len(results[uint64(index)]))
		}
	}
}

func TestHalt(t *testing.T) {
	for name, c := range map[string]struct {
		halt   *protocol.Halt
		failed uint64
	}{
		"at the first failure":     {&protocol.Halt{Count: 1}, 1},
		"at a part of all":         {&protocol.Halt{Percent: 10}, 10},
		"now":                      {&protocol.Halt{Count: 2, Now: true}, 2},
		"at the first that passes": {&protocol.Halt{Count: 1, Passed: true}, 9},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run = func(_ context.Context, args []string) (int32, protocol.Code) {
				if args[0] == "10" && name == "at the first that passes" {
					return 0, ""
				}
				return 1, ""
			}
			j := w.submission(numbers(100)...)
			j.Rules.InFlight, j.Rules.Halt = 1, c.halt
			got, _ := w.end(w.submit(j))
			if got.State != protocol.StateDone || got.Failed != c.failed || got.Reason == "" {
				t.Errorf("it ends as %s, %d failed: %q", got.State.Word(), got.Failed, got.Reason)
			}
		})
	}
}

func TestCancelledJobGoesOnWhenAsked(t *testing.T) {
	w := newWorld(t)
	unblock := w.blockThird()
	j := w.submission(numbers(5)...)
	j.Rules.InFlight = 1
	id := w.submit(j)
	w.eventually("two have ended", func() bool { return w.job(id).Passed == 2 })
	if err := w.jobs.Cancel(id, nil); err != nil {
		t.Fatal(err)
	}
	ended, _ := w.end(id)
	if ended.State != protocol.StateCancelled || ended.Passed != 2 || ended.Failed != 0 {
		t.Fatalf("it ends as %v", ended)
	}
	unblock()
	if _, err := w.jobs.Again(t.Context(), id, nil, false); err != nil {
		t.Fatal(err)
	}
	ended, results := w.end(id)
	if ended.State != protocol.StateDone || ended.Passed != 5 || ended.Results != 5 || len(results) != 5 {
		t.Errorf("it ends as %v", ended)
	}
	for i := range uint64(2) {
		if n := w.runs[protocol.Part(id, i+1)]; n != 1 {
			t.Errorf("task %d was run %d times", i+1, n)
		}
	}
}

func TestRestartTakesUpAJob(t *testing.T) {
	w := newWorld(t)
	unblock := w.blockThird()
	j := w.submission(numbers(5)...)
	j.Rules.InFlight = 1
	id := w.submit(j)
	w.eventually("the third runs", func() bool { return w.started(protocol.Part(id, 3)) })
	if err := w.store.SavePart(&protocol.Task{Id: string(protocol.Part(id, 3)), Name: "the third"}); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if got := w.job(id); got.State != protocol.StateRunning {
		t.Errorf("after the restart it is %s", got.State.Word())
	}
	unblock()
	ended, results := w.end(id)
	if ended.State != protocol.StateDone || ended.Passed != 5 || len(results) != 5 {
		t.Errorf("it ends as %v", ended)
	}
	if fmt.Sprint(w.left) != "[the third]" {
		t.Errorf("taken up were %v", w.left)
	}
	if parts, err := w.store.Parts(); err != nil || len(parts) > 0 {
		t.Errorf("left are %v (%v)", parts, err)
	}
}

func TestSameJobIsResumed(t *testing.T) {
	w := newWorld(t)
	fails := true
	w.run = func(_ context.Context, args []string) (int32, protocol.Code) {
		if args[0] == "2" && fails {
			return 1, ""
		}
		return 0, ""
	}
	id := w.submit(w.submission(numbers(3)...))
	w.end(id)
	again := func(resume, failed bool, args ...string) (*protocol.Job, map[uint64][]*protocol.JobResult) {
		t.Helper()
		got, err := w.jobs.Submit(t.Context(), w.submission(args...), resume, failed)
		if err != nil {
			t.Fatal(err)
		}
		return w.end(protocol.TaskID(got.Id))
	}
	if j, results := again(true, false, numbers(3)...); j.Id != string(id) || len(results) != 3 || j.Failed != 1 {
		t.Errorf("resumed, it is %v", j)
	}
	fails = false
	j, results := again(false, true, numbers(3)...)
	if j.Id != string(id) || j.Passed != 3 || j.Failed != 0 || len(results[2]) != 2 || len(results[1]) != 1 {
		t.Errorf("with what failed run again it is %v, task 2 has %v", j, results[2])
	}
	w.restart()
	if got := w.job(id); got.Passed != 3 || got.Failed != 0 || got.Results != 4 {
		t.Errorf("after a restart it is %v", got)
	}
	other, results := again(true, false, "3", "4", "2")
	if other.Id == string(id) || other.Passed != 3 || string(results[3][0].Result.Stdout.Inline) != "2\n" {
		t.Errorf("with other items it is %v", other)
	}
	for index, runs := range []int{1: 0, 2: 1, 3: 0} {
		if got := w.runs[protocol.Part(protocol.TaskID(other.Id), uint64(index))]; got != runs {
			t.Errorf("item %d of another job was run %d times, want %d", index, got, runs)
		}
	}
	if j, _ := again(false, false, numbers(3)...); j.Id == string(id) || w.runs[protocol.Part(protocol.TaskID(j.Id), 1)] != 1 {
		t.Error("a new job is wanted, and an old one comes")
	}
}

func TestTaskOfAJobStandsAlone(t *testing.T) {
	w := newWorld(t)
	id := w.submit(w.submission("a", "b"))
	w.end(id)
	task, err := w.jobs.Task(protocol.Part(id, 2))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := protocol.ParseSpec(task.Spec)
	if err != nil || fmt.Sprint(spec.Args) != "[prog b]" || string(task.Result.Stdout.Inline) != "b\n" {
		t.Errorf("it is %v of %v (%v)", task.Result, spec, err)
	}
	for _, bad := range []protocol.TaskID{protocol.Part(id, 3), protocol.Part("aaaaaaaaaa", 1), id + "/x"} {
		if _, err := w.jobs.Task(bad); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestBadItemsAreRefused(t *testing.T) {
	w := newWorld(t)
	for name, items := range map[string]string{
		"none":              "",
		"no JSON":           "x\n",
		"an unknown field":  `{"argv":["a"]}` + "\n",
		"no such blob":      `{"stdin_digest":"` + strings.Repeat("00", 32) + `"}` + "\n",
		"no digest":         `{"inputs":[{"path":"/in/a","digest":"x"}]}` + "\n",
		"a NUL in an arg":   `{"args":["a\u0000"]}` + "\n",
		"the second is bad": "{}\n[]\n",
		"too long a line":   `{"label":"` + strings.Repeat("x", protocol.MaxItem) + `"}` + "\n",
	} {
		j := w.submission("a")
		d := w.put(strings.NewReader(items))
		j.Items = d[:]
		if got, err := w.jobs.Submit(t.Context(), j, false, false); err == nil {
			t.Errorf("%s: accepted as %s", name, got.Id)
		}
	}
	if list, err := w.jobs.Jobs(10, ""); err != nil || len(list) > 0 {
		t.Errorf("there are %v (%v)", list, err)
	}
}

// blockThird has the task "3" wait until unblock is called, or it is ended.
func (w *world) blockThird() (unblock func()) {
	blocks := make(chan struct{})
	w.run = func(ctx context.Context, args []string) (int32, protocol.Code) {
		if args[0] == "3" {
			select {
			case <-blocks:
			case <-ctx.Done():
			}
		}
		return 0, ""
	}
	return func() { close(blocks) }
}

func (w *world) job(id protocol.TaskID) *protocol.Job {
	w.t.Helper()
	j, err := w.jobs.Job(string(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

func (w *world) started(id protocol.TaskID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[id] > 0
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) { // between polls
		if time.Now().After(end) {
			w.t.Fatalf("did not happen: %s", what)
		}
	}
}

func TestTasksWaitForRoomAtTheirOwnNode(t *testing.T) {
	w := newWorld(t)
	w.busy = 7
	if j, _ := w.end(w.submit(w.submission(numbers(3)...))); j.Passed != 3 || j.Results != 3 {
		t.Errorf("it ends as %v", j)
	}
	w.mu.Lock()
	w.busy = 1 << 30
	w.mu.Unlock()
	id := w.submit(w.submission(numbers(3)...))
	w.eventually("it waits", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.busy < 1<<30 })
	if err := w.jobs.Cancel(id, tasks(t, "1-3")); err != nil {
		t.Fatal(err)
	}
	if _, results := w.end(id); len(results) != 3 || !results[1][0].Cancelled() {
		t.Errorf("cancelled, they end as %v", results)
	}
	id = w.submit(w.submission(numbers(3)...))
	w.restart() // it stops while they wait
	w.mu.Lock()
	w.busy = 0
	w.mu.Unlock()
	if j, _ := w.end(id); j.Passed != 3 {
		t.Errorf("after a restart it ends as %v", j)
	}
}
