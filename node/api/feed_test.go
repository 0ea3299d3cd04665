package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

// fakeWorld is what a feed looks at.
type fakeWorld struct {
	mu               sync.Mutex
	looks            int
	running          uint32
	list             []Peer
	state            string
	watched          int
	noteTask, noteOf func(protocol.TaskID)
	slow             time.Duration
}

func (w *fakeWorld) glance() glance {
	return glance{
		status: func() (s Status) {
			w.set(func() { w.looks++; time.Sleep(w.slow); s.Running = w.running })
			return s
		},
		donation: func() (d Donation) { w.set(func() { d.State = w.state }); return d },
		peers:    func() (list []Peer) { w.set(func() { list = w.list }); return list },
		task: func(id protocol.TaskID) (t Task, err error) {
			w.set(func() { t = Task{ID: string(id), State: w.state} })
			if strings.HasPrefix(string(id), "gone") {
				return Task{}, errors.New("it is kept no longer")
			}
			return t, nil
		},
		job: func(id protocol.TaskID) (Job, error) { return Job{ID: string(id)}, nil },
		watch: func(task, job func(protocol.TaskID)) func() {
			w.set(func() { w.watched++; w.noteTask, w.noteOf = task, job })
			return func() { w.set(func() { w.watched-- }) }
		},
	}
}

func (w *fakeWorld) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// inFeed runs test with a feed in virtual time.
func inFeed(t *testing.T, test func(t *testing.T, w *fakeWorld, f *feed)) {
	synctest.Test(t, func(t *testing.T) {
		w := new(fakeWorld)
		f := newFeed(w.glance(), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.run(ctx) }()
		test(t, w, f)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if w.watched != 0 {
			t.Error("it watches on")
		}
	})
}

// reader is a reader that has seen all up to after.
type reader struct {
	t     *testing.T
	f     *feed
	after uint64
}

func enter(t *testing.T, f *feed) *reader {
	t.Helper()
	after, whole, err := f.enter(t.Context(), "")
	if err != nil || !whole {
		t.Fatal(whole, err)
	}
	return &reader{t, f, after}
}

// read returns the events that have come since, as kind and data.
func (r *reader) read() (list []string) {
	r.t.Helper()
	synctest.Wait()
	all, _, ok := r.f.since(r.after)
	if !ok {
		r.t.Fatal("the reader has missed something")
	}
	for _, e := range all {
		fields := strings.Split(strings.TrimSuffix(string(e.lines), "\n\n"), "\n")
		if len(fields) != 3 || fields[0] != "id: "+r.f.id(e.number) || e.number != r.after+1 {
			r.t.Errorf("event %d after %d is %q", e.number, r.after, e.lines)
		}
		r.after = e.number
		list = append(list, strings.TrimPrefix(fields[1], "event: ")+" "+strings.TrimPrefix(fields[2], "data: "))
	}
	return list
}

// kinds are the first words.
func kinds(list []string) (kinds []string) {
	for _, e := range list {
		kind, _, _ := strings.Cut(e, " ")
		kinds = append(kinds, kind)
	}
	return kinds
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

func TestNothingIsLookedAtWithoutReaders(t *testing.T) {
	inFeed(t, func(t *testing.T, w *fakeWorld, f *feed) {
		time.Sleep(time.Hour)
		if w.looks != 0 || w.watched != 0 {
			t.Errorf("%d looks", w.looks)
		}
		enter(t, f)
		f.leave()
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.looks == 0 || w.looks > int(linger/feedEvery)+2 || w.watched != 0 {
			t.Errorf("%d looks after the reader had left", w.looks)
		}
	})
}

func TestChangesAreToldOnceAndNotTooOften(t *testing.T) {
	inFeed(t, func(t *testing.T, w *fakeWorld, f *feed) {
		rtt := 10.0
		w.list = []Peer{{Peer: "a", RTTMS: &rtt}, {Peer: "b"}}
		r, other := enter(t, f), enter(t, f)
		expect(t, r.read())

		// A hundred changes within a second are two events of each at most.
		for i := range 100 {
			w.set(func() { w.running++ })
			w.noteTask("t1")
			w.noteTask("gone")
			w.noteOf("j1")
			if i%2 == 0 {
				w.noteTask("t2")
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		all := r.read()
		counts := map[string]int{}
		for _, kind := range kinds(all) {
			counts[kind]++
		}
		if counts["status"] < 2 || counts["status"] > 4 || counts["job"] < 2 || counts["job"] > 4 || counts["task"] > 2*counts["job"] || counts["peers"] != 0 {
			t.Errorf("told %v", all)
		}
		if !slices.Contains(all, mustJSON("status", Status{Running: 100})) {
			t.Errorf("the last change is not among %v", all)
		}
		expect(t, other.read(), all...)

		// What rounds to the same is no change, and one that has gone is told.
		near := 10.2
		w.set(func() { w.list = []Peer{{Peer: "a", RTTMS: &near}} })
		time.Sleep(2 * time.Second)
		expect(t, r.read(), `peers {"changed":[],"gone":["b"]}`)
		far := 20.0
		w.set(func() { w.list = []Peer{{Peer: "a", RTTMS: &far}} })
		time.Sleep(2 * time.Second)
		expect(t, kinds(r.read()), "peers")

		w.set(func() { w.state = "paused" })
		time.Sleep(time.Second)
		expect(t, kinds(r.read()), "donation")
		// An unchanged status is told now and then.
		time.Sleep(2 * statusEvery)
		expect(t, kinds(r.read()), "status", "status")
		f.leave()
		f.leave()
	})
}

func mustJSON(kind string, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return kind + " " + string(b)
}

func TestWhoComesBackIsToldWhatItHasMissed(t *testing.T) {
	inFeed(t, func(t *testing.T, w *fakeWorld, f *feed) {
		r := enter(t, f)
		w.noteTask("t1")
		time.Sleep(time.Second)
		seen := r.read()
		expect(t, kinds(seen), "task")
		id := f.id(r.after)
		f.leave()
		w.noteTask("t2")
		time.Sleep(linger / 2)
		after, whole, err := f.enter(t.Context(), id)
		if err != nil || !whole || after != r.after {
			t.Fatalf("it came back to %d, %v, %v", after, whole, err)
		}
		expect(t, kinds(r.read()), "task")

		for name, last := range map[string]string{
			"of another boot": "x" + id, "that is to come": f.id(r.after + 1), "that is none": "x", "that is half one": f.boot + "-",
			"that is negative": f.boot + "--1", "that is huge": f.boot + "-18446744073709551615", "that is too old": f.id(0),
		} {
			if _, whole, err := f.enter(t.Context(), last); err != nil || whole {
				t.Errorf("an event %s: %v, %v", name, whole, err)
			}
			f.leave()
		}
		f.leave()
		time.Sleep(time.Hour)
		// What has changed since, nobody knows.
		if _, whole, err := f.enter(t.Context(), f.id(r.after)); err != nil || whole {
			t.Errorf("after a rest: %v, %v", whole, err)
		}
		f.leave()
	})
}

func TestSlowReadersFallOut(t *testing.T) {
	inFeed(t, func(t *testing.T, w *fakeWorld, f *feed) {
		r := enter(t, f)
		for i := range maxRing + 1 {
			w.noteTask(protocol.TaskID(fmt.Sprint("t", i)))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, _, ok := f.since(r.after); ok {
			t.Error("it may read on")
		}
		if len(f.ring) > maxRing || f.size > maxKept {
			t.Errorf("%d events of %d bytes are kept", len(f.ring), f.size)
		}
		// More changes than can be noted make readers look anew.
		r = enter(t, f)
		for i := range maxNoted + 1 {
			w.noteTask(protocol.TaskID(fmt.Sprint("t", i)))
		}
		time.Sleep(feedEvery)
		expect(t, kinds(r.read()), "reset") // and nothing of what it replaces
		f.leave()
		f.leave()
	})
}

func TestFloodsOfChangesDoNotResetAtEveryLook(t *testing.T) {
	inFeed(t, func(t *testing.T, w *fakeWorld, f *feed) {
		r := enter(t, f)
		const seconds = 60
		counts := map[string]int{}
		for i := range seconds {
			for j := range 2 * maxNoted {
				w.noteTask(protocol.TaskID(fmt.Sprint("t", i, "-", j)))
			}
			w.noteTask("newest")
			time.Sleep(time.Second)
			for _, kind := range kinds(r.read()) {
				counts[kind]++
			}
		}
		if most := seconds*int(time.Second)/int(statusEvery) + 1; counts["reset"] < 2 || counts["reset"] > most {
			t.Errorf("%d resets, of %d at most", counts["reset"], most)
		}
		if counts["task"] < seconds*maxTold {
			t.Errorf("between them only %d tasks are told", counts["task"])
		}
		f.leave()
	})
}

func TestReadersAreBounded(t *testing.T) {
	inFeed(t, func(t *testing.T, _ *fakeWorld, f *feed) {
		for range maxReaders {
			enter(t, f)
		}
		if _, _, err := f.enter(t.Context(), ""); protocol.CodeOf(err) != protocol.CodeBusy {
			t.Errorf("one too many: %v", err)
		}
		f.leave()
		enter(t, f)
		for range maxReaders {
			f.leave()
		}
	})
}

func TestLooksThatTakeLongAreRare(t *testing.T) {
	inFeed(t, func(t *testing.T, w *fakeWorld, f *feed) {
		w.slow = 20 * time.Millisecond
		enter(t, f)
		time.Sleep(time.Minute)
		synctest.Wait()
		if cost := time.Duration(w.looks) * w.slow; cost > time.Minute/100 {
			t.Errorf("it has looked for %v in a minute", cost)
		}
		f.leave()
	})
}
