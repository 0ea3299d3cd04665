package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

const (
	// checkedPeers is how many peers are measured, so many at once, each for so long.
	checkedPeers = 32
	checksAtOnce = 4
	checkWithin  = 5 * time.Second
)

// unconnected is how 'spare netcheck' ends when no peer answers.
const unconnected = status(1)

// netcheck is what 'spare netcheck' finds.
type netcheck struct {
	Network   string         `json:"network"`
	Peer      string         `json:"peer"`
	Addrs     []string       `json:"addrs"`
	Reachable string         `json:"reachable"` // from where, as far as is known
	Do        string         `json:"do"`        // what would have more peers reach it; empty when nothing would
	Relays    string         `json:"relays"`
	Refused   []api.Refused  `json:"refused"`
	Peers     []checkedPeer  `json:"peers"`
	Answer    int            `json:"answer"` // how many of them
	Transport map[string]int `json:"transports"`
}

// checkedPeer is a peer that is connected, and how it does.
type checkedPeer struct {
	Peer      string   `json:"peer"`
	Transport string   `json:"transport"`
	Inbound   bool     `json:"inbound"`
	RTTMS     *float64 `json:"rtt_ms"` // of a fresh round trip; null without an answer
	UsualMS   *float64 `json:"usual_rtt_ms"`
	Error     string   `json:"error"`
}

func newNetcheck(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "netcheck",
		Short: "From where this node can be reached, and how far its peers are",
		Long: `Tell by which addresses and from where this node can be reached, as far as is
known, and measure a round trip to each connected peer, to ` + fmt.Sprint(checkedPeers) + ` at most.

The exit status is 0 when a peer answers, and 1 when none does.`,
		Args: exactly(),
	}
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		n, err := checkNet(cmd.Context(), c)
		if err != nil {
			return err
		}
		if err := f.print(cmd.OutOrStdout(), n, func(w io.Writer) error { return n.write(w, *h) }); err != nil {
			return err
		}
		if n.Answer == 0 {
			return unconnected
		}
		return nil
	}
	return cmd
}

func checkNet(ctx context.Context, c *client.Client) (*netcheck, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	peers, err := c.Peers(ctx)
	if err != nil {
		return nil, err
	}
	n := &netcheck{
		Network: s.Network, Peer: s.Peer, Addrs: s.Addrs, Refused: s.Refused, Peers: []checkedPeer{}, Transport: map[string]int{},
		Relays: "none: this version goes through no relay and punches no holes, so that one of two must be reachable",
	}
	n.Reachable, n.Do = reachability(&s, peers)
	for _, p := range peers {
		if p.Connected && len(n.Peers) < checkedPeers {
			n.Peers = append(n.Peers, checkedPeer{Peer: p.Peer, Transport: p.Transport, Inbound: p.Inbound, UsualMS: p.RTTMS})
		}
		if p.Connected && p.Transport != "" {
			n.Transport[p.Transport]++
		}
	}
	var all sync.WaitGroup
	turns := make(chan struct{}, checksAtOnce)
	for i := range n.Peers {
		p := &n.Peers[i]
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(ctx, checkWithin)
			defer cancel()
			if pong, err := c.Ping(ctx, p.Peer); err == nil {
				p.RTTMS = &pong.RTTMS
			} else {
				p.Error = string(protocol.CodeOf(err))
			}
		})
	}
	all.Wait()
	for _, p := range n.Peers {
		n.Answer += b2i(p.RTTMS != nil)
	}
	return n, ctx.Err()
}

func (n *netcheck) write(w io.Writer, h home) error {
	rows := [][]string{{"network", n.Network}}
	for _, a := range n.Addrs {
		rows = append(rows, []string{"address", a})
	}
	rows = append(rows, []string{"reachable", n.Reachable})
	if n.Do != "" {
		rows = append(rows, []string{"to widen it", h.named(n.Do)})
	}
	rows = append(rows, []string{"relays", n.Relays})
	for _, r := range n.Refused {
		rows = append(rows, []string{"refused", fmt.Sprintf("%s %s ago: %s: %s", shortPeer(r.Peer), span(time.Since(time.Time(r.At))), r.Code, r.Message)})
	}
	rows = append(rows, []string{"peers", fmt.Sprintf("%d of %d answer", n.Answer, len(n.Peers))})
	if err := table(w, nil, rows); err != nil || len(n.Peers) == 0 {
		return err
	}
	rows = nil
	for _, p := range n.Peers {
		who := "this node"
		if p.Inbound {
			who = "the peer"
		}
		rtt := p.Error
		if p.RTTMS != nil {
			rtt = millis(p.RTTMS)
		}
		rows = append(rows, []string{shortPeer(p.Peer), p.Transport, who, rtt, millis(p.UsualMS)})
	}
	return printSection(w, []string{"PEER", "TRANSPORT", "CONNECTED BY", "RTT NOW", "USUALLY"}, rows)
}
