package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
)

func newPs(h *home) *cobra.Command {
	limit := quantity{counts, 50, 1, 1000}
	var more, jobs, tasks bool
	cmd := newInspect(h, "ps", "Tasks and jobs of this node, newest first", func(cmd *cobra.Command, args []string) error {
		if jobs && tasks {
			return usage(cmd, "--jobs and --tasks exclude each other")
		}
		return exactly()(cmd, args)
	},
		func(ctx context.Context, c *client.Client, _ []string) (list []any, err error) {
			list, more, err = listed(ctx, c, int(limit.n), !jobs, !tasks)
			return list, err
		}, printListed)
	cmd.Long = cmd.Short + `, in one list. With -o json each has
a kind, which is task or job, and otherwise what 'spare show -o json' has of it.
Tasks of a job are not listed: 'spare show JOB/1-100' shows them.`
	cmd.Flags().VarP(&limit, "limit", "l", "how many at most, `N` from 1 to 1000")
	cmd.Flags().BoolVar(&jobs, "jobs", false, "only jobs")
	cmd.Flags().BoolVar(&tasks, "tasks", false, "only tasks that stand alone")
	cmd.PostRun = func(cmd *cobra.Command, _ []string) {
		if more {
			fmt.Fprintf(cmd.ErrOrStderr(), "spare: there are older ones; '%s ps --limit N' shows more, at most 1000\n", h.command())
		}
	}
	return cmd
}

// listed returns the newest tasks and jobs, each an [api.Task] or an [api.Job], and
// whether there are more.
func listed(ctx context.Context, c *client.Client, limit int, tasks, jobs bool) (list []any, more bool, err error) {
	list = []any{}
	if tasks {
		page, err := c.Tasks(ctx, limit, "")
		if err != nil {
			return nil, false, err
		}
		more = page.Next != ""
		for _, t := range page.Tasks {
			list = append(list, t)
		}
	}
	if jobs {
		page, err := c.Jobs(ctx, limit, "")
		if err != nil {
			return nil, false, err
		}
		more = more || page.Next != ""
		for _, j := range page.Jobs {
			list = append(list, j)
		}
	}
	slices.SortStableFunc(list, func(a, b any) int { return submitted(b).Compare(submitted(a)) })
	if len(list) > limit {
		list, more = list[:limit], true
	}
	return list, more, nil
}

func submitted(taskOrJob any) time.Time {
	switch v := taskOrJob.(type) {
	case api.Task:
		return time.Time(v.Submitted)
	case api.Job:
		return time.Time(v.Submitted)
	}
	return time.Time{} // there are these two
}

func printListed(w io.Writer, list []any) error {
	rows := make([][]string, len(list))
	for i, one := range list {
		age := span(time.Since(submitted(one)))
		switch v := one.(type) {
		case api.Task:
			wall := ""
			if v.WallMS != nil {
				wall = millis(v.WallMS)
			}
			rows[i] = []string{v.ID, v.Kind, stateText(&v), v.Name, whereOf(&v), age, wall}
		case api.Job:
			wall := ""
			if v.Ended != nil {
				ms := api.Millis(time.Time(*v.Ended).Sub(submitted(one)))
				wall = millis(&ms)
			}
			rows[i] = []string{v.ID, v.Kind, jobText(&v), v.Name, "", age, wall}
		}
	}
	return table(w, []string{"ID", "KIND", "STATE", "PROGRAM", "WHERE", "AGE", "TIME"}, rows)
}
