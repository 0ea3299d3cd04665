package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Guests are those whose tasks run here, or have run here.
type Guests struct {
	Now     []Guest      `json:"now" doc:"What is here of others now, what runs first; at most 1000"`
	Lately  []Guest      `json:"lately" doc:"What has run here of others and ended, the latest first; at most 100"`
	Totals  []GuestTotal `json:"totals" doc:"What each requester has had run here, the one with the most time first"`
	Next    string       `json:"next" doc:"Pass it as after for more totals; empty when these are the last"`
	Others  GuestTotal   `json:"others" doc:"What those have had run here together of whom no total is kept; its requester is empty"`
	Donated Donated      `json:"donated"`
}

// Guest is one replica of another node's task.
type Guest struct {
	Requester string   `json:"requester" doc:"Peer ID"`
	Name      string   `json:"name" doc:"Of its program, as the requester has it"`
	Task      string   `json:"task" doc:"ID of its task or job, the requester's"`
	Module    string   `json:"module" doc:"CID"`
	State     string   `json:"state" doc:"queued, fetching, compiling, running or committed; when it has ended done, failed, cancelled or handed-over"`
	Since     Time     `json:"since" doc:"When it came; when it has ended, when its program was started"`
	Ended     *Time    `json:"ended" doc:"null while it has not"`
	Exit      *int32   `json:"exit" doc:"Exit code of its program; null when it has none"`
	Code      string   `json:"code" doc:"Why it has no exit code of its program's own, such as E-TIMEOUT; empty otherwise"`
	WallMS    *float64 `json:"wall_ms" doc:"Wall time of its program so far; null while that has not begun"`
	Gas       uint64   `json:"gas" doc:"What it has used, as far as is known"`
}

// GuestTotal is what a requester has had run here since the home was made.
type GuestTotal struct {
	Requester  string `json:"requester" doc:"Peer ID"`
	Requesters uint64 `json:"requesters" doc:"How many it is the total of; 1 but for others"`
	Tasks      uint64 `json:"tasks" doc:"Replicas that were started here, however they ended"`
	WallMS     uint64 `json:"wall_ms" doc:"Wall time of their programs"`
	Gas        uint64 `json:"gas"`
	Last       *Time  `json:"last" doc:"When the last one ended; null when none has"`
	Access     string `json:"access" doc:"allowed or blocked when this node's owner has said so; empty otherwise"`
}

// Donated is what this node has run for all others. A slot-hour is an hour of one
// program's wall time: of a core, too, where there is one for each slot.
type Donated struct {
	Tasks  uint64 `json:"tasks" doc:"Replicas that were started here"`
	SlotMS uint64 `json:"slot_ms" doc:"Milliseconds of one slot"`
	Gas    uint64 `json:"gas"`
	Since  Time   `json:"since" doc:"When counting began"`
}

// Host knows whose tasks run here, and takes what the owner of the machine
// decides about whose may.
type Host interface {
	// Guests tells of at most limit totals, those after a requester's, or from the
	// first. It fails with [protocol.CodeNotFound] when no total of that is kept.
	Guests(after string, limit int) (Guests, error)
	// Known returns the peer IDs of which a total is kept.
	Known() []string
	// Access tells whose tasks may run here.
	Access() Access
	// Change changes that, and returns when it is safe on disk and in force.
	Change(AccessChange) (Access, error)
}

type guestsInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"So many totals"`
	After string `query:"after" maxLength:"128" doc:"Peer ID; only totals after its are listed"`
}

// hostRoutes are of whose tasks run here.
func (s *Server) hostRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "guests", Method: http.MethodGet, Path: "/guests", Summary: "Who runs what here now and lately, and what each has had run here",
	}, func(_ context.Context, in *guestsInput) (*reply[Guests], error) {
		limit := in.Limit
		if limit == 0 {
			limit = defaultPage
		}
		g, err := s.cfg.Host.Guests(in.After, limit)
		g.Now, g.Lately, g.Totals = some(g.Now), some(g.Lately), some(g.Totals)
		return &reply[Guests]{g}, err
	})
	route(a, huma.Operation{
		OperationID: "access", Method: http.MethodGet, Path: "/access", Summary: "Whose tasks may run here",
	}, func(context.Context, *struct{}) (*reply[Access], error) {
		return &reply[Access]{s.cfg.Host.Access().some()}, nil
	})
	for _, what := range []struct{ verb, summary string }{
		{Block, "Run nothing of a peer, have it run nothing, and give it no blobs"},
		{Unblock, "Take a block back"},
		{Allow, "Run only tasks of a peer, and of others that are allowed"},
		{Disallow, "Take a peer from those whose tasks alone may run"},
	} {
		route(a, huma.Operation{
			OperationID: what.verb, Method: http.MethodPost, Path: "/access/" + what.verb, Summary: what.summary,
		}, func(_ context.Context, in *reply[AccessOrder]) (*reply[Access], error) {
			now, err := s.changeAccess(what.verb, in.Body)
			return &reply[Access]{now.some()}, err
		})
	}
}
