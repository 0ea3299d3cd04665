package apitest

import (
	"context"

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

// Follow implements [api.Jobs].
func (NoJobs) Follow(context.Context, protocol.TaskID, protocol.Ranges, uint64, func(*protocol.JobResult) error, func(*protocol.Job) error) (*protocol.Job, error) {
	return nil, errNoJob
}

// Cancel implements [api.Jobs].
func (NoJobs) Cancel(protocol.TaskID, protocol.Ranges) error { return errNoJob }
