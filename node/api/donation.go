package api

import (
	"context"
	"net/http"
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

// ownerRoutes change what this node does for others.
func (s *Server) ownerRoutes(a huma.API) {
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
