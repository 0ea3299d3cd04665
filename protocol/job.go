package protocol

import (
	"strconv"
	"strings"
)

// MaxJobTasks is the largest number of tasks of a job.
const MaxJobTasks = 1 << 20

// MaxItem is the longest item, in bytes of its line.
const MaxItem = 512 << 10

// Item is what a task has of its own, beside what all tasks of its job have. The
// items of a job are a blob of such objects in JSON, one a line.
type Item struct {
	Label       string   `json:"label,omitempty"`        // what people see of it
	Args        []string `json:"args,omitempty"`         // after those of the job
	Stdin       []byte   `json:"stdin,omitempty"`        // instead of the job's; at most 64 KiB
	StdinDigest string   `json:"stdin_digest,omitempty"` // or the blob of it
	Inputs      []Input  `json:"inputs,omitempty"`       // beside those of the job
}

// Input is a file of an item.
type Input struct {
	Path   string `json:"path"`   // below /in
	Digest string `json:"digest"` // of its blob
}

// Needs returns the digests of the blobs that an item names.
func (i *Item) Needs() (digests []string) {
	if i.StdinDigest != "" {
		digests = append(digests, i.StdinDigest)
	}
	for _, in := range i.Inputs {
		digests = append(digests, in.Digest)
	}
	return digests
}

// Part names a task of a job: JOB/INDEX, where tasks are counted from 1.
func Part(job TaskID, index uint64) TaskID {
	return job + "/" + TaskID(strconv.FormatUint(index, 10))
}

// Split returns the job that a task is of and its index there, or the task
// itself and 0 when it stands alone.
func (id TaskID) Split() (job TaskID, index uint64) {
	head, tail, part := strings.Cut(string(id), "/")
	if !part {
		return id, 0
	}
	n, err := strconv.ParseUint(tail, 10, 64)
	if err != nil || n == 0 || n > MaxJobTasks || strconv.FormatUint(n, 10) != tail {
		return id, 0
	}
	return TaskID(head), n
}

// Ended reports whether no task of the job is to be run any more.
func (j *Job) Ended() bool { return j.GetState().Ended() }

// Passed reports whether a task of a job ended as its user hoped.
func (r *JobResult) Passed() bool {
	return r.GetResult().GetCode() == "" && r.GetResult().GetExitCode() == 0
}

// Due reports whether a job with so many tasks is to be halted once so many
// have passed and failed.
func (h *Halt) Due(tasks, passed, failed uint64) bool {
	if h == nil {
		return false
	}
	n := failed
	if h.Passed {
		n = passed
	}
	if h.Percent > 0 {
		return n*100 >= uint64(h.Percent)*tasks && n > 0
	}
	return n >= h.Count
}
