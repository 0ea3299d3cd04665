package market_test

import (
	"math"
	"testing"

	"github.com/spare-network/spare/market"
)

func TestAccount(t *testing.T) {
	for _, c := range []struct {
		name             string
		served, received []uint64
		balance          int64
		inCredit         bool
		words            string
	}{
		{"nothing", nil, nil, 0, false, "nothing yet"},
		{"they ran more", []uint64{1e9}, []uint64{2e9, 5e8}, 15e8, true, "1.5 G gas in its favour"},
		{"we ran more", []uint64{3e9}, []uint64{1e9}, -2e9, false, "2 G gas in ours"},
		{"even", []uint64{7}, []uint64{7}, 0, false, "even"},
		{"a claim beyond all numbers", nil, []uint64{math.MaxUint64, 5}, math.MaxInt64, true, "9.22 E gas in its favour"},
		{"a debt beyond all numbers", []uint64{5, math.MaxUint64}, []uint64{3}, -math.MaxInt64, false, "9.22 E gas in ours"},
	} {
		var a market.Account
		for _, gas := range c.served {
			a.Serve(gas)
		}
		for _, gas := range c.received {
			a.Receive(gas)
		}
		if a.Balance() != c.balance || a.InCredit() != c.inCredit || a.Words() != c.words {
			t.Errorf("%s: balance %d, in credit %v, %q; want %d, %v, %q", c.name, a.Balance(), a.InCredit(), a.Words(), c.balance, c.inCredit, c.words)
		}
	}
}
