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

// Digests is a list of blobs.
type Digests struct {
	Digests []string `json:"digests" maxItems:"4096" doc:"sha2-256 in hex, or CIDs"`
}

func (s *Server) blobRoutes(a huma.API) {
	type list struct{ Body Digests }
	route(a, huma.Operation{
		OperationID: "missing-blobs", Method: http.MethodPost, Path: "/blobs/missing", Summary: "Which of these blobs are to be uploaded",
	}, func(_ context.Context, in *list) (*reply[Digests], error) {
		missing := Digests{Digests: []string{}}
		for _, text := range in.Body.Digests {
			d, err := protocol.ParseDigest(text)
			if err != nil {
				return nil, err
			}
			f, _, err := s.cfg.Blobs.Open(d)
			switch {
			case err == nil:
				err = f.Close()
			case protocol.CodeOf(err) == protocol.CodeBlob:
				missing.Digests, err = append(missing.Digests, text), nil
			}
			if err != nil {
				return nil, err
			}
		}
		return &reply[Digests]{missing}, nil
	})
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
	return protocol.Errorf(protocol.CodeBadRequest, "stdin is limited to %d GiB, and so are a module and an input", protocol.MaxBlob>>30).
		WithHint("cut the input into pieces and run one task for each")
}
