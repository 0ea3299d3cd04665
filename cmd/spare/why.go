package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// nodeWhy is why a node runs tasks of others, or none.
type nodeWhy struct {
	Why            string       `json:"why"`
	Donation       api.Donation `json:"donation"`
	Running        uint32       `json:"running"`
	Slots          uint32       `json:"slots"`
	Queued         uint32       `json:"queued"`
	PeersConnected int          `json:"peers_connected"`
	Refuses        []string     `json:"refuses"` // of tasks whose users name no limit
}

// taskWhy is why a task is where it is.
type taskWhy struct {
	Why    string      `json:"why"`
	Task   api.Task    `json:"task"`
	Offers []api.Offer `json:"offers"` // of a task that has not ended, usable or not for it
}

func newWhy(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why [TASK]",
		Short: "Why this node runs nothing for others, or why a task waits or went where it went",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return tooMany(cmd, args[1])
			}
			return nil
		},
	}
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			n, err := askNodeWhy(cmd.Context(), c)
			if err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), n, func(w io.Writer) error { return printNodeWhy(w, n) })
		}
		t, err := askTaskWhy(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), t, func(w io.Writer) error { return printTaskWhy(w, t) })
	}
	return cmd
}

func askNodeWhy(ctx context.Context, c *client.Client) (nodeWhy, error) {
	d, err := c.Donation(ctx)
	if err != nil {
		return nodeWhy{}, err
	}
	s, err := c.Status(ctx)
	if err != nil {
		return nodeWhy{}, err
	}
	n := nodeWhy{
		Donation: d, Running: s.Running, Slots: s.Slots, Queued: s.Queued, PeersConnected: s.PeersConnected, Refuses: []string{},
	}
	offers, err := c.Offers(ctx)
	if err != nil {
		return nodeWhy{}, err
	}
	for _, o := range offers {
		if o.Self {
			n.Refuses = append(n.Refuses, refuses(&o)...)
		}
	}
	n.Why = n.because(s.Donate.State)
	return n, nil
}

// because is the one reason that comes first.
func (n *nodeWhy) because(state string) string {
	switch {
	case n.Donation.State != protocol.Open.Word():
		return "it takes no tasks of others: " + n.Donation.Reason
	case state == protocol.Full.Word():
		return "it is full: as many tasks run and wait here as it takes"
	case n.Running > 0:
		return fmt.Sprintf("it is not idle: %d of %d slots are in use", n.Running, n.Slots)
	case n.PeersConnected == 0:
		return "it would take tasks, but no peer is connected that could ask"
	case n.Donation.Asked.Taken+n.Donation.Asked.Refused == 0:
		return fmt.Sprintf("it would take tasks, but none of %d connected peers has asked since it was started", n.PeersConnected)
	case n.Donation.Asked.Taken == 0:
		return "it would take tasks, but has refused all that it was asked for"
	default:
		return "it would take tasks, but is asked for none now"
	}
}

// refuses says which tasks an offer is too small for whose users name no limit.
func refuses(o *api.Offer) (texts []string) {
	plain := protocol.DefaultLimits()
	if o.MemoryBytes < plain.MemoryBytes {
		texts = append(texts, fmt.Sprintf("runs without --mem: they ask for %s, this node gives %s", protocol.SizeText(plain.MemoryBytes), protocol.SizeText(o.MemoryBytes)))
	}
	return append(texts, narrowed(o.OutputBytes, o.WallMS*uint64(time.Millisecond), o.Gas, o.FileBytes, uint64(o.Files))...)
}

func printNodeWhy(w io.Writer, n nodeWhy) error {
	a, takes := n.Donation.Asked, n.Donation.Donate
	if strings.HasSuffix(n.Why, ": "+takes.Reason) {
		takes.Reason = "" // it is said already
	}
	rows := [][]string{
		{"why", n.Why},
		{"takes tasks", takesTasks(takes)},
		{"running", fmt.Sprintf("%d of %d slots, %d waiting", n.Running, n.Slots, n.Queued)},
		{"asked", fmt.Sprintf("%d taken from others, %d refused, %d handed over, since it was started", a.Taken, a.Refused, a.HandedOver)},
		{"peers", fmt.Sprintf("%d connected", n.PeersConnected)},
	}
	if r := a.LastRefusal; r != nil {
		rows = append(rows, []string{"last refused", fmt.Sprintf("%s %s ago: %s: %s", shortPeer(r.Peer), span(time.Since(time.Time(r.At))), r.Code, r.Message)})
	}
	for _, text := range n.Refuses {
		rows = append(rows, []string{"refuses", text})
	}
	return table(w, nil, rows)
}

func askTaskWhy(ctx context.Context, c *client.Client, prefix string) (why taskWhy, err error) {
	t, err := parseTarget(prefix)
	if err != nil {
		return why, err
	}
	if t.several() {
		return why, protocol.Errorf(protocol.CodeUsage, "%q names several tasks, of which each has a why of its own", prefix).
			WithHint("name one, such as %s/1", t.job)
	}
	err = orJob(&t, func() (err error) {
		why.Task, err = c.Task(ctx, t.id)
		return err
	}, func() error {
		j, err := c.Job(ctx, t.id)
		if err != nil {
			return err
		}
		return protocol.Errorf(protocol.CodeUsage, "%s is a job, of which each task has a why of its own: it is %s, %s", j.ID, j.State, progressText(&j)).
			WithHint("'spare why %s/1' tells of its first task, 'spare show %s' of the job", j.ID, j.ID)
	})
	if err != nil {
		return why, err
	}
	why.Offers = []api.Offer{}
	if why.Task.Ended == nil {
		if why.Offers, err = c.OffersFor(ctx, t.id); err != nil {
			return why, err
		}
	}
	why.Why = why.because()
	return why, nil
}

// because is why the task is where it is, in a line. What it says itself is of when
// it asked last, which may be seconds ago: of a peer that alone may run it, the
// offers tell what is so now.
func (why *taskWhy) because() string {
	t := &why.Task
	for _, state := range []protocol.State{protocol.StateDone, protocol.StateRunning, protocol.StateCompiling, protocol.StateFetching} {
		for _, a := range t.Attempts {
			if a.State == state.Word() {
				return attemptLine(&a)
			}
		}
	}
	switch n := len(t.Attempts); {
	case t.Error != nil:
		return fmt.Sprintf("%s: %s: %s", t.State, t.Error.Code, t.Error.Message)
	case t.Reason != "" && t.Ended == nil && t.Terms.On != "":
		return fmt.Sprintf("%s: %s", t.State, why.awaits(t.Terms.On))
	case t.Reason != "":
		return fmt.Sprintf("%s: %s", t.State, t.Reason)
	case n > 0: // it waits there for a slot
		return attemptLine(&t.Attempts[n-1])
	default:
		return t.State
	}
}

func attemptLine(a *api.Attempt) string {
	line := fmt.Sprintf("%s on %s", a.State, peerName(a.Provider, a.Self))
	if a.Reason == "" { // of a job's task only what it gave is kept
		return line
	}
	return line + ": " + a.Reason
}

// awaits says what is so of the one peer that may run the task.
func (why *taskWhy) awaits(on string) string {
	i := slices.IndexFunc(why.Offers, func(o api.Offer) bool { return o.Provider == on })
	switch {
	case i < 0:
		return fmt.Sprintf("no offer of %s is known, which alone may run it", shortPeer(on))
	case why.Offers[i].Usable:
		return fmt.Sprintf("%s alone may run it and offers to now: it is asked again in a moment", peerName(on, why.Offers[i].Self))
	default:
		return fmt.Sprintf("%s alone may run it, and cannot now: %s", peerName(on, why.Offers[i].Self), why.Offers[i].Reason)
	}
}

func printTaskWhy(w io.Writer, why taskWhy) error {
	t := &why.Task
	rows := [][]string{
		{"task", t.ID + ", " + t.Name},
		{"why", why.Why},
		{"asks for", limitsText(&t.Limits)},
		{"placed", placed(&t.Terms)},
	}
	if err := table(w, nil, rows); err != nil {
		return err
	}
	if n := len(t.Attempts); n > 1 || n == 1 && why.Why != attemptLine(&t.Attempts[0]) { // or all of it is said
		rows = nil
		for _, a := range t.Attempts {
			rows = append(rows, []string{fmt.Sprint(a.Attempt), peerName(a.Provider, a.Self), a.State, millis(a.RTTMS), a.Reason})
		}
		if err := printSection(w, []string{"ATTEMPT", "PROVIDER", "STATE", "RTT", "REASON"}, rows); err != nil {
			return err
		}
	}
	if len(why.Offers) == 0 {
		return nil
	}
	rows = nil
	for _, o := range why.Offers {
		rows = append(rows, []string{peerName(o.Provider, o.Self), fmt.Sprintf("%d of %d, %d waiting", o.Running, o.Slots, o.Queued), usableText(&o)})
	}
	return printSection(w, []string{"PROVIDER", "RUNNING", "COULD TAKE IT NOW"}, rows)
}

// printSection writes a table below an empty line.
func printSection(w io.Writer, head []string, rows [][]string) error {
	if _, err := io.WriteString(w, "\n"); err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
	}
	return table(w, head, rows)
}
