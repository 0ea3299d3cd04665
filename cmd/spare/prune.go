package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

func newPrune(h *home) *cobra.Command {
	older := quantity{unit: times, least: uint64(time.Second)}
	keep := quantity{counts, 0, 0, 1_000_000}
	defaults := node.Default()
	var p api.Pruning
	var all bool
	var printed *format
	cmd := &cobra.Command{
		Use:   "prune ID... | --older-than TIME | --keep N | --all",
		Short: "Delete tasks and jobs that have ended, with their output",
		Long: fmt.Sprintf(`Delete tasks and jobs that have ended, with what they have written and left: those
named, or those that --older-than and --keep leave over, or with --all every one.
What has not ended is never touched.

Without this, the newest %d tasks and %d jobs that have ended are kept, or as many
as [keep] in config.toml says. Of a job, all tasks and their results are kept, and
go, with it. Programs and inputs are a cache, which is bounded by itself.`, defaults.KeepTasks, defaults.KeepJobs),
		Example: `  spare prune --older-than 24h
  spare prune --jobs --keep 10 --dry-run
  spare prune k4q 7ab`,
		Args: func(cmd *cobra.Command, args []string) error {
			flags := cmd.Flags()
			if len(args) > 0 && (flags.Changed("older-than") || flags.Changed("keep") || all || p.Tasks || p.Jobs) {
				return usage(cmd, "either IDs, or flags that say what to delete")
			}
			bounded := flags.Changed("older-than") || flags.Changed("keep")
			switch {
			case all && bounded:
				return usage(cmd, "either --all, or --older-than and --keep")
			case len(args) == 0 && !all && !bounded:
				return protocol.Errorf(protocol.CodeUsage, "nothing says what to delete").
					WithHint("name IDs, give --older-than or --keep, or delete all that has ended with --all")
			}
			for _, id := range args {
				if id == "" {
					return usage(cmd, "ID is empty")
				}
				if strings.Contains(id, "/") {
					return protocol.Errorf(protocol.CodeUsage, "the tasks of a job go with it").WithHint("name the job alone")
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := h.node()
			if err != nil {
				return err
			}
			if p.IDs, p.Keep = args, int(keep.n); len(args) == 0 && !p.Tasks && !p.Jobs {
				p.Tasks, p.Jobs = true, true
			}
			if older.n > 0 {
				before := api.Time(time.Now().Add(-time.Duration(older.n)))
				p.Before = &before
			}
			gone, err := c.Prune(cmd.Context(), p)
			if err != nil {
				return err
			}
			return printed.print(cmd.OutOrStdout(), gone, func(w io.Writer) error { return printPruned(w, gone, p.DryRun) })
		},
	}
	flags := cmd.Flags()
	flags.Var(&older, "older-than", "only those that ended so long ago or longer")
	flags.Var(&keep, "keep", "so many of the newest tasks, and of the newest jobs, stay, `N`")
	flags.BoolVar(&all, "all", false, "all that have ended")
	flags.BoolVar(&p.Tasks, "tasks", false, "only tasks that stand alone")
	flags.BoolVar(&p.Jobs, "jobs", false, "only jobs")
	flags.BoolVar(&p.DryRun, "dry-run", false, "say what would go and delete nothing")
	printed = addFormat(cmd, "table", "json")
	return cmd
}

func printPruned(w io.Writer, gone api.Pruned, dry bool) error {
	done, free := "deleted", "are free again"
	if dry {
		done, free = "would delete", "would be free again"
	}
	_, err := fmt.Fprintf(w, "%s %s and %s; %s %s\n", done, plural(uint64(gone.Tasks), "task"), plural(uint64(gone.Jobs), "job"), protocol.SizeText(uint64(gone.Bytes)), free)
	if err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
	}
	return nil
}
