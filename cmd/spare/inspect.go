package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// newInspect makes a command that asks the node for a T and prints it.
func newInspect[T any](h *home, use, short string, args cobra.PositionalArgs,
	ask func(context.Context, *client.Client, []string) (T, error), text func(io.Writer, T) error,
) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args}
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		v, err := ask(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), v, func(w io.Writer) error { return text(w, v) })
	}
	return cmd
}

func newStatus(h *home) *cobra.Command {
	return newInspect(h, "status", "What this node is and does", exactly(),
		func(ctx context.Context, c *client.Client, _ []string) (api.Status, error) { return c.Status(ctx) },
		printStatus)
}

func printStatus(w io.Writer, s api.Status) error {
	rows := [][]string{
		{"peer", s.Peer},
		{"network", fmt.Sprintf("%s (%.16s)", s.Network, s.NetworkID)},
	}
	for _, a := range s.Addrs {
		rows = append(rows, []string{"address", a})
	}
	rows = append(rows, [][]string{
		{"home", s.Home},
		{"dashboard", s.DashboardURL},
		{"pid", fmt.Sprint(s.PID)},
		{"up", span(time.Since(time.Time(s.Started)))},
		{"takes tasks", takesTasks(s.Donate)},
		{"running", fmt.Sprintf("%d of %d slots, %d waiting", s.Running, s.Slots, s.Queued)},
		{"limits", fmt.Sprintf("%s memory for a task", protocol.SizeText(s.MemoryBytes))},
		{"speed", fmt.Sprintf("%.2f", s.Speed)},
		{"work", fmt.Sprintf("%s gas run for others, %s run by others for this node", protocol.GasText(s.ServedGas), protocol.GasText(s.ReceivedGas))},
		{"donated", donatedText(s.Donated)},
		{"peers", fmt.Sprintf("%d connected, %d with an offer", s.PeersConnected, s.PeersKnown)},
		{"stored", fmt.Sprintf("%d blobs, %s", s.Blobs.Count, protocol.SizeText(uint64(max(s.Blobs.Bytes, 0))))},
		{"warm", fmt.Sprintf("%d modules", len(s.Warm))},
		{"workers", fmt.Sprintf("%d, %d busy, %d tasks waiting, %s", s.Sandbox.Workers, s.Sandbox.Busy, s.Sandbox.Waiting, protocol.SizeText(s.Sandbox.MemoryBytes))},
		{"workers so far", fmt.Sprintf("%d started, %d killed, %d crashed; %d tasks", s.Sandbox.Started, s.Sandbox.Killed, s.Sandbox.Crashed, s.Sandbox.Tasks)},
		{"compiled code", fmt.Sprintf("%d modules, %s; %d found, %d compiled", s.Sandbox.Modules, protocol.SizeText(uint64(max(s.Sandbox.CacheBytes, 0))), s.Sandbox.CacheHits, s.Sandbox.Compiled)},
		{"sandbox", fmt.Sprintf("%d of %d layers in force; 'spare doctor' tells more", s.Sandbox.InForce(), len(s.Sandbox.Layers))},
		{"version", s.Version},
	}...)
	if len(s.Labels) > 0 {
		rows = append(rows, []string{"labels", labelsText(s.Labels)})
	}
	for _, r := range s.Refused {
		rows = append(rows, []string{"refused", fmt.Sprintf("%s %s ago: %s: %s", shortPeer(r.Peer), span(time.Since(time.Time(r.At))), r.Code, r.Message)})
	}
	return table(w, nil, rows)
}

func newPeers(h *home) *cobra.Command {
	return newInspect(h, "peers", "Neighbours, their latency and load", exactly(),
		func(ctx context.Context, c *client.Client, _ []string) ([]api.Peer, error) { return c.Peers(ctx) },
		func(w io.Writer, peers []api.Peer) error {
			var rows [][]string
			head := []string{"PEER", "CONNECTED", "RTT", "LOAD", "SPEED", "MEMORY", "TAKES TASKS", "OFFER AGE", "BALANCE"}
			labelled := slices.ContainsFunc(peers, func(p api.Peer) bool { return len(p.Labels) > 0 })
			if labelled {
				head = append(head, "LABELS")
			}
			for _, p := range peers {
				link := "no"
				if p.Connected {
					link = "yes"
				}
				row := []string{shortPeer(p.Peer), link, millis(p.RTTMS), "unknown", "unknown", "unknown", "no offer", ""}
				if p.OfferAgeMS != nil {
					row = append(row[:3], fmt.Sprintf("%d/%d", p.Inflight, p.Slots), fmt.Sprintf("%.2f", p.Speed),
						protocol.SizeText(p.MemoryBytes), p.Availability, span(time.Duration(*p.OfferAgeMS)*time.Millisecond))
				}
				row = append(row, balance(p.ReceivedGas, p.ServedGas))
				if labelled {
					row = append(row, labelsText(p.Labels))
				}
				rows = append(rows, append(row, accessText(&p)))
			}
			return table(w, append(head, "TRUST"), rows)
		})
}

// balance writes what a peer has done for this node beyond what was done for it.
func balance(received, served uint64) string {
	switch {
	case received > served:
		return "+" + protocol.GasText(received-served)
	case served > received:
		return "-" + protocol.GasText(served-received)
	default:
		return "0"
	}
}

func newOffers(h *home) *cobra.Command {
	cmd := &cobra.Command{Use: "offers", Short: "Who offers what, and why not when it is not usable", Args: exactly()}
	f := addFormat(cmd, "table", "wide", "json")
	var where wishes
	cmd.Flags().Var(&where, "where", "only those whose label is so: site=berlin, site!=berlin, or site with any value (repeatable: all of them)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		offers, err := c.Offers(cmd.Context())
		if err != nil {
			return err
		}
		if offers, err = where.met(cmd.ErrOrStderr(), offers); err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), offers, func(w io.Writer) error { return printOffers(w, offers, f.word == "wide") })
	}
	return cmd
}

// printOffers writes what people choose by; a wide table has all that bounds a task.
func printOffers(w io.Writer, offers []api.Offer, wide bool) error {
	head := []string{"PROVIDER", "RUNNING", "SPEED", "MEMORY", "OUTPUT", "TIME"}
	if wide {
		head = append(head, "GAS", "FILES", "FILE BYTES", "MODULE")
	}
	labelled := wide || slices.ContainsFunc(offers, func(o api.Offer) bool { return len(o.Labels) > 0 })
	head = append(head, "WARM", "MACHINE", "VERSION")
	if labelled {
		head = append(head, "LABELS")
	}
	head = append(head, "USABLE")
	var rows [][]string
	for _, o := range offers {
		row := []string{
			peerName(o.Provider, o.Self), fmt.Sprintf("%d of %d, %d waiting", o.Running, o.Slots, o.Queued), fmt.Sprintf("%.2f", o.Speed),
			protocol.SizeText(o.MemoryBytes), protocol.SizeText(o.OutputBytes), protocol.TimeText(time.Duration(o.WallMS) * time.Millisecond),
		}
		if wide {
			row = append(row, protocol.GasText(o.Gas), fmt.Sprint(o.Files), protocol.SizeText(o.FileBytes), protocol.SizeText(o.ModuleBytes))
		}
		row = append(row, fmt.Sprint(len(o.Warm)), o.Arch, o.Version)
		if labelled {
			row = append(row, labelsText(o.Labels))
		}
		rows = append(rows, append(row, usableText(&o)))
	}
	return table(w, head, rows)
}

// usableText says whether an offer can be used now, and why not. The own node is
// there for its own tasks also when it takes no others.
func usableText(o *api.Offer) string {
	switch {
	case !o.Usable:
		return "no: " + o.Reason
	case o.Reason != "":
		return "for your own tasks: " + o.Reason
	case o.Running >= o.Slots:
		return "yes, in its queue"
	default:
		return "yes"
	}
}

func newPing(h *home) *cobra.Command {
	return newInspect(h, "ping PEER", "Measure one round trip to a peer", exactly("PEER"),
		func(ctx context.Context, c *client.Client, args []string) (api.Pong, error) {
			return c.Ping(ctx, args[0])
		},
		func(w io.Writer, p api.Pong) error {
			return table(w, nil, [][]string{{p.Peer, millis(&p.RTTMS)}})
		})
}

func newDashboard(h *home) *cobra.Command {
	var only bool
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Open the dashboard in a browser, and print a link that opens it once",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := h.node()
			if err != nil {
				return err
			}
			url, err := c.DashboardLink(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), url); err != nil {
				return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
			}
			if !only && isTerminal(os.Stdout) {
				browse(url)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&only, "print", false, "print the link and do nothing else")
	return cmd
}

// version is set by the linker, see the Makefile.
var version = ""

// versionText returns the version of this build, or the revision that Go
// stamped it with.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := strings.Trim(info.Main.Version, "()")
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && text == "devel" {
			text = fmt.Sprintf("devel-%.12s", s.Value)
		}
	}
	return text
}

// printVersion tells of this build in a line.
func printVersion(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "spare %s (%s, %s/%s)\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH); err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
	}
	return nil
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: exactly()}
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := struct {
			Version string `json:"version"`
			Go      string `json:"go"`
			Arch    string `json:"arch"`
		}{versionText(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
		return f.print(cmd.OutOrStdout(), v, printVersion)
	}
	return cmd
}
