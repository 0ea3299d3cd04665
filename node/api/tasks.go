package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/spare-network/spare/protocol"
)

const (
	defaultPage = 50
	// maxWait bounds one long poll; a client asks again.
	maxWait = 10 * time.Minute
)

// TaskPage is one page of tasks.
type TaskPage struct {
	Tasks []Task `json:"tasks"`
	Next  string `json:"next" doc:"Pass it as before for the next page; empty on the last"`
}

type listInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Before string `query:"before" maxLength:"10" doc:"ID of a task; only earlier ones are listed"`
}

type taskInput struct {
	ID string `path:"id" doc:"Beginning of a task's ID, or JOB/INDEX for a task of a job, with %2F for the slash"`
}

type waitInput struct {
	ID   string `path:"id" doc:"Beginning of a task's ID, or JOB/INDEX for a task of a job, with %2F for the slash"`
	Wait string `query:"wait" maxLength:"32" doc:"Answer when it has ended, or after this time, at most 10m"`
}

type submitInput struct {
	Follow bool `query:"follow" doc:"Answer with the lines of a followed task"`
	Body   Submission
}

// taskRoutes submit, follow and end tasks.
func (s *Server) taskRoutes(a huma.API) {
	schemas := a.OpenAPI().Components.Schemas
	lines := map[string]*huma.MediaType{linesType: {Schema: schemas.Schema(eventSchema, true, "")}}

	route(a, huma.Operation{
		OperationID: "submit", Method: http.MethodPost, Path: "/tasks", Summary: "Submit a task, and follow it if wanted",
		Responses: map[string]*huma.Response{
			"200": {Description: "Lines, one Event each, when followed", Content: lines},
			"201": {Description: "The task", Content: map[string]*huma.MediaType{
				"application/json": {Schema: schemas.Schema(taskSchema, true, "")},
			}},
		},
	}, s.submitTask)
	route(a, huma.Operation{
		OperationID: "follow", Method: http.MethodGet, Path: "/tasks/{id}/follow", Summary: "A task's output from its start, and its changes",
		Responses: map[string]*huma.Response{"200": {Description: "Lines, one Event each", Content: lines}},
	}, func(_ context.Context, in *taskInput) (*huma.StreamResponse, error) {
		t, err := s.find(in.ID)
		if err != nil {
			return nil, err
		}
		return s.followed(protocol.TaskID(t.Id)), nil
	})
	for fd, name := range map[int]string{1: "stdout", 2: "stderr"} {
		route(a, huma.Operation{
			OperationID: name, Method: http.MethodGet, Path: "/tasks/{id}/" + name, Summary: "What it has written to " + name + " so far",
			Responses: rawResponse(),
		}, func(_ context.Context, in *taskInput) (*huma.StreamResponse, error) { return s.output(in.ID, fd) })
	}
	route(a, huma.Operation{
		OperationID: "cancel", Method: http.MethodPost, Path: "/tasks/{id}/cancel", Summary: "End a task",
	}, func(_ context.Context, in *taskInput) (*reply[Task], error) {
		t, err := s.find(in.ID)
		if err != nil {
			return nil, err
		}
		if of, index := protocol.TaskID(t.Id).Split(); index > 0 {
			err = s.cfg.Jobs.Cancel(of, protocol.Ranges{{First: index, Last: index}})
		} else {
			err = s.cfg.Tasks.Cancel(protocol.TaskID(t.Id))
		}
		if err != nil {
			return nil, err
		}
		return s.task(t.Id)
	})
}

// rawResponse describes an answer of raw bytes.
func rawResponse() map[string]*huma.Response {
	raw := map[string]*huma.MediaType{rawType: {Schema: &huma.Schema{Type: "string", Format: "binary"}}}
	return map[string]*huma.Response{"200": {Description: "Raw bytes", Content: raw}}
}

// find returns the task whose ID begins with prefix.
func (s *Server) find(prefix string) (*protocol.Task, error) {
	of, index := protocol.TaskID(prefix).Split()
	if !protocol.ValidIDPrefix(string(of)) {
		return nil, protocol.Errorf(protocol.CodeNotFound, "%q is no task's ID", protocol.SafeText(prefix)).WithHint("'spare ps' lists tasks")
	}
	if index > 0 { // one that is under way is only known by its whole ID
		j, err := s.cfg.Jobs.Job(string(of))
		if err != nil {
			return nil, err
		}
		prefix = string(protocol.Part(protocol.TaskID(j.Id), index))
	}
	return s.cfg.Tasks.Task(prefix)
}

func (s *Server) task(id string) (*reply[Task], error) {
	t, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return &reply[Task]{s.viewTask(t)}, nil
}

func (s *Server) listTasks(_ context.Context, in *listInput) (*reply[TaskPage], error) {
	limit := in.Limit
	if limit == 0 {
		limit = defaultPage
	}
	// One more than asked for tells whether there is a next page.
	tasks, err := s.cfg.Tasks.Tasks(limit+1, protocol.TaskID(in.Before))
	if err != nil {
		return nil, err
	}
	page := TaskPage{Tasks: []Task{}}
	if len(tasks) > limit {
		tasks = tasks[:limit]
		page.Next = tasks[limit-1].Id
	}
	for _, t := range tasks {
		page.Tasks = append(page.Tasks, s.listTask(t))
	}
	return &reply[TaskPage]{page}, nil
}

func (s *Server) getTask(ctx context.Context, in *waitInput) (*reply[Task], error) {
	wait, err := timeText(in.Wait, maxWait)
	if err != nil {
		return nil, err
	}
	t, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	if wait == 0 || t.State.Ended() {
		return &reply[Task]{s.viewTask(t)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	t, err = s.follow(ctx, protocol.TaskID(t.Id), nil, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		return s.task(in.ID)
	}
	if err != nil {
		return nil, err
	}
	return &reply[Task]{s.viewTask(t)}, nil
}

// follow follows a task to its end. One of a job may have to wait for its turn
// first; it is told when it has ended then.
func (s *Server) follow(ctx context.Context, id protocol.TaskID, out func(int, []byte) error, changed func(*protocol.Task)) (*protocol.Task, error) {
	of, index := id.Split()
	for {
		t, err := s.cfg.Tasks.Follow(ctx, id, out, changed)
		if err != nil || t.State.Ended() {
			return t, err
		}
		if index > 0 {
			_, err = s.cfg.Jobs.Follow(ctx, of, protocol.Ranges{{First: index, Last: index}}, 0,
				func(*protocol.JobResult) error { return nil }, func(*protocol.Job) error { return nil })
			if err != nil {
				return nil, err
			}
			if t, err = s.cfg.Tasks.Follow(ctx, id, out, changed); err != nil || t.State.Ended() {
				return t, err
			}
		}
		// It is to be run again by now, or nobody conducts it.
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// lookEvery is how often a task is looked at that has not ended and cannot be
// followed.
const lookEvery = 250 * time.Millisecond

func (s *Server) submitTask(ctx context.Context, in *submitInput) (*huma.StreamResponse, error) {
	spec, terms, err := s.understand(&in.Body)
	if err != nil {
		return nil, err
	}
	id, err := s.cfg.Tasks.Submit(ctx, spec, terms, in.Body.Name)
	if err != nil {
		return nil, err
	}
	if in.Follow {
		return s.followed(id), nil
	}
	t, err := s.cfg.Tasks.Task(string(id))
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "application/json")
		c.SetHeader("Location", prefix+"/tasks/"+t.Id)
		c.SetStatus(http.StatusCreated)
		_ = json.NewEncoder(c.BodyWriter()).Encode(s.viewTask(t)) // the client has gone
	}}, nil
}

// followed answers with a task's events, one line each.
func (s *Server) followed(id protocol.TaskID) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		r, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", linesType)
		enc, control := json.NewEncoder(w), http.NewResponseController(w)
		send := func(e Event) error {
			if err := enc.Encode(e); err != nil {
				return err
			}
			return control.Flush()
		}
		if send(Event{ID: string(id)}) != nil {
			return
		}
		changed := func(t *protocol.Task) {
			if !t.State.Ended() {
				v := s.listTask(t)
				_ = send(Event{Task: &v}) // the next output, or the end, fails too
			}
		}
		out := func(fd int, p []byte) error {
			switch {
			case len(p) == 0:
				return nil
			case fd == 1:
				return send(Event{Stdout: p})
			default:
				return send(Event{Stderr: p})
			}
		}
		t, err := s.follow(r.Context(), id, out, changed)
		if err != nil {
			_ = send(Event{Error: problemOf(err)}) // the client has gone
			return
		}
		v := s.viewTask(t)
		_ = send(Event{Ended: &v}) // the client has gone
	}}
}

func (s *Server) output(id string, fd int) (*huma.StreamResponse, error) {
	t, err := s.find(id)
	if err != nil {
		return nil, err
	}
	out, err := s.cfg.Tasks.Output(protocol.TaskID(t.Id), fd)
	if err != nil {
		return nil, err
	}
	size := int64(-1)
	switch {
	case t.Result == nil:
	case fd == 1:
		size = int64(t.Result.Stdout.GetSize())
	default:
		size = int64(t.Result.Stderr.GetSize())
	}
	return rawBytes(out, size), nil
}

// rawBytes answers with what r has, and closes it. A size that is not negative
// is announced.
func rawBytes(r io.ReadCloser, size int64) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer r.Close()
		c.SetHeader("Content-Type", rawType)
		if size >= 0 {
			c.SetHeader("Content-Length", strconv.FormatInt(size, 10))
		}
		n, err := io.Copy(c.BodyWriter(), r)
		if err != nil || size >= 0 && n != size {
			// The status is told already: only a connection that breaks off
			// tells the client that bytes are missing.
			panic(http.ErrAbortHandler)
		}
	}}
}
