package protocol

import (
	"cmp"
	"slices"
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

// Range is tasks of a job, from First to Last.
type Range struct{ First, Last uint64 }

// Ranges are tasks of a job, in ascending order and apart from each other. None
// at all stand for all tasks.
type Ranges []Range

// maxRanges bounds what one text may name.
const maxRanges = 1000

// ParseRanges reads ranges as people write them: 7, 3-9 or 1,4,10-12. An empty
// text is all tasks.
func ParseRanges(text string) (Ranges, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) > maxRanges {
		return nil, Errorf(CodeBadRequest, "%d ranges of tasks, at most %d work", len(parts), maxRanges)
	}
	list := make(Ranges, 0, len(parts))
	for _, part := range parts {
		from, to, several := strings.Cut(part, "-")
		first, bad := strconv.ParseUint(from, 10, 64)
		last := first
		if bad == nil && several {
			last, bad = strconv.ParseUint(to, 10, 64)
		}
		if bad != nil || first == 0 || last < first || first > MaxJobTasks {
			return nil, Errorf(CodeBadRequest, "%.40q names no tasks of a job", part).WithHint("they are counted from 1: 7, 3-9 or 1,4,10-12")
		}
		list = append(list, Range{first, min(last, MaxJobTasks)})
	}
	return list.Merged(), nil
}

// Merged returns the same tasks in ascending order and as few ranges as can be.
func (r Ranges) Merged() Ranges {
	list := slices.SortedFunc(slices.Values(r), func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	merged := list[:min(len(list), 1)]
	for _, r := range list[len(merged):] {
		if last := &merged[len(merged)-1]; r.First <= last.Last+1 {
			last.Last = max(last.Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// String writes ranges as [ParseRanges] reads them.
func (r Ranges) String() string {
	parts := make([]string, len(r))
	for i, one := range r {
		parts[i] = strconv.FormatUint(one.First, 10)
		if one.Last > one.First {
			parts[i] += "-" + strconv.FormatUint(one.Last, 10)
		}
	}
	return strings.Join(parts, ",")
}

// Has reports whether a task is among them.
func (r Ranges) Has(index uint64) bool {
	i, found := slices.BinarySearchFunc(r, index, func(one Range, index uint64) int { return cmp.Compare(one.First, index) })
	return len(r) == 0 || found || i > 0 && index <= r[i-1].Last
}

// Of leaves away what a job with so many tasks does not have; it fails when
// nothing is left.
func (r Ranges) Of(tasks uint64) (Ranges, error) {
	if len(r) == 0 {
		return nil, nil
	}
	var list Ranges
	for _, one := range r {
		if one.First <= tasks {
			list = append(list, Range{one.First, min(one.Last, tasks)})
		}
	}
	if list == nil {
		return nil, Errorf(CodeNotFound, "the job has tasks 1 to %d, not %s", tasks, r)
	}
	return list, nil
}

// Count is how many tasks of a job with so many they are.
func (r Ranges) Count(tasks uint64) (n uint64) {
	if len(r) == 0 {
		return tasks
	}
	for _, one := range r {
		n += one.Last - one.First + 1
	}
	return n
}

// maxReruns bounds the record of a job.
const maxReruns = 4096

// OnlyRanges are the tasks that the job was opened again for.
func (j *Job) OnlyRanges() (list Ranges) {
	for _, one := range j.GetOnly() {
		list = append(list, Range{one.First, one.Last})
	}
	return list
}

// RunAgain notes that these tasks and no others are to be run again, whatever has
// become of them: what they had counts no longer.
func (j *Job) RunAgain(which Ranges) error {
	for _, one := range which {
		j.Reruns = slices.DeleteFunc(j.Reruns, func(old *Rerun) bool { return one.First <= old.First && old.Last <= one.Last })
	}
	if len(j.Reruns)+len(which) > maxReruns {
		return Errorf(CodeBusy, "tasks of job %s were run again so often that no more can be noted", j.Id).WithHint("submit it as a new job")
	}
	j.Only = nil
	for _, one := range which {
		j.Only = append(j.Only, &TaskRange{First: one.First, Last: one.Last})
		j.Reruns = append(j.Reruns, &Rerun{First: one.First, Last: one.Last, After: j.Results})
	}
	return nil
}

// Stale reports whether a result counts no longer, since its task was to be run
// again after it.
func (j *Job) Stale(r *JobResult) bool { return j.StaleAt(r.Number, r.Index, r.Passed()) }

// StaleAt is [Job.Stale] for who knows so much of a result.
func (j *Job) StaleAt(number, index uint64, passed bool) bool {
	if number <= j.GetRetryAfter() && !passed {
		return true
	}
	return slices.ContainsFunc(j.GetReruns(), func(again *Rerun) bool {
		return number <= again.After && again.First <= index && index <= again.Last
	})
}

// Ended reports whether no task of the job is to be run any more.
func (j *Job) Ended() bool { return j.GetState().Ended() }

// Passed reports whether a task of a job ended as its user hoped.
func (r *JobResult) Passed() bool {
	return r.GetResult().GetCode() == "" && r.GetResult().GetExitCode() == 0
}

// Cancelled reports whether a task of a job was ended by its user.
func (r *JobResult) Cancelled() bool { return r.GetResult().GetCode() == string(CodeCancelled) }

// Unbegun reports whether a task of a job was cancelled before any peer had it.
func (r *JobResult) Unbegun() bool { return r.Cancelled() && r.GetAttempts() == 0 }

// Counts reports whether a job is perhaps to be halted for such a result.
func (h *Halt) Counts(r *JobResult) bool {
	return h != nil && !r.Cancelled() && (h.Ended || h.Passed == r.Passed())
}

// Due reports whether a job with so many tasks is to be halted once so many
// have passed and failed, without those that were cancelled.
func (h *Halt) Due(tasks, passed, failed uint64) bool {
	if h == nil {
		return false
	}
	n := failed
	switch {
	case h.Ended:
		n = passed + failed
	case h.Passed:
		n = passed
	}
	if h.Percent > 0 {
		return n*100 >= uint64(h.Percent)*tasks && n > 0
	}
	return n >= h.Count
}
