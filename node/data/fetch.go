package data

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/node/mesh/swarm"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// Fetch brings a blob that its requester has leased to this node by the nonce,
// from that one and from whom it names, and of a module also from others that
// have it. When it returns nil the blob is here, and the requester was shown to
// have it.
func (d *Data) Fetch(ctx context.Context, from peer.ID, nonce protocol.Nonce, b *protocol.Blob, module bool) error {
	blob := b.Sum()
	return d.once(ctx, arrival{keyOf(from, blob, module), from}, func(c *coming) error {
		reply, err := d.greet(ctx, from, originTimeout, &protocol.TreeRequest{Digest: blob[:], Nonce: nonce[:]})
		if err != nil {
			return err
		}
		tree, err := protocol.ParseTree(reply.Size, reply.Leaves)
		if err != nil || reply.Size != b.Size {
			return errors.Join(fmt.Errorf("%w: a tree of %d bytes for a blob of %d", protocol.ErrMalformed, reply.Size, b.Size), err)
		}
		others := make(map[peer.ID]struct{})
		for _, text := range reply.Holders[:min(len(reply.Holders), protocol.MaxHolders)] {
			if p, err := peer.Decode(text); err == nil {
				others[p] = struct{}{}
			}
		}
		if module {
			for _, p := range d.cfg.Warm(blob) {
				others[p] = struct{}{}
			}
		}
		delete(others, d.cfg.Self)
		delete(others, from)
		return d.bring(ctx, c, tree, source{origin: from, others: others, grant: reply.Grant, rank: len(reply.Holders)})
	})
}

// source is from whom a blob may come.
type source struct {
	origin peer.ID // has all of it
	others map[peer.ID]struct{}
	grant  *protocol.Grant // which the others want to see
	rank   int             // how many had begun before
}

// coming is a blob that is being fetched.
type coming struct {
	arrival
	begin sync.Once
	begun chan struct{} // closed by begin, when what has come is served
	done  chan struct{} // closed when it is over

	// Guarded by the Data's mu.
	h    *holding // what has come, while it is served
	over bool     // nothing more of it is served
}

// errElsewhere is returned for a blob that is here on another account: who wants
// it on this one must show to have it.
var errElsewhere = errors.New("the blob is here on another account")

// once has one of those who want the same blob from the same peer, on the same
// account, fetch it. It is here on that account when once returns nil.
func (d *Data) once(ctx context.Context, a arrival, fetch func(*coming) error) error {
	for {
		d.mu.Lock()
		c, known := d.coming[a], d.known.Contains(a.key)
		if c == nil && d.cfg.Blobs.Has(a.blob) {
			d.mu.Unlock()
			if !known {
				return errElsewhere
			}
			return nil
		}
		first := c == nil
		if first {
			c = &coming{arrival: a, begun: make(chan struct{}), done: make(chan struct{})}
			d.coming[a] = c
		}
		d.mu.Unlock()
		if first {
			err := fetch(c)
			d.mu.Lock()
			delete(d.coming, a)
			d.mu.Unlock()
			close(c.done)
			return err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// bring fetches a blob, and serves meanwhile what has come of it.
func (d *Data) bring(ctx context.Context, c *coming, tree *protocol.Tree, from source) error {
	partial, err := d.cfg.Blobs.Partial(c.blob, tree.Size, string(c.by))
	if err != nil {
		return err
	}
	h := &holding{blobs: d.cfg.Blobs, blob: c.blob, tree: tree, partial: partial, settled: make(chan struct{})}
	h.has = arrived(ctx, partial, tree)
	d.share(c.arrival, h)
	d.mu.Lock()
	c.h, c.over = h, false
	d.mu.Unlock()
	if err = d.run(ctx, c, h, from); err != nil {
		partial.Park()
	} else {
		err = partial.Finish()
	}
	h.settle(err == nil)
	d.mu.Lock()
	c.h, c.over = nil, true
	if err == nil {
		d.known.Add(c.key, struct{}{})
		d.hold(c.arrival, h)
	}
	d.mu.Unlock()
	if err != nil {
		h.share.Close()
		return err
	}
	d.trees.Add(c.blob, tree)
	return nil
}

// run fetches what is missing, and greets others meanwhile.
func (d *Data) run(ctx context.Context, c *coming, h *holding, from source) error {
	var missing []int
	for i, has := range h.has {
		if !has {
			missing = append(missing, i)
		}
	}
	f := d.cfg.Exchange().NewFetch(h.share, missing, from.rank, h.put)
	f.Add(from.origin, true)
	h.mu.Lock()
	h.fetch = f
	h.mu.Unlock()
	c.begin.Do(func() { close(c.begun) }) // of several who are tried in turn, by the first
	greeting, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for p := range from.others {
		wg.Go(func() { d.meet(greeting, h, f, p, from.grant) })
	}
	err := f.Run(ctx)
	cancel()
	wg.Wait()
	return err
}

// meet greets one who may have leaves, and opens to it what is here: it will
// want that as well. Who is not reached is tried again some times: a node that has
// just joined is named by the requester before others have heard where it is.
func (d *Data) meet(ctx context.Context, h *holding, f *swarm.Fetch, p peer.ID, grant *protocol.Grant) {
	for wait := time.Second; wait <= 8*time.Second; wait *= 2 {
		h.share.Open(p, time.Now().Add(openFor(h.tree.Size)))
		_, err := d.greet(ctx, p, greetTimeout, &protocol.TreeRequest{Digest: h.blob[:], Grant: grant, Known: true})
		if err == nil {
			f.Add(p, false)
			return
		}
		d.cfg.Logger.Debug("a holder was greeted in vain", "peer", p, "blob", h.blob.CID(), "err", err)
		switch protocol.CodeOf(err) {
		case protocol.CodeBlocked, protocol.CodeNetwork, protocol.CodeForeign:
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// greet asks one peer for what a blob's leaves are.
func (d *Data) greet(ctx context.Context, p peer.ID, within time.Duration, request *protocol.TreeRequest) (*protocol.TreeReply, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := d.cfg.Network.Open(ctx, p, protocol.TreeStream)
	if err != nil {
		return nil, err
	}
	defer conn.Reset()
	defer context.AfterFunc(ctx, conn.Reset)()
	if err := conn.Send(request); err != nil {
		return nil, err
	}
	reply := new(protocol.TreeReply)
	if err := conn.Recv(reply); err != nil {
		return nil, err
	}
	if reply.Code != "" {
		return nil, fmt.Errorf("it answers %s", protocol.SafeText(reply.Code))
	}
	return reply, nil
}

// arrived returns which leaves have come before, each looked at.
func arrived(ctx context.Context, partial *store.Partial, tree *protocol.Tree) []bool {
	has := make([]bool, len(tree.Leaves))
	if partial.Fresh() {
		return has
	}
	buf := make([]byte, protocol.LeafSize)
	for i, want := range tree.Leaves {
		at, size := tree.Leaf(i)
		if ctx.Err() != nil {
			break
		}
		if _, err := partial.ReadAt(buf[:size], at); err == nil {
			has[i] = protocol.DigestOf(buf[:size]) == want
		}
	}
	return has
}
