package protocol

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"
)

// Each signature is over a text that names its purpose, then the signed bytes,
// so that a signature made for one purpose never serves another.
const (
	offerContext    = "spare/offer/1\x00"
	receiptsContext = "spare/receipts/1\x00"
	countersContext = "spare/countersigned/1\x00"
)

// SignOffer marshals o and signs it for the network with the provider's key.
func SignOffer(net NetworkID, key crypto.PrivKey, o *Offer) (*SignedOffer, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode offer: %w", err)
	}
	sig, err := key.Sign(signedBytes(offerContext, net, b))
	if err != nil {
		return nil, fmt.Errorf("sign offer: %w", err)
	}
	return &SignedOffer{Offer: b, Signature: sig}, nil
}

// Open checks the signature and every bound of the offer in s and returns it
// with its author. It does not judge freshness: that needs a clock and what
// was seen before.
func (s *SignedOffer) Open(net NetworkID) (peer.ID, *Offer, error) {
	if len(s.Offer) > MaxOffer {
		return "", nil, fmt.Errorf("%w: offer of %d bytes", ErrMalformed, len(s.Offer))
	}
	o := new(Offer)
	if err := proto.Unmarshal(s.Offer, o); err != nil {
		return "", nil, fmt.Errorf("%w: offer: %w", ErrMalformed, err)
	}
	author, err := parsePeer(o.Provider)
	if err != nil {
		return "", nil, err
	}
	key, err := author.ExtractPublicKey()
	if err != nil {
		return "", nil, fmt.Errorf("%w: the peer ID %s holds no key", ErrMalformed, author)
	}
	ok, err := key.Verify(signedBytes(offerContext, net, s.Offer), s.Signature)
	if err != nil || !ok {
		return "", nil, fmt.Errorf("%w: offer is not signed by %s", ErrMalformed, author)
	}
	return author, o, o.validate()
}

func (o *Offer) validate() error {
	switch {
	case o.TtlMs == 0 || time.Duration(o.TtlMs)*time.Millisecond > MaxOfferTTL:
		return fmt.Errorf("%w: offer valid for %d ms", ErrMalformed, o.TtlMs)
	case math.IsNaN(o.Speed) || o.Speed <= 0 || o.Speed > 1e6:
		return fmt.Errorf("%w: speed %v", ErrMalformed, o.Speed)
	case len(o.Warm) > MaxWarm:
		return fmt.Errorf("%w: %d warm modules", ErrMalformed, len(o.Warm))
	}
	for _, w := range o.Warm {
		if _, err := DigestFrom(w); err != nil {
			return err
		}
	}
	if err := o.Load.Validate(); err != nil {
		return err
	}
	if err := ValidateLabels(o.Labels); err != nil {
		return err
	}
	return validateTexts(o.Version, o.Arch)
}

// TTL is how long the offer is valid, counted from its receipt, so that a
// skewed clock blinds nobody.
func (o *Offer) TTL() time.Duration { return time.Duration(o.TtlMs) * time.Millisecond }

// Validate checks that a Load from a peer is possible. A nil Load is.
func (l *Load) Validate() error {
	const most = 1 << 20
	if l.GetSlots() > most || l.GetRunning() > most || l.GetQueued() > most ||
		l.GetMeanRunUs() > uint64(MaxWall.Microseconds()) {
		return fmt.Errorf("%w: load %v", ErrMalformed, l)
	}
	return nil
}

// ReceiptBatchBytes returns the bytes that a provider signs for receipts, in
// their order: each in canonical protobuf behind its length.
func ReceiptBatchBytes(net NetworkID, receipts []*Receipt) ([]byte, error) {
	return receiptBytes(receiptsContext, net, receipts)
}

func receiptBytes(context string, net NetworkID, receipts []*Receipt) ([]byte, error) {
	var size int
	for _, r := range receipts {
		size += binary.MaxVarintLen32 + proto.Size(r)
	}
	b := make([]byte, 0, size)
	for _, r := range receipts {
		b = binary.AppendUvarint(b, uint64(proto.Size(r)))
		var err error
		if b, err = (proto.MarshalOptions{Deterministic: true, UseCachedSize: true}).MarshalAppend(b, r); err != nil {
			return nil, fmt.Errorf("encode receipt: %w", err)
		}
	}
	return signedBytes(context, net, b), nil
}

// SignReceipts signs receipts with the provider's key: it has done this work.
func SignReceipts(net NetworkID, key crypto.PrivKey, receipts []*Receipt) (*ReceiptBatch, error) {
	return signReceipts(receiptsContext, net, key, receipts)
}

// CountersignReceipts signs receipts with the requester's key: it has got this
// work, and owes for it.
func CountersignReceipts(net NetworkID, key crypto.PrivKey, receipts []*Receipt) (*ReceiptBatch, error) {
	return signReceipts(countersContext, net, key, receipts)
}

func signReceipts(context string, net NetworkID, key crypto.PrivKey, receipts []*Receipt) (*ReceiptBatch, error) {
	b, err := receiptBytes(context, net, receipts)
	if err != nil {
		return nil, err
	}
	sig, err := key.Sign(b)
	if err != nil {
		return nil, fmt.Errorf("sign receipts: %w", err)
	}
	batch := &ReceiptBatch{Signature: sig}
	for _, r := range receipts {
		batch.Nonces = append(batch.Nonces, r.Nonce)
	}
	return batch, nil
}

// Verify checks that provider signed these receipts.
func (b *ReceiptBatch) Verify(net NetworkID, provider peer.ID, receipts []*Receipt) error {
	return b.verify(receiptsContext, net, provider, receipts)
}

// VerifyCounter checks that requester countersigned these receipts.
func (b *ReceiptBatch) VerifyCounter(net NetworkID, requester peer.ID, receipts []*Receipt) error {
	return b.verify(countersContext, net, requester, receipts)
}

func (b *ReceiptBatch) verify(context string, net NetworkID, signer peer.ID, receipts []*Receipt) error {
	key, err := signer.ExtractPublicKey()
	if err != nil {
		return fmt.Errorf("key of %s: %w", signer, err)
	}
	signed, err := receiptBytes(context, net, receipts)
	if err != nil {
		return err
	}
	if ok, err := key.Verify(signed, b.Signature); err != nil || !ok {
		return fmt.Errorf("%w: receipts are not signed by %s", ErrMalformed, signer)
	}
	return nil
}

func signedBytes(context string, net NetworkID, b []byte) []byte {
	out := make([]byte, 0, len(context)+len(net)+len(b))
	out = append(out, context...)
	out = append(out, net[:]...)
	return append(out, b...)
}
