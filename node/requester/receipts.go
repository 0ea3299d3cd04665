package requester

import (
	"fmt"
	"time"

	"github.com/spare-network/spare/protocol"
)

// maxUnverified bounds the receipts of one provider that await a signature:
// honest ones are signed within a second. Beyond it all are dropped, since a
// receipt only serves as evidence later.
const maxUnverified = 16 * protocol.MaxReceipts

// expectSignature keeps a receipt until the batch that signs it comes. The node
// needs no evidence of itself.
func (p *pair) expectSignature(r *protocol.Receipt) {
	if p.peer == p.r.cfg.Self {
		return
	}
	nonce := protocol.Nonce(r.Nonce) // Validate has seen its length
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.unverified) >= maxUnverified {
		clear(p.unverified)
	}
	p.unverified[nonce] = r
}

// signed checks a batch's signature off the hot path, keeps it as evidence and
// countersigns it: the provider has done that much for this node.
func (p *pair) signed(batch *protocol.ReceiptBatch) error {
	if len(batch.Nonces) == 0 || len(batch.Nonces) > protocol.MaxReceipts {
		return fmt.Errorf("%w: %d receipts signed at once", protocol.ErrMalformed, len(batch.Nonces))
	}
	receipts := make([]*protocol.Receipt, 0, len(batch.Nonces))
	p.mu.Lock()
	for _, b := range batch.Nonces {
		nonce, err := protocol.NonceFrom(b)
		if r := p.unverified[nonce]; err == nil && r != nil {
			receipts = append(receipts, r)
			delete(p.unverified, nonce)
		}
	}
	p.mu.Unlock()
	if len(receipts) != len(batch.Nonces) {
		return nil // signs what was dropped: worth nothing as evidence
	}
	p.r.wg.Go(func() {
		if err := batch.Verify(p.r.cfg.NetworkID, p.peer, receipts); err != nil {
			p.fail(err)
			return
		}
		if err := p.r.cfg.Journal.SaveReceipts(p.peer, batch, receipts); err != nil {
			p.r.cfg.Logger.Error("cannot keep receipts", "err", err)
		}
		p.countersign(receipts)
	})
	return nil
}

// countersign gives a provider its due, unless that is known to lie: for each
// attempt once, however often its outcome is claimed. What is signed again is
// countersigned again, since the first time may have been lost on the way.
func (p *pair) countersign(receipts []*protocol.Receipt) {
	if p.r.trust.barred(p.peer, time.Now()) != "" {
		return
	}
	batch, err := protocol.CountersignReceipts(p.r.cfg.NetworkID, p.r.cfg.Key, receipts)
	if err != nil {
		p.r.cfg.Logger.Error("cannot countersign receipts", "err", err)
		return
	}
	var gas uint64 // no sum of so few, each within a task's limits, is too large
	for _, receipt := range receipts {
		if again, _ := p.r.paid.ContainsOrAdd(protocol.Nonce(receipt.Nonce), struct{}{}); !again {
			gas += receipt.Gas
		}
	}
	if gas > 0 {
		p.r.cfg.Ledger.Received(p.peer, gas)
	}
	_ = p.conn.SendSoon(&protocol.Ask{Body: &protocol.Ask_Countersigned{Countersigned: batch}}) // a dead stream ends its pair
}
