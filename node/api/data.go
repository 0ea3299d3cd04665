package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/spare-network/spare/protocol"
)

// AddedData is a file or a directory that the node keeps for its network.
type AddedData struct {
	CID       string    `json:"cid"`
	Directory bool      `json:"directory"`
	Name      string    `json:"name"`
	Size      uint64    `json:"size" doc:"Bytes of all files"`
	Files     uint32    `json:"files"`
	Added     time.Time `json:"added"`
}

func viewAdded(a *protocol.Added) AddedData {
	return AddedData{
		CID: protocol.DataCID(protocol.Digest(a.Digest), a.Listing), Directory: a.Listing,
		Name: a.Name, Size: a.Size, Files: a.Files, Added: time.UnixMilli(a.AddedUnixMs).UTC(),
	}
}

// Addition asks the node to keep data, whose blobs have been uploaded.
type Addition struct {
	CID  string `json:"cid" doc:"As the digests of the file, or of the marshalled listing of a directory, make it"`
	Name string `json:"name" maxLength:"512" doc:"For people"`
}

// Content is what a CID names.
type Content struct {
	CID       string `json:"cid"`
	Directory bool   `json:"directory"`
	Files     []File `json:"files" doc:"With relative paths; of a file, itself without one"`
}

type dataInput struct {
	CID string `path:"cid" maxLength:"128" doc:"A file's or a directory's"`
}

type pieceInput struct {
	CID  string `path:"cid" maxLength:"128" doc:"A file's or a directory's"`
	Path string `query:"path" doc:"Of a file in the directory"`
}

func (s *Server) dataRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "data", Method: http.MethodGet, Path: "/data", Summary: "What this node keeps for its network",
	}, func(_ context.Context, in *pageInput) (*part[AddedData], error) {
		list := []AddedData{}
		for _, d := range s.cfg.Data.Added() {
			list = append(list, viewAdded(d))
		}
		return cut(list, "/data", in, func(d AddedData) string { return d.CID })
	})
	route(a, huma.Operation{
		OperationID: "add-data", Method: http.MethodPost, Path: "/data", Summary: "Keep data for the network: members who know the CID may read them",
		DefaultStatus: http.StatusCreated,
	}, func(_ context.Context, in *reply[Addition]) (*reply[AddedData], error) {
		d, err := s.cfg.Data.Add(in.Body.CID, in.Body.Name)
		if err != nil {
			return nil, err
		}
		return &reply[AddedData]{viewAdded(d)}, nil
	})
	route(a, huma.Operation{
		OperationID: "remove-data", Method: http.MethodPost, Path: "/data/{cid}/remove", Summary: "Keep data no longer",
	}, func(_ context.Context, in *dataInput) (*struct{}, error) { return nil, s.cfg.Data.Remove(in.CID) })
	route(a, huma.Operation{
		OperationID: "fetch-data", Method: http.MethodPost, Path: "/data/{cid}/fetch", Summary: "Bring data here from members that have them",
	}, func(ctx context.Context, in *dataInput) (*reply[Content], error) {
		l, err := s.cfg.Data.Get(ctx, in.CID)
		if err != nil {
			return nil, err
		}
		_, listing, err := protocol.ParseDataCID(in.CID)
		return &reply[Content]{Content{CID: in.CID, Directory: listing, Files: viewFiles(l.Files)}}, err
	})
	route(a, huma.Operation{
		OperationID: "data-bytes", Method: http.MethodGet, Path: "/data/{cid}/bytes", Summary: "The bytes of a file, which come from members when need be",
		Responses: rawResponse(),
	}, func(ctx context.Context, in *pieceInput) (*huma.StreamResponse, error) {
		l, err := s.cfg.Data.Get(ctx, in.CID)
		if err != nil {
			return nil, err
		}
		for _, f := range l.Files {
			if f.Path == in.Path {
				rc, size, err := s.cfg.Blobs.Open(f.Blob.Sum())
				if err != nil {
					return nil, err
				}
				return rawBytes(rc, size), nil
			}
		}
		return nil, protocol.Errorf(protocol.CodeNotFound, "there is no file %.80q in %s", in.Path, in.CID)
	})
}
