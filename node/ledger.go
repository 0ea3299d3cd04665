package node

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/store"
)

// maxAccounts is as many as the store keeps.
const maxAccounts = 100_000

// ledger is what this node and others have done for each other, by receipts
// that both sides have signed. It is stored within a second or two: a crash may
// cost what came last.
type ledger struct {
	store *store.Store
	log   *slog.Logger

	mu       sync.Mutex
	accounts *simplelru.LRU[peer.ID, market.Account]
}

func openLedger(s *store.Store, log *slog.Logger) (*ledger, error) {
	accounts, err := simplelru.NewLRU[peer.ID, market.Account](maxAccounts, nil)
	if err != nil {
		return nil, fmt.Errorf("remember accounts: %w", err)
	}
	records, err := s.Credits()
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	for p, record := range records {
		var a market.Account
		if err := json.Unmarshal(record, &a); err != nil {
			log.Warn("an account cannot be read and begins anew", "peer", p, "err", err)
			continue
		}
		accounts.Add(p, a)
	}
	return &ledger{store: s, log: log, accounts: accounts}, nil
}

// Account returns what there is between this node and a peer.
func (l *ledger) Account(p peer.ID) market.Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, _ := l.accounts.Peek(p)
	return a
}

// Served notes gas that this node has used for a requester.
func (l *ledger) Served(requester peer.ID, gas uint64) {
	l.change(requester, func(a *market.Account) { a.Serve(gas) })
}

// Received notes gas that a provider has used for this node.
func (l *ledger) Received(provider peer.ID, gas uint64) {
	l.change(provider, func(a *market.Account) { a.Receive(gas) })
}

func (l *ledger) change(p peer.ID, by func(*market.Account)) {
	l.mu.Lock()
	defer l.mu.Unlock() // records are saved, which takes no time, in the order of the changes
	a, _ := l.accounts.Get(p)
	by(&a)
	l.accounts.Add(p, a)
	record, err := json.Marshal(a)
	if err == nil {
		err = l.store.SaveCredit(p, record)
	}
	if err != nil {
		l.log.Warn("cannot keep an account", "peer", p, "err", err)
	}
}

// total is the sum of all accounts.
func (l *ledger) total() (sum market.Account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts.Values() {
		sum.Serve(a.Served)
		sum.Receive(a.Received)
	}
	return sum
}
