package provider

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxTransfers bounds the blobs that come in at once.
	maxTransfers = 8
	// transfersEach bounds those of them for one replica.
	transfersEach = 4
	// fetchSilence is how long a requester may send nothing of a blob.
	fetchSilence = 15 * time.Second
	// slowestFetch, in bytes per second, bounds how long a blob may take in
	// all, beside fetchSilence: a requester holds a place in the queue by it.
	slowestFetch = 32 << 10
)

// fetchKey names a transfer. Requesters are kept apart: a slow one delays only
// its own replicas.
type fetchKey struct {
	requester peer.ID
	blob      protocol.Digest
}

// fetchAll makes sure that blobs, which are pinned, are in the store.
func (s *session) fetchAll(ctx context.Context, r *replica, blobs []*protocol.Blob, setState func(protocol.State)) error {
	here := func(b *protocol.Blob) bool { return s.cfg.Blobs.Has(b.Sum()) }
	missing := slices.DeleteFunc(slices.Clone(blobs), here)
	if len(missing) == 0 {
		return nil
	}
	setState(protocol.StateFetching)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(transfersEach)
	for _, b := range missing {
		g.Go(func() error { return s.fetch(ctx, r, b) })
	}
	return g.Wait()
}

// fetch makes sure that a blob is in the store, from the requester if need be.
// Of replicas of one requester that want the same blob, one transfers it; if
// that one fails or is cancelled, the next does.
func (s *session) fetch(ctx context.Context, r *replica, b *protocol.Blob) error {
	key := fetchKey{r.requester, b.Sum()}
	for !s.cfg.Blobs.Has(key.blob) {
		s.Provider.mu.Lock()
		under, busy := s.fetching[key]
		if !busy {
			under = make(chan struct{})
			s.fetching[key] = under
		}
		s.Provider.mu.Unlock()
		if !busy {
			err := s.transfer(ctx, r, key.blob, int64(b.Size))
			s.Provider.mu.Lock()
			delete(s.fetching, key)
			s.Provider.mu.Unlock()
			close(under)
			return err
		}
		select {
		case <-under:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// transfer fetches a blob, which the requester gives to whom it asked to run a
// replica.
func (s *session) transfer(ctx context.Context, r *replica, want protocol.Digest, size int64) error {
	select {
	case s.transfers <- struct{}{}:
		defer func() { <-s.transfers }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	conn, err := s.cfg.Network.Open(ctx, r.requester, protocol.BlobStream)
	if err != nil {
		return notGiven(want, err)
	}
	defer conn.Reset()
	defer context.AfterFunc(ctx, conn.Reset)()
	if err := conn.Send(&protocol.BlobRequest{Digest: want[:], Nonce: r.nonce[:]}); err != nil {
		return notGiven(want, err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(fetchSilence)) // a stream that cannot is dead, which Recv tells
	header := new(protocol.BlobHeader)
	if err := conn.Recv(header); err != nil {
		return notGiven(want, err)
	}
	if header.Code != "" || header.Size != uint64(size) {
		return notGiven(want, fmt.Errorf("it says %d bytes %s", header.Size, protocol.SafeText(header.Code)))
	}
	body := &patient{conn: conn, end: time.Now().Add(fetchSilence + time.Duration(size/slowestFetch)*time.Second)}
	if err := s.cfg.Blobs.PutExpected(want, size, io.LimitReader(body, size)); err != nil {
		return notGiven(want, err)
	}
	return nil
}

// notGiven says why a blob is not here. What this node's own store refuses is
// told as such.
func notGiven(want protocol.Digest, err error) error {
	if protocol.CodeOf(err) == protocol.CodeRefused {
		return err
	}
	return protocol.Errorf(protocol.CodeBlob, "the blob %s did not come from its requester: %v", want.CID(), err)
}

// patient renews the read deadline with each read, up to an end.
type patient struct {
	conn *protocol.Conn
	end  time.Time
}

func (p *patient) Read(b []byte) (int, error) {
	deadline := time.Now().Add(fetchSilence)
	if deadline.After(p.end) {
		deadline = p.end
	}
	_ = p.conn.SetReadDeadline(deadline) // a stream that cannot is dead, which Read tells
	return p.conn.Read(b)
}
