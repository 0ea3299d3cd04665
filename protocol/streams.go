package protocol

import (
	"fmt"
	"time"

	libp2p "github.com/libp2p/go-libp2p/core/protocol"
)

// StreamKind is one of the kinds of stream between two nodes. Its text stands
// in the protocol ID; a change that old nodes would misread takes a new
// version there.
type StreamKind string

// The kinds of stream, and who speaks first on each.
const (
	TaskStream     StreamKind = "task/1.0.0"     // Ask and Reply; the requester opens it
	LivenessStream StreamKind = "liveness/1.0.0" // Beats both ways; the requester opens it
	OutputStream   StreamKind = "output/1.0.0"   // OutputHeader, OutputChunks; the provider opens it
	BlobStream     StreamKind = "blob/1.0.0"     // BlobRequest, BlobHeader, bytes; who lacks it opens it
	TreeStream     StreamKind = "tree/1.0.0"     // TreeRequest, TreeReply; who lacks a blob opens it
	BookStream     StreamKind = "book/1.0.0"     // BookPull, SignedOffers
	EchoStream     StreamKind = "echo/1.0.0"     // Echo and the same back
)

// BeatEvery is how often each end of a liveness stream sends a Beat. The
// transport alone takes up to 45 s to notice a dead peer; with beats of this
// rate and 64 bytes one was seen within a second on QUIC and TCP alike.
const BeatEvery = 250 * time.Millisecond

// HandshakeProtocol is the one protocol ID that names no network, so that two
// nodes can find out that they are of different ones.
const HandshakeProtocol libp2p.ID = "/spare/handshake/1.0.0"

// MaxMessage is the largest message on a stream of this kind, in bytes.
func (k StreamKind) MaxMessage() int {
	switch k {
	case TaskStream:
		return MaxTaskMessage
	case LivenessStream:
		return MaxBeat
	case OutputStream:
		return MaxOutputMessage
	case BlobStream:
		return MaxBlobMessage
	case TreeStream:
		return MaxTreeMessage
	case BookStream:
		return MaxOffer
	default:
		return MaxSmallMessage
	}
}

// ID is the protocol ID of this kind of stream in one network.
func (k StreamKind) ID(net NetworkID) libp2p.ID {
	return libp2p.ID(fmt.Sprintf("/spare/%s/%s", net, k))
}

// DHTPrefix is the protocol prefix of the network's DHT.
func (id NetworkID) DHTPrefix() libp2p.ID { return libp2p.ID("/spare/" + id.String()) }

// OfferTopic is the GossipSub topic of the network's offers.
func (id NetworkID) OfferTopic() string { return "/spare/" + id.String() + "/offers/1" }
