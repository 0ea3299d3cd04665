package requester

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

var (
	worlds     = flag.Int("worlds", 60, "how many random worlds to try")
	firstWorld = flag.Uint64("world", 0, "the seed of the first; 0: any")
)

// TestRandomWorlds: whatever voters do, be it honest ones that are stopped, cut
// off or busy, or bad ones that lie and break off, each task comes to its end,
// and where nobody lies nobody is found wrong.
func TestRandomWorlds(t *testing.T) {
	first := *firstWorld
	if first == 0 {
		first = uint64(rand.Uint32())
	}
	for i := range uint64(*worlds) {
		t.Run(fmt.Sprint(first+i), func(t *testing.T) { (&randomWorld{rng: rand.New(rand.NewPCG(first+i, 0))}).try(t) })
	}
}

// randomWorld draws what happens in a world.
type randomWorld struct {
	mu  sync.Mutex
	rng *rand.Rand

	busy int // of 10 Runs so many are refused
}

func (r *randomWorld) below(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.IntN(n)
}

// span is up to one of the lengths given, and no two are equal that others add
// up to: offers are told apart by their time.
func (r *randomWorld) span(longest ...time.Duration) time.Duration {
	return time.Duration(r.below(int(longest[r.below(len(longest))])))
}

func (r *randomWorld) try(t *testing.T) {
	r.busy = r.below(3)
	var good, all []*fakeProvider
	for range 2 + r.below(5) {
		p := r.voter(t, "right\n")
		p.speed = float64(1 + r.below(4))
		good, all = append(good, p), append(all, p)
	}
	bad := r.below(3)
	for range bad {
		p := r.voter(t, "wrong\n")
		p.speed = 8
		p.claimed = r.tricks(p)
		all = append(all, p)
	}
	terms := verified()
	if r.below(2) == 0 {
		terms = quorumOfTwo()
	}
	inWorld(t, all, func(t *testing.T, w *world) {
		if r.below(2) == 0 { // they are believed
			for range 1000 {
				for _, p := range all {
					w.requester.trust.agreed(p.id)
				}
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		defer keepOffering(w, all...)()
		for _, p := range all {
			if r.below(2) == 0 {
				w.wg.Go(func() { r.disturb(ctx, w, p) })
			}
		}
		start := time.Now()
		task := w.do(terms)
		if took := time.Since(start); took > 20*time.Minute {
			t.Errorf("it took %s", took)
		}
		if bad == 0 && task.Result.Code == "" && w.text(task, 1) != "right\n" {
			t.Errorf("the result is %q", w.text(task, 1))
		}
		for _, p := range good {
			if why := w.requester.Barred(p.id); bad == 0 && why != "" {
				t.Errorf("an honest provider is barred: %s", why)
			}
		}
		if t.Failed() {
			t.Logf("%s: %s, %s", task.Result.Code, task.Result.Message, states(task))
			for _, a := range task.Replicas[:min(len(task.Replicas), 12)] {
				t.Logf("%s: %s", a.State.Word(), a.Reason)
			}
		}
	})
}

// voter is one that keeps what it has run, and answers claims of it.
func (r *randomWorld) voter(t *testing.T, says string) *fakeProvider {
	p := calmVoter(t, says)
	var mu sync.Mutex
	ready := make(map[string]time.Time) // by nonce
	at := func(nonce []byte) time.Time {
		mu.Lock()
		defer mu.Unlock()
		return ready[string(nonce)]
	}
	commit := func(e *exchangeWithFake) {
		wait := time.Until(at(e.ask.Nonce))
		for {
			select {
			case <-e.gone:
				return
			case <-time.After(wait):
			}
			if wait = 50 * time.Millisecond; !e.isFrozen() {
				break
			}
		}
		e.reply(commitment(e.fakeProvider.id, e.ask.Nonce, e.outcome(0, says).Result.Digest))
	}
	p.run = func(e *exchangeWithFake) {
		if r.below(10) < r.busy {
			e.refuse(protocol.CodeBusy)
			return
		}
		mu.Lock()
		ready[string(e.ask.Nonce)] = time.Now().Add(r.span(time.Second, 10*time.Second, time.Minute))
		mu.Unlock()
		e.lease()
		commit(e)
	}
	reveal := p.claimed
	p.claimed = func(e *exchangeWithFake) {
		switch ends := at(e.ask.Nonce); {
		case ends.IsZero():
			e.refuse(protocol.CodeNotFound)
		case time.Now().Before(ends):
			e.lease()
			commit(e)
		default:
			reveal(e)
		}
	}
	return p
}

func commitment(p peer.ID, nonce, result []byte) *protocol.Reply {
	d := protocol.CommitmentOf(protocol.Digest(result), p, protocol.Nonce(nonce))
	return &protocol.Reply{Body: &protocol.Reply_Commitment{Commitment: &protocol.Commitment{Digest: d[:]}}}
}

// tricks are what a bad voter may do when it is claimed.
func (r *randomWorld) tricks(p *fakeProvider) func(*exchangeWithFake) {
	reveal := p.claimed
	return func(e *exchangeWithFake) {
		switch r.below(8) {
		case 0:
			e.refuse(protocol.CodeBusy)
		case 1:
			e.reply(commitment(p.id, e.ask.Nonce, e.outcome(0, "right\n").Result.Digest))
		case 2:
			e.world.cut(p)
		case 3:
			e.reply(&protocol.Reply{})
		case 4:
			reveals("right\n")(e)
		case 5:
			reveal(e)
			e.lease()
		default:
			reveal(e)
		}
	}
}

// disturb cuts a provider off, or stops it for a while, again and again.
func (r *randomWorld) disturb(ctx context.Context, w *world, p *fakeProvider) {
	pause := func(d time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(d):
			return true
		}
	}
	for pause(r.span(20 * time.Second)) {
		if r.below(2) == 0 {
			w.cut(p)
			continue
		}
		p.freeze()
		w.setBroken(p, true)
		pause(r.span(2*time.Second, 20*time.Second, 90*time.Second))
		w.revive(p)
	}
}
