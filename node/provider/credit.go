package provider

import (
	"fmt"
	"slices"
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

// debt is a receipt that its requester is to countersign, once, however often
// and by whatever connection it was sent.
type debt struct {
	receipt *protocol.Receipt
	paid    bool // guarded by the Provider's mu
}

// addReceipt has a receipt signed with others, off the hot path. The node owes
// itself nothing.
func (s *session) addReceipt(d *debt) {
	if s.account.self {
		return
	}
	s.receiptsMu.Lock()
	defer s.receiptsMu.Unlock()
	if s.closed {
		return
	}
	s.unsigned = append(s.unsigned, d)
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
	debts := s.unsigned
	s.unsigned = nil
	s.receiptsMu.Unlock()
	// What was claimed twice is signed once: the requester has no use for a
	// batch that names a nonce again, nor for what it has countersigned.
	signs := make(map[*debt]bool, len(debts))
	s.mu.Lock()
	debts = slices.DeleteFunc(debts, func(d *debt) bool {
		again := signs[d] || d.paid
		signs[d] = true
		return again
	})
	s.mu.Unlock()
	for batch := range slices.Chunk(debts, protocol.MaxReceipts) {
		signed, err := protocol.SignReceipts(s.cfg.NetworkID, s.cfg.Key, receiptsOf(batch))
		if err != nil {
			s.cfg.Logger.Error("cannot sign receipts", "err", err)
			return
		}
		s.owe(batch)
		if s.conn.Send(&protocol.Reply{Body: &protocol.Reply_Receipts{Receipts: signed}}) != nil {
			return // nobody is there to be told
		}
	}
}

func receiptsOf(debts []*debt) []*protocol.Receipt {
	receipts := make([]*protocol.Receipt, len(debts))
	for i, d := range debts {
		receipts[i] = d.receipt
	}
	return receipts
}

// owe notes receipts that the requester has not countersigned yet.
func (s *session) owe(debts []*debt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range debts {
		if !d.paid {
			s.account.owed.Add(protocol.Nonce(d.receipt.Nonce), d)
		}
	}
}

// countersigned takes a requester's word for what it has got. One that is not
// its word ends the stream.
func (s *session) countersigned(batch *protocol.ReceiptBatch) error {
	if len(batch.Nonces) == 0 || len(batch.Nonces) > protocol.MaxReceipts {
		return fmt.Errorf("%w: %d receipts countersigned at once", protocol.ErrMalformed, len(batch.Nonces))
	}
	debts := s.takeOwed(batch.Nonces)
	if debts == nil {
		return nil // some were let go, or are paid
	}
	s.checks.Go(func() error {
		if err := batch.VerifyCounter(s.cfg.NetworkID, s.account.peer, receiptsOf(debts)); err != nil {
			s.cfg.Logger.Debug("a countersignature is wrong", "requester", s.account.peer, "err", err)
			s.conn.Reset()
			return nil
		}
		if s.cfg.Ledger == nil {
			return nil
		}
		var gas uint64 // no sum of so few, each within a task's limits, is too large
		for _, d := range debts {
			gas += d.receipt.Gas
		}
		s.cfg.Ledger.Served(s.account.peer, gas)
		return nil
	})
	return nil
}

// takeOwed takes all the receipts named, which are not owed any more, or none.
func (s *session) takeOwed(nonces [][]byte) []*debt {
	owed := s.account.owed
	debts := make([]*debt, 0, len(nonces))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range nonces {
		nonce, err := protocol.NonceFrom(b)
		d, ok := owed.Peek(nonce)
		if err != nil || !ok || d.paid {
			for _, d := range debts {
				d.paid = false
			}
			return nil
		}
		d.paid = true // also when it is named twice
		debts = append(debts, d)
	}
	for _, d := range debts {
		owed.Remove(protocol.Nonce(d.receipt.Nonce))
	}
	return debts
}
