package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// What a table shows of the guests that have ended, and of totals, unless it is
// a wide one.
const (
	fewLately = 10
	fewTotals = 20
)

func newGuests(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guests",
		Short: "Who runs what here now and lately, and what each has had run here",
		Long: `Who runs what here now and lately, and what each has had run here, since the home
was made: the last 100 that ended, and the 1000 peers with the most time; of the
others the sum is kept. A node that is killed forgets what ended in the last two
seconds or three.

With -o jsonl there is a line for each, whose kind is donated, now, lately, total
or others.`,
		Args: exactly(),
	}
	f := addFormat(cmd, "table", "wide", "json", "jsonl")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		g, err := allGuests(cmd.Context(), c)
		if err != nil {
			return err
		}
		if f.word == "jsonl" {
			return printGuestLines(cmd.OutOrStdout(), &g)
		}
		return f.print(cmd.OutOrStdout(), g, func(w io.Writer) error { return printGuests(w, &g, f.word == "wide") })
	}
	return cmd
}

// allGuests asks for all pages of totals.
func allGuests(ctx context.Context, c *client.Client) (api.Guests, error) {
	all, err := c.Guests(ctx, 1000, "")
	for err == nil && all.Next != "" {
		var page api.Guests
		if page, err = c.Guests(ctx, 1000, all.Next); err == nil {
			all.Totals, all.Next = append(all.Totals, page.Totals...), page.Next
		}
	}
	return all, err
}

func printGuests(w io.Writer, g *api.Guests, wide bool) error {
	if err := table(w, nil, [][]string{{"donated", donatedText(g.Donated)}}); err != nil {
		return err
	}
	if g.Donated.Tasks == 0 && len(g.Now) == 0 {
		if _, err := io.WriteString(w, "\nnothing of others has run here yet; 'spare why' tells whether it would\n"); err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
		}
		return nil
	}
	var now, lately, totals [][]string
	for _, one := range g.Now {
		row := []string{shortPeer(one.Requester), one.Name, one.Task, one.State, millis0(one.WallMS), protocol.GasText(one.Gas)}
		if wide {
			row = append(row, one.Module)
		}
		now = append(now, row)
	}
	for i, one := range g.Lately {
		if !wide && i == fewLately {
			break
		}
		ago := ""
		if one.Ended != nil {
			ago = span(time.Since(time.Time(*one.Ended))) + " ago"
		}
		row := []string{shortPeer(one.Requester), one.Name, one.Task, endText(&one), millis0(one.WallMS), protocol.GasText(one.Gas), ago}
		if wide {
			row = append(row, one.Module)
		}
		lately = append(lately, row)
	}
	for i, t := range g.Totals {
		if !wide && i == fewTotals {
			totals = append(totals, []string{fmt.Sprintf("and %d more, which -o wide shows", len(g.Totals)-i), "", "", "", "", ""})
			break
		}
		who, last := shortPeer(t.Requester), ""
		if wide {
			who = t.Requester
		}
		if t.Last != nil {
			last = span(time.Since(time.Time(*t.Last))) + " ago"
		}
		totals = append(totals, []string{who, decimal(t.Tasks), slotTime(t.WallMS), protocol.GasText(t.Gas), last, t.Access})
	}
	if o := g.Others; o.Requesters > 0 {
		totals = append(totals, []string{"others, " + decimal(o.Requesters), decimal(o.Tasks), slotTime(o.WallMS), protocol.GasText(o.Gas), "", ""})
	}
	module := func(head ...string) []string {
		if wide {
			head = append(head, "MODULE")
		}
		return head
	}
	for _, section := range []struct {
		head []string
		rows [][]string
	}{
		{module("HERE NOW OF", "PROGRAM", "TASK", "STATE", "TIME", "GAS"), now},
		{module("LATELY OF", "PROGRAM", "TASK", "END", "TIME", "GAS", "ENDED"), lately},
		{[]string{"IN ALL OF", "TASKS", "SLOT TIME", "GAS", "LAST", "ACCESS"}, totals},
	} {
		if len(section.rows) > 0 {
			if err := printSection(w, section.head, section.rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// endText is how a guest has ended.
func endText(g *api.Guest) string {
	switch {
	case g.Exit != nil && *g.Exit != 0:
		return fmt.Sprintf("%s, exit %d", g.State, *g.Exit)
	case g.Code != "":
		return g.State + ", " + g.Code
	default:
		return g.State
	}
}

// millis0 is [millis] of what need not have begun.
func millis0(ms *float64) string {
	if ms == nil {
		return ""
	}
	return millis(ms)
}

// donatedText is what a node has given to others.
func donatedText(d api.Donated) string {
	return fmt.Sprintf("%s to others, %s, since %s", slotTime(d.SlotMS), plural(d.Tasks, "task"), time.Time(d.Since).UTC().Format("2006-01-02"))
}

// slotTime writes milliseconds of one slot.
func slotTime(ms uint64) string {
	switch s := float64(ms) / 1000; {
	case s < 100:
		return fmt.Sprintf("%.1f slot-seconds", s)
	case s < 100*60:
		return fmt.Sprintf("%.1f slot-minutes", s/60)
	default:
		return fmt.Sprintf("%.1f slot-hours", s/3600)
	}
}

// printGuestLines writes one line of JSON for each.
func printGuestLines(w io.Writer, g *api.Guests) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	type (
		guest struct {
			Kind string `json:"kind"`
			api.Guest
		}
		total struct {
			Kind string `json:"kind"`
			api.GuestTotal
		}
	)
	lines := []any{struct {
		Kind string `json:"kind"`
		api.Donated
	}{"donated", g.Donated}}
	for _, one := range g.Now {
		lines = append(lines, guest{"now", one})
	}
	for _, one := range g.Lately {
		lines = append(lines, guest{"lately", one})
	}
	for _, one := range g.Totals {
		lines = append(lines, total{"total", one})
	}
	lines = append(lines, total{"others", g.Others})
	for _, line := range lines {
		if err := enc.Encode(line); err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
		}
	}
	return nil
}
