package store

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

func hold(t *testing.T, s *Store, record []byte, expires time.Time, blobs ...protocol.Digest) protocol.Nonce {
	t.Helper()
	nonce := protocol.NewNonce()
	if err := s.HoldResult("requester", nonce, record, blobs, expires); err != nil {
		t.Fatal(err)
	}
	return nonce
}

// wantHeld finds exactly the results held under nonces, in this order.
func wantHeld(t *testing.T, s *Store, nonces ...protocol.Nonce) []Held {
	t.Helper()
	held, err := s.HeldResults()
	if err != nil {
		t.Fatal(err)
	}
	var got []protocol.Nonce
	for _, h := range held {
		got = append(got, h.Nonce)
	}
	if !slices.Equal(got, nonces) {
		t.Fatalf("held %v, want %v", got, nonces)
	}
	return held
}

func TestResultIsHeldUntilItIsReleased(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	expires := time.Now().Add(time.Hour)
	blobs := []protocol.Digest{protocol.DigestOf([]byte("a")), protocol.DigestOf([]byte("b"))}
	first := hold(t, s, []byte("one"), expires, blobs...)
	second := hold(t, s, nil, expires)
	third := hold(t, s, []byte("three"), expires)
	check := func(s *Store) {
		t.Helper()
		h := wantHeld(t, s, first, second, third)[0]
		if h.Requester != "requester" || string(h.Record) != "one" || !slices.Equal(h.Blobs, blobs) || !h.Expires.Equal(expires) {
			t.Errorf("got %+v", h)
		}
	}
	check(s)
	if err := s.wait(t.Context(), s.journal.Last()); err != nil {
		t.Fatal(err)
	}
	check(crash(t, s))
	s = reopen(t, s)
	check(s)

	if err := s.ReleaseResults([]protocol.Nonce{second, protocol.NewNonce(), second}); err != nil {
		t.Fatal(err)
	}
	if err := s.HoldResult("requester", first, []byte("again"), nil, expires); err != nil {
		t.Fatal(err)
	}
	wantHeld(t, s, third, first)
	if err := s.wait(t.Context(), s.journal.Last()); err != nil {
		t.Fatal(err)
	}
	if held := wantHeld(t, crash(t, s), third, first); string(held[1].Record) != "again" {
		t.Errorf("got %+v", held[1])
	}
	if err := s.ReleaseResults([]protocol.Nonce{first, third}); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	wantHeld(t, s)
	if len(s.blobs.kept) > 0 || s.held.bytes != 0 {
		t.Errorf("kept %v, %d bytes", s.blobs.kept, s.held.bytes)
	}
}

func TestHeldResultsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		now := time.Now()
		hour := hold(t, s, []byte("hour"), now.Add(time.Hour))
		ever := hold(t, s, []byte("ever"), now.Add(1000*time.Hour), protocol.DigestOf([]byte("a")))
		hold(t, s, []byte("past"), now.Add(-time.Hour))
		wantHeld(t, s, hour, ever)
		time.Sleep(time.Hour)
		wantHeld(t, s, ever)
		time.Sleep(23 * time.Hour)
		wantHeld(t, s)
		last := hold(t, s, []byte("last"), time.Now().Add(time.Hour))
		wantHeld(t, s, last)
		if len(s.held.byNonce) != 1 || len(s.blobs.kept) > 0 {
			t.Errorf("%d results in memory, blobs kept %v", len(s.held.byNonce), s.blobs.kept)
		}
		s = reopen(t, s)
		wantHeld(t, s, last)
	})
}

func TestHeldResultsAreBoundedTheOldestGoFirst(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	s.held.limit = 10 * minHeldCost
	var nonces []protocol.Nonce
	for i := range 25 {
		nonces = append(nonces, hold(t, s, fmt.Append(nil, i), time.Now().Add(time.Hour)))
	}
	wantHeld(t, s, nonces[15:]...)
	large := hold(t, s, make([]byte, 8*minHeldCost), time.Now().Add(time.Hour))
	wantHeld(t, s, nonces[24], large)
	s = reopen(t, s)
	wantHeld(t, s, nonces[24], large)
	if err := s.HoldResult("requester", large, make([]byte, maxHeld+1), nil, time.Now()); err == nil {
		t.Error("a record beyond the limit is held")
	}
	if err := s.HoldResult("requester", large, nil, make([]protocol.Digest, maxHeldBlobs+1), time.Now()); err == nil {
		t.Error("more blobs than the limit are held")
	}
	if err := s.HoldResult("", large, nil, nil, time.Now()); err == nil {
		t.Error("a result for nobody is held")
	}
}

func TestBlobsOfAHeldResultAreEvictedLast(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Config{KeepBlobs: 16 * minCost})
	wanted := put(t, s, []byte("wanted"))
	nonce := hold(t, s, []byte("result"), time.Now().Add(time.Hour), wanted)
	s = reopen(t, s, Config{KeepBlobs: 16 * minCost})
	fill := func(seed uint64) {
		t.Helper()
		for i := range uint64(32) {
			put(t, s, noise(seed+i, 100))
			if err := s.blobs.evict(); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(0)
	if !s.Blobs().Has(wanted) {
		t.Error("the blob of a held result was evicted before others")
	}
	if err := s.ReleaseResults([]protocol.Nonce{nonce}); err != nil {
		t.Fatal(err)
	}
	fill(100)
	if s.Blobs().Has(wanted) {
		t.Error("the blob of a released result was kept")
	}
}

// FuzzHeld decodes held results. What decodes comes back the same.
func FuzzHeld(f *testing.F) {
	key := make([]byte, 24)
	f.Add(key, encodeHeld(Held{Requester: "someone", Record: []byte("record"), Blobs: make([]protocol.Digest, 2)}))
	f.Add(key[:23], encodeHeld(Held{Requester: "someone"}))
	f.Add(key, encodeHeld(Held{}))
	f.Fuzz(func(t *testing.T, key, data []byte) {
		h, err := decodeHeld(key, data)
		if err != nil {
			return
		}
		back, err := decodeHeld(key, encodeHeld(h))
		if err != nil || back.Requester != h.Requester || back.Nonce != h.Nonce || !bytes.Equal(back.Record, h.Record) ||
			!slices.Equal(back.Blobs, h.Blobs) || !back.Expires.Equal(h.Expires) {
			t.Fatalf("%+v became %+v, %v", h, back, err)
		}
	})
}
