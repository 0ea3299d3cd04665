package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/spare-network/spare/protocol"
)

const (
	eventsType = "text/event-stream"
	// beatEvery is how often a stream without an event shows that it lives.
	beatEvery = 10 * time.Second
	// readWithin is how long a reader may take for what it is sent.
	readWithin = 10 * time.Second
)

// Hello is the first event of a stream.
type Hello struct {
	Boot string `json:"boot" doc:"Another one after a restart of the node"`
	Now  Time   `json:"now"`
}

type eventsInput struct {
	Last string `header:"Last-Event-ID" maxLength:"64" doc:"ID of the last event that was seen; those after it are told again"`
}

// eventsDoc describes the stream, for which OpenAPI has no words.
const eventsDoc = "Events of server-sent events, whose data are JSON. " +
	"hello {boot, now} is the first; snapshots that are asked for after it miss nothing that the stream tells. " +
	"reset {}: events are missing, ask for the snapshots again. " +
	"status: a Status, when changed and every 10 s. donation: a Donation, when changed. " +
	"peers {changed: [Peer], gone: [ID]}: once a second at most. " +
	"task: a Task as in the list, not those of jobs. job: a Job; it has changed, or a task of it has begun. " +
	"Each is told twice a second at most. A comment comes every 10 s."

// eventRoutes tell what changes.
func (s *Server) eventRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: "/events", Summary: "What changes, as it does", Description: eventsDoc,
		Responses: map[string]*huma.Response{"200": {Description: "Server-sent events", Content: map[string]*huma.MediaType{
			eventsType: {Schema: &huma.Schema{Type: "string"}},
		}}},
	}, func(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
		after, whole, err := s.feed.enter(ctx, in.Last)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer s.feed.leave()
			s.stream(c, after, whole)
		}}, nil
	})
}

// stream sends events until the reader goes, or does not read.
func (s *Server) stream(c huma.Context, after uint64, whole bool) {
	r, w := humago.Unwrap(c)
	w.Header().Set("Content-Type", eventsType)
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	defer control.SetWriteDeadline(time.Time{}) //nolint:errcheck // the connection has gone
	send := func(list ...[]byte) bool {
		if control.SetWriteDeadline(time.Now().Add(readWithin)) != nil {
			return false
		}
		for _, lines := range list {
			if _, err := w.Write(lines); err != nil {
				return false
			}
		}
		return control.Flush() == nil
	}
	hello, err := json.Marshal(Hello{Boot: s.feed.boot, Now: Time(time.Now())})
	id := s.feed.id(after)
	if !whole {
		id = "" // only what follows reset is after something
	}
	if err != nil || !send(lines("hello", id, hello)) {
		return
	}
	if !whole && !send(lines("reset", s.feed.id(after), []byte("{}"))) {
		return
	}
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		list, next, ok := s.feed.since(after)
		if !ok {
			return // it comes back, and is told so
		}
		for _, t := range list {
			if !send(t.lines) {
				return
			}
			after = t.number
		}
		if len(list) > 0 {
			continue // there may be more by now
		}
		select {
		case <-next:
		case <-beat.C:
			if !send([]byte(":\n\n")) {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// glance is what the events are made of.
func (s *Server) glance() glance {
	return glance{
		status:   s.status,
		donation: s.donation,
		peers:    s.peers,
		task: func(id protocol.TaskID) (Task, error) {
			t, err := s.cfg.Tasks.Task(string(id))
			if err != nil {
				return Task{}, err
			}
			return s.listTask(t), nil
		},
		job: func(id protocol.TaskID) (Job, error) {
			j, err := s.cfg.Jobs.Job(string(id))
			if err != nil {
				return Job{}, err
			}
			return viewJob(j), nil
		},
		watch: func(task, job func(protocol.TaskID)) func() {
			tasks, jobs := s.cfg.Tasks.Watch(task), s.cfg.Jobs.Watch(job)
			return func() { tasks(); jobs() }
		},
	}
}
