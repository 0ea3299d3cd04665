package api

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spare-network/spare/protocol"
)

// Input is a file that the program finds below /in.
type Input struct {
	Path string `json:"path" maxLength:"512" doc:"Absolute, below /in"`
	Bytes
}

// inputs returns the files of a Spec, sorted, whose blobs are stored or inline.
// What fits into room bytes, first come first served, is inline or will be
// ([protocol.Spec.Inline]), however it was given: equal tasks have equal Specs.
func (s *Server) inputs(list []Input, room uint64) ([]*protocol.File, error) {
	carried := 0
	for i := range list {
		in := &list[i]
		if in.Data == nil && in.Digest == "" {
			in.Data = Base64{} // an empty file
		}
		if err := in.check("input " + protocol.SafeText(in.Path)); err != nil {
			return nil, err
		}
		carried += len(in.Data)
	}
	if carried > maxInlineBody {
		return nil, tooMuchData("inputs", carried)
	}
	slices.SortFunc(list, func(a, b Input) int { return strings.Compare(a.Path, b.Path) })
	files := make([]*protocol.File, 0, len(list))
	for i := range list {
		in := &list[i]
		if i > 0 && in.Path == list[i-1].Path {
			return nil, protocol.Errorf(protocol.CodeBadRequest, "the input %s is there twice", protocol.SafeText(in.Path))
		}
		b, err := s.input(in, room)
		if err != nil {
			return nil, err
		}
		if b.Size <= room {
			room -= b.Size
		}
		files = append(files, &protocol.File{Path: in.Path, Blob: b})
	}
	return files, nil
}

// input returns the blob of one input, inline when its data are given and fit
// into room.
func (s *Server) input(in *Input, room uint64) (*protocol.Blob, error) {
	if in.Digest != "" {
		return s.blob("input", &in.Bytes)
	}
	b := protocol.NewBlob(in.Data)
	if b.Size <= room {
		return b, nil
	}
	b.Inline = nil
	if _, _, err := s.cfg.Blobs.Put(bytes.NewReader(in.Data), maxInlineBody); err != nil {
		return nil, fmt.Errorf("store input: %w", err)
	}
	return b, nil
}
