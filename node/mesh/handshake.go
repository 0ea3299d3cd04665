package mesh

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	helloNonceLen = 32
	maxNetworkLen = 64 // bytes of a network's name
	// lingerTimeout is how long one who was refused may take to hang up.
	lingerTimeout = time.Second
)

// instance tells one run of a node from its next.
type instance [16]byte

// handshake is one side's knowledge in the proof of membership. Both sides
// show that they know the network's secret by an HMAC-SHA256 under it over
// their role, both peer IDs (which the connection's TLS or Noise has
// authenticated), both instances and both nonces: 32 fresh random bytes each.
// Neither side learns anything that it could show to a third.
//
//	dialer                          listener
//	Hello (network, nonce)     ->
//	                           <-   Hello (network, nonce)
//	Proof (mac)                ->
//	                           <-   Proof (mac)
//
// The listener's Proof also says that the dialer has been admitted. A side that
// finds the other to be of another network ends the exchange there.
type handshake struct {
	network  string
	secret   protocol.NetworkSecret
	self     peer.ID
	instance instance
}

// party is one end of a handshake as its proofs name it.
type party struct {
	id       peer.ID
	instance []byte
	nonce    []byte
}

// dial proves membership to the listener at the other end of c and has it
// prove its own. It returns the listener's instance. A [protocol.Error] says
// that the other end is no member; every other error that it could not be
// found out.
func (h *handshake) dial(c *protocol.Conn) (instance, error) {
	me, hello := h.hello()
	if err := c.Send(hello); err != nil {
		return instance{}, fmt.Errorf("send hello: %w", err)
	}
	them, refused, err := h.recvHello(c)
	if err == nil && refused != nil {
		err = refused
	}
	if err != nil {
		return instance{}, err
	}
	if err := c.Send(&protocol.Proof{Mac: h.mac("dialer", me, them)}); err != nil {
		return instance{}, fmt.Errorf("send proof: %w", err)
	}
	return instance(them.instance), h.recvProof(c, h.mac("listener", me, them))
}

// listen is the other side of dial. It calls heard when it has the dialer's
// Hello.
func (h *handshake) listen(c *protocol.Conn, heard func()) (instance, error) {
	them, refused, err := h.recvHello(c)
	heard()
	if err != nil {
		return instance{}, err
	}
	me, hello := h.hello()
	if err := c.Send(hello); err != nil {
		return instance{}, fmt.Errorf("send hello: %w", err)
	}
	if refused != nil {
		awaitEnd(c)
		return instance{}, refused
	}
	if err := h.recvProof(c, h.mac("dialer", them, me)); err != nil {
		if e := c.Send(&protocol.Proof{Code: string(protocol.CodeOf(err))}); e == nil {
			awaitEnd(c)
		}
		return instance{}, err
	}
	if err := c.Send(&protocol.Proof{Mac: h.mac("listener", them, me)}); err != nil {
		return instance{}, fmt.Errorf("send proof: %w", err)
	}
	return instance(them.instance), nil
}

// awaitEnd waits for the other end to hang up, though not for long, since
// closing the connection at once could overtake the last message.
func awaitEnd(c *protocol.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(lingerTimeout)) // else the handshake's ends it
	var b [1]byte
	_, _ = c.Read(b[:]) // whatever it returns, it is over
}

func (h *handshake) hello() (party, *protocol.Hello) {
	nonce := make([]byte, helloNonceLen)
	rand.Read(nonce)
	id := h.secret.ID()
	return party{h.self, h.instance[:], nonce}, &protocol.Hello{
		Network: h.network, NetworkId: id[:], Nonce: nonce, Instance: h.instance[:],
	}
}

// recvHello reads the other end's Hello. It returns who that is, and as
// refused why it is no member of this network.
func (h *handshake) recvHello(c *protocol.Conn) (them party, refused *protocol.Error, err error) {
	hello := new(protocol.Hello)
	if err := c.Recv(hello); err != nil {
		return party{}, nil, fmt.Errorf("read hello: %w", err)
	}
	if len(hello.Nonce) != helloNonceLen || len(hello.Instance) != len(instance{}) || len(hello.Network) > maxNetworkLen {
		return party{}, nil, fmt.Errorf("%w: hello", protocol.ErrMalformed)
	}
	theirs, err := protocol.DigestFrom(hello.NetworkId)
	if err != nil {
		return party{}, nil, err
	}
	if protocol.NetworkID(theirs) != h.secret.ID() {
		if hello.Network == h.network {
			refused = h.wrongSecret(c.Peer())
		} else {
			refused = protocol.Errorf(protocol.CodeForeign, "peer %s is of the network %q, this node is of %q",
				c.Peer(), protocol.SafeText(hello.Network), h.network).
				WithHint("start both with the same --network, or remove that peer from --bootstrap")
		}
	}
	return party{c.Peer(), hello.Instance, hello.Nonce}, refused, nil
}

func (h *handshake) wrongSecret(p peer.ID) *protocol.Error {
	return protocol.Errorf(protocol.CodeNetwork, "peer %s has the same network name %q, but another secret", p, h.network).
		WithHint("copy the network's secret file from a member, or choose another --network")
}

// recvProof reads the other end's Proof and compares it with the expected one
// in constant time.
func (h *handshake) recvProof(c *protocol.Conn, want []byte) error {
	proof := new(protocol.Proof)
	if err := c.Recv(proof); err != nil {
		return fmt.Errorf("read proof: %w", err)
	}
	if !hmac.Equal(proof.Mac, want) {
		return h.wrongSecret(c.Peer())
	}
	return nil
}

func (h *handshake) mac(role string, dialer, listener party) []byte {
	m := hmac.New(sha256.New, h.secret[:])
	for _, field := range [][]byte{
		[]byte("spare/handshake/1"), []byte(role),
		[]byte(dialer.id), dialer.instance, dialer.nonce,
		[]byte(listener.id), listener.instance, listener.nonce,
	} {
		// A length before each field, so that no two lists have the same bytes.
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(field)))
		m.Write(n[:])
		m.Write(field)
	}
	return m.Sum(nil)
}
