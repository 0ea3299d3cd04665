package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
)

// pair is two ends of one transport.
type pair func(t *testing.T) (net.Conn, net.Conn)

func pipePair(*testing.T) (net.Conn, net.Conn) { return net.Pipe() }

func tcpPair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func overBoth(t *testing.T, test func(t *testing.T, pair pair)) {
	t.Run("pipe", func(t *testing.T) { test(t, pipePair) })
	t.Run("tcp", func(t *testing.T) { test(t, tcpPair) })
}

func TestConcurrentSendsArriveWholeAndInOrder(t *testing.T) {
	overBoth(t, func(t *testing.T, pair pair) {
		const senders, each = 16, 200
		near, far := pair(t)
		out, in := NewConn(near, "", MaxTaskMessage), NewConn(far, "", MaxTaskMessage)

		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					send := out.Send
					if i%3 == 0 {
						send = out.SendSoon
					}
					// The spec's length and bytes depend on sender and number.
					body := bytes.Repeat([]byte{byte(s*each + i)}, (s*each+i)%5000)
					m := &Ask{Id: uint64(s), Body: &Ask_Run{Run: &Run{Attempt: uint32(i), Spec: body}}}
					if err := send(m); err != nil {
						t.Errorf("sender %d: %v", s, err)
						return
					}
				}
			})
		}
		closed := make(chan error, 1)
		go func() {
			wg.Wait()
			closed <- out.Close()
		}()

		next := make([]uint32, senders)
		for range senders * each {
			var m Ask
			if err := in.Recv(&m); err != nil {
				t.Fatal(err)
			}
			i := m.GetRun().Attempt
			if i != next[m.Id] {
				t.Fatalf("sender %d: message %d came, want %d", m.Id, i, next[m.Id])
			}
			next[m.Id]++
			number := int(m.Id)*each + int(i)
			if !bytes.Equal(m.GetRun().Spec, bytes.Repeat([]byte{byte(number)}, number%5000)) {
				t.Fatalf("sender %d: message %d is damaged", m.Id, i)
			}
		}
		if err := in.Recv(new(Ask)); !errors.Is(err, io.EOF) {
			t.Errorf("after the last message: %v, want EOF", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestSendSoon(t *testing.T) {
	t.Run("writes by itself after the delay", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			out, in := NewConn(near, "", MaxSmallMessage), NewConn(far, "", MaxSmallMessage)
			start := time.Now()
			if err := out.SendSoon(&Echo{Sequence: 1}); err != nil {
				t.Fatal(err)
			}
			wantEcho(t, in, 1)
			if took := time.Since(start); took != lingerDelay {
				t.Errorf("written after %v, want %v", took, lingerDelay)
			}
			out.Close()
			in.Close()
		})
	})
	t.Run("company does not put it off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			out, in := NewConn(near, "", MaxSmallMessage), NewConn(far, "", MaxSmallMessage)
			stop := make(chan struct{})
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for i := uint64(1); ; i++ {
					if err := out.SendSoon(&Echo{Sequence: i}); err != nil {
						t.Error(err)
					}
					select {
					case <-stop:
						return
					case <-time.After(lingerDelay / 2):
					}
				}
			}()
			start := time.Now()
			wantEcho(t, in, 1)
			if took := time.Since(start); took != lingerDelay {
				t.Errorf("the first was written after %v, want %v", took, lingerDelay)
			}
			close(stop)
			<-sent
			drained := make(chan struct{})
			go func() { defer close(drained); _, _ = io.Copy(io.Discard, far) }()
			out.Close()
			<-drained
		})
	})
	t.Run("goes along with the next Send", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			out, in := NewConn(near, "", MaxSmallMessage), NewConn(far, "", MaxSmallMessage)
			start := time.Now()
			if err := out.SendSoon(&Echo{Sequence: 1}); err != nil {
				t.Fatal(err)
			}
			go func() {
				if err := out.Send(&Echo{Sequence: 2}); err != nil {
					t.Error(err)
				}
			}()
			wantEcho(t, in, 1)
			wantEcho(t, in, 2)
			if took := time.Since(start); took != 0 {
				t.Errorf("written after %v, want at once", took)
			}
			out.Close()
			in.Close()
		})
	})
}

func wantEcho(t *testing.T, in *Conn, sequence uint64) {
	t.Helper()
	var m Echo
	if err := in.Recv(&m); err != nil {
		t.Fatal(err)
	}
	if m.Sequence != sequence {
		t.Fatalf("echo %d came, want %d", m.Sequence, sequence)
	}
}

func TestCloseFlushes(t *testing.T) {
	t.Run("what SendSoon queued", func(t *testing.T) {
		overBoth(t, func(t *testing.T, pair pair) {
			near, far := pair(t)
			out, in := NewConn(near, "", MaxSmallMessage), NewConn(far, "", MaxSmallMessage)
			closed := make(chan error, 1)
			go func() {
				if err := out.SendSoon(&Echo{Sequence: 1}); err != nil {
					t.Error(err)
				}
				closed <- out.Close()
			}()
			wantEcho(t, in, 1)
			if err := in.Recv(new(Echo)); !errors.Is(err, io.EOF) {
				t.Errorf("after Close: %v, want EOF", err)
			}
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if err := out.Send(&Echo{}); !errors.Is(err, ErrClosed) {
				t.Errorf("Send after Close: %v, want ErrClosed", err)
			}
		})
	})
	t.Run("what waits behind a write under way", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			out, in := NewConn(near, "", MaxSmallMessage), NewConn(far, "", MaxSmallMessage)
			go func() {
				if err := out.Send(&Echo{Sequence: 1}); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait() // the write blocks: nobody reads
			if err := out.Send(&Echo{Sequence: 2}); err != nil {
				t.Fatal(err)
			}
			go out.Close()
			synctest.Wait()
			wantEcho(t, in, 1)
			wantEcho(t, in, 2)
			if err := in.Recv(new(Echo)); !errors.Is(err, io.EOF) {
				t.Errorf("after Close: %v, want EOF", err)
			}
		})
	})
}

func TestBlockedPeerGivesBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		out, in := NewConn(near, "", MaxTaskMessage), NewConn(far, "", MaxTaskMessage)
		m := &Ask{Id: 1, Body: &Ask_Run{Run: &Run{Spec: make([]byte, 64<<10)}}}
		frame := proto.Size(m) + 3
		const senders = 2 * maxPending / (64 << 10)
		var mu sync.Mutex
		returned := 0
		for range senders {
			go func() {
				if err := out.Send(m); err != nil {
					t.Error(err)
				}
				mu.Lock()
				returned++
				mu.Unlock()
			}()
		}
		synctest.Wait()
		mu.Lock()
		if most := maxPending/frame + 1; returned > most || returned < most-1 {
			t.Errorf("%d of %d sends returned before anything was read, want about %d", returned, senders, most)
		}
		mu.Unlock()
		for range senders {
			if err := in.Recv(new(Ask)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if returned != senders {
			t.Errorf("%d of %d sends returned after all was read", returned, senders)
		}
		out.Close()
		in.Close()
	})
}

func TestPeerThatNeverReadsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		out := NewConn(near, "", MaxSmallMessage)
		start := time.Now()
		err := out.Send(&Echo{Sequence: 1})
		var timeout net.Error
		if !errors.Is(err, ErrClosed) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("Send to a peer that never reads: %v, want ErrClosed by a timeout", err)
		}
		if took := time.Since(start); took != writeTimeout {
			t.Errorf("given up after %v, want %v", took, writeTimeout)
		}
		out.Close()
	})
}

func TestSendOnADeadStream(t *testing.T) {
	overBoth(t, func(t *testing.T, pair pair) {
		near, far := pair(t)
		out := NewConn(near, "", MaxTaskMessage)
		far.Close()
		var err error
		// The kernel takes some bytes before it learns that nobody is there.
		for range 1000 {
			if err = out.Send(&Ask{Body: &Ask_Run{Run: &Run{Spec: make([]byte, 64<<10)}}}); err != nil {
				break
			}
		}
		if !errors.Is(err, ErrClosed) {
			t.Fatalf("Send: %v, want ErrClosed", err)
		}
		if err := out.SendSoon(&Ask{}); !errors.Is(err, ErrClosed) {
			t.Errorf("SendSoon: %v, want ErrClosed", err)
		}
		out.Close()
	})
}

func TestResetWakesBlockedSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		out := NewConn(near, "", MaxTaskMessage)
		m := &Ask{Id: 1, Body: &Ask_Run{Run: &Run{Spec: make([]byte, 128<<10)}}}
		var wg sync.WaitGroup
		for range 2 * maxPending / (128 << 10) {
			wg.Go(func() { _ = out.Send(m) }) // some were queued, some fail
		}
		synctest.Wait()
		start := time.Now()
		out.Reset()
		wg.Wait()
		if took := time.Since(start); took != 0 {
			t.Errorf("the senders woke after %v, want at once", took)
		}
	})
}

func TestSendRefusesWhatThePeerWould(t *testing.T) {
	near, far := tcpPair(t)
	out, in := NewConn(near, "", MaxSmallMessage), NewConn(far, "", MaxSmallMessage)
	if err := out.Send(&Hello{Nonce: make([]byte, MaxSmallMessage)}); !errors.Is(err, ErrMalformed) {
		t.Fatalf("Send of a message that is too large: %v, want ErrMalformed", err)
	}
	if err := out.Send(&Echo{Sequence: 3}); err != nil {
		t.Fatalf("Send after it: %v", err)
	}
	wantEcho(t, in, 3)
}

func TestRecvErrors(t *testing.T) {
	overflow := bytes.Repeat([]byte{0xff}, 20)
	whole := func(m proto.Message) []byte {
		b, err := appendFrame(nil, m, MaxTaskMessage)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, test := range []struct {
		name string
		sent []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"half a length", []byte{0x80}, io.ErrUnexpectedEOF},
		{"a length alone", []byte{5}, io.ErrUnexpectedEOF},
		{"half a message", whole(&Echo{Sequence: 1 << 40})[:4], io.ErrUnexpectedEOF},
		{"a length above the maximum", binary.AppendUvarint(nil, MaxSmallMessage+1), ErrMalformed},
		{"a length of many bytes", overflow, ErrMalformed},
		{"a small length written long", []byte{0x81, 0x80, 0x80, 0x80, 0x00, 8, 1}, ErrMalformed},
		{"not a message", []byte{3, 0xff, 0xff, 0xff}, ErrMalformed},
		{"a text that is not UTF-8", []byte{3, 0x0a, 1, 0xff}, ErrMalformed},
		{"an empty message", []byte{0}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := NewConn(&script{Reader: bytes.NewReader(test.sent)}, "", MaxSmallMessage)
			if err := c.Recv(new(Hello)); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestRawBytesFollowAMessage(t *testing.T) {
	near, far := tcpPair(t)
	out, in := NewConn(near, "", MaxBlobMessage), NewConn(far, "", MaxBlobMessage)
	body := bytes.Repeat([]byte("blob"), 50_000)
	errs := make(chan error, 1)
	go func() {
		err := out.Send(&BlobHeader{Size: uint64(len(body))})
		if err == nil {
			_, err = out.Write(body)
		}
		errs <- errors.Join(err, out.CloseWrite())
	}()
	var header BlobHeader
	if err := in.Recv(&header); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	if header.Size != uint64(len(body)) || !bytes.Equal(got, body) {
		t.Errorf("%d bytes announced, %d came, want %d", header.Size, len(got), len(body))
	}
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func TestReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := NewConn(near, "", MaxSmallMessage)
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if err := c.Recv(new(Echo)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v, want a timeout", err)
		}
		c.Close()
	})
}

// script is a stream that was recorded; what is written to it is dropped.
type script struct{ io.Reader }

func (*script) Write(p []byte) (int, error)      { return len(p), nil }
func (*script) Close() error                     { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkSend(b *testing.B) {
	for _, size := range []int{0, 1 << 10} {
		b.Run(fmt.Sprintf("%d-bytes", size), func(b *testing.B) {
			c := NewConn(&script{Reader: bytes.NewReader(nil)}, "", MaxTaskMessage)
			m := &Ask{Id: 1, Body: &Ask_Run{Run: &Run{Spec: make([]byte, size)}}}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := c.Send(m); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
