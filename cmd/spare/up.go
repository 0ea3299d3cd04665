package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

func newUp(h *home) *cobra.Command {
	var (
		cfg    = node.Default()
		memory byteSize
		noPage bool
		level  string
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start this machine's node and stay with it",
		Long: `Start this machine's node and stay with it until Ctrl-C or SIGTERM.

The home is made when it is not there, with an identity and, for a network that
is new here, a secret. Whoever has a copy of that file is a member.

config.toml in the home, which is the user's own and never written, may say
what this node requires of its sandbox and the most that it gives to a task:

  [sandbox]
  require = ["seccomp", "net-namespace"]   # as 'spare doctor' names them
  [limits]
  memory = "1GiB"   # or --mem
  gas = "50T"
  wall = "1h"       # also output, file-bytes, files; module, functions, locals,
                    # body, nesting and table-elements of a program`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cfg.Donate != "idle" && cfg.Donate != "always":
				return usage(cmd, "--donate %q is neither idle nor always", cfg.Donate)
			case cfg.Slots < 0:
				return usage(cmd, "--slots must be 1 or more, or 0 for as many as fit")
			case cmd.Flags().Changed("mem") && memory < protocol.PageSize:
				return usage(cmd, "--mem must be %s or more", size(protocol.PageSize))
			case memory > protocol.MaxMemory:
				return usage(cmd, "--mem must be %s or less", size(protocol.MaxMemory))
			}
			logger, err := newLogger(level)
			if err != nil {
				return usage(cmd, "--log-level %q is none of debug, info, warn, error", level)
			}
			if noPage {
				cfg.Dashboard = ""
			}
			file, err := readConfig(*h)
			if err != nil {
				return err
			}
			cfg.Home, cfg.Ceilings, cfg.Require, cfg.Logger = file.Home, file.Ceilings, file.Require, logger
			cfg.MemoryBytes = cmp.Or(uint64(memory), file.MemoryBytes)
			// The home is not made for a node that cannot be.
			if err := api.CheckDashboard(cfg.Dashboard); err != nil {
				return err
			}
			cfg.Version = versionText()
			cfg.Ready = func(i node.Info) { announce(cmd.OutOrStdout(), cmd.ErrOrStderr(), i, cfg, *h) }
			return up(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&cfg.Listen, "listen", nil, "`MULTIADDR` to listen on (repeatable; default loopback, TCP and QUIC on a free port)")
	flags.StringArrayVar(&cfg.Announce, "announce", nil, "`MULTIADDR` to tell others instead of those listened on (repeatable)")
	flags.StringArrayVar(&cfg.Bootstrap, "bootstrap", nil, "`MULTIADDR` of a peer to join, ending in /p2p/PEER (repeatable)")
	flags.StringVar(&cfg.Network, "network", cfg.Network, "`NAME` of the network")
	flags.IntVar(&cfg.Slots, "slots", 0, "tasks to run at once, `N`; 0 is as many as fit")
	flags.Var(&memory, "mem", "memory for one task (default as much as fits)")
	flags.StringVar(&cfg.Donate, "donate", cfg.Donate, "when to take tasks of others: `idle|always`")
	flags.StringVar(&cfg.Dashboard, "dashboard", cfg.Dashboard, "loopback `HOST:PORT` of the dashboard")
	flags.BoolVar(&noPage, "no-dashboard", false, "serve no dashboard")
	flags.StringVar(&level, "log-level", "warn", "`debug|info|warn|error`")
	return cmd
}

// up runs a node until a signal. A second signal ends the process at once.
func up(ctx context.Context, cfg node.Config) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	n, err := node.New(ctx, cfg)
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

// announce tells a person what has started and what to do next.
func announce(w, stderr io.Writer, i node.Info, cfg node.Config, h home) {
	rows := [][]string{{"peer", i.Peer}, {"network", i.Network}}
	for _, a := range i.Addrs {
		rows = append(rows, []string{"address", a})
	}
	if i.DashboardLink != "" {
		rows = append(rows, []string{"dashboard", i.DashboardLink})
	}
	rows = append(rows, []string{"limits", fmt.Sprintf("%d tasks at once, %s memory each", i.Slots, size(i.MemoryBytes))})
	donates := "when idle: it pauses while others use more than a quarter of the CPU (--donate always)"
	if cfg.Donate == "always" {
		donates = "always"
	}
	rows = append(rows, []string{"donates", donates})
	if i.Paused != "" {
		rows = append(rows, []string{"paused", i.Paused + "; tasks of this node run all the same, see 'spare doctor'"})
	}
	switch {
	case i.NewSecret && len(cfg.Bootstrap) > 0:
		complain(stderr, protocol.Errorf(protocol.CodeNetwork, "the network %s was not known here: its secret was made just now, and no other peer has it", i.Network).
			WithHint("to join it, stop this node, copy networks/%s.secret from a member's home to %s, and start again", i.Network, i.SecretFile))
	case i.NewSecret:
		rows = append(rows, []string{"new secret", i.SecretFile + " (copy it to the other members)"})
	}
	for _, text := range narrow(cfg.Ceilings) {
		rows = append(rows, []string{"refuses", text})
	}
	rows = append(rows,
		[]string{"next", h.command() + " peers"},
		[]string{"next", h.command() + " run PROGRAM.wasm"})
	// A closed stdout must not end the node.
	_ = table(w, nil, rows)
}

// narrow tells which ceilings refuse a task whose user names no limit.
func narrow(c node.Ceilings) (texts []string) {
	plain := protocol.DefaultLimits()
	for _, x := range []struct {
		flag        string
		asks, gives uint64
		text        func(uint64) string
	}{
		{"--output-limit", plain.OutputBytes, c.OutputBytes, size},
		{"--timeout", uint64(plain.Wall()), uint64(c.Wall), func(n uint64) string { return time.Duration(n).String() }},
		{"--gas", plain.Gas, c.Gas, amount},
		{"--file-bytes", plain.FileBytes, c.FileBytes, size},
		{"--files", uint64(plain.Files), uint64(c.Files), func(n uint64) string { return strconv.FormatUint(n, 10) }},
	} {
		if x.gives < x.asks {
			texts = append(texts, fmt.Sprintf("runs without %s: they ask for %s, this node gives %s", x.flag, x.text(x.asks), x.text(x.gives)))
		}
	}
	return texts
}
