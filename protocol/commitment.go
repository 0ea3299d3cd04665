package protocol

import (
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
)

const commitmentContext = "spare/commitment/1\x00"

// CommitmentOf is what a provider sends of a result before it reveals it. It
// names the provider and the replica's nonce, so that nobody can hand on
// another's commitment as one's own and reveal what the other has revealed.
// It hides a result only from those who cannot guess it, which suffices: all
// that is at stake is an answer that somebody has worked for.
func CommitmentOf(result Digest, provider peer.ID, nonce Nonce) Digest {
	b := make([]byte, 0, len(commitmentContext)+len(result)+len(nonce)+len(provider))
	b = append(b, commitmentContext...)
	b = append(b, result[:]...)
	b = append(b, nonce[:]...)
	return DigestOf(append(b, provider...))
}

// Validate checks a Commitment from a peer, except for its load.
func (c *Commitment) Validate() error {
	_, err := DigestFrom(c.Digest)
	return err
}

// Validate checks a Claim from a peer.
func (c *Claim) Validate() error {
	_, err := NonceFrom(c.Nonce)
	return err
}

// Validate checks a Settle from a peer.
func (s *Settle) Validate() error {
	if len(s.Nonces) > MaxSettle {
		return fmt.Errorf("%w: %d results settled at once", ErrMalformed, len(s.Nonces))
	}
	for _, n := range s.Nonces {
		if _, err := NonceFrom(n); err != nil {
			return err
		}
	}
	return nil
}

// Target is whom a Vouch asks about.
func (v *Vouch) Target() (peer.ID, error) { return parsePeer(v.Peer) }
