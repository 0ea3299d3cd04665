package provider

import (
	"fmt"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	// signDelay is how long receipts wait to be signed together: one signature
	// costs as much as a whole short task.
	signDelay = 250 * time.Millisecond
	// maxOwed bounds the receipts of one requester that await its signature;
	// beyond it the oldest are let go.
	maxOwed = 16 * protocol.MaxReceipts
	// maxChecks bounds the countersignatures of one stream that are checked at
	// once: more wait in it.
	maxChecks = 2
)

// addReceipt has the receipt signed with others, off the hot path.
func (s *session) addReceipt(r *protocol.Receipt) {
	s.receiptsMu.Lock()
	defer s.receiptsMu.Unlock()
	if s.closed {
		return
	}
	s.unsigned = append(s.unsigned, r)
	switch {
	case len(s.unsigned) == 1:
		s.wg.Add(1)
		s.signer = time.AfterFunc(signDelay, func() {
			defer s.wg.Done()
			s.sign()
		})
	case len(s.unsigned) == protocol.MaxReceipts && s.signer.Stop():
		go func() {
			defer s.wg.Done()
			s.sign()
		}()
	}
}

// sign signs what is unsigned in batches and sends the signatures.
func (s *session) sign() {
	s.receiptsMu.Lock()
	receipts := s.unsigned
	s.unsigned = nil
	s.receiptsMu.Unlock()
	for len(receipts) > 0 {
		n := min(len(receipts), protocol.MaxReceipts)
		batch, err := protocol.SignReceipts(s.cfg.NetworkID, s.cfg.Key, receipts[:n])
		if err != nil {
			s.cfg.Logger.Error("cannot sign receipts", "err", err)
			return
		}
		s.owe(receipts[:n])
		if s.conn.Send(&protocol.Reply{Body: &protocol.Reply_Receipts{Receipts: batch}}) != nil {
			return // nobody is there to be told
		}
		receipts = receipts[n:]
	}
}

// owe notes receipts that the requester has not countersigned yet.
func (s *session) owe(receipts []*protocol.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, receipt := range receipts {
		nonce := protocol.Nonce(receipt.Nonce)
		if r := s.account.find(nonce); r == nil || !r.paid {
			s.account.owed.Add(nonce, receipt)
		}
	}
}

// countersigned takes a requester's word for what it has got. One that is not
// its word ends the stream.
func (s *session) countersigned(batch *protocol.ReceiptBatch) error {
	if len(batch.Nonces) == 0 || len(batch.Nonces) > protocol.MaxReceipts {
		return fmt.Errorf("%w: %d receipts countersigned at once", protocol.ErrMalformed, len(batch.Nonces))
	}
	receipts := s.takeOwed(batch.Nonces)
	if receipts == nil {
		return nil // some were let go, or are paid
	}
	s.checks.Go(func() error {
		if err := batch.VerifyCounter(s.cfg.NetworkID, s.account.peer, receipts); err != nil {
			s.cfg.Logger.Debug("a countersignature is wrong", "requester", s.account.peer, "err", err)
			s.conn.Reset()
			return nil
		}
		if s.cfg.Ledger == nil {
			return nil
		}
		var gas uint64 // no sum of so few, each within a task's limits, is too large
		for _, r := range receipts {
			gas += r.Gas
		}
		s.cfg.Ledger.Served(s.account.peer, gas)
		return nil
	})
	return nil
}

// takeOwed takes all the receipts named, which are not owed any more, or none.
func (s *session) takeOwed(nonces [][]byte) []*protocol.Receipt {
	a := s.account
	receipts := make([]*protocol.Receipt, 0, len(nonces))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range nonces {
		nonce, err := protocol.NonceFrom(b)
		receipt, owed := a.owed.Peek(nonce)
		if err != nil || !owed {
			for _, receipt := range receipts {
				a.owed.Add(protocol.Nonce(receipt.Nonce), receipt)
			}
			return nil
		}
		a.owed.Remove(nonce)
		receipts = append(receipts, receipt)
	}
	for _, receipt := range receipts {
		if r := a.find(protocol.Nonce(receipt.Nonce)); r != nil {
			r.paid = true
		}
	}
	return receipts
}
