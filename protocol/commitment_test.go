package protocol

import (
	"errors"
	"slices"
	"testing"
)

func TestCommitmentNamesAllItBinds(t *testing.T) {
	result, nonce := DigestOf([]byte("result")), Nonce{1}
	_, provider := sampleKey(t, 1)
	_, other := sampleKey(t, 2)
	commitments := []Digest{
		CommitmentOf(result, provider, nonce),
		CommitmentOf(DigestOf([]byte("another")), provider, nonce),
		CommitmentOf(result, other, nonce),
		CommitmentOf(result, provider, Nonce{2}),
	}
	if CommitmentOf(result, provider, nonce) != commitments[0] {
		t.Error("two commitments to the same differ")
	}
	for i, c := range commitments {
		if slices.Index(commitments, c) != i {
			t.Errorf("commitment %d equals another", i)
		}
	}
}

// A signature that says "I have done this" must not pass for "I owe this".
func TestCountersignatureIsNoSignature(t *testing.T) {
	key, id := sampleKey(t, 1)
	_, other := sampleKey(t, 2)
	receipts := []*Receipt{sampleReceipt(t)}
	signed, err := SignReceipts(sampleNetwork, key, receipts)
	if err != nil {
		t.Fatal(err)
	}
	countersigned, err := CountersignReceipts(sampleNetwork, key, receipts)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"a signature as such", signed.Verify(sampleNetwork, id, receipts), true},
		{"a countersignature as such", countersigned.VerifyCounter(sampleNetwork, id, receipts), true},
		{"a signature as a countersignature", signed.VerifyCounter(sampleNetwork, id, receipts), false},
		{"a countersignature as a signature", countersigned.Verify(sampleNetwork, id, receipts), false},
		{"a countersignature of somebody else", countersigned.VerifyCounter(sampleNetwork, other, receipts), false},
	} {
		if (test.err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, test.err)
		}
	}
}

func TestClaimsAndSettlementsAreBounded(t *testing.T) {
	good := make([]byte, len(Nonce{}))
	for _, test := range []struct {
		name string
		m    interface{ Validate() error }
		ok   bool
	}{
		{"a claim", &Claim{Nonce: good}, true},
		{"a claim without a nonce", &Claim{}, false},
		{"a settlement", &Settle{Nonces: [][]byte{good, good}}, true},
		{"a settlement of a short nonce", &Settle{Nonces: [][]byte{good[1:]}}, false},
		{"a settlement of too many", &Settle{Nonces: slices.Repeat([][]byte{good}, MaxSettle+1)}, false},
		{"a commitment", &Commitment{Digest: digestBytes("x")}, true},
		{"a short commitment", &Commitment{Digest: good}, false},
	} {
		if err := test.m.Validate(); (err == nil) != test.ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := (&Vouch{Peer: "nobody"}).Target(); !errors.Is(err, ErrMalformed) {
		t.Errorf("a vouch for no peer ID: %v", err)
	}
	_, id := sampleKey(t, 1)
	if target, err := (&Vouch{Peer: id.String()}).Target(); err != nil || target != id {
		t.Errorf("target %q with error %v", target, err)
	}
}
