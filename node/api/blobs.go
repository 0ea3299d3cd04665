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
	size int64 // as announced, or -1
}

// Resolve catches the body before the handler, as huma lets an input do.
func (u *upload) Resolve(c huma.Context) []error {
	r, w := humago.Unwrap(c)
	u.body, u.size = http.MaxBytesReader(w, r.Body, protocol.MaxBlob), r.ContentLength
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
		if in.size > protocol.MaxBlob {
			return nil, tooLarge()
		}
		// One more than the reader lets pass, so that it is the one to say so.
		d, size, err := s.cfg.Blobs.Put(in.body, protocol.MaxBlob+1)
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, tooLarge()
		}
		if err != nil {
			return nil, err
		}
		return &reply[BlobRef]{BlobRef{Digest: d.String(), Size: size}}, nil
	})
}

func tooLarge() error {
	return protocol.Errorf(protocol.CodeBadRequest, "stdin is limited to %d GiB, and so is a module", protocol.MaxBlob>>30).
		WithHint("cut the input into pieces and run one task for each")
}
