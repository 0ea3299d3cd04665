package requester

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

var testNetwork = protocol.NetworkSecret{1, 2, 3}.ID()

// fakeProvider speaks a provider's side of the protocol over pipes; what it
// does with a Run is up to the test.
type fakeProvider struct {
	id     peer.ID
	key    crypto.PrivKey
	run    func(x *exchangeWithFake)
	load   *protocol.Load
	speed  float64
	labels map[string]string
	mu     sync.Mutex
	frozen bool                                  // neither beats nor answers
	tells  bool                                  // its beats name what it has been asked to run, as honest ones do
	stuck  bool                                  // what it runs uses no gas
	queues bool                                  // what it is to run waits
	beats  func(nonce []byte) *protocol.Progress // what they tell instead; or nil
	first  map[string]time.Time                  // when it told first of what it runs, by nonce
	nonces [][]byte
	asked  int // Runs seen

	claimed func(x *exchangeWithFake) // what it does with a Claim of what it has run; nil: it knows of nothing
	vouches func(peer string) bool    // nil: it does not answer
	asks    map[string]*protocol.Run  // by nonce
	claims  int                       // seen
	settled [][]byte                  // nonces

	countersigned int // batches
}

func newFakeProvider(t *testing.T, run func(*exchangeWithFake)) *fakeProvider {
	t.Helper()
	key, pub, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeProvider{id: id, key: key, run: run, load: &protocol.Load{Slots: 2}, speed: 1}
}

func (f *fakeProvider) freeze() {
	f.mu.Lock()
	f.frozen = true
	f.mu.Unlock()
}

func (f *fakeProvider) thaw() {
	f.mu.Lock()
	f.frozen = false
	f.mu.Unlock()
}

func (f *fakeProvider) isFrozen() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.frozen
}

func (f *fakeProvider) loadNow() *protocol.Load {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.load
}

func (f *fakeProvider) setLoad(l *protocol.Load) {
	f.mu.Lock()
	f.load = l
	f.mu.Unlock()
}

func (f *fakeProvider) runs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// exchangeWithFake is one Run that a fake provider was asked for.
type exchangeWithFake struct {
	*fakeProvider
	world *world
	conn  *protocol.Conn
	id    uint64
	ask   *protocol.Run
	claim *protocol.Claim // or nil
	gone  <-chan struct{} // closed when the stream ends or the Run is withdrawn
}

func (x *exchangeWithFake) reply(r *protocol.Reply) {
	r.Id = x.id
	if !x.isFrozen() {
		_ = x.conn.Send(r)
	}
}

func (x *exchangeWithFake) lease() {
	x.reply(&protocol.Reply{Body: &protocol.Reply_Lease{Lease: &protocol.Lease{Load: x.loadNow()}}})
}

func (x *exchangeWithFake) refuse(code protocol.Code) {
	x.reply(&protocol.Reply{Body: &protocol.Reply_Refusal{Refusal: &protocol.Refusal{Code: string(code), Message: "no", Load: x.loadNow()}}})
}

// outcome is an honest one.
func (x *exchangeWithFake) outcome(exit int32, stdout string) *protocol.Outcome {
	out, empty := protocol.NewBlob([]byte(stdout)), protocol.NewBlob(nil)
	out.Inline = nil
	spec := protocol.DigestOf(x.ask.Spec)
	o := &protocol.Outcome{
		Load:   x.loadNow(),
		Stdout: []byte(stdout),
		Result: &protocol.Result{ExitCode: exit, Stdout: out, Stderr: empty, WallUs: 1000, Gas: 500},
		Receipt: &protocol.Receipt{
			Requester: x.world.self.String(), Provider: x.fakeProvider.id.String(), Nonce: x.ask.Nonce,
			SpecDigest: spec[:], Gas: 500,
		},
	}
	digested(o, nil)
	return o
}

// digested puts the digest of what the outcome is to mean, with files, in its
// places.
func digested(o *protocol.Outcome, files []*protocol.File) {
	o.Result.Files = files
	digest := protocol.ResultDigest(o.Result, protocol.Profile)
	o.Result.Files = nil
	o.Result.Digest, o.Receipt.ResultDigest = digest[:], digest[:]
}

func (x *exchangeWithFake) finish(o *protocol.Outcome) {
	x.reply(&protocol.Reply{Body: &protocol.Reply_Outcome{Outcome: o}})
}

// stream opens the output stream of the replica.
func (x *exchangeWithFake) stream() *protocol.Conn {
	ours, theirs := net.Pipe()
	conn := protocol.NewConn(theirs, x.fakeProvider.id, protocol.MaxOutputMessage)
	x.world.wg.Go(func() { x.world.requester.ServeOutput(context.Background(), conn) })
	out := protocol.NewConn(ours, x.world.self, protocol.MaxOutputMessage)
	_ = out.Send(&protocol.OutputHeader{Nonce: x.ask.Nonce})
	return out
}

func write(conn *protocol.Conn, fd uint32, s string) {
	_ = conn.Send(&protocol.OutputChunk{Fd: fd, Data: []byte(s)})
}

// serveTasks is the provider's end of a task stream.
func (f *fakeProvider) serveTasks(w *world, conn *protocol.Conn) {
	defer conn.Reset()
	gone := make(chan struct{})
	defer close(gone)
	withdrawn := make(map[uint64]chan struct{})
	for {
		ask := new(protocol.Ask)
		if conn.Recv(ask) != nil {
			return
		}
		switch body := ask.Body.(type) {
		case *protocol.Ask_Probe:
			if !f.isFrozen() {
				_ = conn.Send(&protocol.Reply{Id: ask.Id, Body: &protocol.Reply_Load{Load: f.loadNow()}})
			}
		case *protocol.Ask_Settle:
			f.mu.Lock()
			f.settled = append(f.settled, body.Settle.Nonces...)
			f.mu.Unlock()
		case *protocol.Ask_Countersigned:
			w.mu.Lock()
			f.countersigned++
			w.mu.Unlock()
		case *protocol.Ask_Vouch:
			if f.vouches != nil && !f.isFrozen() {
				_ = conn.Send(&protocol.Reply{Id: ask.Id, Body: &protocol.Reply_Vouched{Vouched: &protocol.Vouched{Reached: f.vouches(body.Vouch.Peer)}}})
			}
		case *protocol.Ask_Claim:
			x := &exchangeWithFake{fakeProvider: f, world: w, conn: conn, id: ask.Id, claim: body.Claim, gone: gone}
			f.mu.Lock()
			f.claims++
			x.ask = f.asks[string(body.Claim.Nonce)]
			f.mu.Unlock()
			if f.claimed == nil || x.ask == nil {
				x.refuse(protocol.CodeNotFound)
				continue
			}
			w.wg.Go(func() {
				for f.isFrozen() { // it reads what has come when it thaws
					select {
					case <-gone:
						return
					case <-time.After(100 * time.Millisecond):
					}
				}
				f.claimed(x)
			})
		case *protocol.Ask_Cancel:
			if ch := withdrawn[ask.Id]; ch != nil {
				close(ch)
				delete(withdrawn, ask.Id)
			}
		case *protocol.Ask_Run:
			f.mu.Lock()
			f.asked++
			f.nonces = append(f.nonces, body.Run.Nonce)
			if f.asks == nil {
				f.asks = make(map[string]*protocol.Run)
			}
			f.asks[string(body.Run.Nonce)] = body.Run
			f.mu.Unlock()
			ch := make(chan struct{})
			withdrawn[ask.Id] = ch
			over := make(chan struct{})
			w.wg.Go(func() {
				defer close(over)
				select {
				case <-ch:
				case <-gone:
				}
			})
			x := &exchangeWithFake{fakeProvider: f, world: w, conn: conn, id: ask.Id, ask: body.Run, gone: over}
			w.wg.Go(func() { f.run(x) })
		}
	}
}

func (f *fakeProvider) serveLiveness(w *world, conn *protocol.Conn) {
	defer conn.Reset()
	closed := make(chan struct{})
	w.wg.Go(func() {
		defer close(closed)
		for conn.Recv(new(protocol.Beat)) == nil {
		}
	})
	for {
		if !f.isFrozen() {
			_ = conn.Send(f.beat())
		}
		select {
		case <-closed:
			return
		case <-time.After(protocol.BeatEvery):
		}
	}
}

func (f *fakeProvider) beat() *protocol.Beat {
	f.mu.Lock()
	defer f.mu.Unlock()
	beat := &protocol.Beat{Padding: make([]byte, protocol.MinBeat)}
	if f.first == nil {
		f.first = make(map[string]time.Time)
	}
	for _, nonce := range f.nonces {
		if f.first[string(nonce)].IsZero() {
			f.first[string(nonce)] = time.Now()
		}
		if f.beats != nil {
			beat.Progress = append(beat.Progress, f.beats(nonce))
		} else if f.tells {
			one := &protocol.Progress{Nonce: nonce, State: protocol.StateRunning}
			if f.queues {
				one.State = protocol.StateQueued
			}
			if !f.stuck {
				one.Gas = uint64(time.Since(f.first[string(nonce)])) // 1e9 a second
			}
			beat.Progress = append(beat.Progress, one)
		}
	}
	return beat
}

// world is a requester among fake providers.
type world struct {
	t         *testing.T
	self      peer.ID
	key       crypto.PrivKey
	requester *Requester
	journal   *memoryJournal
	home      string
	book      *market.Book
	providers map[peer.ID]*fakeProvider
	store     *store.Store
	module    *protocol.Blob
	wg        sync.WaitGroup

	discovering func(context.Context) // what Discover does; nil: nothing

	mu      sync.Mutex
	broken  map[peer.ID]bool // cannot be dialled
	blocked []peer.ID
	opened  map[peer.ID][]*protocol.Conn

	received map[peer.ID]uint64 // gas
}

// Received implements [Ledger].
func (w *world) Received(p peer.ID, gas uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.received[p] += gas
}

// inWorld runs a test in virtual time.
func inWorld(t *testing.T, providers []*fakeProvider, f func(t *testing.T, w *world)) {
	t.Helper()
	dir := t.TempDir()
	self := newFakeProvider(t, nil)
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(dir, store.Config{KeepBlobs: 16 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w := &world{
			t: t, self: self.id, key: self.key, received: make(map[peer.ID]uint64), book: market.NewBook(), store: s, journal: newMemoryJournal(), home: dir,
			providers: make(map[peer.ID]*fakeProvider), broken: make(map[peer.ID]bool), opened: make(map[peer.ID][]*protocol.Conn),
		}
		digest, size, err := s.Blobs().Put(strings.NewReader("\x00asm a module"), 100)
		if err != nil {
			t.Fatal(err)
		}
		w.module = &protocol.Blob{Digest: digest[:], Size: uint64(size)}
		for _, p := range providers {
			w.offer(p)
		}
		w.start()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.requester.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			w.wg.Wait()
		}()
		f(t, w)
	})
}

func (w *world) start() {
	r, err := New(Config{
		Self: w.self, Key: w.key, Ledger: w, NetworkID: testNetwork, Book: w.book, Network: w, Journal: w.journal,
		Blobs: w.store.Blobs(), Standings: w.store, Blocked: w.isBlocked, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.requester = r
}

// offer puts a provider into the Book.
func (w *world) offer(p *fakeProvider) {
	w.mu.Lock()
	w.providers[p.id] = p
	w.mu.Unlock()
	o := &protocol.Offer{
		Provider: p.id.String(), Sequence: uint64(time.Now().UnixNano()), TtlMs: 600_000,
		MemoryBytes: 1 << 30, OutputBytes: protocol.MaxOutput, WallMs: uint64(protocol.MaxWall.Milliseconds()),
		Gas: protocol.MaxGas, FileBytes: protocol.MaxFileBytes, Files: protocol.MaxFiles, ModuleBytes: protocol.MaxModule,
		Speed: p.speed, Profile: protocol.Profile, Load: p.load, Labels: p.labels,
	}
	so, err := protocol.SignOffer(testNetwork, p.key, o)
	if err != nil {
		w.t.Fatal(err)
	}
	if !w.book.Put(time.Now(), p.id, so, o, true) {
		w.t.Fatal("the Book did not take the offer")
	}
}

func (w *world) Open(_ context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.providers[to]
	if p == nil || w.broken[to] {
		return nil, errors.New("no route")
	}
	ours, theirs := net.Pipe()
	there := protocol.NewConn(theirs, w.self, kind.MaxMessage())
	w.opened[to] = append(w.opened[to], there)
	switch kind {
	case protocol.TaskStream:
		w.wg.Go(func() { p.serveTasks(w, there) })
	case protocol.LivenessStream:
		w.wg.Go(func() { p.serveLiveness(w, there) })
	}
	return protocol.NewConn(ours, to, kind.MaxMessage()), nil
}

// kill cuts every connection to a provider, for good.
func (w *world) kill(p *fakeProvider) {
	p.freeze()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[p.id] = true
	for _, conn := range w.opened[p.id] {
		conn.Reset()
	}
}

func (w *world) RTT(peer.ID) (time.Duration, bool) { return time.Millisecond, true }
func (w *world) Vicinity(peer.ID) string           { return "" }
func (w *world) Drop(p peer.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.opened[p] {
		conn.Reset()
	}
}

func (w *world) Discover(ctx context.Context, _ uint64) error {
	if w.discovering != nil {
		w.discovering(ctx)
	}
	return nil
}

// spec is a task's that nothing inspects.
func (w *world) spec() *protocol.Spec {
	return &protocol.Spec{
		Module: w.module, Args: []string{"prog"}, Stdin: protocol.NewBlob(nil), Profile: protocol.Profile,
		Limits: &protocol.Limits{MemoryBytes: 1 << 20, OutputBytes: 1 << 20, WallMs: 60_000, Gas: 1e12, FileBytes: 1 << 20, Files: 10},
	}
}

// do runs a task to its end.
func (w *world) do(terms *protocol.Terms) *protocol.Task {
	w.t.Helper()
	if terms.Where == protocol.WhereAny {
		terms.Where = protocol.WhereRemote
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // or it never ends
	defer cancel()
	task, err := w.requester.Do(ctx, w.spec(), terms, "prog.wasm")
	if err != nil {
		w.t.Fatal(err)
	}
	return task
}

// memoryJournal is a Journal that forgets when the process ends.
type memoryJournal struct {
	mu    sync.Mutex
	tasks map[string]*protocol.Task
	order []string
	parts map[string]*protocol.Task
}

func newMemoryJournal() *memoryJournal {
	return &memoryJournal{tasks: make(map[string]*protocol.Task), parts: make(map[string]*protocol.Task)}
}

func (j *memoryJournal) SaveTask(t *protocol.Task) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.tasks[t.Id] == nil {
		j.order = append(j.order, t.Id)
	}
	j.tasks[t.Id] = proto.CloneOf(t)
	return nil
}

func (j *memoryJournal) SaveTaskNow(_ context.Context, t *protocol.Task) error { return j.SaveTask(t) }

func (j *memoryJournal) SavePart(t *protocol.Task) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.parts[t.Id] = proto.CloneOf(t)
	return nil
}

func (j *memoryJournal) part(id protocol.TaskID) *protocol.Task {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.parts[string(id)]
}

func (j *memoryJournal) Sync(context.Context) error { return nil }

func (j *memoryJournal) Task(prefix string) (*protocol.Task, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, t := range j.tasks {
		if strings.HasPrefix(id, prefix) {
			return proto.CloneOf(t), nil
		}
	}
	return nil, protocol.Errorf(protocol.CodeNotFound, "no task %s", prefix)
}

func (j *memoryJournal) Tasks(limit int, _ protocol.TaskID) ([]*protocol.Task, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []*protocol.Task
	for _, id := range slices.Backward(j.order) {
		if len(list) < limit {
			list = append(list, proto.CloneOf(j.tasks[id]))
		}
	}
	return list, nil
}

func (j *memoryJournal) Unfinished() ([]*protocol.Task, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []*protocol.Task
	for _, t := range j.tasks {
		if t.Result == nil {
			list = append(list, proto.CloneOf(t))
		}
	}
	return list, nil
}

func (j *memoryJournal) SaveReceipts(peer.ID, *protocol.ReceiptBatch, []*protocol.Receipt) error {
	return nil
}

// text reads a whole output of a task.
func (w *world) text(task *protocol.Task, fd int) string {
	w.t.Helper()
	rc, err := w.requester.Output(protocol.TaskID(task.Id), fd)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// setBroken decides whether a provider can be dialled.
func (w *world) setBroken(p *fakeProvider, broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[p.id] = broken
}

// revive undoes kill.
func (w *world) revive(p *fakeProvider) {
	p.mu.Lock()
	p.frozen = false
	p.mu.Unlock()
	w.mu.Lock()
	w.broken[p.id] = false
	w.mu.Unlock()
	w.offer(p)
}
