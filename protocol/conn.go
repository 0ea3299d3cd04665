package protocol

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"
)

// Stream is what a [Conn] frames: a libp2p stream or one end of a [net.Pipe].
type Stream interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// ErrClosed is returned by [Conn.Send] after a failed write or a Close.
var ErrClosed = errors.New("connection is closed")

const (
	// writeTimeout bounds the write of one piece to a peer that does not read.
	writeTimeout = 10 * time.Second
	maxPiece     = 64 << 10
	// readAhead is how much is read at once of what a stream has, in bytes.
	readAhead = 16 << 10
	// maxPending bounds the bytes that wait behind a write under way; beyond
	// it Send blocks, so that a slow peer slows its writers, not the memory.
	maxPending = 4 << 20
	// lingerDelay is how long SendSoon waits for company.
	lingerDelay = 2 * time.Millisecond
)

// Conn is a framed, bounded connection that names the peer at its other end.
// A frame is a message's length as an unsigned varint, then the message, as in
// protobuf's delimited streams.
//
// Send and SendSoon may be called from many goroutines. Whoever finds no write
// under way writes for all that came meanwhile, so that small messages
// coalesce under load and cost no handover when there is none. Recv is for one
// goroutine at a time.
type Conn struct {
	remote peer.ID
	stream Stream
	r      *bufio.Reader
	max    int
	frame  []byte // Recv's buffer

	mu      sync.Mutex
	room    sync.Cond // signalled when pending shrinks and when a write ends
	pending []byte
	spare   []byte // the other buffer of the pair
	writing bool
	closing bool // no more Sends
	linger  *time.Timer
	err     error
}

// NewConn frames stream, whose other end is remote. No message larger than max
// bytes is received or sent. libp2p has authenticated remote by then.
func NewConn(stream Stream, remote peer.ID, max int) *Conn {
	c := &Conn{remote: remote, stream: stream, r: bufio.NewReaderSize(stream, min(max+binary.MaxVarintLen32, readAhead)), max: max}
	c.room.L = &c.mu
	return c
}

// Peer returns the authenticated identity of the other end.
func (c *Conn) Peer() peer.ID { return c.remote }

// Send writes m, together with whatever else waits to be written. It returns
// when the bytes are with the transport or with another goroutine that is
// writing already; a later failure of that write is returned by the next Send.
// A message that is too large is an error of its own and leaves c as it was.
func (c *Conn) Send(m proto.Message) error { return c.send(m, true) }

// SendSoon queues m and writes it with the next Send, or by itself after 2 ms.
func (c *Conn) SendSoon(m proto.Message) error { return c.send(m, false) }

func (c *Conn) send(m proto.Message, now bool) error {
	c.mu.Lock()
	for c.err == nil && !c.closing && len(c.pending) > maxPending {
		c.room.Wait()
	}
	if c.err != nil || c.closing {
		defer c.mu.Unlock()
		return cmp.Or(c.err, ErrClosed)
	}
	first := len(c.pending) == 0
	pending, err := appendFrame(c.pending, m, c.max)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.pending = pending
	if c.writing {
		c.mu.Unlock()
		return nil
	}
	if !now {
		// Company does not put the flush off: the first sets its time.
		switch {
		case c.linger == nil:
			c.linger = time.AfterFunc(lingerDelay, c.flush)
		case first:
			c.linger.Reset(lingerDelay)
		}
		c.mu.Unlock()
		return nil
	}
	c.writing = true
	return c.drain()
}

func (c *Conn) flush() {
	c.mu.Lock()
	if c.writing || c.err != nil || len(c.pending) == 0 {
		c.mu.Unlock()
		return
	}
	c.writing = true
	_ = c.drain() // the next Send returns it
}

// drain writes until nothing is pending. It is called with mu held and writing
// set, and returns with mu released.
func (c *Conn) drain() error {
	for c.err == nil && len(c.pending) > 0 {
		out := c.pending
		c.pending = c.spare[:0]
		c.spare = nil
		c.room.Broadcast()
		c.mu.Unlock()
		err := c.writeAll(out)
		c.mu.Lock()
		if cap(out) <= maxPending {
			c.spare = out
		}
		if err != nil && c.err == nil {
			c.err = fmt.Errorf("%w: %w", ErrClosed, err)
		}
	}
	c.writing = false
	c.room.Broadcast()
	err := c.err
	c.mu.Unlock()
	return err
}

// writeAll writes in pieces with a deadline each, so that a slow line has
// enough time for much that came together.
func (c *Conn) writeAll(out []byte) error {
	for len(out) > 0 {
		if err := c.stream.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		n := min(len(out), maxPiece)
		if _, err := c.stream.Write(out[:n]); err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// Recv reads the next message into m. It returns [io.EOF] when the other end
// has closed between two messages, and an error that wraps [ErrMalformed] for
// a frame that is too large or is not an m.
func (c *Conn) Recv(m proto.Message) error {
	n, err := c.recvSize()
	if err != nil {
		return err
	}
	if uint64(cap(c.frame)) < n {
		c.frame = make([]byte, n)
	}
	buf := c.frame[:n]
	if _, err := io.ReadFull(c.r, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := proto.Unmarshal(buf, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// recvSize reads the length of the next frame.
func (c *Conn) recvSize() (uint64, error) {
	var n uint64
	for shift := 0; ; shift += 7 {
		b, err := c.r.ReadByte()
		if err != nil {
			if shift > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		n |= uint64(b&0x7f) << shift
		// A fifth byte cannot belong to a length that any max allows.
		if n > uint64(c.max) || b >= 0x80 && shift == 21 {
			return 0, fmt.Errorf("%w: frame of at least %d bytes, at most %d", ErrMalformed, n, c.max)
		}
		if b < 0x80 {
			return n, nil
		}
	}
}

// Read reads raw bytes that follow a message, such as a blob's.
func (c *Conn) Read(p []byte) (int, error) { return c.r.Read(p) }

// Write writes raw bytes that follow a message. No Send may be under way.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.stream.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.stream.Write(p)
}

// SetReadDeadline bounds the next Recv and Read.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.stream.SetReadDeadline(t) }

// CloseWrite ends our half when the stream has halves: a request is complete.
func (c *Conn) CloseWrite() error {
	if s, ok := c.stream.(interface{ CloseWrite() error }); ok {
		return s.CloseWrite()
	}
	return nil
}

// Close writes all that was sent, including by SendSoon, and ends both halves
// in good order. It waits for a peer that does not read, up to a write's
// timeout; [Conn.Reset] does not.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closing = true
	c.room.Broadcast()
	for c.writing {
		c.room.Wait()
	}
	c.mu.Unlock()
	c.flush()
	c.fail(ErrClosed)
	return c.stream.Close()
}

// Reset ends both halves at once; the other end sees an error.
func (c *Conn) Reset() {
	c.fail(ErrClosed)
	if s, ok := c.stream.(interface{ Reset() error }); ok {
		_ = s.Reset() // nothing is left to be told to
		return
	}
	_ = c.stream.Close()
}

func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	if c.linger != nil {
		c.linger.Stop()
	}
	c.room.Broadcast()
}

// appendFrame appends m as one frame to b, if it is not larger than max.
func appendFrame(b []byte, m proto.Message, max int) ([]byte, error) {
	size := proto.Size(m)
	if size > max {
		return nil, fmt.Errorf("%w: %T of %d bytes to send, at most %d", ErrMalformed, m, size, max)
	}
	b = binary.AppendUvarint(b, uint64(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return b, nil
}
