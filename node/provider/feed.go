package provider

import (
	"crypto/sha256"
	"hash"
	"io"
	"os"

	"github.com/spare-network/spare/protocol"
)

// feed reads blobs one after another and checks that they are what their
// digests say: a disk that changes an input would make this provider a liar.
// It keeps one file open at a time.
type feed struct {
	blobs Blobs
	rest  []*protocol.Blob // those not read to their end
	file  *os.File         // of the first of them, or nil
	sum   hash.Hash        // of what was read of it
	left  int64            // what was not
	err   error            // why there is nothing more, other than the end
}

// Read implements [io.Reader].
func (f *feed) Read(p []byte) (int, error) {
	switch {
	case f.err != nil:
		return 0, f.err
	case len(f.rest) == 0:
		return 0, io.EOF
	case f.file == nil:
		if f.file, f.err = openBlob(f.blobs, f.rest[0]); f.err != nil {
			return 0, f.err
		}
		f.sum, f.left = sha256.New(), int64(f.rest[0].Size)
	}
	n, err := f.file.Read(p[:min(int64(len(p)), f.left)])
	f.sum.Write(p[:n])
	f.left -= int64(n)
	whole := f.left == 0
	if !whole && err == nil {
		return n, nil
	}
	f.close()
	if d := f.rest[0].Sum(); !whole || protocol.Digest(f.sum.Sum(nil)) != d {
		f.blobs.Drop(d) // the next replica fetches it anew
		f.err = protocol.Errorf(protocol.CodeBlob, "the blob %s is damaged here", d.CID())
		return 0, f.err
	}
	f.rest = f.rest[1:]
	return n, nil
}

func (f *feed) close() {
	if f.file != nil {
		_ = f.file.Close() // opened for reading
		f.file = nil
	}
}

// openBlob opens a blob of the size that its task says, which ceilings were
// compared with. Another size is the task's fault, and says nothing of the blob.
func openBlob(blobs Blobs, b *protocol.Blob) (*os.File, error) {
	f, size, err := blobs.Open(b.Sum())
	if err != nil {
		return nil, err
	}
	if uint64(size) != b.Size {
		_ = f.Close() // nothing was read
		return nil, protocol.Errorf(protocol.CodeBadRequest, "the blob %s has %d bytes, not %d as the task says", b.Sum().CID(), size, b.Size)
	}
	return f, nil
}
