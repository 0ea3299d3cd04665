package store

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

func newJob(t *testing.T, s *Store) *protocol.Job {
	t.Helper()
	items := put(t, s, fmt.Appendf(nil, "items %s\n", protocol.NewTaskID()))
	return &protocol.Job{Id: string(protocol.NewTaskID()), Items: items[:], Tasks: 3, State: protocol.StateRunning}
}

func saveJob(t *testing.T, s *Store, jobs ...*protocol.Job) {
	t.Helper()
	for _, j := range jobs {
		if err := s.SaveJob(j); err != nil {
			t.Fatal(err)
		}
	}
}

func addResult(t *testing.T, s *Store, j *protocol.Job, number, index uint64, stdout *protocol.Blob) {
	t.Helper()
	r := &protocol.JobResult{Number: number, Index: index, Result: &protocol.Result{Stdout: stdout, Stderr: protocol.NewBlob(nil)}}
	if err := s.AddResult(protocol.TaskID(j.Id), r); err != nil {
		t.Fatal(err)
	}
}

// indexes are those of a job's results after a number.
func indexes(t *testing.T, s *Store, j *protocol.Job, after uint64, limit int) string {
	t.Helper()
	list, err := s.Results(protocol.TaskID(j.Id), after, limit)
	if err != nil {
		t.Fatal(err)
	}
	var indexes []uint64
	for i, r := range list {
		if r.Number != after+1+uint64(i) {
			t.Fatalf("result %d comes as number %d", after+1+uint64(i), r.Number)
		}
		indexes = append(indexes, r.Index)
	}
	return fmt.Sprint(indexes)
}

func TestJobSurvivesWithItsResults(t *testing.T) {
	s := open(t, t.TempDir())
	job, other := newJob(t, s), newJob(t, s)
	saveJob(t, s, job, other)
	part := &protocol.Task{Id: string(protocol.Part(protocol.TaskID(job.Id), 2)), Name: "open"}
	left := &protocol.Task{Id: string(protocol.Part(protocol.TaskID(job.Id), 3)), Name: "left"}
	for _, p := range []*protocol.Task{part, left} {
		if err := s.SavePart(p); err != nil {
			t.Fatal(err)
		}
	}
	addResult(t, s, job, 1, 2, protocol.NewBlob([]byte("two\n")))
	addResult(t, s, other, 1, 9, protocol.NewBlob(nil))
	addResult(t, s, job, 2, 1, protocol.NewBlob(nil))
	check := func(when string) {
		t.Helper()
		for after, want := range []string{"[2 1]", "[1]", "[]"} {
			if got := indexes(t, s, job, uint64(after), 10); got != want {
				t.Errorf("%s: after %d come %s, want %s", when, after, got, want)
			}
		}
		if got := indexes(t, s, job, 0, 1); got != "[2]" {
			t.Errorf("%s: the first is %s", when, got)
		}
		if got := indexes(t, s, other, 0, 10); got != "[9]" {
			t.Errorf("%s: the other job has %s", when, got)
		}
		got, err := s.Job(job.Id[:9])
		if err != nil || !proto.Equal(got, job) {
			t.Errorf("%s: the job is %v (%v)", when, got, err)
		}
		parts, err := s.Parts()
		if err != nil || len(parts) != 1 || parts[0].Name != "left" {
			t.Errorf("%s: the open tasks are %v (%v)", when, parts, err)
		}
	}
	check("at once")
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = crash(t, s)
	check("after a kill")
	s = reopen(t, s)
	check("after a restart")

	job.State = protocol.StateDone
	saveJob(t, s, job)
	unfinished, err := s.UnfinishedJobs()
	if err != nil || len(unfinished) != 1 || unfinished[0].Id != other.Id {
		t.Errorf("unfinished are %v (%v)", unfinished, err)
	}
	if err := s.DropParts(protocol.TaskID(left.Id)); err != nil {
		t.Fatal(err)
	}
	if parts, err := s.Parts(); err != nil || len(parts) > 0 {
		t.Errorf("a dropped task is there: %v (%v)", parts, err)
	}
}

func TestOldestJobsGoWithTheirResults(t *testing.T) {
	s := open(t, t.TempDir(), Config{KeepJobs: 1})
	output := put(t, s, []byte("large"))
	blob := &protocol.Blob{Digest: output[:], Size: 5}
	var jobs []*protocol.Job
	for range 3 {
		j := newJob(t, s)
		saveJob(t, s, j)
		addResult(t, s, j, 1, 1, blob)
		addResult(t, s, j, 2, 2, protocol.NewBlob(nil))
		jobs = append(jobs, j)
	}
	kept := func() int {
		s.blobs.mu.Lock()
		defer s.blobs.mu.Unlock()
		return s.blobs.kept[output]
	}
	if n := kept(); n != 3 {
		t.Fatalf("the output is kept %d times", n)
	}
	for _, j := range jobs[:2] {
		j.State = protocol.StateDone
		saveJob(t, s, j)
	}
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Job(jobs[0].Id)
	wantCode(t, err, protocol.CodeNotFound)
	_, err = s.Results(protocol.TaskID(jobs[0].Id), 0, 1)
	wantCode(t, err, protocol.CodeNotFound)
	wantCode(t, s.AddResult(protocol.TaskID(jobs[0].Id), new(protocol.JobResult)), protocol.CodeNotFound)
	for _, j := range jobs[1:] {
		if got := indexes(t, s, j, 0, 9); got != "[1 2]" {
			t.Errorf("job %s has %s", j.Id, got)
		}
	}
	s = reopen(t, s, Config{KeepJobs: 1})
	if n := kept(); n != 2 {
		t.Errorf("the output is kept %d times", n)
	}
}

// TestJobThatIsGoingIsNotOpenedAgain: its results vanish, and what came after them
// would stand behind a gap.
func TestJobThatIsGoingIsNotOpenedAgain(t *testing.T) {
	s := open(t, t.TempDir())
	job := newJob(t, s)
	saveJob(t, s, job)
	addResult(t, s, job, 1, 1, protocol.NewBlob(nil))
	job.State = protocol.StateDone
	saveJob(t, s, job)
	other, err := s.db.bolt.Begin(true) // the transaction that deletes it waits
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Rollback() }) // so that a failure does not hang
	s.mu.Lock()
	s.jobs.doom(s.jobs.order)
	s.mu.Unlock()
	committed := make(chan error, 1)
	go func() { committed <- s.commit() }()
	begun := func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.writing != nil }
	for deadline := time.Now().Add(time.Minute); !begun(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no commit begins")
		}
	}
	_, err = s.Job(job.Id)
	wantCode(t, err, protocol.CodeNotFound)
	job.State = protocol.StateRunning
	wantCode(t, s.SaveJob(job), protocol.CodeNotFound)
	wantCode(t, s.AddResult(protocol.TaskID(job.Id), &protocol.JobResult{Number: 2, Index: 2}), protocol.CodeNotFound)
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if list, err := s.Jobs(10, ""); err != nil || len(list) > 0 {
		t.Errorf("there are %v (%v)", list, err)
	}
}
