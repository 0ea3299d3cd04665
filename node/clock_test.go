package node

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

func TestAhead(t *testing.T) {
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	offer := func(provider string, made time.Duration) market.Entry {
		return market.Entry{Provider: peer.ID(provider), Received: now, Offer: &protocol.Offer{Sequence: uint64(now.Add(made).UnixNano())}}
	}
	for _, test := range []struct {
		name   string
		offers []market.Entry
		want   int64
		known  bool
	}{
		{"nobody", nil, 0, false},
		{"itself alone", []market.Entry{offer("self", -time.Hour)}, 0, false},
		{"as the others", []market.Entry{offer("a", -time.Second), offer("b", -40*time.Second)}, 0, true},
		{"ahead", []market.Entry{offer("a", -time.Hour), offer("b", -time.Hour), offer("self", 0)}, 3600, true},
		{"behind", []market.Entry{offer("a", time.Hour+time.Second), offer("b", time.Hour)}, -3600, true},
		{"one peer is wrong", []market.Entry{offer("a", time.Hour), offer("b", 0), offer("c", -time.Second)}, 0, true},
	} {
		got := ahead(peer.ID("self"), test.offers)
		if (got != nil) != test.known || got != nil && *got != test.want {
			t.Errorf("%s: %v, want %d, known %v", test.name, got, test.want, test.known)
		}
	}
}
