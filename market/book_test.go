package market_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// start is when the tests begin; sequences count from it.
var start = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

const ttl = time.Minute

// offerAt is an offer made so long after start.
func offerAt(after time.Duration, load *protocol.Load) *protocol.Offer {
	return &protocol.Offer{
		Sequence: uint64(start.Add(after).UnixNano()), TtlMs: uint32(ttl.Milliseconds()),
		MemoryBytes: 1 << 30, OutputBytes: 1 << 30, WallMs: 3_600_000, Gas: 1e12, FileBytes: 1 << 30, Files: 100, ModuleBytes: 64 << 20,
		Speed: 1, Profile: protocol.Profile, Load: load,
	}
}

func TestBookTakesOnlyNews(t *testing.T) {
	type step struct {
		after time.Duration // when it arrives
		made  time.Duration // when it was made, by its provider's clock
		want  bool
	}
	const day = 24 * time.Hour
	cases := []struct {
		name  string
		steps []step
	}{
		{"each newer one", []step{{0, 0, true}, {1, 1, true}, {2, 5, true}}},
		{"not the same twice", []step{{0, 0, true}, {1, 0, false}}},
		{"not an older one after a newer", []step{{0, 10, true}, {1, 9, false}, {2, 11, true}}},
		{"not an older one after the newer has ended", []step{{0, 10, true}, {2 * ttl, 9, false}, {2 * ttl, 10, false}, {2 * ttl, 11, true}}},
		{"one from a clock that is hours behind", []step{{0, -14 * time.Hour, true}, {1, -14*time.Hour + 1, true}}},
		{"one from a clock that is days ahead", []step{{0, 9 * day, true}, {1, 9*day + 1, true}, {2, 1, false}}},
		{"not one that is older than any skew", []step{{0, -day - ttl - 1, false}, {0, -day - ttl, true}}},
		{"not a very old one, however long its provider was silent", []step{{0, 0, true}, {90 * day, 1, false}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := market.NewBook()
			for i, s := range c.steps {
				if got := b.Put(start.Add(s.after), "p", nil, offerAt(s.made, nil), false); got != s.want {
					t.Errorf("step %d: Put = %v, want %v", i, got, s.want)
				}
			}
		})
	}
	for _, sequence := range []uint64{0, math.MaxInt64 + 1, math.MaxUint64} {
		o := offerAt(0, nil)
		o.Sequence = sequence
		if market.NewBook().Put(start, "p", nil, o, false) {
			t.Errorf("sequence %d, which is no time of today, is taken", sequence)
		}
	}
}

func TestBookExpiresOnRead(t *testing.T) {
	b := market.NewBook()
	b.Put(start, "p", nil, offerAt(0, nil), false)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {ttl - 1, true}, {ttl, false}, {ttl - 1, true}} {
		if _, got := b.Get(start.Add(c.after), "p"); got != c.want {
			t.Errorf("after %v: Get = %v, want %v", c.after, got, c.want)
		}
		if got := len(b.All(start.Add(c.after))) == 1; got != c.want {
			t.Errorf("after %v: in All = %v, want %v", c.after, got, c.want)
		}
	}
}

func TestBookLoad(t *testing.T) {
	idle, busy := &protocol.Load{Slots: 4}, &protocol.Load{Slots: 4, Running: 4}
	b := market.NewBook()
	want := func(name string, after time.Duration, load *protocol.Load, at time.Duration) {
		t.Helper()
		e, ok := b.Get(start.Add(after), "p")
		if !ok || e.Load != load || load != nil && !e.LoadAt.Equal(start.Add(at)) {
			t.Errorf("%s: load %v of %v, want %v of %v", name, e.Load, e.LoadAt.Sub(start), load, at)
		}
	}
	b.SetLoad(start, "p", busy)
	if _, ok := b.Get(start, "p"); ok {
		t.Error("a load alone makes a provider")
	}
	b.Put(start, "p", nil, offerAt(0, nil), false)
	want("an offer without load", 0, nil, 0)
	b.SetLoad(start.Add(2), "p", busy)
	want("a reply's load", 2, busy, 2)
	b.SetLoad(start.Add(1), "p", idle)
	want("a load that is older", 3, busy, 2)
	b.SetLoad(start.Add(3), "p", nil)
	want("no load", 3, busy, 2)
	b.Put(start.Add(4), "p", nil, offerAt(4, nil), false)
	want("a newer capability without load", 4, busy, 2)
	b.Put(start.Add(5), "p", nil, offerAt(5, idle), false)
	want("a newer offer with load", 5, idle, 5)
	b.Put(start.Add(6), "p", nil, offerAt(4, busy), false)
	want("an older offer", 6, idle, 5)
	b.SetLoad(start.Add(2*ttl), "p", busy)
	want("a load after the offer has ended", 7, idle, 5)
	b.Put(start.Add(3*ttl), "p", nil, offerAt(3*ttl, nil), false)
	want("a capability long after", 3*ttl, nil, 0)
}

func TestBookHidesWhoIsAway(t *testing.T) {
	b := market.NewBook()
	there := func(what string, want bool) {
		t.Helper()
		_, got := b.Get(start, "p")
		if all := len(b.All(start)) > 0; got != want || all != want {
			t.Fatalf("%s: Get tells %v and All %v, want %v", what, got, all, want)
		}
		if known := b.Providers(start); !slices.Equal(known, []peer.ID{"p"}) {
			t.Fatalf("%s: the providers are %q", what, known)
		}
	}
	b.Put(start, "p", nil, offerAt(5, nil), false)
	b.Away("p")
	b.Away("stranger")
	there("away", false)
	if b.Put(start, "p", nil, offerAt(5, nil), false) {
		t.Error("the same offer is taken again")
	}
	there("after a replay", false)
	b.Back("p")
	b.Back("stranger")
	there("back", true)
	b.Away("p")
	if !b.Put(start, "p", nil, offerAt(6, nil), false) {
		t.Error("a newer offer is refused")
	}
	there("with a newer offer", true)
}

func TestBookIsBounded(t *testing.T) {
	b := market.NewBook()
	name := func(i int) peer.ID { return peer.ID(fmt.Sprintf("peer %06d", i)) }
	for i := range protocol.MaxBookOffers {
		if !b.Put(start, name(i), nil, offerAt(0, nil), false) {
			t.Fatalf("provider %d is refused", i)
		}
	}
	if b.Put(start.Add(1), "one more", nil, offerAt(0, nil), false) {
		t.Error("more providers than there is room for")
	}
	if !b.Put(start.Add(1), name(7), nil, offerAt(1, nil), false) {
		t.Error("a full book refuses news of a provider that it holds")
	}
	if !b.Put(start.Add(ttl), "one more", nil, offerAt(0, nil), false) {
		t.Error("expired offers do not make room")
	}
	if got := len(b.All(start.Add(ttl))); got != 2 {
		t.Errorf("%d valid offers, want 2: the refreshed one and the new one", got)
	}
}

func TestProvidersThatAreConnectedAreNotKeptOut(t *testing.T) {
	b := market.NewBook()
	name := func(i int) peer.ID { return peer.ID(fmt.Sprintf("peer %06d", i)) }
	b.Put(start, "real and early", nil, offerAt(0, nil), true)
	for i := range protocol.MaxBookOffers - 1 {
		b.Put(start.Add(1+time.Duration(i)), name(i), nil, offerAt(0, nil), false)
	}
	end := start.Add(protocol.MaxBookOffers)
	if b.Put(end, "made up", nil, offerAt(0, nil), false) {
		t.Error("a full book takes hearsay")
	}
	if !b.Put(end, "real", nil, offerAt(0, nil), true) {
		t.Error("invented providers keep out a connected one")
	}
	for p, want := range map[peer.ID]bool{"real": true, "real and early": true, name(0): false, name(1): true} {
		if _, got := b.Get(end, p); got != want {
			t.Errorf("%s is there: %v", p, got)
		}
	}
	if b.Put(end, name(0), nil, offerAt(0, nil), true) {
		t.Error("what was displaced comes back without news")
	}
	if got := len(b.All(end)); got != protocol.MaxBookOffers {
		t.Errorf("%d offers", got)
	}
}

func TestBookForgetsThoseSilentForLongest(t *testing.T) {
	const remembered = 4 * protocol.MaxBookOffers
	b := market.NewBook()
	stranger := func(i int) peer.ID { return peer.ID(fmt.Sprintf("stranger %06d", i)) }
	b.Put(start, "steady", nil, offerAt(1, nil), false)
	// More strangers than are remembered pass by, each too short-lived to fill
	// the book, and one provider goes on speaking.
	const more = 100
	for i := range remembered + more {
		now := start.Add(time.Duration(i) * ttl / 1000)
		if !b.Put(now, stranger(i), nil, offerAt(0, nil), false) {
			t.Fatalf("stranger %d is refused", i)
		}
		if i%1000 == 0 {
			b.Put(now, "steady", nil, offerAt(time.Duration(2+i), nil), false)
		}
	}
	end := start.Add((remembered + more) * ttl / 1000)
	if b.Put(end, "steady", nil, offerAt(1, nil), false) {
		t.Error("an old offer of a provider that was heard a moment ago is taken")
	}
	if b.Put(end, stranger(remembered+more-1), nil, offerAt(0, nil), false) {
		t.Error("the last stranger is forgotten already")
	}
	if !b.Put(end, stranger(0), nil, offerAt(0, nil), false) {
		t.Error("the first stranger is still remembered: memory is not bounded")
	}
}

func TestBookConcurrently(t *testing.T) {
	b := market.NewBook()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				p := peer.ID(rune('a' + (i+w)%7))
				now := start.Add(time.Duration(i))
				b.Put(now, p, nil, offerAt(time.Duration(i), nil), false)
				b.SetLoad(now, p, &protocol.Load{Slots: 1})
				b.Get(now, p)
				b.All(now)
				if i%50 == 0 {
					b.Away(p)
				}
				if i%70 == 0 {
					b.Back(p)
				}
			}
		})
	}
	wg.Wait()
	if got := len(b.All(start)); got > 7 {
		t.Errorf("%d providers of 7", got)
	}
}

// FuzzBook compares the Book with a plain map over arbitrary operations.
func FuzzBook(f *testing.F) {
	f.Add([]byte{0, 1, 10, 0, 0, 1, 10, 0})
	f.Add([]byte{0, 1, 10, 1, 1, 0, 0, 200, 2, 1, 0, 0, 0, 1, 9, 0, 3, 1, 0, 0, 0, 1, 11, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		type known struct {
			entry   market.Entry
			present bool
			away    bool
			newest  uint64
		}
		b, model, now := market.NewBook(), map[peer.ID]*known{}, start
		ops = ops[:min(len(ops), 800)] // each is followed by a look at all
		for len(ops) >= 4 {
			op, p, x, y := ops[0]%4, peer.ID(rune('a'+ops[1]%5)), ops[2], ops[3]
			ops = ops[4:]
			k := model[p]
			if k == nil {
				k = &known{}
				model[p] = k
			}
			valid := k.present && now.Before(k.entry.Received.Add(ttl))
			switch op {
			case 0:
				o := offerAt(time.Duration(x)*time.Second, nil)
				if y%2 == 1 {
					o.Load = &protocol.Load{Slots: uint32(y)}
				}
				news := o.Sequence > k.newest
				if got := b.Put(now, p, nil, o, false); got != news {
					t.Fatalf("Put = %v, want %v", got, news)
				}
				if !news {
					break
				}
				e := market.Entry{Provider: p, Offer: o, Received: now}
				switch {
				case o.Load != nil:
					e.Load, e.LoadAt = o.Load, now
				case valid:
					e.Load, e.LoadAt = k.entry.Load, k.entry.LoadAt
				}
				*k = known{e, true, false, o.Sequence}
			case 1:
				now = now.Add(time.Duration(y) * time.Second / 4)
			case 2:
				l := &protocol.Load{Slots: uint32(y)}
				b.SetLoad(now, p, l)
				if valid {
					k.entry.Load, k.entry.LoadAt = l, now
				}
			case 3:
				if k.away = y%2 == 0; k.away {
					b.Away(p)
				} else {
					b.Back(p)
				}
			}
			var want []market.Entry
			for _, k := range model {
				if k.present && !k.away && now.Before(k.entry.Received.Add(ttl)) {
					want = append(want, k.entry)
				}
			}
			slices.SortFunc(want, func(a, b market.Entry) int { return strings.Compare(string(a.Provider), string(b.Provider)) })
			if got := b.All(now); !slices.Equal(got, want) {
				t.Fatalf("All = %v, want %v", got, want)
			}
		}
	})
}
