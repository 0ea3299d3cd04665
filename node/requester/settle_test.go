package requester

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// What peers that never come back were to be told does not pile up.
func TestUnsettledResultsAreBounded(t *testing.T) {
	s, err := newSettlements()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i := range maxUnsettledPeers + 10 {
		s.add(peer.ID(strconv.Itoa(i)), settlement{protocol.NewNonce(), start})
	}
	if n := len(s.peers(start)); n != maxUnsettledPeers {
		t.Errorf("%d peers are remembered", n)
	}
	last := peer.ID(strconv.Itoa(maxUnsettledPeers + 9))
	for range 2 * maxUnsettled {
		s.add(last, settlement{protocol.NewNonce(), start.Add(time.Hour)})
	}
	if peers := s.peers(start.Add(unsettledFor)); len(peers) != 1 || peers[0] != last {
		t.Errorf("after a day %d peers are remembered", len(peers))
	}
	if n := len(s.take(last)); n != maxUnsettled-1 {
		t.Errorf("of one of them, %d results of an hour later", n)
	}
	if peers := s.peers(start.Add(unsettledFor)); len(peers) != 0 {
		t.Errorf("what was taken is still there, of %d peers", len(peers))
	}
}

// Who comes back is told what it may forget.
func TestProviderThatComesBackIsToldWhatToForget(t *testing.T) {
	p := newFakeProvider(t, honest)
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		nonce := protocol.NewNonce()
		w.requester.unsettled.add(p.id, settlement{nonce, time.Now()})
		time.Sleep(time.Minute)
		check(t, w.do(&protocol.Terms{Where: protocol.WhereRemote}), protocol.StateDone, 0, "")
		time.Sleep(time.Second)
		synctest.Wait()
		if len(p.settled) != 2 || string(p.settled[0]) != string(nonce[:]) {
			t.Errorf("it was told of %d results", len(p.settled))
		}
	})
}
