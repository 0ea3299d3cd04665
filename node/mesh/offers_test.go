package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-datastore"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// author is a provider whose offers are judged.
type author struct {
	key crypto.PrivKey
	id  peer.ID
}

func newAuthor(t testing.TB) author {
	t.Helper()
	key := newKey(t)
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return author{key, id}
}

// wire is the author's offer of this sequence as it travels.
func (a author) wire(t testing.TB, sequence time.Time, edits ...func(*protocol.Offer)) []byte {
	t.Helper()
	o := newOffer(a.id, uint64(sequence.UnixNano()))
	for _, edit := range edits {
		edit(o)
	}
	return marshal(t, sign(t, a.key, o))
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unmarshal(t testing.TB, b []byte) *protocol.SignedOffer {
	t.Helper()
	so := new(protocol.SignedOffer)
	if err := proto.Unmarshal(b, so); err != nil {
		t.Fatal(err)
	}
	return so
}

func newJudge(t testing.TB, self peer.ID) *gossip {
	t.Helper()
	passed, err := lru.New[peer.ID, uint64](16)
	if err != nil {
		t.Fatal(err)
	}
	return &gossip{self: self, net: testSecret.ID(), book: market.NewBook(), connected: func(peer.ID) bool { return false }, news: func() {}, passed: passed}
}

var verdicts = map[pubsub.ValidationResult]string{
	pubsub.ValidationAccept: "accept", pubsub.ValidationReject: "reject", pubsub.ValidationIgnore: "ignore",
}

func TestJudge(t *testing.T) {
	now := time.Now()
	alice, mallory := newAuthor(t), newAuthor(t)
	early, late := alice.wire(t, now), alice.wire(t, now.Add(time.Second))
	foreign := protocol.NetworkSecret{9}.ID()
	ofForeign, err := protocol.SignOffer(foreign, alice.key, newOffer(alice.id, 1))
	if err != nil {
		t.Fatal(err)
	}
	tampered := unmarshal(t, early)
	tampered.Offer = bytes.Replace(tampered.Offer, []byte(alice.id.String()), []byte(mallory.id.String()), 1)
	oversized := unmarshal(t, early)
	oversized.Signature = make([]byte, protocol.MaxOffer)
	impersonated := sign(t, mallory.key, newOffer(alice.id, uint64(now.UnixNano())))

	for _, test := range []struct {
		name   string
		before [][]byte // judged first, from alice
		pulled []byte   // in the Book by a pull
		from   peer.ID
		data   []byte
		want   pubsub.ValidationResult
		inBook bool // an offer of alice, afterwards
	}{
		{name: "a first offer", from: alice.id, data: early, want: pubsub.ValidationAccept, inBook: true},
		{name: "a newer offer", before: [][]byte{early}, from: alice.id, data: late, want: pubsub.ValidationAccept, inBook: true},
		{name: "the same again", before: [][]byte{early}, from: alice.id, data: early, want: pubsub.ValidationIgnore, inBook: true},
		{name: "an older offer", before: [][]byte{late}, from: alice.id, data: early, want: pubsub.ValidationIgnore, inBook: true},
		{name: "one known from a pull is passed on", pulled: early, from: alice.id, data: early, want: pubsub.ValidationAccept, inBook: true},
		{name: "an older one than was pulled", pulled: late, from: alice.id, data: early, want: pubsub.ValidationIgnore, inBook: true},
		{name: "one from days ago", from: alice.id, data: alice.wire(t, now.Add(-72*time.Hour)), want: pubsub.ValidationIgnore},
		{name: "replayed by another member", from: mallory.id, data: early, want: pubsub.ValidationReject},
		{name: "signed by another", from: alice.id, data: marshal(t, impersonated), want: pubsub.ValidationReject},
		{name: "signed by another, under its own name", from: mallory.id, data: marshal(t, impersonated), want: pubsub.ValidationReject},
		{name: "altered after signing", from: mallory.id, data: marshal(t, tampered), want: pubsub.ValidationReject},
		{name: "of another network", from: alice.id, data: marshal(t, ofForeign), want: pubsub.ValidationReject},
		{name: "oversized", from: alice.id, data: marshal(t, oversized), want: pubsub.ValidationReject},
		{name: "no offer at all", from: alice.id, data: []byte("hello"), want: pubsub.ValidationReject},
		{name: "empty", from: alice.id, data: nil, want: pubsub.ValidationReject},
		{name: "valid for a year", from: alice.id, data: alice.wire(t, now, func(o *protocol.Offer) { o.TtlMs = 1 << 31 }), want: pubsub.ValidationReject},
		{name: "impossible speed", from: alice.id, data: alice.wire(t, now, func(o *protocol.Offer) { o.Speed = -1 }), want: pubsub.ValidationReject},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newJudge(t, newID(t))
			for _, data := range test.before {
				if got := g.judge(now, alice.id, data); got != pubsub.ValidationAccept {
					t.Fatalf("before: %s", verdicts[got])
				}
			}
			if test.pulled != nil {
				if a, so, o, err := openOffer(g.net, test.pulled); err != nil || !g.book.Put(now, a, so, o, false) {
					t.Fatal("not pulled")
				}
			}
			if got := g.judge(now, test.from, test.data); got != test.want {
				t.Errorf("%s, want %s", verdicts[got], verdicts[test.want])
			}
			if _, ok := g.book.Get(now, alice.id); ok != test.inBook {
				t.Errorf("in the Book: %v", ok)
			}
		})
	}
}

func FuzzJudge(f *testing.F) {
	alice := newAuthor(f)
	now := time.Now()
	good := alice.wire(f, now)
	f.Add(good)
	f.Add(alice.wire(f, now, withoutLoad))
	f.Add([]byte{})
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		g := newJudge(t, "self")
		verdict := g.judge(now, alice.id, data)
		e, ok := g.book.Get(now, alice.id)
		if ok != (verdict == pubsub.ValidationAccept) {
			t.Errorf("%s, in the Book: %v", verdicts[verdict], ok)
		}
		if !ok {
			return
		}
		// What was accepted is what the author signed, to the byte.
		if a, _, err := e.Signed.Open(g.net); err != nil || a != alice.id || len(data) > protocol.MaxOffer {
			t.Errorf("accepted %x: %v", data, err)
		}
	})
}

func TestCapabilityRecords(t *testing.T) {
	now := time.Now()
	alice, mallory := newAuthor(t), newAuthor(t)
	v := capabilityValidator{testSecret.ID()}
	old := now.Add(-time.Minute - maxSkew - time.Second) // the offer's TTL is a minute
	for _, test := range []struct {
		name  string
		key   string
		value []byte
		valid bool
	}{
		{"her own, without load", capabilityKey(alice.id), alice.wire(t, now, withoutLoad), true},
		{"a clock that is a little behind", capabilityKey(alice.id), alice.wire(t, now.Add(-maxSkew), withoutLoad), true},
		{"a clock that is ahead", capabilityKey(alice.id), alice.wire(t, now.Add(time.Hour), withoutLoad), true},
		{"outlived", capabilityKey(alice.id), alice.wire(t, old, withoutLoad), false},
		{"with a load", capabilityKey(alice.id), alice.wire(t, now), false},
		{"under another's key", capabilityKey(mallory.id), alice.wire(t, now, withoutLoad), false},
		{"under a key that is none", "/cap/", alice.wire(t, now, withoutLoad), false},
		{"signed by another", capabilityKey(alice.id), marshal(t, sign(t, mallory.key, newOffer(alice.id, uint64(now.UnixNano())))), false},
		{"garbage", capabilityKey(alice.id), []byte("garbage"), false},
		{"oversized", capabilityKey(alice.id), make([]byte, protocol.MaxOffer+1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := v.Validate(test.key, test.value); (err == nil) != test.valid {
				t.Errorf("valid: %v, error: %v", test.valid, err)
			}
		})
	}

	older, newer := alice.wire(t, now, withoutLoad), alice.wire(t, now.Add(1), withoutLoad)
	for _, test := range []struct {
		name   string
		values [][]byte
		want   int
	}{
		{"newest first", [][]byte{newer, older}, 0},
		{"newest last", [][]byte{older, newer}, 1},
		{"garbage is passed over", [][]byte{[]byte("garbage"), older}, 1},
	} {
		if got, err := v.Select(capabilityKey(alice.id), test.values); err != nil || got != test.want {
			t.Errorf("%s: picked %d, %v", test.name, got, err)
		}
	}
	if _, err := v.Select(capabilityKey(alice.id), [][]byte{nil, []byte("garbage")}); err == nil {
		t.Error("picked garbage")
	}
}

func TestPublishAndAdvertiseOwnOffersOnly(t *testing.T) {
	n, mallory := start(t), newAuthor(t)
	ctx := t.Context()
	if err := n.Publish(ctx, unmarshal(t, mallory.wire(t, time.Now()))); err == nil {
		t.Error("published another's offer")
	}
	if err := n.Advertise(ctx, unmarshal(t, mallory.wire(t, time.Now(), withoutLoad))); err == nil {
		t.Error("advertised another's offer")
	}
	if err := n.Advertise(ctx, n.offer(t)); err == nil {
		t.Error("advertised a load")
	}
	if err := n.Publish(ctx, n.offer(t)); err != nil {
		t.Errorf("publish with nobody there: %v", err)
	}
	if err := n.Advertise(ctx, n.offer(t, withoutLoad)); err != nil {
		t.Errorf("advertise with nobody there: %v", err)
	}
	if !n.knows(n) {
		t.Error("the own offer is not in the Book")
	}
	if len(n.Peers()) != 0 {
		t.Error("this node is its own peer")
	}
}

func TestPullTakesTheGoodAndLeavesTheBad(t *testing.T) {
	alice, bob, carol := newAuthor(t), newAuthor(t), newAuthor(t)
	now := time.Now()
	outlived := now.Add(-time.Minute - maxSkew - time.Second)
	liar := start(t)
	n := start(t)
	liar.Handle(protocol.BookStream, func(_ context.Context, c *protocol.Conn) {
		defer c.Close()
		for _, data := range [][]byte{
			alice.wire(t, now),
			{0x0a, 0x03, 'b', 'a', 'd'},
			marshal(t, sign(t, alice.key, newOffer(bob.id, uint64(now.UnixNano())))),
			carol.wire(t, outlived),
			marshal(t, sign(t, n.key, newOffer(n.Self(), uint64(now.UnixNano())))),
			// From its provider itself it is believed, whatever its clock.
			marshal(t, sign(t, liar.key, newOffer(liar.Self(), uint64(outlived.UnixNano())))),
		} {
			if err := c.Send(unmarshal(t, data)); err != nil {
				t.Error(err)
			}
		}
	})
	if err := n.host.Connect(t.Context(), peer.AddrInfo{ID: liar.Self(), Addrs: liar.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last offer arrives", func() bool { return n.knows(liar) })
	if got := len(n.book.All(time.Now())); got != 2 {
		t.Errorf("%d offers in the Book, want those of alice and of the peer itself", got)
	}
	if _, ok := n.book.Get(time.Now(), alice.id); !ok {
		t.Error("the good offer was not taken")
	}
}

func TestInventedProvidersKeepOutNoneThatIsConnected(t *testing.T) {
	n, provider := start(t), start(t)
	now := time.Now()
	for i := range protocol.MaxBookOffers {
		p := peer.ID(fmt.Sprintf("invented %d", i))
		if !n.book.Put(now, p, nil, newOffer(p, uint64(now.UnixNano())), false) {
			t.Fatal("the Book is not filled")
		}
	}
	provider.publish(t)
	if err := provider.host.Connect(t.Context(), peer.AddrInfo{ID: n.Self(), Addrs: n.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a connected provider is in a full Book", func() bool { return n.knows(provider) })
}

func TestPullIsBounded(t *testing.T) {
	endless, n := start(t), start(t)
	alice := newAuthor(t)
	so := unmarshal(t, alice.wire(t, time.Now()))
	sent := make(chan int, 1)
	endless.Handle(protocol.BookStream, func(_ context.Context, c *protocol.Conn) {
		defer c.Reset()
		count := 0
		for c.Send(so) == nil {
			count++
		}
		sent <- count
	})
	if err := n.host.Connect(t.Context(), peer.AddrInfo{ID: endless.Self(), Addrs: endless.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-sent: // we hung up
	case <-time.After(lively):
		t.Error("an endless Book is read without end")
	}
}

func TestDiscover(t *testing.T) {
	first := start(t)
	provider, small := start(t, via(first)), start(t, via(first))
	if err := provider.Advertise(t.Context(), provider.offer(t, withoutLoad)); err != nil {
		t.Fatal(err)
	}
	tiny := small.offer(t, withoutLoad, func(o *protocol.Offer) { o.MemoryBytes = 64 << 20 })
	if err := small.Advertise(t.Context(), tiny); err != nil {
		t.Fatal(err)
	}
	seeker := start(t, via(first))
	if err := seeker.Discover(t.Context(), 1<<30); err == nil {
		// It may have found a peer by now; then it must not have failed.
		t.Log("connected at once")
	} else if protocol.CodeOf(err) != protocol.CodeNoPeers {
		t.Errorf("discover without peers: %v", err)
	}
	eventually(t, "the provider is found in the DHT", func() bool {
		_ = seeker.Discover(t.Context(), 1<<30) // until there are peers and records
		return seeker.knows(provider)
	})
	e, _ := seeker.book.Get(time.Now(), provider.Self())
	if e.Offer.MemoryBytes != 1<<30 || e.Offer.Load != nil {
		t.Errorf("found %v", e.Offer)
	}
	if seeker.knows(small) {
		t.Error("found a provider of a lower class")
	}
	eventually(t, "all are in the lowest class", func() bool {
		_ = seeker.Discover(t.Context(), 1<<20)
		return seeker.knows(small)
	})

	// What the Book has is not replaced by a record without load.
	provider.publish(t)
	eventually(t, "a live offer", func() bool {
		e, ok := seeker.book.Get(time.Now(), provider.Self())
		return ok && e.Offer.Load != nil
	})
	if err := provider.Advertise(t.Context(), provider.offer(t, withoutLoad)); err != nil {
		t.Fatal(err)
	}
	if err := seeker.Discover(t.Context(), 1<<30); err != nil {
		t.Error(err)
	}
	if e, ok := seeker.book.Get(time.Now(), provider.Self()); !ok || e.Offer.Load == nil {
		t.Error("a record of the DHT replaced a live offer")
	}
}

func TestRecordsOfTheDirectoryAreBounded(t *testing.T) {
	ctx, r := t.Context(), newBoundedRecords()
	key := func(i int) datastore.Key { return datastore.NewKey(fmt.Sprintf("/providers/%d", i)) }
	put := func(i int, value string) {
		t.Helper()
		batch, err := r.Batch(ctx) // as the DHT writes providers
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(batch.Put(ctx, key(i), []byte(value)), batch.Commit(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(i int, value string) {
		t.Helper()
		if got, err := r.Get(ctx, key(i)); string(got) != value || (err != nil) != (value == "") {
			t.Errorf("record %d is %q, %v, want %q", i, got, err, value)
		}
	}
	for i := range maxRecords {
		put(i, "old")
	}
	put(maxRecords, "new")
	want(maxRecords, "")
	put(7, "new")
	want(7, "new")
	for range 2 {
		if err := r.Delete(ctx, key(8)); err != nil {
			t.Fatal(err)
		}
	}
	put(maxRecords, "new")
	put(maxRecords+1, "new")
	want(maxRecords, "new")
	want(maxRecords+1, "")
}

func TestClassFor(t *testing.T) {
	for _, test := range []struct{ memory, class uint64 }{
		{0, 0}, {1 << 20, 0}, {256 << 20, 256 << 20}, {512 << 20, 256 << 20}, {1 << 30, 1 << 30}, {8 << 30, 4 << 30},
	} {
		if got := classes[classFor(test.memory)]; got != test.class {
			t.Errorf("%d bytes: class %d, want %d", test.memory, got, test.class)
		}
	}
}
