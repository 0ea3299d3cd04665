package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// unsound is how 'spare doctor' ends when the sandbox does not hold.
const unsound = status(1)

func newDoctor(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "What confines the programs of others on this machine, and whether it holds",
		Long: `Tell each layer of the sandbox, in force or not and why, and have a worker try
to break out of it. Without a running node it looks for itself.

The exit status is 0 when every layer that config.toml requires is in force and
nothing that was tried has worked, and 1 otherwise.`,
		Args: exactly(),
	}
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		d, err := c.Diagnose(cmd.Context())
		if protocol.CodeOf(err) == protocol.CodeNoNode {
			var cfg node.Config
			if cfg, err = readConfig(*h); err == nil {
				d, err = node.Diagnose(cmd.Context(), cfg)
			}
		}
		if err != nil {
			return err
		}
		if err := f.print(cmd.OutOrStdout(), d, func(w io.Writer) error { return printDiagnosis(w, &d) }); err != nil {
			return err
		}
		if !d.Sound() {
			return unsound
		}
		return nil
	}
	return cmd
}

func printDiagnosis(w io.Writer, d *api.Diagnosis) error {
	var layers, trials [][]string
	var unmet, escapes []string
	for _, l := range d.Layers {
		force := "no"
		if l.InForce {
			force = "yes"
		} else if l.Required {
			force = "no, but required"
			unmet = append(unmet, l.Name)
		}
		layers = append(layers, []string{l.Name, force, l.Does, l.Why})
	}
	for _, t := range d.Trials {
		escaped := "held"
		if t.Escaped {
			escaped = "BROKEN"
			escapes = append(escapes, t.What)
		}
		trials = append(trials, []string{t.What, escaped, t.Result})
	}
	if err := table(w, []string{"LAYER", "IN FORCE", "WHAT IT DOES", "WHY NOT"}, layers); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := table(w, []string{"A WORKER TRIED TO", "SANDBOX", "RESULT"}, trials); err != nil {
		return err
	}
	fmt.Fprintln(w)
	said := "the sandbox holds"
	switch {
	case len(escapes) > 0:
		said = "the sandbox does not hold: a worker could " + strings.Join(escapes, ", ")
	case len(unmet) > 0:
		said = "required and not in force: " + strings.Join(unmet, ", ") + "; this node runs no tasks of others"
	}
	if _, err := fmt.Fprintln(w, protocol.SafeText(said)); err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
	}
	return nil
}
