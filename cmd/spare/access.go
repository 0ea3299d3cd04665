package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

func newAccess(h *home) *cobra.Command {
	return newInspect(h, "access", "Whose tasks may run here", exactly(),
		func(ctx context.Context, c *client.Client, _ []string) (api.Access, error) { return c.Access(ctx) },
		printAccess)
}

func newBlock(h *home) *cobra.Command {
	order := api.AccessOrder{}
	cmd := newOrder(h, api.Block, &order, "Have nothing to do with a peer, until 'spare unblock'",
		`Have nothing to do with a peer, until 'spare unblock', also when the node is
started again.

Nothing of it runs here: what does already is handed over at once, and so nothing
is lost for it. Nothing of this node runs there: what does is run elsewhere. Its
node is given no blobs and none are taken from it. It stays a member, and goes on
to see this node's offers and to pass on those of others.

PEER is a peer ID or the beginning of one, of a peer that is known: connected or
not, or one whose tasks ran here. What looks alike is refused: a whole ID is sure.`)
	cmd.Flags().StringVar(&order.Why, "why", "", "why, `TEXT` of at most 256 bytes; the peer is told")
	return cmd
}

func newUnblock(h *home) *cobra.Command {
	order := api.AccessOrder{}
	cmd := newOrder(h, api.Unblock, &order, "Take 'spare block' back",
		`Take 'spare block' back. The peer's node finds out when it asks again, after ten
minutes at most, or at once when its user names this node with --on.`)
	cmd.Flags().BoolVar(&order.All, "all", false, "all blocks")
	return cmd
}

func newAllow(h *home) *cobra.Command {
	order := api.AccessOrder{}
	cmd := newOrder(h, api.Allow, &order, "Run only tasks of chosen peers",
		`Run only tasks of chosen peers: of this one, and of others that are allowed. Those
of this node always run, and its own tasks run at whoever takes them. What runs here
of others is handed over at once. A block of the peer is taken back.

With --all the choice is given up: tasks of all members may run, but for blocked ones.`)
	cmd.Flags().BoolVar(&order.All, "all", false, "tasks of all members, but for blocked ones")
	return cmd
}

func newDisallow(h *home) *cobra.Command {
	return newOrder(h, api.Disallow, &api.AccessOrder{}, "Take a peer from those whose tasks alone run here",
		`Take a peer from those whose tasks alone run here. What runs of it is handed over.
When nobody is left no tasks of others run here, until 'spare allow'.`)
}

// newOrder makes a command that says something of a peer.
func newOrder(h *home, verb string, order *api.AccessOrder, short, long string) *cobra.Command {
	cmd := &cobra.Command{Use: verb + " PEER", Short: short, Long: long}
	f := addFormat(cmd, "table", "json")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if order.All && len(args) > 0 {
			return usage(cmd, "--all and PEER exclude each other")
		}
		if order.All {
			return nil
		}
		return exactly("PEER")(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(order.Why) > maxBlockWhy {
			return usage(cmd, "--why has %d bytes, at most %d", len(order.Why), maxBlockWhy)
		}
		c, err := h.node()
		if err != nil {
			return err
		}
		if len(args) > 0 {
			order.Peer = args[0]
		}
		a, err := c.Order(cmd.Context(), verb, *order)
		if err != nil {
			return err
		}
		if a.Mode == "allowed" && len(a.Allowed) == 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "spare: nobody is allowed: no tasks of others run here; '%s allow --all' lets all members' run again\n", h.command())
		}
		return f.print(cmd.OutOrStdout(), a, func(w io.Writer) error { return printAccess(w, a) })
	}
	return cmd
}

const maxBlockWhy = 256

// printAccess names peers whole: whom it is about must be sure.
func printAccess(w io.Writer, a api.Access) error {
	mode := "tasks of all members"
	switch {
	case a.Mode == "allowed" && len(a.Allowed) == 0:
		mode = "no tasks of others, since nobody is allowed"
	case a.Mode == "allowed":
		mode = "only tasks of " + plural(uint64(len(a.Allowed)), "allowed peer")
	case len(a.Blocked) > 0:
		mode += " but the blocked ones"
	}
	if err := table(w, nil, [][]string{{"runs", mode}}); err != nil {
		return err
	}
	ago := func(t api.Time) string { return span(time.Since(time.Time(t))) + " ago" }
	var blocked, allowed [][]string
	for _, b := range a.Blocked {
		blocked = append(blocked, []string{b.Peer, ago(b.Since), b.Why})
	}
	for _, b := range a.Allowed {
		allowed = append(allowed, []string{b.Peer, ago(b.Since)})
	}
	if len(blocked) > 0 {
		if err := printSection(w, []string{"BLOCKED", "SINCE", "WHY"}, blocked); err != nil {
			return err
		}
	}
	if len(allowed) > 0 {
		return printSection(w, []string{"ALLOWED", "SINCE"}, allowed)
	}
	return nil
}

// accessText says of a peer what its user should know before anything else.
func accessText(p *api.Peer) string {
	switch {
	case p.Access == "blocked":
		return "blocked here"
	case p.Refuses != "":
		return "runs nothing of this node: " + protocol.SafeText(p.Refuses)
	case p.Access == "allowed":
		return "allowed here; " + p.Trust
	default:
		return p.Trust
	}
}
