package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// Cells returns how at most 100,000 tasks of a job stand, from the one with a
// number on.
func (c *Client) Cells(ctx context.Context, prefix string, from uint64) (api.JobCells, error) {
	return get[api.JobCells](ctx, c, jobPath(prefix)+"/cells?from="+strconv.FormatUint(from, 10))
}

// SubmitJob submits a job whose items were uploaded before, and its module when
// the node lacks it.
func (c *Client) SubmitJob(ctx context.Context, in *api.JobSubmission, module []byte) (api.Job, error) {
	in.Module = api.Bytes{Digest: protocol.DigestOf(module).String()}
	body, err := c.submitWith(ctx, "/jobs", in, module)
	if err != nil {
		return api.Job{}, err
	}
	return decode[api.Job](body)
}

// Jobs returns at most limit jobs, newest first, submitted before the one named;
// an empty ID is later than all.
func (c *Client) Jobs(ctx context.Context, limit int, before string) (api.JobPage, error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if before != "" {
		q.Set("before", before)
	}
	return get[api.JobPage](ctx, c, "/jobs?"+q.Encode())
}

// Job returns the job whose ID begins with prefix.
func (c *Client) Job(ctx context.Context, prefix string) (api.Job, error) {
	return get[api.Job](ctx, c, jobPath(prefix))
}

// WaitJob returns the job whose ID begins with prefix when it has ended.
func (c *Client) WaitJob(ctx context.Context, prefix string) (api.Job, error) {
	for {
		j, err := get[api.Job](ctx, c, jobPath(prefix)+"?wait=10m")
		if err != nil || j.Ended != nil {
			return j, err
		}
		if err := pause(ctx); err != nil {
			return j, err
		}
	}
}

// CancelJob ends a job, or those of its tasks that are named as in 3-9, and
// returns it.
func (c *Client) CancelJob(ctx context.Context, prefix, tasks string) (api.Job, error) {
	return call[api.Job](ctx, c, http.MethodPost, jobPath(prefix)+"/cancel?"+url.Values{"tasks": {tasks}}.Encode(), nil)
}

// RerunJob goes on with a job that ended before its end, or with what has failed
// in it, or runs the tasks that are named once more.
func (c *Client) RerunJob(ctx context.Context, prefix, tasks string, failed bool) (api.Job, error) {
	q := url.Values{"tasks": {tasks}, "failed": {strconv.FormatBool(failed)}}
	return call[api.Job](ctx, c, http.MethodPost, jobPath(prefix)+"/rerun?"+q.Encode(), nil)
}

// TasksOfJob returns at most limit tasks of a job, of those that are named if any
// are, after the one with a number.
func (c *Client) TasksOfJob(ctx context.Context, prefix, tasks string, after uint64, limit int) (api.TaskList, error) {
	q := url.Values{"tasks": {tasks}, "after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(limit)}}
	return get[api.TaskList](ctx, c, jobPath(prefix)+"/tasks?"+q.Encode())
}

// Following says what [Client.FollowJob] tells of.
type Following struct {
	Tasks string // some of the job's, as in 3-9, or empty
	After uint64 // number of the last result that is known
	Brief bool   // without what the tasks have written
}

// FollowJob calls each with a job's events, and returns the job when it has ended,
// or the tasks that are named. It ends early with the error of each or of ctx; the
// job goes on then.
func (c *Client) FollowJob(ctx context.Context, prefix string, f Following, each func(api.JobEvent) error) (*api.Job, error) {
	q := url.Values{"tasks": {f.Tasks}, "after": {strconv.FormatUint(f.After, 10)}, "brief": {strconv.FormatBool(f.Brief)}}
	body, err := c.do(ctx, http.MethodGet, jobPath(prefix)+"/follow?"+q.Encode(), "", nil)
	if err != nil {
		return nil, err
	}
	return read(ctx, c, body, each, func(e api.JobEvent) (*api.Job, *api.Problem) { return e.Ended, e.Error })
}

// Prune deletes tasks and jobs that have ended.
func (c *Client) Prune(ctx context.Context, p api.Pruning) (api.Pruned, error) {
	ask, err := json.Marshal(p)
	if err != nil {
		return api.Pruned{}, fmt.Errorf("encode what to prune: %w", err)
	}
	return call[api.Pruned](ctx, c, http.MethodPost, "/prune", ask)
}

func jobPath(prefix string) string { return "/jobs/" + url.PathEscape(prefix) }
