package guests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

var (
	start = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	quiet = slog.New(slog.DiscardHandler)
)

// shelf is a store in memory.
type shelf struct {
	mu    sync.Mutex
	each  map[peer.ID][]byte
	all   []byte
	saves int
	err   error
	state map[string][]byte
}

func newShelf() *shelf { return &shelf{each: make(map[peer.ID][]byte), state: make(map[string][]byte)} }

func (s *shelf) Guests() (map[peer.ID][]byte, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.each), s.all, s.err
}

func (s *shelf) SaveGuests(each map[peer.ID][]byte, all []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.saves++
	s.all = all
	for p, record := range each {
		if s.each[p] = record; record == nil {
			delete(s.each, p)
		}
	}
	return nil
}

func (s *shelf) saved() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saves
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func open(t *testing.T, s Store) *Ledger {
	t.Helper()
	l, err := OpenLedger(s, start, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func stay(p peer.ID, wall time.Duration) Stay {
	return Stay{Requester: p, Task: "aaaaaaaaaa", Name: "prog", Module: protocol.DigestOf([]byte(p)), Began: start, Ended: start.Add(wall), Wall: wall, Gas: 10}
}

// peerOf is a peer ID that JSON can hold.
func peerOf(i int) peer.ID {
	p, err := peer.IDFromBytes(append([]byte{0, 8}, fmt.Sprintf("peer%04d", i)...))
	if err != nil {
		panic(err)
	}
	return p
}

func TestLedgerCounts(t *testing.T) {
	l := open(t, newShelf())
	if f := l.Figures(); f.Since != start || f.Donated.Tasks != 0 {
		t.Errorf("a new one has %+v", f)
	}
	a, b := peerOf(1), peerOf(2)
	l.Add(stay(a, time.Second))
	l.Add(stay(b, 5*time.Second))
	l.Add(stay(a, 2*time.Second))
	l.Add(stay(a, -time.Hour)) // a clock that was set back
	totals := l.Totals()
	if len(totals) != 2 || totals[0].Requester != b || totals[0].Wall() != 5*time.Second || totals[1].Tasks != 3 || totals[1].Wall() != 3*time.Second || totals[1].Gas != 30 {
		t.Errorf("totals are %+v", totals)
	}
	if f := l.Figures(); f.Donated.Tasks != 4 || f.Donated.Wall() != 8*time.Second || f.Donated.Gas != 40 {
		t.Errorf("donated are %+v", f)
	}
	huge := stay(a, 0)
	huge.Gas = math.MaxUint64
	l.Add(huge)
	if f := l.Figures(); f.Donated.Gas != math.MaxUint64 {
		t.Errorf("gas has gone round to %d", f.Donated.Gas)
	}
}

func TestLatelyIsARing(t *testing.T) {
	s := newShelf()
	l := open(t, s)
	for i := range 250 {
		one := stay(peerOf(i), time.Duration(i)*time.Millisecond)
		one.Name = "evil\x1b[31m\xff"
		l.Add(one)
		if got, want := len(l.Lately()), min(i+1, MaxLately); got != want {
			t.Fatalf("%d are kept, want %d", got, want)
		}
	}
	check := func(l *Ledger) {
		t.Helper()
		list := l.Lately()
		for i, one := range list {
			if one.Requester != peerOf(249-i) || strings.ContainsAny(one.Name, "\x1b") || one.Wall != time.Duration(249-i)*time.Millisecond || one.Module != protocol.DigestOf([]byte(one.Requester)) {
				t.Fatalf("the %d-th is %+v", i, one)
			}
		}
		if len(list) != MaxLately {
			t.Errorf("%d are kept", len(list))
		}
	}
	check(l)
	if err := l.save(); err != nil {
		t.Fatal(err)
	}
	if len(s.all) > 100<<10 {
		t.Errorf("the record has %d bytes", len(s.all))
	}
	check(open(t, s))
}

// TestFloodOfNamesCostsOnlyTheirs has thousands come with one short task each.
func TestFloodOfNamesCostsOnlyTheirs(t *testing.T) {
	s := newShelf()
	l := open(t, s)
	friend := peerOf(0)
	l.Add(stay(friend, time.Minute))
	const flood = 3 * MaxTotals
	for i := range flood {
		l.Add(stay(peerOf(i+1), time.Millisecond))
		if i%500 == 0 {
			if err := l.save(); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(l *Ledger) {
		t.Helper()
		totals := l.Totals()
		if len(totals) != MaxTotals || totals[0].Requester != friend || totals[0].Wall() != time.Minute {
			t.Errorf("%d totals, the first %+v", len(totals), totals[0])
		}
		f := l.Figures()
		if f.Fallen != flood+1-MaxTotals || f.Others.Tasks != f.Fallen || f.Donated.Tasks != flood+1 {
			t.Errorf("%+v", f)
		}
		sum := f.Others
		for _, one := range totals {
			sum.add(one.Sum)
		}
		if sum != f.Donated {
			t.Errorf("totals and others are %+v, donated %+v", sum, f.Donated)
		}
	}
	check(l)
	if err := l.save(); err != nil {
		t.Fatal(err)
	}
	if len(s.each) != MaxTotals {
		t.Errorf("%d are stored", len(s.each))
	}
	check(open(t, s))
}

func TestLedgerIsStoredNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		l := open(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for range 1000 {
			l.Add(stay(peerOf(1), time.Millisecond))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if n := s.saved(); n < 1 || n > 2 {
			t.Errorf("a thousand tasks within a second cost %d saves", n)
		}
		s.fail(errors.New("the disk is full"))
		l.Add(stay(peerOf(2), time.Second))
		time.Sleep(5 * time.Second)
		s.fail(nil)
		time.Sleep(2 * time.Second)
		if again := open(t, s); again.Figures().Donated.Tasks != 1001 || len(again.Totals()) != 2 {
			t.Errorf("what was not stored is lost: %+v", again.Figures())
		}
		l.Add(stay(peerOf(3), time.Second))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if again := open(t, s); again.Figures() != l.Figures() {
			t.Errorf("an orderly end costs something: %+v", again.Figures())
		}
	})
}

func TestDamagedRecordsBeginAnew(t *testing.T) {
	s := newShelf()
	l := open(t, s)
	l.Add(stay(peerOf(1), time.Second))
	l.Add(stay(peerOf(2), time.Second))
	if err := l.save(); err != nil {
		t.Fatal(err)
	}
	s.each[peerOf(1)], s.all = []byte("{"), []byte("x")
	again := open(t, s)
	if totals := again.Totals(); len(totals) != 1 || totals[0].Requester != peerOf(2) || again.Figures().Since != start {
		t.Errorf("%+v", totals)
	}
	s.fail(errors.New("cannot be read"))
	if _, err := OpenLedger(s, start, quiet); err == nil {
		t.Error("a store that fails is not noticed")
	}
}

// FuzzRecords reads what is on disk, which may be anything.
func FuzzRecords(f *testing.F) {
	l, err := OpenLedger(newShelf(), start, quiet)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 3 {
		l.Add(stay(peerOf(i), time.Second))
	}
	all, err := json.Marshal(book{Figures: l.figures, Lately: l.last()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"tasks":1,"wall_us":2,"gas":3,"last":"2026-03-01T12:00:00Z"}`), all, []byte(`{"blocked":{"x":{"since":"2026-03-01T12:00:00Z","why":"y"}},"closed":true}`))
	f.Fuzz(func(t *testing.T, record, all, access []byte) {
		s := newShelf()
		s.each[peerOf(1)], s.all, s.state[stateName] = record, all, access
		l, err := OpenLedger(s, start, quiet)
		if err != nil {
			t.Fatal(err)
		}
		l.Add(stay(peerOf(2), time.Second))
		if len(l.Lately()) > MaxLately || len(l.Totals()) > 2 {
			t.Fatalf("%d stays, %d totals", len(l.Lately()), len(l.Totals()))
		}
		if a, err := OpenAccess(peerOf(0), s); err == nil {
			if denied := a.Denied(peerOf(0)); denied != nil {
				t.Fatalf("the own node is denied: %v", denied)
			}
		} else if protocol.CodeOf(err) != protocol.CodeFile {
			t.Fatal(err)
		}
	})
}
