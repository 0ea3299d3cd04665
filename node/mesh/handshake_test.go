package mesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

func newID(t testing.TB) peer.ID {
	t.Helper()
	id, err := peer.IDFromPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// pair returns two framed ends. a is the Conn of who is a.
func pair(t testing.TB, a, b peer.ID) (*protocol.Conn, *protocol.Conn) {
	t.Helper()
	x, y := net.Pipe()
	deadline := time.Now().Add(lively)
	if err := errors.Join(x.SetDeadline(deadline), y.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	return protocol.NewConn(x, b, protocol.MaxHandshake), protocol.NewConn(y, a, protocol.MaxHandshake)
}

func TestHandshake(t *testing.T) {
	dialer, listener := newID(t), newID(t)
	good := func(self peer.ID) handshake {
		return handshake{network: "home", secret: testSecret, self: self, instance: instance{byte(len(self))}}
	}
	for _, test := range []struct {
		name   string
		dialer func(*handshake)
		code   protocol.Code // of both sides' refusal; none: admitted
	}{
		{"same secret", func(*handshake) {}, ""},
		{"same secret under another name", func(h *handshake) { h.network = "elsewhere" }, ""},
		{"other secret", func(h *handshake) { h.secret[0]++ }, protocol.CodeNetwork},
		{"other name and other secret", func(h *handshake) { h.network, h.secret = "work", protocol.NetworkSecret{9} }, protocol.CodeForeign},
		{"another's peer ID in the proof", func(h *handshake) { h.self = newID(t) }, protocol.CodeNetwork},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, l := good(dialer), good(listener)
			test.dialer(&d)
			dc, lc := pair(t, dialer, listener)
			type result struct {
				instance instance
				err      error
			}
			heard := false
			listened := make(chan result, 1)
			go func() {
				i, err := l.listen(lc, func() { heard = true })
				listened <- result{i, err}
			}()
			di, derr := d.dial(dc)
			dc.Reset()
			got := <-listened
			if !heard {
				t.Error("the listener would hang up on a dialer who has said hello")
			}
			if test.code == "" {
				if derr != nil || got.err != nil {
					t.Fatalf("dialer: %v; listener: %v", derr, got.err)
				}
				if di != l.instance || got.instance != d.instance {
					t.Error("the sides do not know each other's instance")
				}
				return
			}
			for side, err := range map[string]error{"dialer": derr, "listener": got.err} {
				if err == nil || protocol.CodeOf(err) != test.code {
					t.Errorf("%s: %v, want %s", side, err, test.code)
				}
			}
		})
	}
}

// TestHandshakeAgainstImpostors plays a peer that knows the network's ID and
// everything that was ever said, but not the secret.
func TestHandshakeAgainstImpostors(t *testing.T) {
	impostor, member := newID(t), newID(t)
	h := handshake{network: "home", secret: testSecret, self: member}
	id := testSecret.ID()
	hello := func() *protocol.Hello {
		return &protocol.Hello{Network: "home", NetworkId: id[:], Nonce: make([]byte, 32), Instance: make([]byte, 16)}
	}

	t.Run("a dialer without proof", func(t *testing.T) {
		for name, mac := range map[string][]byte{"empty": nil, "zeros": make([]byte, 32), "short": {1}} {
			ic, mc := pair(t, impostor, member)
			done := make(chan error, 1)
			go func() { _, err := h.listen(mc, func() {}); done <- err }()
			say(t, ic, hello())
			hear(t, ic, new(protocol.Hello))
			say(t, ic, &protocol.Proof{Mac: mac})
			answer := new(protocol.Proof)
			hear(t, ic, answer)
			if len(answer.Mac) > 0 || answer.Code != string(protocol.CodeNetwork) {
				t.Errorf("%s mac: answered %v", name, answer)
			}
			ic.Reset()
			if err := <-done; protocol.CodeOf(err) != protocol.CodeNetwork {
				t.Errorf("%s mac: %v", name, err)
			}
		}
	})

	t.Run("a listener that reflects the dialer's proof", func(t *testing.T) {
		ic, mc := pair(t, impostor, member)
		done := make(chan error, 1)
		go func() { _, err := h.dial(mc); done <- err }()
		theirs := new(protocol.Hello)
		hear(t, ic, theirs)
		say(t, ic, &protocol.Hello{Network: "home", NetworkId: id[:], Nonce: theirs.Nonce, Instance: theirs.Instance})
		proof := new(protocol.Proof)
		hear(t, ic, proof)
		say(t, ic, proof)
		if err := <-done; protocol.CodeOf(err) != protocol.CodeNetwork {
			t.Error(err)
		}
	})

	t.Run("a proof that a member gave to another", func(t *testing.T) {
		// The impostor relays between two members on connections of its own.
		other := handshake{network: "home", secret: testSecret, self: newID(t)}
		toMember, mc := pair(t, impostor, member)
		toOther, oc := pair(t, impostor, other.self)
		listened, dialled := make(chan error, 1), make(chan error, 1)
		go func() { _, err := h.listen(mc, func() {}); listened <- err }()
		go func() { _, err := other.dial(oc); dialled <- err }()
		relay := func(from, to *protocol.Conn, m proto.Message) {
			hear(t, from, m)
			say(t, to, m)
		}
		relay(toOther, toMember, new(protocol.Hello))
		relay(toMember, toOther, new(protocol.Hello))
		relay(toOther, toMember, new(protocol.Proof))
		relay(toMember, toOther, new(protocol.Proof))
		toMember.Reset()
		for side, done := range map[string]chan error{"listener": listened, "dialer": dialled} {
			if err := <-done; protocol.CodeOf(err) != protocol.CodeNetwork {
				t.Errorf("%s: %v", side, err)
			}
		}
	})

	t.Run("a malformed hello", func(t *testing.T) {
		for name, edit := range map[string]func(*protocol.Hello){
			"short nonce":         func(h *protocol.Hello) { h.Nonce = h.Nonce[:31] },
			"long instance":       func(h *protocol.Hello) { h.Instance = make([]byte, 17) },
			"no network ID":       func(h *protocol.Hello) { h.NetworkId = nil },
			"a name like a novel": func(h *protocol.Hello) { h.Network = string(bytes.Repeat([]byte("x"), 65)) },
		} {
			ic, mc := pair(t, impostor, member)
			done := make(chan error, 1)
			go func() { _, err := h.listen(mc, func() {}); done <- err }()
			m := hello()
			edit(m)
			say(t, ic, m)
			if err := <-done; !errors.Is(err, protocol.ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func say(t *testing.T, c *protocol.Conn, m proto.Message) {
	t.Helper()
	if err := c.Send(m); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c *protocol.Conn, m proto.Message) {
	t.Helper()
	if err := c.Recv(m); err != nil {
		t.Fatal(err)
	}
}

// script is a peer that says what it always says, whatever it is told.
type script struct{ io.Reader }

func (script) Write(p []byte) (int, error)      { return len(p), nil }
func (script) Close() error                     { return nil }
func (script) SetReadDeadline(time.Time) error  { return nil }
func (script) SetWriteDeadline(time.Time) error { return nil }

// FuzzHandshake says anything to both sides of a handshake: nobody gets in
// without the secret, and nothing crashes.
func FuzzHandshake(f *testing.F) {
	frame := func(messages ...proto.Message) []byte {
		var b []byte
		for _, m := range messages {
			one, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			b = append(binary.AppendUvarint(b, uint64(len(one))), one...)
		}
		return b
	}
	id, foreign := testSecret.ID(), protocol.NetworkSecret{9}.ID()
	nonce, run := make([]byte, 32), make([]byte, 16)
	f.Add(frame(&protocol.Hello{Network: "home", NetworkId: id[:], Nonce: nonce, Instance: run}, &protocol.Proof{Mac: make([]byte, 32)}))
	f.Add(frame(&protocol.Hello{Network: "home", NetworkId: foreign[:], Nonce: nonce, Instance: run}, &protocol.Proof{Code: "E-NETWORK-SECRET"}))
	f.Add(frame(&protocol.Hello{}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	key, err := crypto.UnmarshalEd25519PrivateKey(bytes.Repeat([]byte{7}, 64))
	if err != nil {
		f.Fatal(err)
	}
	stranger, err := peer.IDFromPrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	h := handshake{network: "home", secret: testSecret, self: newID(f)}
	f.Fuzz(func(t *testing.T, said []byte) {
		if _, err := h.listen(protocol.NewConn(script{bytes.NewReader(said)}, stranger, protocol.MaxHandshake), func() {}); err == nil {
			t.Error("a listener let a stranger in")
		}
		if _, err := h.dial(protocol.NewConn(script{bytes.NewReader(said)}, stranger, protocol.MaxHandshake)); err == nil {
			t.Error("a dialer took a stranger for a member")
		}
	})
}
