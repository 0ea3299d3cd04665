package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/protocol"
)

const (
	// wantNeighbours is how many connections a node seeks. A small network is
	// fully meshed by it, and a large one does not depend on its bootstrap.
	wantNeighbours = 32
	// dialsAtOnce bounds the dials to neighbours under way.
	dialsAtOnce = 8
	// lookEvery is how often neighbours are sought while some are wanted, and
	// restEvery when nothing calls for it.
	lookEvery = 2 * time.Second
	restEvery = 30 * time.Second
	// steady is how long a connection to a bootstrap must last for the next to be
	// made at once.
	steady = 5 * time.Second
	// awayAfter is how often in a row a member must not be reached for its offer to
	// count for nothing until it is heard of again.
	awayAfter = 2
	// longPause is how long a peer that is no member is left alone, and a
	// bootstrap that is not needed: a crowded one would close the connection
	// again at once.
	longPause = time.Minute

	// greetProbes are the round trips measured when a peer connects, and laterProbes
	// from time to time: each in turn, one peer every probeEach, and each peer within
	// bounds. Whether a peer is there the transport watches: its keepalives cost less
	// than a probe, and whoever is silent for 30 to 45 s is disconnected by it.
	greetProbes = 4
	laterProbes = 2
	probeEach   = 6 * time.Second
	probeMin    = 15 * time.Second
	probeMax    = 5 * time.Minute
	// lonelyProbeEvery is what a node with fewer than enoughNeighbours spends on
	// its bootstrap: without that one it may be cut off.
	lonelyProbeEvery = 10 * time.Second
	enoughNeighbours = 4
	// deadAfter is how many probes in a row must fail, each for 5 s, for a
	// peer to be dropped. Fewer drop the living where processors are crowded.
	deadAfter  = 3
	probeAgain = time.Second // after a failed one
	// pullAgain is when a Book is asked for again that did not come.
	pullAgain = 5 * time.Second
)

// attendance is the goroutine that attends to one connected member.
type attendance struct {
	instance instance
	cancel   context.CancelFunc
	done     chan struct{}
}

func (a attendance) over() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// attendMembers attends to each member from when it has been identified to when
// it is gone.
func (m *Mesh) attendMembers(ctx context.Context) error {
	events, err := m.host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerConnectednessChanged),
	}, eventbus.BufSize(4*highConns))
	if err != nil {
		return fmt.Errorf("subscribe to members: %w", err)
	}
	var group errgroup.Group
	members := make(map[peer.ID]attendance)
	defer func() {
		for _, a := range members {
			a.cancel()
		}
		_ = group.Wait() // none returns an error
		_ = events.Close()
	}()
	attend := func(c network.Conn) {
		p, run := c.RemotePeer(), instanceOf(c)
		if old, ok := members[p]; ok {
			if old.instance == run && !old.over() {
				return // a second connection to the same
			}
			old.cancel()
		}
		ctx, cancel := context.WithCancel(ctx)
		a := attendance{instance: run, cancel: cancel, done: make(chan struct{})}
		members[p] = a
		group.Go(func() error {
			defer close(a.done)
			m.attend(ctx, p)
			return nil
		})
	}
	// Those that were here before the subscription.
	for _, c := range m.host.Network().Conns() {
		if known, err := m.host.Peerstore().GetProtocols(c.RemotePeer()); err == nil && len(known) > 0 {
			attend(c)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events.Out():
			switch e := e.(type) {
			case event.EvtPeerIdentificationCompleted:
				attend(e.Conn)
			case event.EvtPeerConnectednessChanged:
				if a, ok := members[e.Peer]; ok && e.Connectedness != network.Connected {
					a.cancel()
					delete(members, e.Peer)
					m.lookAround()
				}
			}
		}
	}
}

// attend makes p known, asks for its Book and measures the round trip to it,
// again and again, until it is gone or ctx ends.
func (m *Mesh) attend(ctx context.Context, p peer.ID) {
	m.remember(p)
	m.directory.noteMember()
	m.book.Back(p)
	vital := slices.ContainsFunc(m.bootstrap, func(b peer.AddrInfo) bool { return b.ID == p })
	n, failed, pulled := greetProbes, 0, false
	for ctx.Err() == nil && m.connected(p) {
		if !pulled {
			if _, err := m.pull(ctx, p); err == nil {
				pulled = true
			} else if ctx.Err() == nil {
				m.log.Debug("book not pulled", "peer", p, "error", err)
			}
			m.lookAround()
		}
		if err := m.measure(ctx, p, n); err == nil {
			if n == greetProbes {
				m.rtts.keep(p, n) // it may have come another way
			}
			n, failed = laterProbes, 0
			m.remember(p) // it is still there, and may have moved
			every := probeGap(len(m.host.Network().Peers()), vital)
			if !pulled {
				every = min(every, pullAgain)
			}
			sleep(ctx, every*7/8+rand.N(every/4))
		} else if failed++; failed < deadAfter {
			sleep(ctx, probeAgain)
		} else if ctx.Err() == nil {
			m.log.Debug("silent peer dropped", "peer", p, "error", err)
			m.Drop(p)
			failed = 0 // it may be back already
		}
	}
}

// probeGap is the usual time between two probes of a peer, by a node with so many
// neighbours: a vital one is the bootstrap of one with few.
func probeGap(neighbours int, vital bool) time.Duration {
	if vital && neighbours < enoughNeighbours {
		return lonelyProbeEvery
	}
	return min(max(time.Duration(neighbours)*probeEach, probeMin), probeMax)
}

// remember has a connected member remembered, at the address of the connection
// and those that it announces.
func (m *Mesh) remember(p peer.ID) {
	if m.cfg.Remember == nil {
		return
	}
	var addrs []multiaddr.Multiaddr
	for _, c := range m.host.Network().ConnsToPeer(p) {
		if c.Stat().Direction == network.DirOutbound { // else it is no listener's
			addrs = append(addrs, c.RemoteMultiaddr())
		}
	}
	addrs = multiaddr.Unique(append(addrs, m.host.Peerstore().Addrs(p)...))
	m.cfg.Remember(peer.AddrInfo{ID: p, Addrs: addrs})
}

// keepBootstrap restores the connection to b whenever it is lost: at once when
// neighbours are few, else after a while, so that two halves of a network that
// were cut apart find each other again.
func (m *Mesh) keepBootstrap(ctx context.Context, b peer.AddrInfo) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 250*time.Millisecond, 4*time.Second
	gone := make(chan struct{}, 1)
	watcher := &network.NotifyBundle{DisconnectedF: func(_ network.Network, c network.Conn) {
		if c.RemotePeer() == b.ID {
			select {
			case gone <- struct{}{}:
			default:
			}
		}
	}}
	m.host.Network().Notify(watcher)
	defer m.host.Network().StopNotify(watcher)
	told := false
	for ctx.Err() == nil {
		if m.connected(b.ID) {
			told = false
			since := time.Now()
			select {
			case <-ctx.Done():
			case <-gone:
			}
			if time.Since(since) >= steady {
				retry.Reset()
			} else {
				sleep(ctx, retry.NextBackOff()) // it does not want this node, or two of one identity
			}
			continue
		}
		if len(m.host.Network().Peers()) >= wantNeighbours {
			sleep(ctx, longPause/2+rand.N(longPause))
		}
		m.clearBackoff(b.ID) // the schedule is ours
		if err := m.host.Connect(ctx, b); err != nil && ctx.Err() == nil {
			// People are told once for each time that it is away; a refusal
			// is told where it is noted.
			level := slog.LevelDebug
			if !told && !notMember(err) {
				told, level = true, slog.LevelWarn
			}
			m.log.Log(ctx, level, "bootstrap not reached, trying on", "peer", b.ID, "addrs", b.Addrs, "error", err)
			pause := retry.NextBackOff()
			if notMember(err) {
				pause = longPause
			}
			sleep(ctx, pause)
		}
	}
}

func notMember(err error) bool {
	code := protocol.CodeOf(err)
	return code == protocol.CodeNetwork || code == protocol.CodeForeign
}

// lookAround has keepNeighbours look for neighbours soon.
func (m *Mesh) lookAround() {
	select {
	case m.thin <- struct{}{}:
	default:
	}
}

// prospect is a peer to which a connection is wanted.
type prospect struct {
	addrs []multiaddr.Multiaddr // of an earlier run
	next  time.Time             // when to dial it
	retry *backoff.ExponentialBackOff
	tried int // in vain
}

// keepNeighbours connects to members that it knows from the Book or from
// earlier runs, until there are enough connections.
func (m *Mesh) keepNeighbours(ctx context.Context) {
	prospects := make(map[peer.ID]*prospect)
	for ctx.Err() == nil {
		m.renew(prospects, time.Now())
		wait := restEvery
		if m.dialSome(ctx, prospects) {
			wait = lookEvery
		}
		select {
		case <-ctx.Done():
		case <-m.thin:
			sleep(ctx, 100*time.Millisecond) // for more to come
		case <-time.After(wait):
		}
	}
}

// renew makes prospects those members that are known and not connected.
func (m *Mesh) renew(prospects map[peer.ID]*prospect, now time.Time) {
	wanted := make(map[peer.ID]time.Time) // when to dial whom
	addrs := make(map[peer.ID][]multiaddr.Multiaddr)
	for _, p := range m.book.Providers(now) {
		wanted[p] = now
		if p < m.self {
			// Two nodes that learn of each other at the same time need only
			// one connection: the other one dials first.
			wanted[p] = now.Add(lookEvery)
		}
	}
	for _, r := range m.cfg.Remembered {
		wanted[r.ID], addrs[r.ID] = now, r.Addrs
	}
	for p := range wanted {
		if p == m.self || m.connected(p) {
			delete(wanted, p)
		}
	}
	for p := range prospects {
		if _, ok := wanted[p]; !ok {
			delete(prospects, p)
		}
	}
	for p, next := range wanted {
		if prospects[p] == nil {
			retry := backoff.NewExponentialBackOff()
			retry.InitialInterval, retry.MaxInterval = 2*time.Second, 2*time.Minute
			prospects[p] = &prospect{addrs: addrs[p], next: next, retry: retry}
		}
	}
}

// dialSome dials prospects that are due, in random order, as many as there is
// room for. It reports whether there was room for any.
func (m *Mesh) dialSome(ctx context.Context, prospects map[peer.ID]*prospect) bool {
	room := wantNeighbours - len(m.host.Network().Peers())
	if room <= 0 || len(prospects) == 0 {
		return false
	}
	var due []peer.ID
	for p, pr := range prospects {
		if !time.Now().Before(pr.next) {
			due = append(due, p)
		}
	}
	rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	var group errgroup.Group
	group.SetLimit(dialsAtOnce)
	for _, p := range due[:min(len(due), room)] {
		pr := prospects[p]
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, openTimeout)
			defer cancel()
			if m.connected(p) {
				return nil
			}
			m.host.Peerstore().AddAddrs(p, pr.addrs, peerstore.TempAddrTTL)
			if err := m.reach(ctx, p); err != nil {
				pause := pr.retry.NextBackOff()
				if notMember(err) {
					pause = max(pause, longPause)
				}
				if pr.tried++; pr.tried >= awayAfter {
					m.book.Away(p) // so that nobody's task tries it
				}
				pr.next = time.Now().Add(pause)
			}
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	return true
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
