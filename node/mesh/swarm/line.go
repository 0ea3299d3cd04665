package swarm

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2p "github.com/libp2p/go-libp2p/core/protocol"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxMessage bounds one message: a leaf, and what is said of all leaves of the
	// largest blob.
	maxMessage = protocol.LeafSize + maxWants*64
	// messageTimeout is how long a message may take to come, and idleTimeout how
	// long the next may be awaited. Between messages a stream holds no memory.
	messageTimeout = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	// chunk is what must be read on the other side, or at least be on its way,
	// within chunkTimeout: who does not read is told from who has a slow line.
	chunk        = 16 << 10
	chunkTimeout = 4 * time.Second
)

// lines is a host whose streams of bitswap are bounded by what they cost: bitswap's
// network takes the length that a peer says for the memory that it needs, and
// waits for the bytes for ever.
type lines struct {
	host.Host
	x *Exchange
}

func (l *lines) SetStreamHandler(id libp2p.ID, handle network.StreamHandler) {
	l.Host.SetStreamHandler(id, func(s network.Stream) { handle(&line{Stream: l.x.receiving.Sip(s), raw: s, x: l.x}) })
}

func (l *lines) NewStream(ctx context.Context, to peer.ID, ids ...libp2p.ID) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkTimeout) // of opening it alone
	defer cancel()
	s, err := l.Host.NewStream(ctx, to, ids...)
	if err != nil {
		return nil, err
	}
	return &pressed{Stream: s, x: l.x}, nil
}

// pressed is a stream that was opened here. What is written must get on.
type pressed struct {
	network.Stream
	x   *Exchange
	end time.Time // of all writing
}

func (p *pressed) SetWriteDeadline(t time.Time) error {
	p.end = t
	return p.Stream.SetWriteDeadline(t)
}

func (p *pressed) Write(b []byte) (written int, err error) {
	for len(b) > 0 && err == nil {
		if p.x.isClosed() {
			return written, errClosed
		}
		end := time.Now().Add(chunkTimeout)
		if !p.end.IsZero() && p.end.Before(end) {
			end = p.end
		}
		if err := p.Stream.SetWriteDeadline(end); err != nil {
			return written, err
		}
		var n int
		n, err = p.Stream.Write(b[:min(len(b), chunk)])
		b, written = b[n:], written+n
	}
	return written, err
}

// line is a stream that another has opened. One goroutine reads it.
type line struct {
	network.Stream // within the budget
	raw            network.Stream
	x              *Exchange

	length []byte // of the next message, as far as it is not read
	left   int    // bytes of the message that are to be read
	held   int    // memory that is reserved for it
}

// Read reads one message's length, or some of its bytes.
func (l *line) Read(b []byte) (int, error) {
	if len(l.length) == 0 && l.left == 0 {
		if err := l.next(); err != nil {
			_ = l.Reset()
			return 0, err
		}
	}
	if len(l.length) > 0 {
		n := copy(b, l.length)
		l.length = l.length[n:]
		return n, nil
	}
	n, err := l.Stream.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}

// next awaits the next message, and reserves the memory for it. It reads over
// those of peers that have nothing to say here.
func (l *line) next() error {
	for {
		l.Scope().ReleaseMemory(l.held)
		l.held = 0
		if err := l.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return err
		}
		size, err := binary.ReadUvarint(oneByte{l.Stream})
		if err != nil {
			return err
		}
		if size > maxMessage {
			return fmt.Errorf("swarm: a message of %d bytes, of %d at most", size, maxMessage)
		}
		if err := l.SetReadDeadline(time.Now().Add(messageTimeout)); err != nil {
			return err
		}
		if !l.x.listensTo(l.Conn().RemotePeer()) {
			// Not within the budget, of which it would have a part.
			if _, err := io.CopyN(io.Discard, l.raw, int64(size)); err != nil {
				return err
			}
			continue
		}
		if err := l.Scope().ReserveMemory(int(size), network.ReservationPriorityAlways); err != nil {
			return err
		}
		l.held, l.left, l.length = int(size), int(size), binary.AppendUvarint(nil, size)
		return nil
	}
}

// listensTo reports whether a peer may say something: what it wants, when
// something is open to it, or what it has, when that is fetched from it.
func (x *Exchange) listensTo(p peer.ID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if time.Now().Before(x.guests[p]) {
		return true
	}
	for f := range x.fetches {
		if f.asks(p) {
			return true
		}
	}
	return false
}

// oneByte reads byte by byte.
type oneByte struct{ from io.Reader }

func (r oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r.from, b[:])
	return b[0], err
}
