package market

import (
	"math"

	"github.com/spare-network/spare/protocol"
)

// Account is what two peers have done for each other, in gas, by the receipts
// that both have signed. Whoever keeps it sees to it that each nonce counts
// once. It is no money: it only says who comes first when there is too little.
type Account struct {
	Served   uint64 // we ran for them
	Received uint64 // they ran for us
}

// Serve notes that we ran so much gas for the peer.
func (a *Account) Serve(gas uint64) { a.Served = plus(a.Served, gas) }

// Receive notes that the peer ran so much gas for us.
func (a *Account) Receive(gas uint64) { a.Received = plus(a.Received, gas) }

// plus adds without ever coming round to little again.
func plus(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// Balance is what we owe the peer, in gas: above 0 when it has run more for us
// than we for it.
func (a Account) Balance() int64 {
	if a.Received >= a.Served {
		return int64(min(a.Received-a.Served, math.MaxInt64))
	}
	return -int64(min(a.Served-a.Received, math.MaxInt64))
}

// InCredit reports whether the peer has run more for us than we for it.
func (a Account) InCredit() bool { return a.Received > a.Served }

// Words says what the balance is, for people.
func (a Account) Words() string {
	switch b := a.Balance(); {
	case a == Account{}:
		return "nothing yet"
	case b > 0:
		return protocol.GasText(uint64(b)) + " gas in its favour"
	case b < 0:
		return protocol.GasText(uint64(-b)) + " gas in ours"
	default:
		return "even"
	}
}

const (
	// fullWeight is the largest weight of a requester in credit, next to 1 of
	// all others.
	fullWeight = 4
	// fullCredit is the balance in gas at which it is reached: about a minute
	// of one core.
	fullCredit = 60e9
)

// weight is how many times the share of a peer that has done nothing for us
// the peer gets of our slots: from 1 to 4, and more credit than a minute's
// work buys no more.
func (a Account) weight() float64 {
	if !a.InCredit() {
		return 1
	}
	return 1 + (fullWeight-1)*min(1, float64(a.Balance())/fullCredit)
}
