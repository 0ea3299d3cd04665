package apitest

import (
	"context"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// NoJobs knows no job and accepts none.
type NoJobs struct{}

var errNoJob = protocol.Errorf(protocol.CodeNotFound, "no job has such an ID")

// Submit implements [api.Jobs].
func (NoJobs) Submit(context.Context, *protocol.Job, bool, bool) (*protocol.Job, error) {
	return nil, protocol.Errorf(protocol.CodeRefused, "this node takes no jobs")
}

// Again implements [api.Jobs].
func (NoJobs) Again(context.Context, protocol.TaskID, protocol.Ranges, bool) (*protocol.Job, error) {
	return nil, errNoJob
}

// Job implements [api.Jobs].
func (NoJobs) Job(string) (*protocol.Job, error) { return nil, errNoJob }

// Jobs implements [api.Jobs].
func (NoJobs) Jobs(int, protocol.TaskID) ([]*protocol.Job, error) { return nil, nil }

// Tasks implements [api.Jobs].
func (NoJobs) Tasks(string, protocol.Ranges, uint64, int) ([]*protocol.Task, error) {
	return nil, errNoJob
}

// Cells implements [api.Jobs].
func (NoJobs) Cells(string, uint64, int) ([]byte, uint64, error) { return nil, 0, errNoJob }

// Watch implements [api.Jobs].
func (NoJobs) Watch(func(protocol.TaskID)) func() { return func() {} }

// Follow implements [api.Jobs].
func (NoJobs) Follow(context.Context, protocol.TaskID, protocol.Ranges, uint64, func(*protocol.JobResult) error, func(*protocol.Job) error) (*protocol.Job, error) {
	return nil, errNoJob
}

// Cancel implements [api.Jobs].
func (NoJobs) Cancel(protocol.TaskID, protocol.Ranges) error { return errNoJob }

// Prune implements [api.Keeper]: it counts the tasks that have ended, and deletes
// none.
func (n *Node) Prune(p api.Pruning) (api.Pruned, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var gone api.Pruned
	for _, id := range p.IDs {
		t, err := n.find(id)
		if err != nil {
			return gone, err
		}
		if !t.snapshot.State.Ended() {
			return gone, protocol.Errorf(protocol.CodeBusy, "the task %s has not ended", t.snapshot.Id)
		}
		gone.Tasks++
	}
	for _, t := range n.tasks {
		if p.Tasks && t.snapshot.State.Ended() && (p.Before == nil || t.snapshot.EndedUnixMs < time.Time(*p.Before).UnixMilli()) {
			gone.Tasks++
		}
	}
	gone.Tasks = max(0, gone.Tasks-p.Keep)
	gone.Bytes = int64(gone.Tasks) << 10
	return gone, nil
}
