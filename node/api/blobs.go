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

type blobInput struct {
	Digest string `path:"digest" maxLength:"128" doc:"sha2-256 in hex, or a CID"`
}

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
	route(a, huma.Operation{
		OperationID: "has-blob", Method: http.MethodHead, Path: "/blobs/{digest}", Summary: "Whether a blob is here",
	}, func(_ context.Context, in *blobInput) (*struct{}, error) {
		d, err := protocol.ParseDigest(in.Digest)
		if err != nil {
			return nil, err
		}
		f, _, err := s.cfg.Blobs.Open(d)
		if protocol.CodeOf(err) == protocol.CodeBlob && err != nil {
			return nil, protocol.Errorf(protocol.CodeNotFound, "no blob %s", d)
		}
		if err != nil {
			return nil, err
		}
		return nil, f.Close()
	})
}
