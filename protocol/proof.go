package protocol

import (
	"crypto/rand"
	"crypto/sha256"
	"hash"
)

// Challenge is 32 fresh random bytes, to which the peer answers with a proof
// that it has a blob. A digest alone proves nothing: it is told to many.
type Challenge [32]byte

// NewChallenge returns a random Challenge.
func NewChallenge() (c Challenge) {
	rand.Read(c[:])
	return c
}

// NewBlobProof returns what sums a blob's bytes up to the proof that answers
// challenge: a sha2-256 over a context, the challenge and then the bytes, which
// the caller writes.
func NewBlobProof(challenge Challenge) hash.Hash {
	h := sha256.New()
	h.Write([]byte("spare/blob-proof/1\x00"))
	h.Write(challenge[:])
	return h
}
