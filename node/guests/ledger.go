package guests

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// MaxTotals bounds the requesters of whom a total is kept. Beyond, the one with
	// the least time falls out: a flood of new names costs only names like them.
	MaxTotals = 1000
	// MaxLately bounds the stays that are kept one by one.
	MaxLately = 100
	// saveEvery is how often what has changed is stored.
	saveEvery = time.Second
)

// Store is the store's part that keeps the ledger.
type Store interface {
	Guests() (each map[peer.ID][]byte, all []byte, err error)
	// SaveGuests stores, within a second or two, records in place of those before;
	// nil forgets one.
	SaveGuests(each map[peer.ID][]byte, all []byte) error
}

// Stay is a replica of another node's that was started here and has ended.
type Stay struct {
	Requester peer.ID
	Task      string // the requester's word
	Name      string // of its program, likewise
	Module    protocol.Digest
	Began     time.Time // when its program was started
	Ended     time.Time
	Wall      time.Duration // of its program
	Gas       uint64
	Exit      int32         // of a program that has ended by itself, when Code is empty
	Code      protocol.Code // how it has ended otherwise
}

// Sum is what stays come to.
type Sum struct {
	Tasks  uint64 `json:"tasks"`
	WallUs uint64 `json:"wall_us"`
	Gas    uint64 `json:"gas"`
}

// Wall is the wall time of all programs.
func (s Sum) Wall() time.Duration { return time.Duration(s.WallUs) * time.Microsecond }

func (s *Sum) add(o Sum) {
	s.Tasks += o.Tasks
	s.WallUs += o.WallUs
	if s.Gas += o.Gas; s.Gas < o.Gas { // what strangers claim may add up to anything
		s.Gas = ^uint64(0)
	}
}

// Total is what one requester has had run here.
type Total struct {
	Sum
	Requester peer.ID   `json:"-"`
	Last      time.Time `json:"last"`
}

// order is by time, the longest first.
func (t *Total) order(o *Total) int {
	return cmp.Or(cmp.Compare(o.WallUs, t.WallUs), cmp.Compare(o.Tasks, t.Tasks), strings.Compare(string(t.Requester), string(o.Requester)))
}

// Figures are what all requesters have had run here.
type Figures struct {
	Donated Sum
	Since   time.Time // when counting began
	Others  Sum       // of those of whom no total is kept any more
	Fallen  uint64    // how many these were
}

// book is what is stored of all together.
type book struct {
	Figures
	Lately []Stay // the oldest first
}

// Ledger counts what has run here for others. Its methods may be called from many
// goroutines, and none of them waits for a disk.
type Ledger struct {
	store Store
	log   *slog.Logger

	mu      sync.Mutex
	totals  map[peer.ID]*Total
	figures Figures
	lately  [MaxLately]Stay // a ring
	stays   uint64          // how many it has had
	dirty   map[peer.ID]bool
	changed bool
	news    chan struct{} // wakes Run
}

// OpenLedger goes on with what is stored. What cannot be read is left away.
func OpenLedger(store Store, now time.Time, log *slog.Logger) (*Ledger, error) {
	each, all, err := store.Guests()
	if err != nil {
		return nil, fmt.Errorf("read the guests: %w", err)
	}
	l := &Ledger{
		store: store, log: log,
		totals: make(map[peer.ID]*Total), dirty: make(map[peer.ID]bool), news: make(chan struct{}, 1),
		figures: Figures{Since: now},
	}
	if all != nil {
		var b book
		if err := json.Unmarshal(all, &b); err != nil {
			log.Warn("the record of all guests cannot be read and begins anew", "err", err)
		} else {
			l.figures = b.Figures
			for _, s := range b.Lately {
				l.remember(s)
			}
		}
	}
	for p, record := range each {
		t := &Total{Requester: p}
		if err := json.Unmarshal(record, t); err != nil {
			log.Warn("a guest's record cannot be read and begins anew", "requester", p, "err", err)
			continue
		}
		l.totals[p] = t
	}
	for len(l.totals) > MaxTotals {
		l.dropLeast()
	}
	return l, nil
}

// Add counts a stay.
func (l *Ledger) Add(s Stay) {
	one := Sum{Tasks: 1, WallUs: uint64(max(s.Wall, 0).Microseconds()), Gas: s.Gas}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.totals[s.Requester]
	if t == nil {
		if len(l.totals) >= MaxTotals {
			l.dropLeast()
		}
		t = &Total{Requester: s.Requester}
		l.totals[s.Requester] = t
	}
	t.add(one)
	t.Last = s.Ended
	l.figures.Donated.add(one)
	l.remember(s)
	l.note(s.Requester)
}

func (l *Ledger) remember(s Stay) {
	l.lately[l.stays%MaxLately] = s
	l.stays++
}

// dropLeast adds the requester with the least time to the others. It is called
// with mu held.
func (l *Ledger) dropLeast() {
	var least *Total
	for _, t := range l.totals {
		if least == nil || t.order(least) > 0 {
			least = t
		}
	}
	l.figures.Others.add(least.Sum)
	l.figures.Fallen++
	delete(l.totals, least.Requester)
	l.note(least.Requester)
}

// Figures returns the sums of all.
func (l *Ledger) Figures() Figures {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.figures
}

// Lately returns the stays that have ended last, the latest first.
func (l *Ledger) Lately() []Stay {
	l.mu.Lock()
	list := l.last()
	l.mu.Unlock()
	slices.Reverse(list)
	for i := range list {
		list[i].Name = protocol.SafeText(list[i].Name)
	}
	return list
}

// last returns the ring, the oldest first. It is called with mu held.
func (l *Ledger) last() []Stay {
	n := min(l.stays, MaxLately)
	list := make([]Stay, 0, n)
	for i := l.stays - n; i < l.stays; i++ {
		list = append(list, l.lately[i%MaxLately])
	}
	return list
}

// Totals returns the total of each requester, the one with the most time first.
func (l *Ledger) Totals() []Total {
	l.mu.Lock()
	list := make([]Total, 0, len(l.totals))
	for _, t := range l.totals {
		list = append(list, *t)
	}
	l.mu.Unlock()
	slices.SortFunc(list, func(a, b Total) int { return a.order(&b) })
	return list
}

// Run stores what has changed until ctx ends, and then the rest.
func (l *Ledger) Run(ctx context.Context) error {
	timer := time.NewTimer(saveEvery) // for what fell out when it was opened
	defer timer.Stop()
	soon, told := true, false
	for {
		select {
		case <-ctx.Done():
			return l.save()
		case <-l.news:
			if !soon {
				soon = true
				timer.Reset(saveEvery)
			}
			continue
		case <-timer.C:
		}
		err := l.save()
		if err != nil && !told { // a store that fails ends the node by itself, or mends
			l.log.Warn("what has run for others cannot be stored", "err", err)
		}
		if soon, told = err != nil, err != nil; soon {
			timer.Reset(saveEvery)
		}
	}
}

// note has what has changed stored soon. It is called with mu held.
func (l *Ledger) note(requester peer.ID) {
	l.dirty[requester], l.changed = true, true
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// save stores what has changed since the last time.
func (l *Ledger) save() error {
	l.mu.Lock()
	if !l.changed {
		l.mu.Unlock()
		return nil
	}
	b := book{Figures: l.figures, Lately: l.last()}
	dirty := l.dirty
	changed := make(map[peer.ID]*Total, len(dirty))
	for p := range dirty {
		if t := l.totals[p]; t != nil {
			copied := *t
			changed[p] = &copied
		} else {
			changed[p] = nil
		}
	}
	l.dirty, l.changed = make(map[peer.ID]bool), false
	l.mu.Unlock()
	err := l.write(changed, b)
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed = true
		for p := range dirty {
			l.dirty[p] = true
		}
	}
	return err
}

func (l *Ledger) write(changed map[peer.ID]*Total, b book) error {
	all, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode the guests: %w", err)
	}
	each := make(map[peer.ID][]byte, len(changed))
	for p, t := range changed {
		if t == nil {
			each[p] = nil
			continue
		}
		if each[p], err = json.Marshal(t); err != nil {
			return fmt.Errorf("encode a guest: %w", err)
		}
	}
	return l.store.SaveGuests(each, all)
}
