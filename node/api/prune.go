package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/spare-network/spare/protocol"
)

// Pruning says which of the tasks and jobs that have ended are to be deleted.
type Pruning struct {
	IDs    []string `json:"ids,omitempty" maxItems:"1000" doc:"Beginnings of IDs of tasks and jobs; none: what the rest says"`
	Tasks  bool     `json:"tasks,omitempty" doc:"Tasks that stand alone"`
	Jobs   bool     `json:"jobs,omitempty" doc:"Jobs, with all their results"`
	Before *Time    `json:"before,omitempty" doc:"Only those that ended before"`
	Keep   int      `json:"keep,omitempty" minimum:"0" doc:"So many of the newest tasks, and of the newest jobs, stay"`
	DryRun bool     `json:"dry_run,omitempty" doc:"Only count them"`
}

// Pruned is what has been deleted.
type Pruned struct {
	Tasks int   `json:"tasks"`
	Jobs  int   `json:"jobs"`
	Bytes int64 `json:"bytes" doc:"Of their records, and of files with what nothing else has written"`
}

func (s *Server) pruneRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "prune", Method: http.MethodPost, Path: "/prune", Summary: "Delete tasks and jobs that have ended",
	}, func(_ context.Context, in *struct{ Body Pruning }) (*reply[Pruned], error) {
		p := in.Body
		switch {
		case len(p.IDs) > 0 && (p.Tasks || p.Jobs || p.Before != nil || p.Keep > 0):
			return nil, protocol.Errorf(protocol.CodeBadRequest, "prune: give either ids, or what the ended ones are to be like")
		case len(p.IDs) == 0 && !p.Tasks && !p.Jobs:
			return nil, protocol.Errorf(protocol.CodeBadRequest, "prune: give tasks, jobs or ids")
		case p.Before != nil && time.Time(*p.Before).IsZero():
			p.Before = nil
		}
		for _, id := range p.IDs {
			if !protocol.ValidIDPrefix(id) {
				return nil, protocol.Errorf(protocol.CodeNotFound, "%q is no ID of a task or job", protocol.SafeText(id)).WithHint("'spare ps' lists them")
			}
		}
		gone, err := s.cfg.Keeper.Prune(p)
		if err != nil {
			return nil, err
		}
		if !p.DryRun {
			s.feed.lost()
		}
		return &reply[Pruned]{gone}, nil
	})
}
