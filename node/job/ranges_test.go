package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

func tasks(t *testing.T, text string) protocol.Ranges {
	t.Helper()
	which, err := protocol.ParseRanges(text)
	if err != nil {
		t.Fatal(err)
	}
	return which
}

// ran is how often each task of a job was run.
func (w *world) ran(id protocol.TaskID, n uint64) (list []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range n {
		list = append(list, w.runs[protocol.Part(id, i+1)])
	}
	return list
}

func (w *world) again(id protocol.TaskID, which string) {
	w.t.Helper()
	if _, err := w.jobs.Again(w.t.Context(), id, tasks(w.t, which), false); err != nil {
		w.t.Fatal(err)
	}
}

// states are those of a job's tasks, in words.
func (w *world) states(id protocol.TaskID, which string) (list []string) {
	w.t.Helper()
	parts, err := w.jobs.Tasks(string(id), tasks(w.t, which), 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, part := range parts {
		_, index := protocol.TaskID(part.Id).Split()
		list = append(list, fmt.Sprintf("%d %s", index, part.State.Word()))
	}
	return list
}

func TestCancelledTasksAreNotRun(t *testing.T) {
	w := newWorld(t)
	unblock := w.blockThird()
	j := w.submission(numbers(6)...)
	j.Rules.InFlight = 1
	id := w.submit(j)
	w.eventually("the third runs", func() bool { return w.started(protocol.Part(id, 3)) })
	if got, want := w.states(id, ""), []string{"1 done", "2 done", "3 running", "4 queued", "5 queued", "6 queued"}; !slices.Equal(got, want) {
		t.Errorf("its tasks are %q", got)
	}
	// What has ended stays as it is, what has not begun never does.
	if err := w.jobs.Cancel(id, tasks(t, "1,4-5")); err != nil {
		t.Fatal(err)
	}
	if err := w.jobs.Cancel(id, tasks(t, "7")); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("a seventh of six: %v", err)
	}
	unblock()
	ended, results := w.end(id)
	if ended.State != protocol.StateDone || ended.Passed != 4 || ended.Failed != 2 || ended.Results != 6 {
		t.Errorf("it ends as %v", ended)
	}
	if got, want := w.ran(id, 6), []int{1, 1, 1, 0, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("they were run %v times", got)
	}
	if code := results[4][0].Result.Code; code != string(protocol.CodeCancelled) {
		t.Errorf("the fourth has the code %q", code)
	}
	if got, want := w.states(id, "3-5"), []string{"3 done", "4 cancelled", "5 cancelled"}; !slices.Equal(got, want) {
		t.Errorf("its tasks are %q", got)
	}
	// They are what is left to run.
	w.again(id, "")
	if ended, _ = w.end(id); ended.State != protocol.StateDone || ended.Passed != 6 || ended.Failed != 0 || ended.Results != 8 {
		t.Errorf("when it goes on it ends as %v", ended)
	}
	if got, want := w.ran(id, 6), []int{1, 1, 1, 1, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("they were run %v times", got)
	}
}

func TestCancelledTaskEndsWhileOthersGoOn(t *testing.T) {
	w := newWorld(t)
	w.blockThird()
	j := w.submission(numbers(4)...)
	j.Rules.InFlight, j.Rules.Retries = 1, 5
	id := w.submit(j)
	w.eventually("the third runs", func() bool { return w.started(protocol.Part(id, 3)) })
	if err := w.jobs.Cancel(id, tasks(t, "3")); err != nil {
		t.Fatal(err)
	}
	ended, results := w.end(id)
	if ended.State != protocol.StateDone || ended.Passed != 3 || results[3][0].Result.Code != string(protocol.CodeCancelled) {
		t.Errorf("it ends as %v, the third with %v", ended, results[3])
	}
	if got, want := w.ran(id, 4), []int{1, 1, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("they were run %v times", got)
	}
}

func TestJobEndsWhenAllThatAreLeftAreCancelled(t *testing.T) {
	w := newWorld(t)
	w.blockThird()
	const n = 3000
	j := w.submission(numbers(n)...)
	j.Rules.InFlight = 1
	id := w.submit(j)
	w.eventually("the third runs", func() bool { return w.started(protocol.Part(id, 3)) })
	if err := w.jobs.Cancel(id, tasks(t, "3-9999")); err != nil {
		t.Fatal(err)
	}
	ended, _ := w.end(id)
	if ended.State != protocol.StateDone || ended.Passed != 2 || ended.Failed != n-2 || ended.Results != n || ended.Reason != "" {
		t.Errorf("it ends as %v", ended)
	}
	if stored, err := w.store.Job(string(id)); err != nil || stored.Failed != n-2 {
		t.Errorf("it is stored as %v (%v)", stored, err)
	}
}

func TestTasksRunAgainAlone(t *testing.T) {
	w := newWorld(t)
	fails := true
	w.run = func(_ context.Context, args []string) (int32, protocol.Code) {
		if fails && args[0] != "1" {
			return 1, ""
		}
		return 0, ""
	}
	id := w.submit(w.submission(numbers(5)...))
	w.end(id)
	fails = false
	w.again(id, "1,3-4")
	ended, results := w.end(id)
	if ended.State != protocol.StateDone || ended.Passed != 3 || ended.Failed != 2 || ended.Results != 8 {
		t.Errorf("it ends as %v", ended)
	}
	if got, want := w.ran(id, 5), []int{2, 1, 2, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("they were run %v times", got)
	}
	for i, list := range results {
		if last := list[len(list)-1]; ended.Stale(last) || len(list) > 1 && !ended.Stale(list[0]) {
			t.Errorf("task %d has %v", i, list)
		}
	}
	// A task is what its last result says.
	if part, err := w.jobs.Task(protocol.Part(id, 3)); err != nil || part.Result.ExitCode != 0 {
		t.Errorf("the third is %v, %v", part, err)
	}
	w.again(id, "3")
	w.restart()
	if ended, _ = w.end(id); ended.Passed != 3 || ended.Failed != 2 {
		t.Errorf("after a restart it ends as %v", ended)
	}
}

func TestWhatCountsNoLongerIsNotTakenOver(t *testing.T) {
	w := newWorld(t)
	id := w.submit(w.submission("1", "2", "3"))
	w.end(id)
	w.run = func(context.Context, []string) (int32, protocol.Code) { return 1, "" }
	w.again(id, "2")
	w.end(id)
	w.run = func(context.Context, []string) (int32, protocol.Code) { return 0, "" }
	j, err := w.jobs.Submit(t.Context(), w.submission("2", "3"), true, false)
	if err != nil {
		t.Fatal(err)
	}
	if ended, _ := w.end(protocol.TaskID(j.Id)); ended.Passed != 2 || ended.Like != string(id) {
		t.Errorf("it ends as %v", ended)
	}
	if got, want := w.ran(protocol.TaskID(j.Id), 2), []int{1, 0}; !slices.Equal(got, want) {
		t.Errorf("they were run %v times", got)
	}
	// What it would be like has passed none of its items.
	if j, err = w.jobs.Submit(t.Context(), w.submission("4", "5"), true, false); err != nil || j.Like != "" {
		t.Errorf("one of other items takes over from %q (%v)", j.GetLike(), err)
	}
	w.end(protocol.TaskID(j.Id))
	// Not the last one has passed some, but the one before.
	if j, err = w.jobs.Submit(t.Context(), w.submission("6", "3"), true, false); err != nil || j.Like == "" {
		t.Errorf("of the one before nothing is taken over (%v)", err)
	}
	w.end(protocol.TaskID(j.Id))
	if got, want := w.ran(protocol.TaskID(j.Id), 2), []int{1, 0}; !slices.Equal(got, want) {
		t.Errorf("they were run %v times", got)
	}
}

func TestCancelledJobRunsTheTasksNamed(t *testing.T) {
	w := newWorld(t)
	unblock := w.blockThird()
	j := w.submission(numbers(6)...)
	j.Rules.InFlight = 1
	id := w.submit(j)
	w.eventually("the third runs", func() bool { return w.started(protocol.Part(id, 3)) })
	if _, err := w.jobs.Again(t.Context(), id, tasks(t, "1"), false); protocol.CodeOf(err) != protocol.CodeBusy {
		t.Errorf("while it runs: %v", err)
	}
	if err := w.jobs.Cancel(id, nil); err != nil {
		t.Fatal(err)
	}
	w.end(id)
	unblock()
	w.again(id, "5-6")
	ended, _ := w.end(id)
	if ended.State != protocol.StateCancelled || ended.Passed != 4 || ended.Reason == "" {
		t.Errorf("with tasks that were never run it ends as %v", ended)
	}
	if got, want := w.ran(id, 6), []int{1, 1, 1, 0, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("they were run %v times", got)
	}
	// None named is all that are left.
	w.again(id, "")
	if ended, _ = w.end(id); ended.Passed != 6 || ended.Reason != "" {
		t.Errorf("it ends as %v", ended)
	}
	if got, want := w.ran(id, 6), []int{1, 1, 2, 1, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("they were run %v times", got)
	}
}

func TestSomeTasksAreFollowedToTheirEnd(t *testing.T) {
	w := newWorld(t)
	unblock := w.blockThird()
	j := w.submission(numbers(5)...)
	j.Rules.InFlight = 2
	id := w.submit(j)
	follow := func(ctx context.Context, which string) (indexes []uint64, err error) {
		_, err = w.jobs.Follow(ctx, id, tasks(t, which), 0, func(one *protocol.JobResult) error {
			indexes = append(indexes, one.Index)
			return nil
		}, func(*protocol.Job) error { return nil })
		slices.Sort(indexes)
		return indexes, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := follow(ctx, "2,4-5"); err != nil || !slices.Equal(got, []uint64{2, 4, 5}) {
		t.Errorf("while the third runs, it tells of %v (%v)", got, err)
	}
	waiting, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if got, err := follow(waiting, "3-4"); err == nil {
		t.Errorf("it does not wait for the third: %v", got)
	}
	unblock()
	if got, err := follow(ctx, "3"); err != nil || !slices.Equal(got, []uint64{3}) {
		t.Errorf("it tells of %v (%v)", got, err)
	}
}

func TestTasksOfAJobComeInPages(t *testing.T) {
	w := newWorld(t)
	id := w.submit(w.submission(numbers(20)...))
	w.end(id)
	var all []string
	for after := uint64(0); ; {
		page, err := w.jobs.Tasks(string(id)[:9], tasks(t, "2-4,7-20"), after, 3)
		if err != nil || len(page) > 3 {
			t.Fatal(len(page), err)
		}
		if len(page) == 0 {
			break
		}
		for _, part := range page {
			_, after = protocol.TaskID(part.Id).Split()
			if part.Result.Stdout.Inline != nil || part.Result.Stdout.Size == 0 {
				t.Errorf("task %d has %v", after, part.Result.Stdout)
			}
			all = append(all, fmt.Sprint(after))
		}
	}
	if want := slices.Concat(numbers(20)[1:4], numbers(20)[6:]); !slices.Equal(all, want) {
		t.Errorf("they are %v", all)
	}
}

func TestCancelledTasksDoNotHaltTheirJob(t *testing.T) {
	w := newWorld(t)
	fail := make(chan struct{})
	w.run = func(ctx context.Context, args []string) (int32, protocol.Code) {
		if args[0] == "3" {
			select {
			case <-fail:
				return 1, ""
			case <-ctx.Done():
			}
		}
		return 0, ""
	}
	j := w.submission(numbers(8)...)
	j.Rules.InFlight, j.Rules.Halt = 1, &protocol.Halt{Count: 2}
	id := w.submit(j)
	w.eventually("the third runs", func() bool { return w.started(protocol.Part(id, 3)) })
	if err := w.jobs.Cancel(id, tasks(t, "4-6")); err != nil {
		t.Fatal(err)
	}
	w.restart() // which counts them anew
	close(fail)
	if ended, _ := w.end(id); ended.Passed != 4 || ended.Failed != 4 || ended.Reason != "" {
		t.Errorf("it ends as %v", ended)
	}
}

// TestJobThatCannotRecordEnds: what was to be cancelled has no result then, and is
// not taken for ended.
func TestJobThatCannotRecordEnds(t *testing.T) {
	w := newWorld(t)
	w.blockThird()
	j := w.submission(numbers(6)...)
	j.Rules.InFlight = 1
	id := w.submit(j)
	w.eventually("the third runs", func() bool { return w.started(protocol.Part(id, 3)) })
	r := w.jobs.running(id)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.jobs.Cancel(id, tasks(t, "4-5")); !errors.Is(err, store.ErrClosed) {
		t.Errorf("it says %v", err)
	}
	if r.has(4) || r.has(5) || !errors.Is(context.Cause(r.ctx), store.ErrClosed) {
		t.Errorf("they count as ended (%t, %t), and the job goes on until %v", r.has(4), r.has(5), context.Cause(r.ctx))
	}
}

// TestTasksRunAgainTogether: of calls at once none forgets what another wants.
func TestTasksRunAgainTogether(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		id := w.submit(w.submission(numbers(8)...))
		w.end(id)
		var wg sync.WaitGroup
		accepted := make([]bool, 8)
		for i := range accepted {
			wg.Go(func() {
				_, err := w.jobs.Again(t.Context(), id, protocol.Ranges{{First: uint64(i) + 1, Last: uint64(i) + 1}}, false)
				accepted[i] = err == nil
				if err != nil && protocol.CodeOf(err) != protocol.CodeBusy {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		w.end(id)
		for i, n := range w.ran(id, 8) {
			if accepted[i] != (n == 2) {
				t.Fatalf("task %d was run %d times, and accepted: %t", i+1, n, accepted[i])
			}
		}
	}
}

// TestResultsThatComeMeanwhileAreSeen: a short list of them is no whole one.
func TestResultsThatComeMeanwhileAreSeen(t *testing.T) {
	w := newWorld(t)
	id := w.submit(w.submission("1", "2", "3"))
	j, _ := w.end(id)
	var seen uint64
	err := w.jobs.results(j, func(one *protocol.JobResult) {
		if seen++; seen != one.Number {
			t.Fatalf("result %d comes as number %d", one.Number, seen)
		}
		if seen == 1 {
			for n := uint64(4); n <= 300; n++ {
				if err := w.store.AddResult(id, &protocol.JobResult{Number: n, Index: 1, Result: failed(errHalted)}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	if err != nil || seen != 300 {
		t.Errorf("%d are seen (%v)", seen, err)
	}
}

// TestTasksAreFoundWithoutAllBeforeThem: no page reads the items before it, or the
// results of others, again.
func TestTasksAreFoundWithoutAllBeforeThem(t *testing.T) {
	w := newWorld(t)
	const n = 2500
	id := w.submit(w.submission(numbers(n)...))
	j, _ := w.end(id)
	var all []string
	for after := uint64(0); ; {
		page, err := w.jobs.Tasks(string(id), nil, after, 700)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, part := range page {
			_, after = protocol.TaskID(part.Id).Split()
			if size := uint64(len(fmt.Sprintln(after))); part.Result.Stdout.Size != size {
				t.Fatalf("task %d has %v", after, part.Result)
			}
			all = append(all, fmt.Sprint(after))
		}
	}
	if !slices.Equal(all, numbers(n)) {
		t.Errorf("there are %d", len(all))
	}
	for _, index := range []uint64{n, 1, 1024, 1025, 2048, 2049} {
		part, err := w.jobs.Task(protocol.Part(id, index))
		if err != nil || string(part.Result.Stdout.Inline) != fmt.Sprintln(index) {
			t.Errorf("task %d is %v (%v)", index, part, err)
		}
		read := 0
		err = w.jobs.parts(j, index-1, func(i uint64) (bool, bool) { read++; return i == index, i < index }, func(uint64, *protocol.Task) {})
		if err != nil || read > everyPlace+1 {
			t.Errorf("%d items are read for task %d (%v)", read, index, err)
		}
	}
}

func TestTaskThatWasNotRunHasAnEnd(t *testing.T) {
	w := newWorld(t)
	w.run = func(_ context.Context, _ []string) (int32, protocol.Code) { return 1, "" }
	j := w.submission(numbers(4)...)
	j.Rules.InFlight, j.Rules.Halt = 1, &protocol.Halt{Count: 1}
	id := w.submit(j)
	ended, _ := w.end(id)
	task, err := w.jobs.Task(protocol.Part(id, 4))
	if err != nil {
		t.Fatal(err)
	}
	if !task.State.Ended() || task.EndedUnixMs != ended.EndedUnixMs || task.Result.GetCode() != string(protocol.CodeCancelled) || task.Result.Hint == "" {
		t.Errorf("a task that was not run is %v", task)
	}
	if got := w.ran(id, 4); got[3] != 0 {
		t.Errorf("tasks ran %v times", got)
	}
	w.again(id, "4")
	if again, _ := w.end(id); again.State != protocol.StateDone || again.Reason != ended.Reason {
		t.Errorf("when one was run of those that its rule had left it ends as %v", again)
	}
}

func TestCellsTellHowEachTaskStands(t *testing.T) {
	w := newWorld(t)
	hold := make(chan struct{})
	w.run = func(ctx context.Context, args []string) (int32, protocol.Code) {
		switch args[0] {
		case "2":
			return 1, ""
		case "3":
			return 125, protocol.CodeLost
		case "4":
			return 134, protocol.CodeTrap
		case "6":
			select {
			case <-hold:
			case <-ctx.Done():
			}
		}
		return 0, ""
	}
	j := w.submission(numbers(8)...)
	j.Rules.InFlight = 1
	id := w.submit(j)
	cells := func(from uint64, most int) string {
		t.Helper()
		c, of, err := w.jobs.Cells(string(id[:4]), from, most)
		if err != nil || of != 8 {
			t.Fatalf("of %d: %v", of, err)
		}
		return string(c)
	}
	until := time.Now().Add(time.Minute)
	for cells(1, 100) != "pfsfprww" && time.Now().Before(until) {
		time.Sleep(time.Millisecond)
	}
	if err := w.jobs.Cancel(id, protocol.Ranges{{First: 8, Last: 8}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from uint64
		most int
		want string
	}{{0, 100, "pfsfprwc"}, {1, 3, "pfs"}, {6, 2, "rw"}, {8, 5, "c"}, {9, 5, ""}, {1 << 40, 5, ""}} {
		if got := cells(c.from, c.most); got != c.want {
			t.Errorf("%d from %d on are %q, want %q", c.most, c.from, got, c.want)
		}
	}
	close(hold)
	w.end(id)
	if got := cells(1, 100); got != "pfsfpppc" {
		t.Errorf("at its end: %q", got)
	}
	// What is run again has no result that counts.
	hold = make(chan struct{})
	w.run = func(ctx context.Context, _ []string) (int32, protocol.Code) {
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return 0, ""
	}
	if _, err := w.jobs.Again(t.Context(), id, protocol.Ranges{{First: 2, Last: 3}}, false); err != nil {
		t.Fatal(err)
	}
	for cells(1, 100) != "prwfpppc" && time.Now().Before(until) {
		time.Sleep(time.Millisecond)
	}
	if got := cells(1, 100); got != "prwfpppc" {
		t.Errorf("run again: %q", got)
	}
	close(hold)
	w.end(id)
	if got := cells(1, 100); got != "pppfpppc" {
		t.Errorf("after that: %q", got)
	}
}

func TestWhoWatchesIsToldOfJobs(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	told := map[protocol.TaskID]int{}
	stop := w.jobs.Watch(func(id protocol.TaskID) {
		mu.Lock()
		defer mu.Unlock()
		told[id]++
	})
	id := w.submit(w.submission(numbers(5)...))
	w.end(id)
	stop()
	mu.Lock()
	n := told[id]
	mu.Unlock()
	if n < 6 {
		t.Errorf("told %d times", n)
	}
	other := w.submit(w.submission(numbers(5)...))
	w.end(other)
	mu.Lock()
	defer mu.Unlock()
	if told[other] > 0 {
		t.Error("it is told on")
	}
}
