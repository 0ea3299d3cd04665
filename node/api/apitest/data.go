package apitest

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/spare-network/spare/protocol"
)

// Add keeps data whose blobs were put.
func (n *Node) Add(cid, name string) (*protocol.Added, error) {
	l, err := n.Get(context.Background(), cid)
	if err != nil {
		return nil, err
	}
	d, listing, err := protocol.ParseDataCID(cid)
	if err != nil {
		return nil, err
	}
	a := &protocol.Added{Digest: d[:], Listing: listing, Name: name, Files: uint32(len(l.Files)), AddedUnixMs: Submitted.UnixMilli()}
	for _, f := range l.Files {
		a.Size += f.Blob.Size
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.added = append(n.added, a)
	return a, nil
}

// Added returns what was added.
func (n *Node) Added() []*protocol.Added {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.added)
}

// Remove forgets what was added.
func (n *Node) Remove(cid string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := len(n.added)
	n.added = slices.DeleteFunc(n.added, func(a *protocol.Added) bool {
		return protocol.DataCID(protocol.Digest(a.Digest), a.Listing) == cid
	})
	if len(n.added) == before {
		return protocol.Errorf(protocol.CodeNotFound, "this node keeps no %s", cid).WithHint("'spare add --list' says what it keeps")
	}
	return nil
}

// Get returns what a CID names of what was put: no neighbour has anything.
func (n *Node) Get(_ context.Context, cid string) (*protocol.Listing, error) {
	d, listing, err := protocol.ParseDataCID(cid)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeBadRequest, "%.100q is no CID of data", cid)
	}
	b, err := os.ReadFile(filepath.Join(n.dir, d.String()))
	switch {
	case err != nil:
		return nil, protocol.Errorf(protocol.CodeNotFound, "no member is known to have %s", d.CID()).
			WithHint("the node where it was added must be up; a new one is known after some seconds")
	case listing:
		return protocol.ParseListing(b)
	}
	return &protocol.Listing{Files: []*protocol.File{{Blob: &protocol.Blob{Digest: d[:], Size: uint64(len(b))}}}}, nil
}
