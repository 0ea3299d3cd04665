package protocol

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
)

// Digest is a sha2-256 of whole bytes.
type Digest [sha256.Size]byte

// DigestOf returns the Digest of b.
func DigestOf(b []byte) Digest { return sha256.Sum256(b) }

// DigestFrom copies the 32 bytes of a wire field. It returns [ErrMalformed]
// for any other length.
func DigestFrom(b []byte) (Digest, error) {
	if len(b) != sha256.Size {
		return Digest{}, fmt.Errorf("%w: digest of %d bytes, want %d", ErrMalformed, len(b), sha256.Size)
	}
	return Digest(b), nil
}

// ParseDigest reads a Digest from 64 hexadecimal characters or from a CID
// (version 1, raw, sha2-256), as [Digest.String] and [Digest.CID] write them.
func ParseDigest(s string) (Digest, error) {
	if b, err := hex.DecodeString(s); err == nil {
		return DigestFrom(b)
	}
	c, err := cid.Decode(s)
	if err != nil {
		return Digest{}, fmt.Errorf("%w: %q is neither a sha2-256 in hex nor a CID", ErrMalformed, s)
	}
	mh, err := multihash.Decode(c.Hash())
	if err != nil || mh.Code != multihash.SHA2_256 || c.Version() != 1 || c.Type() != cid.Raw {
		return Digest{}, fmt.Errorf("%w: the CID %q is not version 1 of raw bytes by sha2-256", ErrMalformed, s)
	}
	return DigestFrom(mh.Digest)
}

// IsZero reports whether d is unset.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns d as 64 hexadecimal characters, as sha256sum prints it.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// CID returns d as a content identifier: version 1, raw codec, base32
// (https://github.com/multiformats/cid).
func (d Digest) CID() string {
	mh, err := multihash.Encode(d[:], multihash.SHA2_256)
	if err != nil {
		panic("protocol: a sha2-256 is always a valid multihash: " + err.Error())
	}
	return cid.NewCidV1(cid.Raw, mh).String()
}

// TaskID names a task: 10 random characters of lower-case base32, so that a
// short prefix is usually enough for a person.
type TaskID string

// TaskIDLen is the length of a TaskID in characters.
const TaskIDLen = 10

const idAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

// NewTaskID returns a random TaskID.
func NewTaskID() TaskID {
	var raw [TaskIDLen]byte
	rand.Read(raw[:])
	for i, b := range raw {
		raw[i] = idAlphabet[b%32]
	}
	return TaskID(raw[:])
}

// ValidIDPrefix reports whether s can be the beginning of a TaskID.
func ValidIDPrefix(s string) bool {
	return s != "" && len(s) <= TaskIDLen && strings.Trim(s, idAlphabet) == ""
}

// Nonce names one replica of a task among all of them, everywhere.
type Nonce [16]byte

// NewNonce returns a random Nonce.
func NewNonce() (n Nonce) {
	rand.Read(n[:])
	return n
}

// NonceFrom copies the 16 bytes of a wire field. It returns [ErrMalformed]
// for any other length.
func NonceFrom(b []byte) (Nonce, error) {
	if len(b) != len(Nonce{}) {
		return Nonce{}, fmt.Errorf("%w: nonce of %d bytes", ErrMalformed, len(b))
	}
	return Nonce(b), nil
}

// NetworkID tells private networks apart. It is derived from the network's
// secret and reveals nothing about it.
type NetworkID [sha256.Size]byte

// NetworkSecret is the 32 random bytes that make a peer a member.
type NetworkSecret [32]byte

// ID returns the NetworkID of the secret.
func (s NetworkSecret) ID() NetworkID {
	return sha256.Sum256(append([]byte("spare/network-id/1\x00"), s[:]...))
}

// String returns the first 32 hexadecimal characters of id, as they stand in
// protocol IDs and topics.
func (id NetworkID) String() string { return hex.EncodeToString(id[:16]) }

// parsePeer reads a peer ID that came from a peer.
func parsePeer(s string) (peer.ID, error) {
	if len(s) > maxPeerIDLen {
		return "", fmt.Errorf("%w: peer ID of %d characters", ErrMalformed, len(s))
	}
	id, err := peer.Decode(s)
	if err != nil {
		return "", fmt.Errorf("%w: peer ID: %w", ErrMalformed, err)
	}
	return id, nil
}
