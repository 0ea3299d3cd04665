package guests

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

func (s *shelf) State(name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state[name], nil
}

func (s *shelf) SaveState(name string, record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.state[name] = slices.Clone(record)
	return nil
}

var self, ann, bob = peerOf(0), peerOf(1), peerOf(2)

func openAccess(t *testing.T, s State) *Access {
	t.Helper()
	a, err := OpenAccess(self, s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAccess(t *testing.T) {
	type step struct {
		what   string
		do     func(*Access) error
		denied []peer.ID // of ann, bob and self, afterwards
		closed bool
	}
	block := func(p peer.ID) func(*Access) error {
		return func(a *Access) error { return a.Block(p, "mines", start) }
	}
	allow := func(p peer.ID) func(*Access) error { return func(a *Access) error { return a.Allow(p, start) } }
	unblock := func(p peer.ID) func(*Access) error { return func(a *Access) error { return a.Unblock(p) } }
	disallow := func(p peer.ID) func(*Access) error { return func(a *Access) error { return a.Disallow(p) } }
	for name, steps := range map[string][]step{
		"a block and its end": {
			{"block", block(ann), []peer.ID{ann}, false},
			{"again", block(ann), []peer.ID{ann}, false},
			{"unblock another", unblock(bob), []peer.ID{ann}, false},
			{"unblock", unblock(ann), nil, false},
		},
		"all blocks": {
			{"block", block(ann), []peer.ID{ann}, false},
			{"block", block(bob), []peer.ID{ann, bob}, false},
			{"unblock all", unblock(""), nil, false},
		},
		"chosen ones": {
			{"allow", allow(ann), []peer.ID{bob}, true},
			{"allow", allow(bob), nil, true},
			{"disallow", disallow(ann), []peer.ID{ann}, true},
			{"disallow the last", disallow(bob), []peer.ID{ann, bob}, true},
			{"unblock opens nothing", unblock(""), []peer.ID{ann, bob}, true},
			{"allow all", allow(""), nil, false},
		},
		"on one list at most": {
			{"allow", allow(ann), []peer.ID{bob}, true},
			{"block", block(ann), []peer.ID{ann, bob}, true},
			{"unblock", unblock(ann), []peer.ID{ann, bob}, true},
			{"block", block(bob), []peer.ID{ann, bob}, true},
			{"allow", allow(bob), []peer.ID{ann}, true},
			{"allow all", allow(""), nil, false},
		},
		"a block stays when all are allowed": {
			{"block", block(ann), []peer.ID{ann}, false},
			{"allow", allow(bob), []peer.ID{ann}, true},
			{"allow all", allow(""), []peer.ID{ann}, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf()
			a := openAccess(t, s)
			for _, step := range steps {
				if err := step.do(a); err != nil {
					t.Fatalf("%s: %v", step.what, err)
				}
				for _, now := range []*Access{a, openAccess(t, s)} {
					var denied []peer.ID
					for _, p := range []peer.ID{self, ann, bob} {
						if err := now.Denied(p); err != nil {
							denied = append(denied, p)
							if err.Code != protocol.CodeBlocked || err.Message == "" {
								t.Errorf("%s: %v", step.what, err)
							}
						}
					}
					if !slices.Equal(denied, step.denied) || now.Lists().Closed != step.closed {
						t.Errorf("%s: %v are denied, closed %v; want %v, %v", step.what, denied, now.Lists().Closed, step.denied, step.closed)
					}
				}
			}
		})
	}
}

func TestOwnNodeIsOnNoList(t *testing.T) {
	a := openAccess(t, newShelf())
	for _, err := range []error{a.Block(self, "", start), a.Allow(self, start)} {
		if protocol.CodeOf(err) != protocol.CodeBadRequest {
			t.Errorf("it is: %v", err)
		}
	}
	if err := a.Allow(ann, start); err != nil {
		t.Fatal(err)
	}
	if a.Denied(self) != nil || a.Blocked(self) {
		t.Error("its own tasks are denied")
	}
}

func TestBlockKeepsWhatIsNotSaidAnew(t *testing.T) {
	a := openAccess(t, newShelf())
	for _, c := range []struct{ why, want string }{
		{"mines\ncoins\x1b[2J", "mines coins[2J"}, {"", "mines coins[2J"}, {"spams", "spams"}, {strings.Repeat("é", MaxWhy), strings.Repeat("é", MaxWhy/2)},
	} {
		if err := a.Block(ann, c.why, start.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if e := a.Lists().Blocked[ann]; e.Why != c.want || !e.Since.Equal(start.Add(time.Hour)) {
			t.Errorf("after %q it is %+v", c.why, e)
		}
		if got := a.Denied(ann).Message; !strings.Contains(got, c.want) || len(got) > protocol.MaxText {
			t.Errorf("the peer is told %q", got)
		}
	}
	if err := a.Block(bob, "", start); err != nil {
		t.Fatal(err)
	}
	if list := ByTime(a.Lists().Blocked); !slices.Equal(list, []peer.ID{ann, bob}) {
		t.Errorf("the latest first: %v", list)
	}
	if got := a.Denied(bob).Message; got != "its owner has blocked the requester's node, and can say why" {
		t.Errorf("one without a reason is told %q", got)
	}
}

// TestFullListsFitTheStore has as many as can be, with the longest reasons.
func TestFullListsFitTheStore(t *testing.T) {
	s := newShelf()
	a := openAccess(t, s)
	l := a.Lists()
	for i := range MaxNamed - 1 {
		l.Blocked[peerOf(1001+i)] = Entry{Since: start, Why: strings.Repeat("\"<", MaxWhy/2)}
		l.Allowed[peerOf(3001+i)] = Entry{Since: start}
	}
	if err := errors.Join(a.Block(peerOf(1000), strings.Repeat("\"<", MaxWhy), start), a.Allow(peerOf(3000), start)); err != nil {
		t.Fatal(err)
	}
	if err := a.Block(ann, "", start); protocol.CodeOf(err) != protocol.CodeBusy {
		t.Errorf("one more is blocked: %v", err)
	}
	if err := a.Allow(ann, start); protocol.CodeOf(err) != protocol.CodeBusy {
		t.Errorf("one more is allowed: %v", err)
	}
	if err := a.Block(peerOf(1000), "again", start); err != nil {
		t.Errorf("one that is there already: %v", err)
	}
	if n := len(s.state[stateName]); n > 512<<10-MaxNamed*2*24 { // real peer IDs are longer in text
		t.Errorf("the record has %d bytes", n)
	}
	if again := openAccess(t, s); len(again.Lists().Blocked) != MaxNamed || len(again.Lists().Allowed) != MaxNamed {
		t.Error("some have gone")
	}
}

func TestWhatIsNotSavedDoesNotHold(t *testing.T) {
	s := newShelf()
	a := openAccess(t, s)
	s.fail(errors.New("the disk is full"))
	if err := a.Block(ann, "", start); err == nil || a.Denied(ann) != nil {
		t.Errorf("it holds: %v, %v", err, a.Denied(ann))
	}
}

// TestUnreadableListsLetNobodyIn has the node not start, rather than forget who
// was blocked.
func TestUnreadableListsLetNobodyIn(t *testing.T) {
	for _, record := range []string{"{", `{"blocked":{"nobody":{}}}`, `{"allowed":{"12D3":{}}}`, `{"blockt":{}}`, `[]`} {
		s := newShelf()
		s.state[stateName] = []byte(record)
		if _, err := OpenAccess(self, s); protocol.CodeOf(err) != protocol.CodeFile {
			t.Errorf("%s: %v", record, err)
		}
	}
}
