package api

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spare-network/spare/protocol"
)

// Tasks submits tasks and knows those that were.
type Tasks interface {
	// Submit accepts a task. Its blobs are in [Blobs], or inline.
	Submit(ctx context.Context, spec *protocol.Spec, terms *protocol.Terms, name string) (protocol.TaskID, error)
	// Task returns a snapshot of the one task whose ID begins with prefix.
	Task(prefix string) (*protocol.Task, error)
	// Tasks returns at most limit tasks, newest first, that were submitted
	// before the one named; an empty ID is later than all. They need not have
	// the lists of their output files.
	Tasks(limit int, before protocol.TaskID) ([]*protocol.Task, error)
	// Follow replays a task's output from its start, goes on with it live and
	// returns the task when it has ended. It calls out and changed from one
	// goroutine, changed with a snapshot at each change of state, and ends
	// early with the error of out, or of ctx. Either may be nil.
	Follow(ctx context.Context, id protocol.TaskID, out func(fd int, p []byte) error, changed func(*protocol.Task)) (*protocol.Task, error)
	// Output opens what a task has written to stdout (1) or stderr (2) so far.
	Output(id protocol.TaskID, fd int) (io.ReadCloser, error)
	// OpenFile opens the file that an ended task has left at path, below
	// [protocol.OutputDir], and returns its size in bytes. It fails with
	// [protocol.CodeNotFound] when there is none.
	OpenFile(id protocol.TaskID, path string) (io.ReadCloser, uint64, error)
	// Cancel ends a task. One that has ended stays as it is.
	Cancel(id protocol.TaskID) error
	// Watch has the ID of each task that has changed told to note, until stop is
	// called. note is quick, and calls nothing of this.
	Watch(note func(protocol.TaskID)) (stop func())
}

// Jobs submits jobs and knows those that were. Its tasks are [Tasks] too, by the
// IDs that [protocol.Part] makes.
type Jobs interface {
	// Submit accepts a job, or goes on with the last one of the same program,
	// terms and items.
	Submit(ctx context.Context, job *protocol.Job, resume, retryFailed bool) (*protocol.Job, error)
	// Again goes on with a job that ended before its end, or with what has failed
	// in it, or runs the tasks named once more.
	Again(ctx context.Context, id protocol.TaskID, which protocol.Ranges, failed bool) (*protocol.Job, error)
	// Job returns the one job whose ID begins with prefix.
	Job(prefix string) (*protocol.Job, error)
	// Jobs returns at most limit jobs, newest first, that were submitted before
	// the one named; an empty ID is later than all.
	Jobs(limit int, before protocol.TaskID) ([]*protocol.Job, error)
	// Tasks returns at most limit tasks of a job in their order, those after a
	// number; at least one, if there is one.
	Tasks(prefix string, which protocol.Ranges, after uint64, limit int) ([]*protocol.Task, error)
	// Cells returns a letter for each of at most most tasks of a job, from the one
	// with a number on, and how many tasks it has.
	Cells(prefix string, from uint64, most int) (cells []byte, of uint64, err error)
	// Watch has the ID of each job that has changed, or of which a task has begun,
	// told to note, until stop is called. note is quick, and calls nothing of this.
	Watch(note func(protocol.TaskID)) (stop func())
	// Follow tells of results after the one with a number, and of changes between
	// them, and returns the job when it has ended, or the tasks named.
	Follow(ctx context.Context, id protocol.TaskID, which protocol.Ranges, after uint64, result func(*protocol.JobResult) error, changed func(*protocol.Job) error) (*protocol.Job, error)
	// Cancel ends a job, or the tasks named. What has ended stays as it is.
	Cancel(id protocol.TaskID, which protocol.Ranges) error
}

// Keeper keeps what has ended.
type Keeper interface {
	// Prune deletes tasks and jobs that have ended. It fails when an ID is of none,
	// of several, or of one that has not ended, and deletes nothing then.
	Prune(Pruning) (Pruned, error)
}

// Blobs keeps modules and inputs by their content.
type Blobs interface {
	// Put stores what it reads, at most max bytes.
	Put(r io.Reader, max int64) (protocol.Digest, int64, error)
	// Open opens a blob and returns its size, or fails with
	// [protocol.CodeBlob] when it is not there.
	Open(d protocol.Digest) (*os.File, int64, error)
}

// Data keeps data for the network, and brings what others keep.
type Data interface {
	Add(cid, name string) (*protocol.Added, error)
	// Added returns what is kept, the oldest first.
	Added() []*protocol.Added
	Remove(cid string) error
	// Get returns what the CID names, whose blobs are here then: a directory's
	// files, or a file without a path.
	Get(ctx context.Context, cid string) (*protocol.Listing, error)
}

// Owner takes what the owner of the machine decides about tasks of others.
type Owner interface {
	// Pause has nothing new run, for a while or, with 0, until Resume. What runs
	// is handed over to other providers, or with finish may end. It returns when
	// that is safe on disk.
	Pause(d time.Duration, finish bool) (Donate, error)
	// Resume takes a pause back.
	Resume() (Donate, error)
	// Donation tells whether the node donates, and by which rules.
	Donation() Donation
	// SetRules changes the rules that are named; one that is empty is taken back.
	// It fails with [protocol.CodeBadRequest] when one cannot be.
	SetRules(rules map[string]string) (Donation, error)
}

// Node tells about the node and its neighbours.
type Node interface {
	Status() Status
	// Figures counts what the node has done since it was started.
	Figures() Figures
	// Peers returns the peers that are connected or have an offer, without
	// the node itself.
	Peers() []Peer
	// Offers returns every offer known, the node's own included.
	Offers() []Offer
	// OffersFor returns the same, usable or not for one task.
	OffersFor(t *protocol.Task) []Offer
	// Ping measures one fresh round trip to the peer with this ID.
	Ping(ctx context.Context, peer string) (time.Duration, error)
	// Settings returns every value that the user may decide.
	Settings() []Setting
	// Diagnose has a worker try to break out of the node's sandbox.
	Diagnose(ctx context.Context) (Diagnosis, error)
}
