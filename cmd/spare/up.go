package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/protocol"
)

func newUp(h *home) *cobra.Command {
	var (
		said   = node.Default() // by flags
		memory = quantity{sizes, 0, protocol.PageSize, protocol.MaxMemory}
		slots  = quantity{counts, 0, 0, node.MaxSlots}
		donate = choice{"idle", []string{"idle", "always"}}
		level  = choice{"warn", []string{"debug", "info", "warn", "error"}}
		noPage bool
		named  labels
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start this machine's node and stay with it",
		Long: `Start this machine's node and stay with it until Ctrl-C or SIGTERM.

The home is made when it is not there, with an identity and, for a network that
is new here, a secret. Whoever has a copy of that file is a member.

config.toml in the home, which is the user's own and never written, may say
what this node requires of its sandbox, when and how much it donates, how it
verifies results, how many tasks and jobs it keeps when they have ended, and the
most that it gives to a task:

  [sandbox]
  require = ["seccomp", "net-namespace"]   # as 'spare doctor' names them
  [donate]          # as 'spare donate set' has it, which wins over this
  cpu = "50%"
  when = "mon-fri 19:00-07:00, sat, sun"
                    # also slots, disk, only-idle, on-battery, on-hot and net
  [tasks]
  verify = "auto"   # for tasks of this node that do not say: off, auto or strict
  [keep]
  tasks = 10000     # the newest; 'spare prune' deletes some at once
  jobs = 100
  [labels]          # or --label; for 'spare run --where site=berlin'
  site = "berlin"
  [limits]
  memory = "1GiB"   # or --mem
  gas = "50T"
  wall = "1h"       # also output, file-bytes, files; module, functions, locals,
                    # body, nesting and table-elements of a program
  [api]
  socket-group = "staff"   # its members may use this node, or --socket-group

and [runtimes.NAME], of which 'spare runtime --help' tells.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(level.word)
			if err != nil {
				return err
			}
			if noPage {
				said.Dashboard = ""
			}
			file, err := readConfig(*h)
			if err != nil {
				return err
			}
			said.Flags = flagRules(cmd.Flags(), slots.n, memory.n, donate.word)
			cfg := withFlags(file, said)
			cfg.Settings = append(cfg.Settings, flagSettings(cmd.Flags())...)
			if err := addLabels(&cfg, named); err != nil {
				return err
			}
			// The home is not made for a node that cannot be.
			if err := api.CheckDashboard(cfg.Dashboard); err != nil {
				return asUsage(err)
			}
			if err := api.CheckGroup(cfg.SocketGroup); err != nil {
				return err
			}
			cfg.Version, cfg.Logger = versionText(), logger
			cfg.Ready = func(i node.Info) {
				announce(cmd.OutOrStdout(), cmd.ErrOrStderr(), i, cfg, *h)
				if err := tellManager(); err != nil {
					logger.Warn("the manager of services was not told that this node serves", "err", err)
				}
			}
			return underManager(cmd.Context(), func(ctx context.Context) error { return up(ctx, cfg) })
		},
	}
	flags := cmd.Flags()
	flags.Var(&addresses{list: &said.Listen}, "listen", "address to listen on (repeatable; default loopback, TCP and QUIC on a free port)")
	flags.Var(&addresses{list: &said.Announce}, "announce", "address to tell others instead of those listened on (repeatable)")
	flags.Var(&addresses{list: &said.Bootstrap, peer: true}, "bootstrap", "address of a peer to join, ending in /p2p/PEER (repeatable)")
	flags.StringVar(&said.Network, "network", said.Network, "`NAME` of the network")
	flags.Var(&named, "label", "what others may choose this machine by with --where (repeatable)")
	flags.Var(&slots, "slots", "tasks to run at once, `N`; 0 is one for each CPU")
	flags.Var(&memory, "mem", "memory for one task (default as much as fits)")
	flags.Var(&donate, "donate", "when to take tasks of others")
	flags.StringVar(&said.Dashboard, "dashboard", said.Dashboard, "loopback `HOST:PORT` of the dashboard")
	flags.BoolVar(&noPage, "no-dashboard", false, "serve no dashboard")
	flags.StringVar(&said.SocketGroup, "socket-group", "", "`NAME` of a group of users who may use this node, besides you")
	flags.Var(&level, "log-level", "what to log")
	return cmd
}

// withFlags returns what config.toml says with what flags say.
func withFlags(file, said node.Config) node.Config {
	file.Network, file.Dashboard, file.Flags = said.Network, said.Dashboard, said.Flags
	file.Listen, file.Announce, file.Bootstrap = said.Listen, said.Announce, said.Bootstrap
	if said.SocketGroup != "" {
		file.SocketGroup = said.SocketGroup
		i := slices.IndexFunc(file.Settings, func(s api.Setting) bool { return s.Key == groupKey })
		if i >= 0 {
			file.Settings = slices.Clone(file.Settings)
			file.Settings[i].Value, file.Settings[i].Origin = said.SocketGroup, donor.FromFlags
		}
	}
	return file
}

// flagRules are the rules of donating that flags say.
func flagRules(flags *pflag.FlagSet, slots, memory uint64, donate string) donor.Rules {
	rules := make(donor.Rules)
	if slots > 0 {
		rules[donor.RuleSlots] = decimal(slots)
	}
	if memory > 0 {
		rules[donor.RuleMemory] = decimal(memory)
	}
	if flags.Changed("donate") && donate == "always" {
		rules[donor.RuleIdle] = "no"
	} else if flags.Changed("donate") {
		rules[donor.RuleIdle] = protocol.TimeText(donor.UsualIdle)
	}
	return rules
}

// flagSettings are what flags alone can say.
func flagSettings(flags *pflag.FlagSet) (list []api.Setting) {
	for _, name := range []string{"network", "listen", "announce", "bootstrap", "dashboard", "no-dashboard", "log-level"} {
		f := flags.Lookup(name)
		s := api.Setting{Key: name, Value: f.Value.String(), Origin: donor.FromDefault}
		if a, ok := f.Value.(*addresses); ok {
			s.Value = strings.Join(*a.list, " ")
		}
		if f.Changed {
			s.Origin = donor.FromFlags
		}
		list = append(list, s)
	}
	return list
}

// up runs a node until a signal. A second signal ends the process at once.
func up(ctx context.Context, cfg node.Config) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	begun := make(chan struct{}, 1)
	cfg.Begun = func() {
		select {
		case begun <- struct{}{}:
		default:
		}
	}
	n, err := node.New(ctx, cfg)
	var e *protocol.Error
	switch {
	case err == nil:
		var thrifty sync.WaitGroup
		defer thrifty.Wait()
		resting, end := context.WithCancel(ctx)
		defer end()
		thrifty.Go(func() { thrift(resting, begun, n.Work) })
		return n.Run(ctx)
	case !errors.As(err, &e):
		return err
	case e.Code == protocol.CodeBadRequest: // the name of --network
		return asUsage(err)
	case e.Code == protocol.CodeFile && e.Hint == "":
		return e.WithHint("see to it that you may write to %s, or choose another home with --home or SPARE_HOME", cfg.Home)
	default:
		return err
	}
}

// asUsage makes what a node says of a flag's value an error of the command line.
func asUsage(err error) error {
	var e *protocol.Error
	if !errors.As(err, &e) {
		return err
	}
	return protocol.Errorf(protocol.CodeUsage, "%s", e.Message).WithHint("%s", e.Hint)
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
	rows = append(rows, []string{"limits", fmt.Sprintf("%d tasks at once, %s memory each", i.Slots, protocol.SizeText(i.MemoryBytes))})
	rows = append(rows, []string{"donates", i.Donates})
	if i.Paused != "" {
		rows = append(rows, []string{"paused", i.Paused + "; tasks of this node run all the same, see 'spare why'"})
	}
	switch {
	case i.NewSecret && len(cfg.Bootstrap) > 0:
		complain(stderr, protocol.Errorf(protocol.CodeNetwork, "the network %s was not known here: its secret was made just now, and no other peer has it", i.Network).
			WithHint("to join it, stop this node, copy networks/%s.secret from a member's home to %s, and start again", i.Network, i.SecretFile))
	case i.NewSecret:
		rows = append(rows, []string{"new secret", i.SecretFile + " (copy it to the other members)"})
	}
	if mode, ok := othersMayRead(i.SecretFile); ok {
		complain(stderr, protocol.Errorf(protocol.CodeNetwork, "%s has mode %04o, and whoever can read it is a member", i.SecretFile, mode).
			WithHint("chmod 600 %s", i.SecretFile))
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

// othersMayRead reports whether a file is for more than its owner, and its mode.
func othersMayRead(path string) (fs.FileMode, bool) {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" { // where modes say nothing
		return 0, false
	}
	return info.Mode().Perm(), info.Mode().Perm()&0o077 != 0
}

// narrow tells which ceilings refuse a task whose user names no limit.
func narrow(c node.Ceilings) []string {
	return narrowed(c.OutputBytes, uint64(c.Wall), c.Gas, c.FileBytes, c.Files)
}

// narrowed is narrow of ceilings one by one, wall in nanoseconds.
func narrowed(output, wall, gas, fileBytes, files uint64) (texts []string) {
	plain := protocol.DefaultLimits()
	for _, x := range []struct {
		flag        string
		asks, gives uint64
		text        func(uint64) string
	}{
		{"--output-limit", plain.OutputBytes, output, protocol.SizeText},
		{"--timeout", uint64(plain.Wall()), wall, times.text},
		{"--gas", plain.Gas, gas, protocol.GasText},
		{"--file-bytes", plain.FileBytes, fileBytes, protocol.SizeText},
		{"--files", uint64(plain.Files), files, decimal},
	} {
		if x.gives < x.asks {
			texts = append(texts, fmt.Sprintf("runs without %s: they ask for %s, this node gives %s", x.flag, x.text(x.asks), x.text(x.gives)))
		}
	}
	return texts
}
