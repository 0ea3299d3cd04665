package api

import (
	"fmt"
	"time"
)

// Time is a moment as JSON shows it: RFC 3339 in UTC with milliseconds.
type Time time.Time

const timeLayout = "2006-01-02T15:04:05.000Z"

// MarshalText writes the moment.
func (t Time) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, timeLayout), nil
}

// UnmarshalText reads a moment in any form of RFC 3339.
func (t *Time) UnmarshalText(b []byte) error {
	v, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return fmt.Errorf("time: %w", err)
	}
	*t = Time(v)
	return nil
}

// Millis returns d in milliseconds, to the microsecond, as JSON shows it.
func Millis(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// Status is what a node says about itself.
type Status struct {
	Peer           string            `json:"peer" doc:"The node's peer ID"`
	Network        string            `json:"network" doc:"The network's name"`
	NetworkID      string            `json:"network_id" doc:"Digest of the network's secret, in hex"`
	Addrs          []string          `json:"addrs" doc:"Announced multiaddrs, each ending in /p2p/PEER"`
	PID            int               `json:"pid"`
	Version        string            `json:"version"`
	Started        Time              `json:"started"`
	Home           string            `json:"home" doc:"The node's home directory"`
	DashboardURL   string            `json:"dashboard_url" doc:"Without a code; empty when it is off"`
	Donate         Donate            `json:"donate"`
	Slots          uint32            `json:"slots" doc:"Replicas that run here at once"`
	Running        uint32            `json:"running"`
	Queued         uint32            `json:"queued"`
	MemoryBytes    uint64            `json:"memory_bytes" doc:"Ceiling for one task"`
	Speed          float64           `json:"speed" doc:"Work per second and slot; 1.0 is the reference machine"`
	PeersConnected int               `json:"peers_connected"`
	PeersKnown     int               `json:"peers_known" doc:"Peers with a valid offer"`
	ClockAheadS    *int64            `json:"clock_ahead_s" doc:"Seconds that this machine's clock is ahead of most peers', 0 when it is less than a minute; null when unknown"`
	Refused        []Refused         `json:"refused" doc:"Peers lately refused, or that refused this node"`
	Blobs          BlobUse           `json:"blobs"`
	Warm           []WarmModule      `json:"warm" doc:"Modules that this node has compiled, latest first"`
	Sandbox        Sandbox           `json:"sandbox"`
	ServedGas      uint64            `json:"served_gas" doc:"What this node has run for others, by receipts that both have signed"`
	ReceivedGas    uint64            `json:"received_gas" doc:"What others have run for this node, likewise"`
	Donated        Donated           `json:"donated" doc:"What has run here for others, by this node's own count"`
	Labels         map[string]string `json:"labels" doc:"What its owner says of the machine, such as site=berlin"`
	Coordinate     *Coordinate       `json:"coordinate" doc:"Where this node is on the map of round trips; null when nothing was measured yet"`
}

// Coordinate is a place in a plane whose distances are round trips. The two
// heights are added to the distance of two places.
type Coordinate struct {
	X      float64 `json:"x_ms"`
	Y      float64 `json:"y_ms"`
	Height float64 `json:"height_ms"`
	Error  float64 `json:"error" doc:"Of the round trips that it tells, relative; 1.5 at most"`
}

// Donate says whether a node takes tasks of others, and why.
type Donate struct {
	Mode   string `json:"mode" doc:"idle or always"`
	State  string `json:"state" doc:"open, full, paused or owner-busy"`
	Reason string `json:"reason"`
	Until  *Time  `json:"until" doc:"When that changes by itself; null when nobody knows"`
}

// Donation is whether a node takes tasks of others, and by which rules.
type Donation struct {
	Donate
	Rules []Setting `json:"rules"`
	Asked Asked     `json:"asked"`
}

// Asked is what other nodes have asked of this one since it was started, in
// replicas.
type Asked struct {
	Taken       uint64   `json:"taken"`
	Refused     uint64   `json:"refused"`
	HandedOver  uint64   `json:"handed_over" doc:"Given up since the owner wanted the machine back"`
	LastRefusal *Refused `json:"last_refusal" doc:"null when none was refused"`
}

// Setting is a value that the user may decide.
type Setting struct {
	Key    string `json:"key" doc:"As config.toml has it"`
	Value  string `json:"value" doc:"For people"`
	Origin string `json:"origin" doc:"Where it was said: flag of spare up, spare donate set, config.toml or default"`
	Note   string `json:"note" doc:"What it does on this machine, or empty"`
}

// Refused is a peer that could not become a member's neighbour.
type Refused struct {
	Peer    string `json:"peer"`
	Code    string `json:"code"`
	Message string `json:"message"`
	At      Time   `json:"at"`
}

// BlobUse is what the blob store holds.
type BlobUse struct {
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"`
}

// WarmModule is a module that needs no fetching and no compiling here.
type WarmModule struct {
	Module  string `json:"module" doc:"CID"`
	Workers int    `json:"workers" doc:"Worker processes that hold it ready"`
}

// Peer is a neighbour. What comes from its offer is zero, and OfferAgeMS null,
// when it has none.
type Peer struct {
	Peer         string            `json:"peer"`
	Connected    bool              `json:"connected"`
	RTTMS        *float64          `json:"rtt_ms" doc:"null when unknown"`
	Slots        uint32            `json:"slots"`
	Inflight     uint32            `json:"inflight" doc:"Replicas running or queued there"`
	Speed        float64           `json:"speed"`
	OfferAgeMS   *int64            `json:"offer_age_ms" doc:"null without an offer"`
	MemoryBytes  uint64            `json:"memory_bytes"`
	Availability string            `json:"availability" doc:"open, full, paused or owner-busy; empty without an offer"`
	Warm         int               `json:"warm" doc:"Number of modules it says it has compiled"`
	Version      string            `json:"version"`
	Arch         string            `json:"arch" doc:"GOOS/GOARCH"`
	Addrs        []string          `json:"addrs"`
	Transport    string            `json:"transport" doc:"Of its connection: quic-v1 or tcp; empty without one"`
	Inbound      bool              `json:"inbound" doc:"It has connected to this node, and not this node to it"`
	ServedGas    uint64            `json:"served_gas" doc:"What this node has run for it, by receipts that both have signed"`
	ReceivedGas  uint64            `json:"received_gas" doc:"What it has run for this node, likewise"`
	Trusted      bool              `json:"trusted" doc:"False while it is not chosen since it was found wrong"`
	Trust        string            `json:"trust" doc:"What comparing its results has shown, for people"`
	Labels       map[string]string `json:"labels" doc:"What its owner says of the machine, such as site=berlin"`
	Access       string            `json:"access" doc:"allowed or blocked when this node's owner has said so; empty otherwise"`
	Refuses      string            `json:"refuses" doc:"What it said when it lately refused to have anything to do with this node; empty when it has not"`
	Coordinate   *Coordinate       `json:"coordinate" doc:"Where it says that it is on the map of round trips; null when unknown"`
}

// Offer is what one provider gives, as this node knows it now.
type Offer struct {
	Provider     string            `json:"provider"`
	Self         bool              `json:"self" doc:"The node's own offer"`
	Usable       bool              `json:"usable" doc:"Whether a task could be placed there now"`
	Reason       string            `json:"reason" doc:"Why it is not usable, or of the node's own, why not by others"`
	AgeMS        int64             `json:"age_ms"`
	TTLMS        int64             `json:"ttl_ms" doc:"Validity, counted from receipt"`
	RTTMS        *float64          `json:"rtt_ms" doc:"null when unknown"`
	Slots        uint32            `json:"slots"`
	Running      uint32            `json:"running"`
	Queued       uint32            `json:"queued"`
	Availability string            `json:"availability"`
	MemoryBytes  uint64            `json:"memory_bytes"`
	OutputBytes  uint64            `json:"output_bytes"`
	WallMS       uint64            `json:"wall_ms"`
	Gas          uint64            `json:"gas"`
	FileBytes    uint64            `json:"file_bytes"`
	Files        uint32            `json:"files"`
	ModuleBytes  uint64            `json:"module_bytes"`
	Speed        float64           `json:"speed"`
	Profile      uint32            `json:"profile" doc:"Version of the sandbox profile"`
	Warm         []string          `json:"warm" doc:"CIDs of modules it says it has compiled"`
	Version      string            `json:"version"`
	Arch         string            `json:"arch"`
	Labels       map[string]string `json:"labels" doc:"What its owner says of the machine, such as site=berlin"`
}

// Pong is one round trip measured.
type Pong struct {
	Peer  string  `json:"peer"`
	RTTMS float64 `json:"rtt_ms"`
}

// BlobRef names stored bytes.
type BlobRef struct {
	Digest string `json:"digest" doc:"sha2-256 in hex"`
	Size   int64  `json:"size" doc:"Bytes"`
}

// Link is a URL that opens the dashboard once.
type Link struct {
	URL string `json:"url"`
}
