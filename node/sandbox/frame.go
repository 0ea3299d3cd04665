package sandbox

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// appendFrame appends m to b as a frame: its length as an unsigned varint,
// then its bytes, as everywhere else in spare.
func appendFrame(b []byte, m proto.Message) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(proto.Size(m)))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return b, nil
}

// frameReader reads frames of at most [protocol.MaxWorkerMessage] bytes.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next reads the next frame into m. It returns [io.EOF] between two frames.
func (f *frameReader) next(m proto.Message) error {
	n, err := binary.ReadUvarint(f.r)
	if err != nil {
		return err
	}
	if n > protocol.MaxWorkerMessage {
		return fmt.Errorf("%w: frame of %d bytes", protocol.ErrMalformed, n)
	}
	if uint64(cap(f.buf)) < n {
		f.buf = make([]byte, n)
	}
	buf := f.buf[:n]
	if _, err := io.ReadFull(f.r, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := proto.Unmarshal(buf, m); err != nil {
		return fmt.Errorf("%w: %w", protocol.ErrMalformed, err)
	}
	return nil
}

// more reports whether another frame, whole or in part, has arrived already.
func (f *frameReader) more() bool { return f.r.Buffered() > 0 }
