package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// unsound is how 'spare doctor' ends when something is bad.
const unsound = status(1)

// answersWithin is how long a node may take to answer that is well.
const answersWithin = 10 * time.Second

// grade is how a finding is meant.
type grade string

const (
	ok   grade = "ok"
	note grade = "note" // nothing is wrong, but somebody may want it otherwise
	warn grade = "warn" // something does not work, or soon may not
	bad  grade = "bad"  // mend it
)

// finding is what 'spare doctor' has found out about one thing.
type finding struct {
	What  string `json:"what"`
	Grade grade  `json:"grade"`
	Found string `json:"found"`
	Do    string `json:"do"` // what mends it; empty when nothing needs to be
}

// examination is all that 'spare doctor' finds.
type examination struct {
	Sound    bool      `json:"sound"` // nothing is bad
	Running  bool      `json:"running"`
	Findings []finding `json:"findings"`
	api.Diagnosis
}

func (e *examination) add(what string, g grade, do, format string, args ...any) {
	e.Findings = append(e.Findings, finding{what, g, protocol.SafeText(fmt.Sprintf(format, args...)), protocol.SafeText(do)})
}

// fault adds an error as it is said elsewhere.
func (e *examination) fault(what string, g grade, err error) {
	f := protocol.Errorf(protocol.CodeInternal, "%v", err)
	errors.As(err, &f)
	e.add(what, g, f.Hint, "%s: %s", f.Code, f.Message)
}

func newDoctor(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Whether all is well with this node and this machine, and what mends what is not",
		Long: `Look at the home, the disk, the clock, config.toml, the node, its peers, whether it
donates, what confines the programs of others here, and what builds programs. What
needs a running node is left out without one.

A worker of the sandbox tries to break out meanwhile; -o wide tells each layer and
each attempt.

The exit status is 0 when nothing is bad, and 1 otherwise.`,
		Args: exactly(),
	}
	f := addFormat(cmd, "table", "wide", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e := examine(cmd.Context(), *h)
		if err := f.print(cmd.OutOrStdout(), e, func(w io.Writer) error { return e.write(w, *h, f.word == "wide") }); err != nil {
			return err
		}
		if !e.Sound {
			return unsound
		}
		return nil
	}
	return cmd
}

// examine looks at all there is.
func examine(ctx context.Context, h home) *examination {
	e := &examination{Findings: []finding{}, Diagnosis: api.Diagnosis{Layers: []api.Layer{}, Trials: []api.Trial{}}}
	dir, err := h.path()
	if err != nil {
		e.fault("home", bad, err)
	} else {
		e.home(dir)
		e.disk(dir)
	}
	cfg, err := readConfig(h)
	if configured := err == nil; configured {
		e.config(cfg)
	} else if dir != "" {
		e.fault("config.toml", bad, err)
	}
	c := e.node(ctx, h, dir)
	if err == nil || c != nil {
		e.sandbox(ctx, c, cfg)
	}
	e.toolchains(ctx, h)
	e.Sound = !slices.ContainsFunc(e.Findings, func(f finding) bool { return f.Grade == bad })
	return e
}

// sandbox adds what confines the programs of others, and what a worker could do.
func (e *examination) sandbox(ctx context.Context, c *client.Client, cfg node.Config) {
	var d api.Diagnosis
	var err error
	if c != nil {
		d, err = c.Diagnose(ctx)
	} else {
		d, err = node.Diagnose(ctx, cfg)
	}
	if err != nil {
		e.fault("sandbox", bad, err)
		return
	}
	e.Diagnosis = d
	var escapes []string
	inForce := api.Sandbox{Layers: d.Layers}
	for _, l := range d.Layers {
		switch {
		case l.InForce:
		case l.Required:
			e.add("sandbox "+l.Name, bad, layerHint(l.Name), "required and not in force, so that nothing of others runs here: %s", l.Why)
		case l.Why == "this system has none":
			e.add("sandbox "+l.Name, note, "", "%s", l.Why)
		default:
			e.add("sandbox "+l.Name, warn, layerHint(l.Name), "not in force: %s", l.Why)
		}
	}
	for _, t := range d.Trials {
		if t.Escaped {
			escapes = append(escapes, t.What)
		}
	}
	if len(escapes) > 0 {
		e.add("sandbox", bad, "'spare pause', and report it", "it does not hold: a worker could %s", strings.Join(escapes, ", "))
		return
	}
	e.add("sandbox", ok, "", "it holds: %d of %d layers in force, and a worker that tried %d ways out found none", inForce.InForce(), len(d.Layers), len(d.Trials))
}

// layerHint says what brings a layer into force.
func layerHint(name string) string {
	switch name {
	case "cgroup":
		return "'spare service install' runs the node with a control group of its own; without, memory is bounded for each worker alone"
	case "user-namespace", "pid-namespace", "net-namespace", "ipc-namespace", "mount-namespace", "uts-namespace":
		return "allow user namespaces: 'sysctl -w user.max_user_namespaces=15000', on Debian also kernel.unprivileged_userns_clone=1, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0; in a container, that is up to who started it"
	case "landlock":
		return "a kernel of 5.13 or newer, with landlock in what /sys/kernel/security/lsm lists"
	case "seccomp":
		return "a kernel with CONFIG_SECCOMP_FILTER"
	default:
		return ""
	}
}

// write writes the findings, what is bad last, where it is read.
func (e *examination) write(w io.Writer, h home, wide bool) error {
	var b strings.Builder
	width := 0
	for _, f := range e.Findings {
		width = max(width, len(f.What))
	}
	count := make(map[grade]int)
	for _, f := range e.Findings {
		count[f.Grade]++
		fmt.Fprintf(&b, "%-4s  %-*s  %s\n", f.Grade, width, f.What, h.named(f.Found))
		if f.Do != "" {
			fmt.Fprintf(&b, "      %-*s  -> %s\n", width, "", h.named(f.Do))
		}
	}
	if wide && len(e.Layers) > 0 {
		b.WriteString("\n")
		if err := writeDiagnosis(&b, &e.Diagnosis); err != nil {
			return err
		}
	}
	said := "all is well"
	switch {
	case count[bad] > 0:
		said = plural(uint64(count[bad]), "thing") + " to mend"
	case count[warn] > 0:
		said = "nothing is bad; " + plural(uint64(count[warn]), "thing") + " to look at"
	}
	fmt.Fprintf(&b, "\n%s\n", said)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
	}
	return nil
}

func writeDiagnosis(w io.Writer, d *api.Diagnosis) error {
	var layers, trials [][]string
	for _, l := range d.Layers {
		force := "no"
		if l.InForce {
			force = "yes"
		} else if l.Required {
			force = "no, but required"
		}
		layers = append(layers, []string{l.Name, force, l.Does, l.Why})
	}
	for _, t := range d.Trials {
		escaped := "held"
		if t.Escaped {
			escaped = "BROKEN"
		}
		trials = append(trials, []string{t.What, escaped, t.Result})
	}
	if err := table(w, []string{"LAYER", "IN FORCE", "WHAT IT DOES", "WHY NOT"}, layers); err != nil {
		return err
	}
	return printSection(w, []string{"A WORKER TRIED TO", "SANDBOX", "RESULT"}, trials)
}
