package provider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

const (
	// maxTransfers bounds the blobs that come in at once.
	maxTransfers = 8
	// transfersEach bounds those of them from one requester.
	transfersEach = maxTransfers / 2
	// fetchSilence is how long a requester may send nothing of a blob, which
	// must come at [protocol.SlowestTransfer] besides.
	fetchSilence = 15 * time.Second
	// maxObtain bounds how often one blob is to be obtained: by peers, by a transfer
	// when that fails, by a proof when another has brought it meanwhile, and by a
	// transfer when that finds it damaged.
	maxObtain = 4
	// maxKnown is how many pairs of requester and blob are remembered.
	maxKnown = 1 << 16
)

// fetchKey names a transfer. Requesters are kept apart: a slow one holds at
// most half of the places.
type fetchKey struct {
	requester peer.ID
	blob      protocol.Digest
}

// missing returns those of r's blobs that are not here, or that its requester
// has not shown to have: a digest is no secret, and what others have put here
// is. All are pinned already.
func (p *Provider) missing(r *replica) []*protocol.Blob {
	var list []*protocol.Blob
	for _, b := range r.blobs() {
		if !p.mayUse(r.account.peer, b.Sum()) {
			list = append(list, b)
		}
	}
	return list
}

// fetchAll obtains blobs, a few at a time.
func (p *Provider) fetchAll(r *replica, blobs []*protocol.Blob) error {
	p.setState(r, protocol.StateFetching)
	g, ctx := errgroup.WithContext(r.ctx)
	g.SetLimit(transfersEach)
	for _, b := range blobs {
		g.Go(func() error { return p.fetch(ctx, r, b) })
	}
	return g.Wait()
}

// mayUse reports whether a blob is here and may serve the requester: the node
// itself, or one that has sent it or proved to have it.
func (p *Provider) mayUse(requester peer.ID, blob protocol.Digest) bool {
	return p.cfg.Blobs.Has(blob) && (requester == p.cfg.Self || p.known.Contains(fetchKey{requester, blob}))
}

// fetch makes sure of one blob. Of replicas of one requester that want the same
// one, one transfers it; if that one fails or is cancelled, the next does.
func (p *Provider) fetch(ctx context.Context, r *replica, b *protocol.Blob) error {
	key := fetchKey{r.account.peer, b.Sum()}
	for !p.mayUse(key.requester, key.blob) {
		p.mu.Lock()
		under, busy := p.fetching[key]
		if !busy {
			under = make(chan struct{})
			p.fetching[key] = under
		}
		p.mu.Unlock()
		if !busy {
			err := p.obtain(ctx, r, b)
			p.mu.Lock()
			delete(p.fetching, key)
			p.mu.Unlock()
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

// obtain has the requester prove that it has a blob which is here, or send it: a
// large one with the help of others to whom it does.
func (p *Provider) obtain(ctx context.Context, r *replica, b *protocol.Blob) error {
	leave, err := p.enterTransfers(ctx, r.account.peer)
	if err != nil {
		return err
	}
	defer leave()
	module := b == r.spec.Module
	peers := b.Size >= protocol.MinTree // these may bring it
	for range maxObtain {
		var shown bool // that the requester has it, which is not said by its being here
		switch {
		case p.cfg.Blobs.Has(b.Sum()):
			shown, err = p.verify(ctx, r, b)
		case peers:
			peers = false
			failed := p.cfg.Data.Fetch(ctx, r.account.peer, r.nonce, b, module)
			if shown = failed == nil; !shown && ctx.Err() == nil {
				p.cfg.Logger.Info("peers have not brought a blob", "blob", b.Sum().CID(), "requester", r.account.peer, "err", failed)
			}
		default:
			shown, err = p.transfer(ctx, r, b.Sum(), int64(b.Size))
		}
		if err != nil {
			return err
		}
		if shown {
			p.known.Add(fetchKey{r.account.peer, b.Sum()}, struct{}{})
			p.cfg.Data.Hold(r.account.peer, b, module)
			return nil
		}
	}
	return notGiven(b.Sum(), errors.New("it has come and gone meanwhile"))
}

// enterTransfers waits for a place among the transfers, and returns what gives
// it back.
func (p *Provider) enterTransfers(ctx context.Context, requester peer.ID) (func(), error) {
	p.mu.Lock()
	own := p.transfersOf[requester]
	if own == nil {
		own = &places{free: make(chan struct{}, transfersEach)}
		p.transfersOf[requester] = own
	}
	own.wanted++
	p.mu.Unlock()
	leave := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if own.wanted--; own.wanted == 0 {
			delete(p.transfersOf, requester)
		}
	}
	for i, all := range []chan struct{}{own.free, p.transfers} {
		select {
		case all <- struct{}{}:
		case <-ctx.Done():
			if i > 0 {
				<-own.free
			}
			leave()
			return nil, context.Cause(ctx)
		}
	}
	return func() { <-p.transfers; <-own.free; leave() }, nil
}

// places are those of one requester among the transfers.
type places struct {
	free   chan struct{}
	wanted int // how many hold or await one
}

// dial opens a blob stream and sends a request on it.
func (p *Provider) dial(ctx context.Context, r *replica, request *protocol.BlobRequest) (*protocol.Conn, *protocol.BlobHeader, error) {
	conn, err := p.cfg.Network.Open(ctx, r.account.peer, protocol.BlobStream)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, conn.Reset)
	defer stop()
	header := new(protocol.BlobHeader)
	if err = conn.Send(request); err == nil {
		// To sum up a large blob takes its requester a while. A stream that
		// knows no deadline is dead, which Recv tells.
		_ = conn.SetReadDeadline(time.Now().Add(fetchSilence))
		err = conn.Recv(header)
	}
	if err == nil && header.Code != "" {
		err = fmt.Errorf("it answers %s", protocol.SafeText(header.Code))
	}
	if err != nil {
		conn.Reset()
		return nil, nil, err
	}
	return conn, header, nil
}

// verify compares the requester's proof with the blob that is here, and reports
// whether that shows the requester to have it. One that is damaged here is dropped,
// which is no error.
func (p *Provider) verify(ctx context.Context, r *replica, b *protocol.Blob) (shown bool, err error) {
	want := b.Sum()
	challenge := protocol.NewChallenge()
	conn, header, err := p.dial(ctx, r, &protocol.BlobRequest{Digest: want[:], Nonce: r.nonce[:], Challenge: challenge[:]})
	if err != nil {
		return false, notGiven(want, err)
	}
	conn.Reset()
	f, err := openBlob(p.cfg.Blobs, b)
	if err != nil && !p.cfg.Blobs.Has(want) {
		return false, nil // it was damaged
	}
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	proof, sum := protocol.NewBlobProof(challenge), sha256.New()
	if _, err := io.Copy(io.MultiWriter(proof, sum), f); err != nil || protocol.Digest(sum.Sum(nil)) != want {
		p.cfg.Blobs.Drop(want)
		return false, nil
	}
	if subtle.ConstantTimeCompare(header.Proof, proof.Sum(nil)) != 1 {
		return false, notGiven(want, errors.New("it does not have it"))
	}
	return true, nil
}

// transfer fetches a blob, which the requester gives to whom it asked to run a
// replica, and reports whether it came: another may have brought it meanwhile.
func (p *Provider) transfer(ctx context.Context, r *replica, want protocol.Digest, size int64) (shown bool, err error) {
	conn, header, err := p.dial(ctx, r, &protocol.BlobRequest{Digest: want[:], Nonce: r.nonce[:]})
	if err != nil {
		return false, notGiven(want, err)
	}
	defer conn.Reset()
	defer context.AfterFunc(ctx, conn.Reset)()
	if header.Size != uint64(size) {
		return false, notGiven(want, fmt.Errorf("it says %d bytes", header.Size))
	}
	body := &patient{conn: conn, end: time.Now().Add(fetchSilence + protocol.AtSlowest(uint64(size)))}
	err = p.cfg.Blobs.PutExpected(want, size, io.LimitReader(body, size))
	if errors.Is(err, store.ErrHere) {
		return false, nil
	}
	if err != nil {
		return false, notGiven(want, err)
	}
	return true, nil
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
