package provider

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// requesterSilence is how long a requester is silent before it is taken to be
// away.
const requesterSilence = 10 * time.Second

// ServeLiveness beats to a requester, with the progress of its replicas, until
// it closes the stream. While it is silent, their time runs as if it were gone.
func (p *Provider) ServeLiveness(ctx context.Context, conn *protocol.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, conn.Reset)()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer cancel()
		p.beat(ctx, conn)
	})
	beat := new(protocol.Beat)
	// Who is heard first may come back on a new stream after a silence on
	// another.
	wait, silent, heard := requesterSilence, false, false
	for {
		_ = conn.SetReadDeadline(time.Now().Add(wait)) // a stream that cannot is dead, which Recv tells
		err := conn.Recv(beat)
		var timeout net.Error
		switch {
		case err == nil && (silent || !heard):
			p.back(conn.Peer())
			wait, silent, heard = requesterSilence, false, true
		case err == nil:
		case ctx.Err() == nil && !silent && errors.As(err, &timeout) && timeout.Timeout():
			p.away(conn.Peer())
			wait, silent = detachedFor, true
		default:
			return
		}
	}
}

// beat sends a Beat every [protocol.BeatEvery].
func (p *Provider) beat(ctx context.Context, conn *protocol.Conn) {
	ticker := time.NewTicker(protocol.BeatEvery)
	defer ticker.Stop()
	beat := &protocol.Beat{Padding: make([]byte, protocol.MinBeat)}
	for {
		beat.Sequence++
		beat.Progress = p.progressOf(conn.Peer())
		if conn.Send(beat) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (p *Provider) progressOf(requester peer.ID) []*protocol.Progress {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.accounts[requester]
	if a == nil {
		return nil
	}
	list := make([]*protocol.Progress, 0, min(len(a.active), protocol.MaxProgress))
	for _, r := range a.active {
		if len(list) == protocol.MaxProgress {
			break
		}
		list = append(list, r.progress(now))
	}
	return list
}

// away starts the clocks of a requester's replicas.
func (p *Provider) away(requester peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.accounts[requester]; a != nil {
		for _, r := range a.active {
			p.startClock(r)
		}
	}
}

// back stops them, but for those of connections that have ended.
func (p *Provider) back(requester peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.accounts[requester]; a != nil {
		for _, r := range a.active {
			if r.to != nil {
				r.stopClock()
			}
		}
	}
}
