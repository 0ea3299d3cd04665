package store

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// pruned wants so many tasks and jobs to go, and returns the bytes that came free.
func pruned(t *testing.T, s *Store, p Pruning, tasks, jobs int) int64 {
	t.Helper()
	gone, err := s.Prune(p)
	if err != nil || gone.Tasks != tasks || gone.Jobs != jobs {
		t.Fatalf("%+v prunes %+v (%v), want %d tasks and %d jobs", p, gone, err, tasks, jobs)
	}
	return gone.Bytes
}

func TestPruneDeletesWhatHasEnded(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Now()
	large := func(name string) *protocol.Blob {
		b := bytes.Repeat([]byte(name), 100_000/len(name))
		d := put(t, s, b)
		return &protocol.Blob{Digest: d[:], Size: uint64(len(b))}
	}
	task := func(ended time.Duration, stdout *protocol.Blob) string {
		j := newJob(t, s)
		task := &protocol.Task{Id: string(protocol.NewTaskID()), Spec: j.Spec, State: protocol.StateRunning}
		if ended > 0 {
			task.State, task.EndedUnixMs = protocol.StateDone, now.Add(-ended).UnixMilli()
			task.Result = &protocol.Result{Stdout: stdout, Stderr: protocol.NewBlob(nil)}
		}
		if err := s.SaveTask(task); err != nil {
			t.Fatal(err)
		}
		return task.Id
	}
	job := func(ended time.Duration, stdout *protocol.Blob) string {
		j := newJob(t, s)
		saveJob(t, s, j)
		addResult(t, s, j, 1, 1, stdout)
		if ended > 0 {
			j.State, j.EndedUnixMs = protocol.StateDone, now.Add(-ended).UnixMilli()
			saveJob(t, s, j)
		}
		return j.Id
	}
	shared, own := large("shared"), large("own")
	old, runs := task(48*time.Hour, shared), task(0, nil)
	newer := task(time.Hour, shared)
	oldJob, openJob := job(48*time.Hour, own), job(0, nil)
	newerJob := job(time.Hour, shared)
	all := Pruning{Tasks: true, Jobs: true}

	// It is only counted: what several have written is free when all of them go.
	counted := all
	counted.Dry = true
	if n := pruned(t, s, counted, 2, 2); n < int64(shared.Size+own.Size) {
		t.Errorf("%d bytes would be free", n)
	}
	for _, id := range []string{old, newer} {
		if _, err := s.Task(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{runs, openJob} {
		_, err := s.Prune(Pruning{IDs: []string{old, id}})
		wantCode(t, err, protocol.CodeBusy)
	}
	_, err := s.Prune(Pruning{IDs: []string{old, "zzzzz"}})
	wantCode(t, err, protocol.CodeNotFound)
	if _, err := s.Task(old); err != nil {
		t.Errorf("with another that cannot go, it does: %v", err)
	}

	day := all
	day.Before = now.Add(-24 * time.Hour)
	if n := pruned(t, s, day, 1, 1); n < int64(own.Size) || n >= int64(own.Size+shared.Size) {
		t.Errorf("%d bytes are free", n)
	}
	_, err = s.Task(old)
	wantCode(t, err, protocol.CodeNotFound)
	_, err = s.Job(oldJob)
	wantCode(t, err, protocol.CodeNotFound)
	if s.Blobs().Has(own.Sum()) || !s.Blobs().Has(shared.Sum()) {
		t.Error("what the old job alone has written goes, and no more")
	}

	keep := all
	keep.Keep = 1
	pruned(t, s, keep, 0, 0)
	pruned(t, s, Pruning{IDs: []string{newerJob, newerJob[:9]}}, 0, 1)
	if !s.Blobs().Has(shared.Sum()) {
		t.Error("a task that is there still has written it")
	}
	s = reopen(t, s)
	if n := pruned(t, s, Pruning{Tasks: true}, 1, 0); n < int64(shared.Size) {
		t.Errorf("%d bytes are free", n)
	}
	if s.Blobs().Has(shared.Sum()) {
		t.Error("nobody has written it any more")
	}
	pruned(t, s, all, 0, 0)
	s = reopen(t, s)
	tasks, err := s.Tasks(10, "")
	if err != nil || len(tasks) != 1 || tasks[0].Id != runs {
		t.Errorf("of tasks, there are %v (%v)", tasks, err)
	}
	jobs, err := s.Jobs(10, "")
	if err != nil || len(jobs) != 1 || jobs[0].Id != openJob {
		t.Errorf("of jobs, there are %v (%v)", jobs, err)
	}
}

func TestPinnedOutputOutlastsPruning(t *testing.T) {
	s := open(t, t.TempDir())
	d := put(t, s, []byte("somebody reads it"))
	j := newJob(t, s)
	saveJob(t, s, j)
	addResult(t, s, j, 1, 1, &protocol.Blob{Digest: d[:], Size: 17})
	j.State = protocol.StateDone
	saveJob(t, s, j)
	release := s.Blobs().Pin(d)
	defer release()
	pruned(t, s, Pruning{Jobs: true}, 0, 1)
	if !s.Blobs().Has(d) {
		t.Error("it is gone")
	}
}

// TestSurplusAndDoomed: whatever is kept by number or doomed, what goes is what has
// ended, and the index counts it.
func TestSurplusAndDoomed(t *testing.T) {
	x := newIndex("task")
	entries := make(map[int]*entry)
	for i := range 10 {
		entries[i], _ = x.save(protocol.TaskID(fmt.Sprint(i)), i%2 == 0, nil)
	}
	x.doom([]*entry{entries[8], entries[3]})
	names := func(list []*entry) (text string) {
		for _, e := range list {
			text += string(e.id)
		}
		return text
	}
	for _, c := range []struct {
		keep int
		want string
	}{{5, "8"}, {4, "8"}, {3, "08"}, {2, "028"}, {0, "02468"}} {
		if got := names(x.surplus(c.keep)); got != c.want {
			t.Errorf("to keep %d, %q goes, want %q", c.keep, got, c.want)
		}
	}
	x.remove(x.surplus(5))
	if got := names(x.surplus(4)); got != "" || x.doomed != 0 || x.ended != 4 {
		t.Errorf("then %q goes; %d are doomed and %d have ended", got, x.doomed, x.ended)
	}
	x.doom([]*entry{entries[2]})
	x.save("2", false, nil) // it is opened again
	if got := names(x.surplus(9)); got != "" || x.doomed != 0 {
		t.Errorf("%q goes, %d are doomed", got, x.doomed)
	}
}

// TestPrunedPrefixIsOfOne: one that fits a task and a job deletes neither.
func TestPrunedPrefixIsOfOne(t *testing.T) {
	s := open(t, t.TempDir())
	job := newJob(t, s)
	job.State = protocol.StateDone
	saveJob(t, s, job)
	task := conclude(newTask(), protocol.NewBlob(nil))
	task.Id = job.Id[:9] + string(protocol.NewTaskID()[9:])
	for task.Id == job.Id {
		task.Id = job.Id[:9] + string(protocol.NewTaskID()[9:])
	}
	save(t, s, task)
	_, err := s.Prune(Pruning{IDs: []string{job.Id[:9]}})
	wantCode(t, err, protocol.CodeAmbiguous)
	pruned(t, s, Pruning{IDs: []string{job.Id}}, 0, 1)
	pruned(t, s, Pruning{IDs: []string{job.Id[:9]}}, 1, 0)
}
