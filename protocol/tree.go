package protocol

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// Tree is how peers carry a blob to each other: its size and the sha2-256 of
// each of its leaves of [LeafSize] bytes, of which the last may be shorter. It
// is a DAG of depth one that names nothing: what a blob is called is the digest
// of its whole bytes, which are checked against that once all leaves are there.
type Tree struct {
	Size   int64 // in bytes
	Leaves []Digest
}

// leafCount is how many leaves a blob of so many bytes has.
func leafCount(size int64) int { return int((size + LeafSize - 1) / LeafSize) }

// ReadTree reads a blob to its end and returns its tree and its digest. It
// returns [ErrMalformed] for more than [MaxBlob] bytes.
func ReadTree(r io.Reader) (*Tree, Digest, error) {
	t, whole, buf := new(Tree), sha256.New(), make([]byte, LeafSize)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			t.Size += int64(n)
			t.Leaves = append(t.Leaves, DigestOf(buf[:n]))
			whole.Write(buf[:n])
		}
		switch {
		case t.Size > MaxBlob:
			return nil, Digest{}, fmt.Errorf("%w: blob of more than %d bytes", ErrMalformed, MaxBlob)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return t, Digest(whole.Sum(nil)), nil
		case err != nil:
			return nil, Digest{}, err
		}
	}
}

// ParseTree reads the digests of a blob's leaves, one after another, as
// [Tree.Bytes] writes them.
func ParseTree(size uint64, leaves []byte) (*Tree, error) {
	if size > MaxBlob || len(leaves) != leafCount(int64(size))*sha256.Size {
		return nil, fmt.Errorf("%w: tree of %d bytes for a blob of %d", ErrMalformed, len(leaves), size)
	}
	t := &Tree{Size: int64(size), Leaves: make([]Digest, leafCount(int64(size)))}
	for i := range t.Leaves {
		copy(t.Leaves[i][:], leaves[i*sha256.Size:])
	}
	return t, nil
}

// Bytes returns the digests of the leaves, one after another.
func (t *Tree) Bytes() []byte {
	b := make([]byte, 0, len(t.Leaves)*sha256.Size)
	for _, d := range t.Leaves {
		b = append(b, d[:]...)
	}
	return b
}

// Leaf returns where in the blob leaf i is, and how many bytes it has.
func (t *Tree) Leaf(i int) (at int64, size int) {
	at = int64(i) * LeafSize
	return at, int(min(LeafSize, t.Size-at))
}
