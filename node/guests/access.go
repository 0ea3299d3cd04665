package guests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// MaxNamed bounds each list of peers.
	MaxNamed = 512
	// MaxWhy bounds the reason of a block, in bytes.
	MaxWhy = 256
	// stateName is what the lists are stored by.
	stateName = "access"
)

// State is the store's part for what people decide by hand.
type State interface {
	State(name string) ([]byte, error)
	SaveState(name string, record []byte) error
}

// Entry is what is said of a peer.
type Entry struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why,omitempty"` // of a block; the peer is told
}

// Lists are who may not, and who alone may. They never change.
type Lists struct {
	Blocked map[peer.ID]Entry
	Allowed map[peer.ID]Entry
	Closed  bool // only those allowed may
}

// Denied returns why tasks of a peer may not run here, or nil.
func (l *Lists) Denied(p peer.ID) *protocol.Error {
	e, blocked := l.Blocked[p]
	switch {
	case blocked && e.Why != "":
		return protocol.Errorf(protocol.CodeBlocked, "its owner has blocked the requester's node: %s", e.Why)
	case blocked:
		return protocol.Errorf(protocol.CodeBlocked, "its owner has blocked the requester's node, and can say why")
	}
	if _, allowed := l.Allowed[p]; l.Closed && !allowed {
		return protocol.Errorf(protocol.CodeBlocked, "its owner has it run tasks of chosen nodes only, and can add the requester's")
	}
	return nil
}

// Access is whose tasks may run here, as the owner of the machine has decided. A
// peer is on one list at most.
type Access struct {
	self  peer.ID
	store State
	now   atomic.Pointer[Lists]

	mu sync.Mutex // orders changes; held across I/O
}

// stored is how the lists are stored, by peer ID in text.
type stored struct {
	Blocked map[string]Entry `json:"blocked"`
	Allowed map[string]Entry `json:"allowed"`
	Closed  bool             `json:"closed"`
}

// OpenAccess goes on with what is stored. When that cannot be read it fails,
// rather than to let everybody in.
func OpenAccess(self peer.ID, store State) (*Access, error) {
	record, err := store.State(stateName)
	if err != nil {
		return nil, err
	}
	var s stored
	if record != nil {
		decoder := json.NewDecoder(bytes.NewReader(record))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(&s)
	}
	l := &Lists{Closed: s.Closed}
	if err == nil {
		l.Blocked, err = named(s.Blocked)
	}
	if err == nil {
		l.Allowed, err = named(s.Allowed)
	}
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeFile, "what was decided of other nodes (state/%s.json) cannot be read: %v", stateName, err).
			WithHint("mend it, or move it away and block again whom you do not want")
	}
	a := &Access{self: self, store: store}
	a.now.Store(l)
	return a, nil
}

func named(list map[string]Entry) (map[peer.ID]Entry, error) {
	out := make(map[peer.ID]Entry, len(list))
	for text, e := range list {
		p, err := peer.Decode(text)
		if err != nil {
			return nil, fmt.Errorf("%.80q is no peer ID", text)
		}
		e.Why = protocol.SafeText(e.Why)
		out[p] = e
	}
	return out, nil
}

// Lists returns what holds now.
func (a *Access) Lists() *Lists { return a.now.Load() }

// Denied returns why tasks of a peer may not run here, or nil.
func (a *Access) Denied(p peer.ID) *protocol.Error {
	if p == a.self {
		return nil
	}
	return a.now.Load().Denied(p)
}

// Blocked reports whether a peer is blocked.
func (a *Access) Blocked(p peer.ID) bool {
	_, blocked := a.now.Load().Blocked[p]
	return blocked
}

// Block has nothing to do with a peer from now on. One that is blocked already
// keeps since when, and gets another reason.
func (a *Access) Block(p peer.ID, why string, now time.Time) error {
	if p == a.self {
		return protocol.Errorf(protocol.CodeBadRequest, "%s is this node itself, which cannot be blocked", p).
			WithHint("'spare pause' runs nothing of others, and 'spare peers' lists those")
	}
	return a.change(func(l *Lists) error {
		e, again := l.Blocked[p]
		if !again {
			e.Since = now
		}
		if why != "" || !again {
			e.Why = protocol.SafeText(why)
			e.Why = strings.ToValidUTF8(e.Why[:min(len(e.Why), MaxWhy)], "")
		}
		delete(l.Allowed, p)
		return put(l.Blocked, p, e, "blocked")
	})
}

// Unblock takes a block back, or all of them for an empty peer ID.
func (a *Access) Unblock(p peer.ID) error {
	return a.change(func(l *Lists) error {
		maps.DeleteFunc(l.Blocked, func(q peer.ID, _ Entry) bool { return p == "" || p == q })
		return nil
	})
}

// Allow has tasks of a peer run here, and from now on only those of peers that
// are allowed. For an empty peer ID the list is given up: those of all may run
// but of the blocked.
func (a *Access) Allow(p peer.ID, now time.Time) error {
	if p == a.self {
		return protocol.Errorf(protocol.CodeBadRequest, "%s is this node itself, whose tasks always run here", p)
	}
	return a.change(func(l *Lists) error {
		if p == "" {
			clear(l.Allowed)
			l.Closed = false
			return nil
		}
		l.Closed = true
		delete(l.Blocked, p)
		if _, again := l.Allowed[p]; again {
			return nil
		}
		return put(l.Allowed, p, Entry{Since: now}, "allowed")
	})
}

// Disallow takes a peer from those that are allowed, or all of them for an empty
// peer ID. When nobody is left, no tasks of others run here.
func (a *Access) Disallow(p peer.ID) error {
	return a.change(func(l *Lists) error {
		maps.DeleteFunc(l.Allowed, func(q peer.ID, _ Entry) bool { return p == "" || p == q })
		return nil
	})
}

func put(list map[peer.ID]Entry, p peer.ID, e Entry, word string) error {
	if _, again := list[p]; !again && len(list) >= MaxNamed {
		return protocol.Errorf(protocol.CodeBusy, "%d peers are %s, which is as many as can be", len(list), word).
			WithHint("with 'spare allow PEER' only tasks of those whom you name run here")
	}
	list[p] = e
	return nil
}

// change makes a change that is on disk before it holds.
func (a *Access) change(by func(*Lists) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.now.Load()
	l := &Lists{Blocked: maps.Clone(old.Blocked), Allowed: maps.Clone(old.Allowed), Closed: old.Closed}
	if err := by(l); err != nil {
		return err
	}
	record, err := encode(l)
	if err != nil {
		return err
	}
	if err := a.store.SaveState(stateName, record); err != nil {
		return err
	}
	a.now.Store(l)
	return nil
}

func encode(l *Lists) ([]byte, error) {
	s := stored{Blocked: make(map[string]Entry), Allowed: make(map[string]Entry), Closed: l.Closed}
	for p, e := range l.Blocked {
		s.Blocked[p.String()] = e
	}
	for p, e := range l.Allowed {
		s.Allowed[p.String()] = e
	}
	var record bytes.Buffer
	enc := json.NewEncoder(&record)
	enc.SetEscapeHTML(false) // it would make reasons six times as long
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("encode who may: %w", err)
	}
	return record.Bytes(), nil
}

// ByTime returns the peers of a list, the latest first.
func ByTime(list map[peer.ID]Entry) []peer.ID {
	return slices.SortedFunc(maps.Keys(list), func(p, q peer.ID) int {
		if c := list[q].Since.Compare(list[p].Since); c != 0 {
			return c
		}
		return strings.Compare(string(p), string(q))
	})
}
