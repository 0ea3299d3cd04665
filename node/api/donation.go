package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/spare-network/spare/protocol"
)

// MaxPause is the longest pause with an end, a year.
const MaxPause = 366 * 24 * time.Hour

// PauseOrder says how long nothing of others is to run.
type PauseOrder struct {
	ForMS  int64 `json:"for_ms,omitempty" doc:"Milliseconds from now; absent or 0: until it is resumed"`
	Finish bool  `json:"finish,omitempty" doc:"What runs already may end, instead of being handed over to other providers"`
}

// RuleChanges are rules by their keys; an empty one is taken back.
type RuleChanges struct {
	Rules map[string]string `json:"rules"`
}

func (s *Server) donation() Donation {
	d := s.cfg.Owner.Donation()
	d.Rules = some(d.Rules)
	return d
}

// taskOffersInput names its fields itself: huma does not look into what is embedded
// and not exported.
type taskOffersInput struct {
	ID    string `path:"id" doc:"Beginning of a task's ID, or JOB/INDEX for a task of a job, with %2F for the slash"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000"`
	After string `query:"after" maxLength:"128" doc:"What the last one that is known is called; only those after it are listed"`
}

// ownerRoutes change what this node does for others.
func (s *Server) ownerRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "donation", Method: http.MethodGet, Path: "/donation", Summary: "Whether this node takes tasks of others, and by which rules",
	}, func(context.Context, *struct{}) (*reply[Donation], error) { return &reply[Donation]{s.donation()}, nil })
	route(a, huma.Operation{
		OperationID: "set-rules", Method: http.MethodPost, Path: "/donation/rules", Summary: "Change the rules that are named",
	}, func(_ context.Context, in *reply[RuleChanges]) (*reply[Donation], error) {
		d, err := s.cfg.Owner.SetRules(in.Body.Rules)
		d.Rules = some(d.Rules)
		return &reply[Donation]{d}, err
	})
	route(a, huma.Operation{
		OperationID: "task-offers", Method: http.MethodGet, Path: "/tasks/{id}/offers", Summary: "Who could run the task now, and why not when not",
	}, func(_ context.Context, in *taskOffersInput) (*part[Offer], error) {
		t, err := s.find(in.ID)
		if err != nil {
			return nil, err
		}
		return cutOffers(s.cfg.Node.OffersFor(t), "/tasks/"+url.PathEscape(t.Id)+"/offers", &pageInput{in.Limit, in.After})
	})
	route(a, huma.Operation{
		OperationID: "settings", Method: http.MethodGet, Path: "/settings", Summary: "Every value that the user may decide, and where it was",
	}, func(context.Context, *struct{}) (*reply[[]Setting], error) {
		return &reply[[]Setting]{some(s.cfg.Node.Settings())}, nil
	})
	route(a, huma.Operation{
		OperationID: "pause", Method: http.MethodPost, Path: "/donation/pause", Summary: "Run nothing of others for a while",
	}, func(_ context.Context, in *reply[PauseOrder]) (*reply[Donate], error) {
		if in.Body.ForMS < 0 || in.Body.ForMS > MaxPause.Milliseconds() {
			return nil, protocol.Errorf(protocol.CodeBadRequest, "for_ms is %d", in.Body.ForMS).
				WithHint("give 1 to %d, or leave it away for a pause without an end", MaxPause.Milliseconds())
		}
		d, err := s.cfg.Owner.Pause(time.Duration(in.Body.ForMS)*time.Millisecond, in.Body.Finish)
		return &reply[Donate]{d}, err
	})
	route(a, huma.Operation{
		OperationID: "resume", Method: http.MethodPost, Path: "/donation/resume", Summary: "Take a pause back",
	}, func(context.Context, *struct{}) (*reply[Donate], error) {
		d, err := s.cfg.Owner.Resume()
		return &reply[Donate]{d}, err
	})
}
