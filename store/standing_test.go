package store

import (
	"fmt"
	"maps"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestRecordsOfPeersComeBackTheOldestForgotten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		save    func(*Store, peer.ID, []byte) error
		list    func(*Store) (map[peer.ID][]byte, error)
		records func(*Store) *peerRecords
	}{
		{"standing", (*Store).SaveStanding, (*Store).Standings, func(s *Store) *peerRecords { return &s.standings }},
		{"credit", (*Store).SaveCredit, (*Store).Credits, func(s *Store) *peerRecords { return &s.credits }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			want := make(map[peer.ID]string)
			save := func(p peer.ID, record string) {
				t.Helper()
				if err := c.save(s, p, []byte(record)); err != nil {
					t.Fatal(err)
				}
				want[p] = record
			}
			check := func() {
				t.Helper()
				got, err := c.list(s)
				if err != nil {
					t.Fatal(err)
				}
				if !maps.EqualFunc(got, want, func(a []byte, b string) bool { return string(a) == b }) {
					t.Fatalf("got %q, want %q", got, want)
				}
			}
			limited := func() {
				s = reopen(t, s)
				c.records(s).limit = 10
			}
			check()
			limited()
			for i := range 10 {
				save(peer.ID(fmt.Sprint("peer ", i)), fmt.Sprint(i))
			}
			save("peer 0", "") // a record may be empty
			check()
			limited()
			check()
			save("peer 2", "newer")
			save("peer 10", "one too many")
			delete(want, "peer 1")
			check()
			limited()
			save("peer 11", "and another, after a restart")
			delete(want, "peer 3")
			check()
			if err := s.commit(); err != nil {
				t.Fatal(err)
			}
			check()
			if err := c.save(s, "", nil); err == nil {
				t.Error("a record of nobody is saved")
			}
			if err := c.save(s, "someone", make([]byte, maxPeerRecord+1)); err == nil {
				t.Error("a record beyond the limit is saved")
			}
		})
	}
}

func TestStandingAndCreditAreApart(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if err := s.SaveStanding("someone", []byte("good")); err != nil {
		t.Fatal(err)
	}
	credits, err := s.Credits()
	if err != nil || len(credits) > 0 {
		t.Errorf("credits %q, %v", credits, err)
	}
}
