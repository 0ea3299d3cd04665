package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/spare-network/spare/protocol"
)

// JobSubmission asks for a job: what its tasks have in common, as a task's
// submission has it, and the items that they differ in.
type JobSubmission struct {
	Submission
	Items       string   `json:"items" maxLength:"128" doc:"Digest of a blob of items: JSON objects, one a line, with args, stdin (base64) or stdin_digest, inputs ([{path, digest}]) and a label, each of them optional"`
	Rules       JobRules `json:"rules,omitzero"`
	Resume      bool     `json:"resume,omitempty" doc:"Go on with the last job of the same program, terms and items, if there is one"`
	RetryFailed bool     `json:"retry_failed,omitempty" doc:"The same, and run its failed tasks again"`
}

// JobRules say how the tasks of a job follow each other.
type JobRules struct {
	InFlight uint32 `json:"in_flight,omitempty" maximum:"65536" doc:"Tasks under way at once; 0: as many as keep the providers busy"`
	Retries  uint32 `json:"retries,omitempty" maximum:"100" doc:"How often a task is run again that spare failed, not its program"`
	Halt     *Halt  `json:"halt,omitempty" doc:"When no more tasks are begun"`
}

// Halt ends a job before all of its tasks were run.
type Halt struct {
	When    string `json:"when" enum:"soon,now" doc:"soon: those under way end by themselves; now: they are cancelled"`
	Why     string `json:"why" enum:"fail,success,done" doc:"Which tasks are counted; done: all that have ended"`
	Count   uint64 `json:"count,omitempty" doc:"So many, or"`
	Percent uint32 `json:"percent,omitempty" maximum:"100" doc:"such a part of all"`
}

// Job is a job as people see it.
type Job struct {
	Kind      string   `json:"kind" doc:"job"`
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	State     string   `json:"state" doc:"running, done, cancelled or lost"`
	Reason    string   `json:"reason"`
	Tasks     uint64   `json:"tasks" doc:"How many there are; they are numbered from 1"`
	Passed    uint64   `json:"passed" doc:"Ended with exit code 0"`
	Failed    uint64   `json:"failed" doc:"Ended otherwise"`
	Results   uint64   `json:"results" doc:"How many were recorded, those of tasks that were run again included"`
	Submitted Time     `json:"submitted"`
	Ended     *Time    `json:"ended"`
	Module    string   `json:"module" doc:"CID"`
	Args      []string `json:"args" doc:"argv before what the items add"`
	Env       []string `json:"env"`
	Limits    Limits   `json:"limits"`
	Seed      uint64   `json:"seed"`
	Terms     Terms    `json:"terms"`
	Rules     JobRules `json:"rules"`

	Resumed bool   `json:"resumed,omitempty" doc:"The submission has found it and carries on with it"`
	Like    string `json:"like,omitempty" doc:"ID of the job from which it has taken over what had passed"`
}

// JobResult is how one task of a job has ended.
type JobResult struct {
	Number       uint64     `json:"number" doc:"Of the result in its job, in the order of their coming"`
	Index        uint64     `json:"index" doc:"Of the task in its job"`
	Stale        bool       `json:"stale,omitempty" doc:"It counts no longer: its task was to be run again"`
	ExitCode     int32      `json:"exit_code"`
	ExitSource   string     `json:"exit_source" doc:"guest or system"`
	Error        *TaskError `json:"error,omitempty"`
	Stdout       []byte     `json:"stdout,omitempty" doc:"All of it, when it has at most 64 KiB; else the task's stdout has it"`
	StdoutBytes  uint64     `json:"stdout_bytes"`
	StdoutDigest string     `json:"stdout_digest" doc:"sha2-256 in hex"`
	Stderr       []byte     `json:"stderr,omitempty"`
	StderrBytes  uint64     `json:"stderr_bytes"`
	Files        uint32     `json:"files" doc:"How many it has left below /out"`
	WallMS       float64    `json:"wall_ms" doc:"Guest wall time"`
	Gas          uint64     `json:"gas"`
	Provider     string     `json:"provider" doc:"Peer ID; empty when none has answered"`
	Attempts     uint32     `json:"attempts"`
	Started      Time       `json:"started"`
	Ended        Time       `json:"ended"`
}

// JobEvent is one line of a followed job. One of its fields is set.
type JobEvent struct {
	Job    *Job       `json:"job,omitempty" doc:"The first line, and when it has changed"`
	Result *JobResult `json:"result,omitempty"`
	Ended  *Job       `json:"ended,omitempty" doc:"The last line of a job that has ended"`
	Error  *Problem   `json:"error,omitempty" doc:"The last line when it can be followed no longer"`
}

// JobPage is one page of jobs.
type JobPage struct {
	Jobs []Job  `json:"jobs"`
	Next string `json:"next" doc:"Pass it as before for the next page; empty on the last"`
}

// TaskList is a part of a job's tasks.
type TaskList struct {
	Tasks []Task `json:"tasks"`
	Next  uint64 `json:"next" doc:"Pass it as after for more; 0 when these are the last"`
}

// JobCells is how tasks of a job stand.
type JobCells struct {
	Of    uint64 `json:"of" doc:"How many tasks the job has"`
	From  uint64 `json:"from" doc:"Number of the task that the first letter is of"`
	Cells string `json:"cells" doc:"A letter for each task: w waits, r is under way, p has passed, f failed by its program, s failed by spare, c cancelled"`
}

type cellsInput struct {
	ID   string `path:"id" doc:"Beginning of a job's ID"`
	From uint64 `query:"from" doc:"Number of a task, from 1; the next 100,000 at most are told"`
}

// maxCells bounds one answer.
const maxCells = 100_000

// SomeTasks names a job, and tasks of it perhaps.
type SomeTasks struct {
	ID    string `path:"id" doc:"Beginning of a job's ID"`
	Tasks string `query:"tasks" maxLength:"8192" doc:"Tasks of it: 7, 3-9 or 1,4,10-12; all when left away"`
}

type againInput struct {
	SomeTasks
	Failed bool `query:"failed" doc:"Run failed tasks again as well"`
}

type followJobInput struct {
	SomeTasks
	After uint64 `query:"after" doc:"Number of the last result that is known"`
	Brief bool   `query:"brief" doc:"Leave away what the tasks have written"`
}

type waitJobInput struct {
	ID   string `path:"id" doc:"Beginning of a job's ID"`
	Wait string `query:"wait" maxLength:"32" doc:"Answer when it has ended, or after this time, at most 10m"`
}

type partsInput struct {
	SomeTasks
	After uint64 `query:"after" doc:"Number of a task; only later ones are listed"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
}

// jobRoutes submit, follow and end jobs.
func (s *Server) jobRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "submit-job", Method: http.MethodPost, Path: "/jobs", Summary: "Submit a job", DefaultStatus: http.StatusCreated,
	}, s.submitJob)
	route(a, huma.Operation{
		OperationID: "jobs", Method: http.MethodGet, Path: "/jobs", Summary: "Jobs of this node, newest first",
	}, s.listJobs)
	route(a, huma.Operation{
		OperationID: "job", Method: http.MethodGet, Path: "/jobs/{id}", Summary: "One job",
	}, s.getJob)
	route(a, huma.Operation{
		OperationID: "cancel-job", Method: http.MethodPost, Path: "/jobs/{id}/cancel", Summary: "End a job",
	}, func(_ context.Context, in *SomeTasks) (*reply[Job], error) {
		j, which, err := s.findTasks(in)
		if err == nil {
			err = s.cfg.Jobs.Cancel(protocol.TaskID(j.Id), which)
		}
		if err != nil {
			return nil, err
		}
		return s.job(j.Id)
	})
	route(a, huma.Operation{
		OperationID: "rerun-job", Method: http.MethodPost, Path: "/jobs/{id}/rerun", Summary: "Run what a job has not run, or what has failed in it, or the tasks named",
	}, func(ctx context.Context, in *againInput) (*reply[Job], error) {
		j, which, err := s.findTasks(&in.SomeTasks)
		if err == nil && len(which) > 0 && in.Failed {
			err = protocol.Errorf(protocol.CodeBadRequest, "either failed, or the tasks that are named")
		}
		if err == nil {
			j, err = s.cfg.Jobs.Again(ctx, protocol.TaskID(j.Id), which, in.Failed)
		}
		if err != nil {
			return nil, err
		}
		return &reply[Job]{viewJob(j)}, nil
	})
	route(a, huma.Operation{
		OperationID: "tasks-of-job", Method: http.MethodGet, Path: "/jobs/{id}/tasks", Summary: "Tasks of a job, in their order",
	}, s.listParts)
	route(a, huma.Operation{
		OperationID: "cells", Method: http.MethodGet, Path: "/jobs/{id}/cells", Summary: "How each task of a job stands, in one letter",
	}, func(_ context.Context, in *cellsInput) (*reply[JobCells], error) {
		j, err := s.findJob(in.ID)
		if err != nil {
			return nil, err
		}
		from := max(in.From, 1)
		cells, of, err := s.cfg.Jobs.Cells(j.Id, from, maxCells)
		if err != nil {
			return nil, err
		}
		return &reply[JobCells]{JobCells{Of: of, From: from, Cells: string(cells)}}, nil
	})
	lines := map[string]*huma.MediaType{linesType: {Schema: a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[JobEvent](), true, "")}}
	route(a, huma.Operation{
		OperationID: "follow-job", Method: http.MethodGet, Path: "/jobs/{id}/follow", Summary: "A job's results from the first, and its changes, until it or the tasks named have ended",
		Responses: map[string]*huma.Response{"200": {Description: "Lines, one JobEvent each", Content: lines}},
	}, func(_ context.Context, in *followJobInput) (*huma.StreamResponse, error) {
		j, which, err := s.findTasks(&in.SomeTasks)
		if err != nil {
			return nil, err
		}
		return s.followedJob(j, which, in), nil
	})
}

func (s *Server) findJob(prefix string) (*protocol.Job, error) {
	if !protocol.ValidIDPrefix(prefix) {
		return nil, protocol.Errorf(protocol.CodeNotFound, "%q is no job's ID", protocol.SafeText(prefix)).WithHint("'spare ps' lists jobs")
	}
	return s.cfg.Jobs.Job(prefix)
}

// findTasks returns a job, and which of its tasks are meant: none are all.
func (s *Server) findTasks(in *SomeTasks) (*protocol.Job, protocol.Ranges, error) {
	which, err := protocol.ParseRanges(in.Tasks)
	if err != nil {
		return nil, nil, err
	}
	j, err := s.findJob(in.ID)
	if err != nil {
		return nil, nil, err
	}
	which, err = which.Of(j.Tasks)
	return j, which, err
}

func (s *Server) listParts(_ context.Context, in *partsInput) (*reply[TaskList], error) {
	j, which, err := s.findTasks(&in.SomeTasks)
	if err != nil {
		return nil, err
	}
	tasks, err := s.cfg.Jobs.Tasks(j.Id, which, in.After, cmp.Or(in.Limit, defaultPage))
	if err != nil {
		return nil, err
	}
	list := TaskList{Tasks: make([]Task, 0, len(tasks))}
	for _, t := range tasks {
		list.Tasks = append(list.Tasks, s.listTask(t))
	}
	if n := len(tasks); n > 0 {
		_, last := protocol.TaskID(tasks[n-1].Id).Split()
		end := j.Tasks
		if len(which) > 0 {
			end = which[len(which)-1].Last
		}
		if last < end {
			list.Next = last
		}
	}
	return &reply[TaskList]{list}, nil
}

func (s *Server) job(id string) (*reply[Job], error) {
	j, err := s.findJob(id)
	if err != nil {
		return nil, err
	}
	return &reply[Job]{viewJob(j)}, nil
}

func (s *Server) submitJob(ctx context.Context, in *struct{ Body JobSubmission }) (*reply[Job], error) {
	spec, terms, err := s.understand(&in.Body.Submission)
	if err != nil {
		return nil, err
	}
	terms.Detached = true // its results outlast whoever waits for them
	raw, err := spec.Marshal()
	if err != nil {
		return nil, err
	}
	items, err := protocol.ParseDigest(in.Body.Items)
	if err != nil {
		return nil, err
	}
	rules := in.Body.Rules
	record := &protocol.Job{
		Spec: raw, Terms: terms, Name: protocol.SafeText(spec.Args[0]), Items: items[:],
		Rules: &protocol.JobRules{InFlight: rules.InFlight, Retries: rules.Retries},
	}
	if h := rules.Halt; h != nil {
		if (h.Count > 0) == (h.Percent > 0) {
			return nil, protocol.Errorf(protocol.CodeBadRequest, "halt: give either a count or a percentage")
		}
		record.Rules.Halt = &protocol.Halt{Now: h.When == "now", Passed: h.Why == "success", Ended: h.Why == "done", Count: h.Count, Percent: h.Percent}
	}
	j, err := s.cfg.Jobs.Submit(ctx, record, in.Body.Resume, in.Body.RetryFailed)
	if err != nil {
		return nil, err
	}
	v := viewJob(j)
	v.Resumed = j.Id != record.Id // a new one has been given its ID there
	return &reply[Job]{v}, nil
}

func (s *Server) listJobs(_ context.Context, in *listInput) (*reply[JobPage], error) {
	limit := in.Limit
	if limit == 0 {
		limit = defaultPage
	}
	jobs, err := s.cfg.Jobs.Jobs(limit+1, protocol.TaskID(in.Before))
	if err != nil {
		return nil, err
	}
	page := JobPage{Jobs: []Job{}}
	if len(jobs) > limit {
		jobs = jobs[:limit]
		page.Next = jobs[limit-1].Id
	}
	for _, j := range jobs {
		page.Jobs = append(page.Jobs, viewJob(j))
	}
	return &reply[JobPage]{page}, nil
}

func (s *Server) getJob(ctx context.Context, in *waitJobInput) (*reply[Job], error) {
	wait, err := timeText(in.Wait, maxWait)
	if err != nil {
		return nil, err
	}
	j, err := s.findJob(in.ID)
	if err != nil {
		return nil, err
	}
	if wait == 0 || j.Ended() {
		return &reply[Job]{viewJob(j)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	// Nothing comes after the last number that there can be.
	ended, err := s.cfg.Jobs.Follow(ctx, protocol.TaskID(j.Id), nil, noResults,
		func(*protocol.JobResult) error { return nil }, func(*protocol.Job) error { return nil })
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return s.job(j.Id)
	case err != nil:
		return nil, err
	}
	return &reply[Job]{viewJob(ended)}, nil
}

// noResults is above the number of every result.
const noResults = 1 << 62

// tellEvery is how often at most the lines of a followed job tell that it has
// changed.
const tellEvery = 250 * time.Millisecond

// followedJob answers with a job's events, one line each.
func (s *Server) followedJob(j *protocol.Job, which protocol.Ranges, in *followJobInput) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		r, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", linesType)
		enc, control := json.NewEncoder(w), http.NewResponseController(w)
		send := func(e JobEvent) error { return enc.Encode(e) }
		first := viewJob(j)
		if send(JobEvent{Job: &first}) != nil || control.Flush() != nil {
			return
		}
		var told time.Time
		of := j // as it is when results come that may be stale
		ended, err := s.cfg.Jobs.Follow(r.Context(), protocol.TaskID(j.Id), which, in.After,
			func(one *protocol.JobResult) error {
				v := viewResult(one)
				if v.Stale = of.Stale(one); in.Brief {
					v.Stdout, v.Stderr = nil, nil
				}
				return send(JobEvent{Result: v})
			},
			func(j *protocol.Job) error {
				of = j
				if now := time.Now(); now.Sub(told) >= tellEvery {
					told = now
					v := viewJob(j)
					if err := send(JobEvent{Job: &v}); err != nil {
						return err
					}
				}
				return control.Flush()
			})
		if err != nil {
			_ = send(JobEvent{Error: problemOf(err)}) // the client has gone
			return
		}
		v := viewJob(ended)
		_ = send(JobEvent{Ended: &v}) // the client has gone
	}}
}

func viewJob(j *protocol.Job) Job {
	v := Job{
		Kind: "job", ID: j.Id, Name: j.Name, State: j.State.Word(), Reason: j.Reason,
		Tasks: j.Tasks, Passed: j.Passed, Failed: j.Failed, Results: j.Results,
		Submitted: Time(time.UnixMilli(j.SubmittedUnixMs)), Ended: moment(j.EndedUnixMs),
		Terms: viewTerms(j.Terms), Like: j.Like,
		Rules: JobRules{InFlight: j.Rules.GetInFlight(), Retries: j.Rules.GetRetries()},
	}
	if h := j.Rules.GetHalt(); h != nil {
		v.Rules.Halt = &Halt{When: "soon", Why: "fail", Count: h.Count, Percent: h.Percent}
		if h.Now {
			v.Rules.Halt.When = "now"
		}
		switch {
		case h.Ended:
			v.Rules.Halt.Why = "done"
		case h.Passed:
			v.Rules.Halt.Why = "success"
		}
	}
	spec := specOf(j.Spec)
	v.Module, v.Args, v.Env, v.Limits, v.Seed = spec.Module.Sum().CID(), some(spec.Args), some(spec.Env), viewLimits(spec.Limits), spec.Seed
	return v
}

func viewResult(one *protocol.JobResult) *JobResult {
	r := one.Result
	v := &JobResult{
		Number: one.Number, Index: one.Index, ExitCode: r.GetExitCode(), ExitSource: r.GetExitSource().Word(),
		Stdout: r.GetStdout().GetInline(), StdoutBytes: r.GetStdout().GetSize(), StdoutDigest: r.GetStdout().Sum().String(),
		Stderr: r.GetStderr().GetInline(), StderrBytes: r.GetStderr().GetSize(),
		Files: r.GetFileCount(), WallMS: float64(r.GetWallUs()) / 1000, Gas: r.GetGas(),
		Provider: one.Provider, Attempts: one.Attempts,
		Started: Time(time.UnixMilli(one.StartedUnixMs)), Ended: Time(time.UnixMilli(one.EndedUnixMs)),
	}
	if r.GetCode() != "" {
		v.Error = &TaskError{Code: protocol.Code(r.Code), Message: r.Message, Hint: r.Hint}
	}
	return v
}
