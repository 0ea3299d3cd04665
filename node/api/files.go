package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/spare-network/spare/protocol"
)

type fileInput struct {
	ID   string `path:"id" doc:"Beginning of a task's ID"`
	Path string `path:"path" doc:"A file's path without its first slash, such as out/a.txt"`
}

// fileRoutes give what ended tasks have left below /out.
func (s *Server) fileRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "files", Method: http.MethodGet, Path: "/tasks/{id}/files", Summary: "What an ended task has left below /out",
	}, func(_ context.Context, in *taskInput) (*reply[[]File], error) {
		t, err := s.find(in.ID)
		if err != nil {
			return nil, err
		}
		if !t.State.Ended() {
			return nil, protocol.Errorf(protocol.CodeNotFound, "task %s has not ended: its files come at its end", t.Id).
				WithHint("see 'spare wait %s'", t.Id)
		}
		return &reply[[]File]{viewFiles(t.Result.GetFiles())}, nil
	})
	const rest = "/tasks/{id}/files/{path"
	route(a, huma.Operation{
		OperationID: "file", Method: http.MethodGet, Path: rest + "...}", Summary: "One of the files",
		Responses: rawResponse(),
	}, func(_ context.Context, in *fileInput) (*huma.StreamResponse, error) {
		t, err := s.find(in.ID)
		if err != nil {
			return nil, err
		}
		f, size, err := s.cfg.Tasks.OpenFile(protocol.TaskID(t.Id), "/"+in.Path)
		if err != nil {
			return nil, err
		}
		return rawBytes(f, int64(size)), nil
	})
	// The dots are what ServeMux calls the rest of a path; OpenAPI has no word
	// for it.
	paths := a.OpenAPI().Paths
	paths[prefix+rest+"}"] = paths[prefix+rest+"...}"]
	delete(paths, prefix+rest+"...}")
}
