package requester

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// blobBuffer is the size of one write of a blob.
const blobBuffer = 256 << 10

// ServeBlob gives a provider a blob that an attempt it runs for us names, and
// no other.
func (r *Requester) ServeBlob(ctx context.Context, conn *protocol.Conn) {
	defer context.AfterFunc(ctx, conn.Reset)()
	if err := r.giveBlob(conn); err != nil {
		r.cfg.Logger.Debug("a blob was not given", "provider", conn.Peer(), "err", err)
		conn.Reset()
		return
	}
	_ = conn.Close() // the provider checks what it has received
}

func (r *Requester) giveBlob(conn *protocol.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(dialTimeout))
	request := new(protocol.BlobRequest)
	if err := conn.Recv(request); err != nil {
		return err
	}
	want, err := protocol.DigestFrom(request.Digest)
	if err != nil {
		return err
	}
	a := r.attemptOf(conn.Peer(), request.Nonce)
	if a == nil || !slices.ContainsFunc(a.t.blobs, func(b *protocol.Blob) bool { return b.Sum() == want }) {
		return conn.Send(&protocol.BlobHeader{Code: string(protocol.CodeRefused)})
	}
	if !a.mayAsk() {
		return conn.Send(&protocol.BlobHeader{Code: string(protocol.CodeBusy)})
	}
	defer a.giving.Add(-1)
	defer context.AfterFunc(a.ctx, conn.Reset)()
	f, size, err := r.cfg.Blobs.Open(want)
	if err != nil {
		a.send(event{kind: evFailed, err: err}) // no other provider could get it, either
		return conn.Send(&protocol.BlobHeader{Code: string(protocol.CodeBlob)})
	}
	defer f.Close() //nolint:errcheck // opened for reading
	sum := sha256.New()
	blob := io.TeeReader(f, sum)
	if len(request.Challenge) > 0 {
		err = prove(conn, request.Challenge, blob)
	} else {
		err = a.give(conn, blob, size)
	}
	if err == nil && protocol.Digest(sum.Sum(nil)) != want {
		// The provider has found it out, too, but cannot know whose fault it is.
		r.cfg.Blobs.Drop(want)
		err = fmt.Errorf("the blob %s is damaged here", want.CID())
		a.send(event{kind: evFailed, err: err})
	}
	return err
}

// Lease reports whether a provider may have a blob for an attempt that it runs
// for us, which the nonce names, and whether the blob is a module.
func (r *Requester) Lease(provider peer.ID, nonce []byte, blob protocol.Digest) (module, ok bool) {
	a := r.attemptOf(provider, nonce)
	if a == nil || !slices.ContainsFunc(a.t.blobs, func(b *protocol.Blob) bool { return b.Sum() == blob }) || !a.mayAsk() {
		return false, false
	}
	a.giving.Add(-1)
	return a.t.spec.Module.Sum() == blob, true
}

const (
	// maxGiving bounds the blobs that one attempt is given, or proved, at once.
	maxGiving = 8
	// maxAsked is how often it may ask for each: what its leaves are, a proof, a
	// transfer, and again when that broke off.
	maxAsked = 6
)

// mayAsk reports whether the attempt's provider may ask for one more blob now,
// each of which costs reading it all, and notes that it does.
func (a *attempt) mayAsk() bool {
	if int(a.asked.Add(1)) > maxAsked*len(a.t.blobs) {
		return false
	}
	if a.giving.Add(1) > maxGiving {
		a.giving.Add(-1)
		return false
	}
	return true
}

// give sends a blob of size bytes.
func (a *attempt) give(conn *protocol.Conn, blob io.Reader, size int64) error {
	if err := conn.Send(&protocol.BlobHeader{Size: uint64(size)}); err != nil {
		return err
	}
	p := a.newPace()
	defer p.stop()
	_, err := io.CopyBuffer(io.MultiWriter(conn, p), blob, make([]byte, blobBuffer))
	return err
}

// prove answers a provider that has a blob already, and wants to know whether
// we have it, too, or only know its digest.
func prove(conn *protocol.Conn, challenge []byte, blob io.Reader) error {
	if len(challenge) != len(protocol.Challenge{}) {
		return fmt.Errorf("%w: challenge of %d bytes", protocol.ErrMalformed, len(challenge))
	}
	proof := protocol.NewBlobProof(protocol.Challenge(challenge))
	if _, err := io.Copy(proof, blob); err != nil {
		return err
	}
	return conn.Send(&protocol.BlobHeader{Proof: proof.Sum(nil)})
}

// readBlob reads a small blob that is to ride in a spec, whose digest would
// tell of a damaged one only to providers.
func (r *Requester) readBlob(b *protocol.Blob) ([]byte, error) {
	f, size, err := r.cfg.Blobs.Open(b.Sum())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if uint64(size) != b.Size {
		return nil, protocol.Errorf(protocol.CodeBadRequest, "the blob %s has %d bytes, not %d", b.Sum().CID(), size, b.Size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, protocol.Errorf(protocol.CodeBlob, "the blob %s cannot be read: %v", b.Sum().CID(), err)
	}
	if protocol.DigestOf(data) != b.Sum() {
		r.cfg.Blobs.Drop(b.Sum())
		return nil, damaged("blob", b)
	}
	return data, nil
}

// checkBlobs drops those blobs of the task that are damaged in this node's
// store.
func (t *task) checkBlobs() {
	for _, b := range t.blobs {
		f, _, err := t.r.cfg.Blobs.Open(b.Sum())
		if err != nil {
			continue // it is gone
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		_ = f.Close() // opened for reading
		if err == nil && protocol.Digest(sum.Sum(nil)) != b.Sum() {
			t.r.cfg.Blobs.Drop(b.Sum())
		}
	}
}
