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

// requesterSilence is how long attached replicas outlive their requester.
const requesterSilence = 10 * time.Second

// ServeLiveness beats to a requester, with the progress of its replicas, until
// it closes the stream or falls silent. Silence cancels its attached replicas;
// detached ones go on as long as their task stream lives.
func (p *Provider) ServeLiveness(ctx context.Context, conn *protocol.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, conn.Reset)()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { p.beat(ctx, conn) })
	beat := new(protocol.Beat)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(requesterSilence))
		err := conn.Recv(beat)
		if err == nil {
			continue
		}
		var timeout net.Error
		if ctx.Err() == nil && errors.As(err, &timeout) && timeout.Timeout() {
			p.cancelAttached(conn.Peer())
		}
		return
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
	var list []*protocol.Progress
	for _, r := range p.replicasOf(requester) {
		if len(list) == protocol.MaxProgress {
			break
		}
		list = append(list, r.progress(now))
	}
	return list
}

func (p *Provider) replicasOf(requester peer.ID) []*replica {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*replica
	for _, r := range p.open {
		if r.requester == requester {
			list = append(list, r)
		}
	}
	return list
}

func (p *Provider) cancelAttached(requester peer.ID) {
	for _, r := range p.replicasOf(requester) {
		if !r.detached {
			r.cancel(errGone)
		}
	}
}
