package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
)

func newPause(h *home) *cobra.Command {
	var (
		during = quantity{times, 0, uint64(time.Second), uint64(api.MaxPause)}
		finish bool
	)
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Run nothing for others, for a while or until 'spare resume'",
		Long: `Run nothing for others, for a while or until 'spare resume', also when the node
is stopped and started again meanwhile.

What runs here for others stops at once, and their nodes have it run elsewhere;
with --finish it may end. Tasks of this node go on.`,
		Args: exactly(),
	}
	f := addFormat(cmd, "table", "json")
	cmd.Flags().Var(&during, "for", "how long (default until 'spare resume')")
	cmd.Flags().BoolVar(&finish, "finish", false, "let what runs here already end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		d, err := c.Pause(cmd.Context(), time.Duration(during.n), finish)
		if err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), d, func(w io.Writer) error { return printTakes(w, d) })
	}
	return cmd
}

func newResume(h *home) *cobra.Command {
	cmd := &cobra.Command{Use: "resume", Short: "Take a pause back", Args: exactly()}
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		d, err := c.Resume(cmd.Context())
		if err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), d, func(w io.Writer) error { return printTakes(w, d) })
	}
	return cmd
}

func printTakes(w io.Writer, d api.Donate) error {
	return table(w, nil, [][]string{{"takes tasks", takesTasks(d)}})
}

// takesTasks says whether a node takes tasks of others, and why or why not.
func takesTasks(d api.Donate) string {
	said := fmt.Sprintf("%s (--donate %s)", d.State, d.Mode)
	if d.Reason != "" {
		said += ": " + d.Reason
	}
	return said
}
