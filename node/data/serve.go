package data

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// Serve answers a greeting: whoever may read the blob is told what its leaves
// are and, by a requester, who else has lately asked for it, and may fetch leaves
// from then on.
func (d *Data) Serve(ctx context.Context, conn *protocol.Conn) {
	defer context.AfterFunc(ctx, conn.Reset)()
	_ = conn.SetReadDeadline(time.Now().Add(greetTimeout)) // a stream that cannot is dead, which Recv tells
	request := new(protocol.TreeRequest)
	err := conn.Recv(request)
	if err == nil {
		err = conn.Send(d.answer(ctx, conn.Peer(), request))
	}
	if err != nil {
		d.cfg.Logger.Debug("a greeting was not answered", "peer", conn.Peer(), "err", err)
		conn.Reset()
		return
	}
	_ = conn.Close() // who greets knows what it was told
}

func refuse(code protocol.Code) *protocol.TreeReply { return &protocol.TreeReply{Code: string(code)} }

func (d *Data) answer(ctx context.Context, p peer.ID, request *protocol.TreeRequest) *protocol.TreeReply {
	blob, err := protocol.DigestFrom(request.Digest)
	if err != nil {
		return refuse(protocol.CodeBadRequest)
	}
	now := time.Now()
	var list []*holding
	reply := new(protocol.TreeReply)
	if len(request.Nonce) > 0 {
		module, ok := d.cfg.Leases.Lease(p, request.Nonce, blob)
		if !ok {
			return refuse(protocol.CodeRefused)
		}
		h, err := d.whole(ctx, keyOf(d.cfg.Self, blob, module))
		if err != nil {
			return refuse(protocol.CodeBlob)
		}
		if !module {
			if reply.Grant, err = protocol.SignGrant(d.cfg.NetworkID, d.cfg.Key, blob, p, now.Add(grantFor(h.tree.Size))); err != nil {
				return refuse(protocol.CodeInternal)
			}
		}
		for _, other := range h.note(p, now) {
			reply.Holders = append(reply.Holders, other.String())
		}
		list = append(list, h)
	} else if list = d.readable(ctx, p, blob, request.Grant, now); len(list) == 0 {
		return refuse(protocol.CodeNotFound) // or not for this peer, which need not know
	}
	for _, h := range list {
		h.share.Open(p, now.Add(openFor(h.tree.Size)))
		h.mu.Lock()
		if h.fetch != nil {
			h.fetch.Add(p, false) // it has opened what it has to whom it greets
		}
		h.mu.Unlock()
	}
	reply.Size = uint64(list[0].tree.Size)
	if !request.Known {
		reply.Leaves = list[0].tree.Bytes()
	}
	return reply
}

// readable returns what is here of a blob that the peer may read because all
// members may, or because who grants it has the blob here.
func (d *Data) readable(ctx context.Context, p peer.ID, blob protocol.Digest, grant *protocol.Grant, now time.Time) []*holding {
	if list := d.here(ctx, key{blob, everybody}); len(list) > 0 {
		return list
	}
	if grant == nil {
		return nil
	}
	grantor, err := grant.Open(d.cfg.NetworkID, blob, p, now)
	if err != nil || grantor == everybody {
		return nil
	}
	return d.here(ctx, key{blob, grantor})
}

// here returns what is here, or comes, on this account: of what comes from several
// peers, all of it, since some of them may lie about the leaves.
func (d *Data) here(ctx context.Context, k key) []*holding {
	// Who was named to the asker has perhaps not heard yet what the leaves are.
	waiting, cancel := context.WithTimeout(ctx, greetTimeout-time.Second/2)
	defer cancel()
	for {
		d.mu.Lock()
		known := d.known.Contains(k) || k.scope == everybody && d.public[k.blob] > 0
		d.mu.Unlock()
		begun, next := d.arriving(k)
		if len(begun) > 0 {
			return begun // though it may be here already on another account
		}
		if known && d.cfg.Blobs.Has(k.blob) {
			h, err := d.whole(ctx, k)
			if err != nil {
				return nil
			}
			return []*holding{h}
		}
		if next == nil {
			return nil
		}
		select {
		case <-next.begun:
		case <-next.done:
		case <-waiting.Done():
			return nil
		}
	}
}

// arriving returns what has come on this account so far, and one of which nothing
// has.
func (d *Data) arriving(k key) (begun []*holding, next *coming) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a, c := range d.coming {
		if a.key == k && c.h != nil {
			begun = append(begun, c.h)
		} else if a.key == k && !c.over {
			next = c
		}
	}
	return begun, next
}
