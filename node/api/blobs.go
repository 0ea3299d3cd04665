package api

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/spare-network/spare/protocol"
)

// upload takes the body as a stream: huma would read it whole.
type upload struct {
	body io.Reader
}

// Resolve catches the body before the handler, as huma lets an input do.
func (u *upload) Resolve(c huma.Context) []error {
	r, w := humago.Unwrap(c)
	u.body = http.MaxBytesReader(w, r.Body, protocol.MaxBlob)
	return nil
}

func (s *Server) blobRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "put-blob", Method: http.MethodPost, Path: "/blobs", Summary: "Upload a module or an input",
		DefaultStatus: http.StatusCreated,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			rawType: {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		}},
	}, func(_ context.Context, in *upload) (*reply[BlobRef], error) {
		// One more than the reader lets pass, so that it is the one to say so.
		d, size, err := s.cfg.Blobs.Put(in.body, protocol.MaxBlob+1)
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, protocol.Errorf(protocol.CodeBadRequest, "more than %d bytes", large.Limit)
		}
		if err != nil {
			return nil, err
		}
		return &reply[BlobRef]{BlobRef{Digest: d.String(), Size: size}}, nil
	})
}
