package mesh

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

const (
	meshDegree = 4 // GossipSub's D; 1.6 kB out per node and offer instead of 3.7
	// maxGossip is the largest pubsub message. Peer exchange needs far more
	// room than an offer.
	maxGossip = 64 << 10
	// gossipQueue replaces queues of 32, which drop.
	gossipQueue = 256
	// decayEvery is how often scores are brought up to date, which looks at all
	// peers; they change over minutes.
	decayEvery = 10 * time.Second
	// joinDelay is how long after a first neighbour has joined the topic this
	// node repeats its offer, for several to join meanwhile.
	joinDelay = 200 * time.Millisecond
)

// gossip spreads offers over one GossipSub topic. What passes its validator is
// put in the Book there and then, so nothing reads the topic.
type gossip struct {
	self      peer.ID
	net       protocol.NetworkID
	book      *market.Book
	news      func() // told when an offer of a provider unknown so far came
	connected func(peer.ID) bool
	topic     *pubsub.Topic
	stop      func()
	// passed is the newest sequence of each provider that this node has
	// passed on. The Book alone cannot tell: it may know an offer from a pull
	// already, and who then does not pass it on keeps it from others.
	passed *lru.Cache[peer.ID, uint64]

	figures judgements

	mu     sync.Mutex
	latest []byte // this node's own offer
	heard  int    // neighbours in the topic when it was published
}

func newGossip(h host.Host, id protocol.NetworkID, book *market.Book, connected func(peer.ID) bool, news func()) (_ *gossip, err error) {
	passed, err := lru.New[peer.ID, uint64](protocol.MaxBookOffers)
	if err != nil {
		return nil, fmt.Errorf("open gossip: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			stop()
			err = fmt.Errorf("open gossip: %w", err)
		}
	}()
	g := &gossip{self: h.ID(), net: id, book: book, connected: connected, news: news, passed: passed, stop: stop}
	name := id.OfferTopic()
	ps, err := pubsub.NewGossipSub(ctx, h,
		pubsub.WithGossipSubParams(gossipParams()),
		pubsub.WithPeerScore(scoreParams(name)),
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerExchange(true),
		pubsub.WithMaxMessageSize(maxGossip),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(pubsub.NewAllowlistSubscriptionFilter(name), 4)),
		pubsub.WithPeerOutboundQueueSize(gossipQueue),
		pubsub.WithValidateQueueSize(gossipQueue),
	)
	if err != nil {
		return nil, err
	}
	err = ps.RegisterTopicValidator(name, func(_ context.Context, _ peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		if m.GetFrom() == g.self {
			return pubsub.ValidationAccept // its own, which is counted when it is published
		}
		return g.figures.note(g.judge(time.Now(), m.GetFrom(), m.Data))
	})
	if err != nil {
		return nil, err
	}
	if g.topic, err = ps.Join(name); err != nil {
		return nil, err
	}
	if _, err = g.topic.Relay(); err != nil { // for as long as pubsub lives
		return nil, err
	}
	return g, nil
}

func gossipParams() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dscore, p.Dout = meshDegree, 3, 5, 2, 1
	// What is announced goes to Dlazy others and not to a quarter of all, and once:
	// with 50 neighbours that would be most of what an idle node sends.
	p.GossipFactor, p.Dlazy, p.HistoryGossip = 0, 2, 1
	return p
}

// scoreParams punish those who send what [gossip.judge] rejects. A peer that
// delivers little is not punished (mesh-delivery weight 0), since offers are
// rare, nor are many nodes on one private address.
func scoreParams(topic string) (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	forget := pubsub.ScoreParameterDecayWithBase(10*time.Minute, decayEvery, pubsub.DefaultDecayToZero)
	offers := &pubsub.TopicScoreParams{
		SkipAtomicValidation:           true,
		TopicWeight:                    1,
		TimeInMeshWeight:               0.01,
		TimeInMeshQuantum:              time.Minute,
		TimeInMeshCap:                  100,
		FirstMessageDeliveriesWeight:   0.1,
		FirstMessageDeliveriesDecay:    forget,
		FirstMessageDeliveriesCap:      50,
		InvalidMessageDeliveriesWeight: -10,
		InvalidMessageDeliveriesDecay:  forget,
	}
	params := &pubsub.PeerScoreParams{
		SkipAtomicValidation:        true,
		Topics:                      map[string]*pubsub.TopicScoreParams{topic: offers},
		TopicScoreCap:               10,
		IPColocationFactorWeight:    -1,
		IPColocationFactorThreshold: connsPerAddress,
		IPColocationFactorWhitelist: privateRanges(),
		BehaviourPenaltyWeight:      -1,
		BehaviourPenaltyThreshold:   6,
		BehaviourPenaltyDecay:       forget,
		DecayInterval:               decayEvery,
		DecayToZero:                 pubsub.DefaultDecayToZero,
		RetainScore:                 10 * time.Minute,
	}
	return params, &pubsub.PeerScoreThresholds{
		GossipThreshold:             -50,
		PublishThreshold:            -100,
		GraylistThreshold:           -200,
		OpportunisticGraftThreshold: 1,
	}
}

func privateRanges() []*net.IPNet {
	var ranges []*net.IPNet
	for _, s := range []string{
		"127.0.0.0/8", "::1/128", // loopback
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", // RFC 1918, RFC 4193
		"100.64.0.0/10", "169.254.0.0/16", "fe80::/10", // RFC 6598, RFC 3927, RFC 4291
	} {
		if _, r, err := net.ParseCIDR(s); err == nil {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// messageID is half as long as a hash and an eighth of pubsub's own default,
// which matters as every message is announced to many.
func messageID(m *pb.Message) string {
	h := sha256.New()
	h.Write(m.GetSeqno()) // 8 bytes always, so that what follows is unambiguous
	h.Write(m.GetFrom())
	return string(h.Sum(nil)[:16])
}

// judge decides about a message that from has signed, and puts an offer that
// is news into the Book. What cannot be honest is rejected, which costs who
// sent it. What is merely stale or known is ignored: honest peers send it too.
func (g *gossip) judge(now time.Time, from peer.ID, data []byte) pubsub.ValidationResult {
	author, so, o, err := openOffer(g.net, data)
	if err != nil || author != from {
		return pubsub.ValidationReject
	}
	if author == g.self {
		return pubsub.ValidationAccept // pubsub drops what others send in our name
	}
	_, known := g.book.Get(now, author)
	news := g.book.Put(now, author, so, o, g.connected(author))
	if news && !known {
		g.news()
	}
	if e, ok := g.book.Get(now, author); !ok || e.Offer.Sequence != o.Sequence {
		return pubsub.ValidationIgnore
	}
	if last, ok := g.passed.Get(author); ok && last >= o.Sequence {
		return pubsub.ValidationIgnore
	}
	g.passed.Add(author, o.Sequence)
	return pubsub.ValidationAccept
}

// openOffer decodes and checks the bytes of a SignedOffer from a peer.
func openOffer(id protocol.NetworkID, data []byte) (peer.ID, *protocol.SignedOffer, *protocol.Offer, error) {
	if len(data) > protocol.MaxOffer {
		return "", nil, nil, fmt.Errorf("%w: signed offer of %d bytes", protocol.ErrMalformed, len(data))
	}
	so := new(protocol.SignedOffer)
	if err := proto.Unmarshal(data, so); err != nil {
		return "", nil, nil, fmt.Errorf("%w: signed offer: %w", protocol.ErrMalformed, err)
	}
	author, o, err := so.Open(id)
	return author, so, o, err
}

// Publish tells all members so, which must be this node's own offer, and puts
// it in the Book. Nobody needs to be connected yet: the offer is repeated to
// the first neighbours, and whoever connects asks for it.
func (m *Mesh) Publish(ctx context.Context, so *protocol.SignedOffer) error {
	o, data, err := m.own(so)
	if err != nil {
		return fmt.Errorf("publish offer: %w", err)
	}
	m.book.Put(time.Now(), m.self, so, o, true)
	if err := m.gossip.publish(ctx, data); err != nil {
		return fmt.Errorf("publish offer: %w", err)
	}
	m.gossip.figures.published.Add(1)
	return nil
}

// own checks that this node has signed so and returns its wire form.
func (m *Mesh) own(so *protocol.SignedOffer) (*protocol.Offer, []byte, error) {
	data, err := proto.Marshal(so)
	if err != nil {
		return nil, nil, err
	}
	author, _, o, err := openOffer(m.net, data)
	if err != nil {
		return nil, nil, err
	}
	if author != m.self {
		return nil, nil, fmt.Errorf("offer of %s, not of this node", author)
	}
	return o, data, nil
}

// publish makes data this node's latest offer and spreads it.
func (g *gossip) publish(ctx context.Context, data []byte) error {
	g.mu.Lock()
	g.latest = data
	g.mu.Unlock()
	return g.spread(ctx)
}

func (g *gossip) spread(ctx context.Context) error {
	neighbours := len(g.topic.ListPeers())
	g.mu.Lock()
	data := g.latest
	g.heard = neighbours
	g.mu.Unlock()
	return g.topic.Publish(ctx, data)
}

// run repeats this node's offer when neighbours join that could not hear it,
// until enough have heard it to spread it.
func (g *gossip) run(ctx context.Context) {
	events, err := g.topic.EventHandler()
	if err != nil {
		return // the topic is closed
	}
	defer events.Cancel()
	for {
		e, err := events.NextPeerEvent(ctx)
		if err != nil {
			return
		}
		if e.Type == pubsub.PeerJoin && g.unheard() && sleep(ctx, joinDelay) {
			_ = g.spread(ctx) // the next keepalive makes up for it
		}
	}
}

func (g *gossip) unheard() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.latest != nil && g.heard < meshDegree
}

// close ends gossip. Its goroutines end by themselves soon after.
func (g *gossip) close() { g.stop() }
