package swarm

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/bitswap/server"
)

// restAfter is how long the server is kept for the next want, or for leaves that
// are on their way.
const restAfter = 2 * time.Minute

// engine is bitswap's server. It runs while it is of use: it wakes ten times a
// second whether there is anything to serve or not, which would be a third of all
// that an idle node does.
type engine struct {
	x    *Exchange
	base time.Time
	used atomic.Int64   // how long after base it was of use last, in ns
	rest sync.WaitGroup // for the timer

	mu     sync.RWMutex // read-locked while it takes something
	server *server.Server
	timer  *time.Timer // ends the server
	closed bool
}

// note tells that the server is of use.
func (e *engine) note() { e.used.Store(int64(time.Since(e.base))) }

// use has the server take something. It is started if it does not run.
func (e *engine) use(take func(*server.Server)) {
	e.note() // before the lock, for stop to see it
	e.mu.RLock()
	if e.server == nil {
		e.mu.RUnlock()
		e.start()
		e.mu.RLock()
	}
	defer e.mu.RUnlock()
	if e.server != nil {
		take(e.server)
	}
}

// tell is use for what is of no interest to a server that does not run.
func (e *engine) tell(take func(*server.Server)) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.server != nil {
		take(e.server)
	}
}

func (e *engine) start() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.server != nil {
		return
	}
	x := e.x
	e.server = server.New(context.Background(), &wire{x.net, x}, (*view)(x),
		server.WithPeerBlockRequestFilter(x.mayRead),
		server.MaxQueuedWantlistEntriesPerPeer(2*maxWants),
		server.MaxOutstandingBytesPerPeer(outstanding),
		server.MaxCidSize(64),
		server.EngineBlockstoreWorkerCount(workers),
		server.EngineTaskWorkerCount(senders),
		server.TaskWorkerCount(senders),
		server.WithScoreLedger(noScores{}),
	)
	e.rest.Add(1)
	e.timer = time.AfterFunc(restAfter, e.stop)
}

// stop ends the server unless it has been of use.
func (e *engine) stop() {
	e.mu.Lock()
	if idle := time.Since(e.base) - time.Duration(e.used.Load()); !e.closed && idle < restAfter {
		e.timer.Reset(restAfter - max(0, idle))
		e.mu.Unlock()
		return
	}
	defer e.rest.Done()
	ended := e.server
	e.server = nil
	e.mu.Unlock() // its workers may be telling
	if ended != nil {
		ended.Close()
	}
}

// close ends the server for good.
func (e *engine) close() {
	e.mu.Lock()
	e.closed = true
	ended, pending := e.server, e.timer != nil && e.timer.Stop()
	e.server = nil
	e.mu.Unlock()
	if ended != nil {
		ended.Close()
	}
	if pending {
		e.rest.Done()
	}
	e.rest.Wait()
}
