package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// target is what a command is about: a task or a job, one task of a job (JOB/7) or
// several (JOB/3-9, JOB/1,4,10-12).
type target struct {
	id    string // of a task or job, as it was written; with /7 for one of a job
	job   string // if tasks of it are named
	tasks string // which, in their order
	one   bool
}

// several reports whether more than one task is named.
func (t *target) several() bool { return t.job != "" && !t.one }

func parseTarget(text string) (target, error) {
	job, tasks, part := strings.Cut(text, "/")
	if !part || job != "" && !protocol.ValidIDPrefix(job) { // of nothing, as the node says
		return target{id: text}, nil
	}
	which, err := protocol.ParseRanges(tasks)
	switch {
	case err != nil:
		var e *protocol.Error
		if errors.As(err, &e) {
			err = protocol.Errorf(protocol.CodeUsage, "%s", e.Message).WithHint("tasks of a job are JOB/7, JOB/3-9 or JOB/1,4,10-12")
		}
		return target{}, err
	case job == "" || len(which) == 0:
		return target{}, protocol.Errorf(protocol.CodeUsage, "%q is no task's ID", text).WithHint("tasks of a job are JOB/7, JOB/3-9 or JOB/1,4,10-12")
	}
	return target{
		id: job + "/" + which.String(), job: job, tasks: which.String(),
		one: len(which) == 1 && which[0].First == which[0].Last,
	}, nil
}

// targetHelp says what TASK may be.
const targetHelp = `TASK is the beginning of a task's or job's ID; JOB/7 is the seventh task of a job,
JOB/3-9 or JOB/1,4,10-12 are several.`

// partsOnce is how many tasks of a job are asked for at once.
const partsOnce = 500

// tasksOf asks for all tasks that are named, or those of them that have failed.
func tasksOf(ctx context.Context, c *client.Client, t *target, failed bool) (list []api.Task, err error) {
	list = []api.Task{}
	for after := uint64(0); ; {
		page, err := c.TasksOfJob(ctx, t.job, t.tasks, after, partsOnce)
		if err != nil {
			return nil, err
		}
		for _, one := range page.Tasks {
			if !failed || one.Error != nil || one.ExitCode != nil && *one.ExitCode != 0 {
				list = append(list, one)
			}
		}
		if after = page.Next; after == 0 {
			return list, nil
		}
	}
}

func printParts(w io.Writer, list []api.Task) error {
	rows := make([][]string, len(list))
	for i := range list {
		t := &list[i]
		wall, gas, stdout, where := "", "", "", ""
		if t.WallMS != nil {
			wall = millis(t.WallMS)
		}
		if t.Gas != nil {
			gas = protocol.GasText(*t.Gas)
		}
		if t.Ended != nil {
			stdout = protocol.SizeText(t.StdoutBytes)
		}
		if n := len(t.Attempts); n > 0 {
			where = peerName(t.Attempts[n-1].Provider, t.Attempts[n-1].Self)
		}
		rows[i] = []string{t.ID, stateText(t), where, wall, gas, stdout, quoted(t.Args[min(1, len(t.Args)):]...)}
	}
	return table(w, []string{"TASK", "STATE", "WHERE", "TIME", "GAS", "STDOUT", "ARGS"}, rows)
}

// outcome is what has become of tasks of a job.
type outcome struct{ ended, failed uint64 }

// note takes a result. There is one of each task that counts.
func (o *outcome) note(one *api.JobResult) {
	if one.Stale {
		return
	}
	if o.ended++; failedTask(one) {
		o.failed++
	}
}

// end is the error that makes the command line exit as the tasks did.
func (o *outcome) end(j *api.Job, t *target) error {
	which, err := protocol.ParseRanges(t.tasks)
	if err == nil {
		which, err = which.Of(j.Tasks)
	}
	if err != nil {
		return err
	}
	if left := which.Count(j.Tasks) - o.ended; left > 0 {
		return protocol.Errorf(protocol.CodeCancelled, "job %s has ended, and %d of these %s not run", j.ID, left, were(left)).
			WithHint("'spare rerun %s/%s' runs them", j.ID, t.tasks)
	}
	if o.failed > 0 {
		return status(min(o.failed, maxFailed))
	}
	return nil
}

// were is the verb of so many.
func were(n uint64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// waitTasks waits for several tasks of a job.
func waitTasks(ctx context.Context, c *client.Client, t *target) error {
	var o outcome
	j, err := c.FollowJob(ctx, t.job, client.Following{Tasks: t.tasks, Brief: true}, func(e api.JobEvent) error {
		if e.Result != nil {
			o.note(e.Result)
		}
		return nil
	})
	if err != nil {
		return ofTask(err, t.id)
	}
	return o.end(j, t)
}

var errSaid = errors.New("all is said")

// soFar calls each with the results that there are by now, and returns the job.
func soFar(ctx context.Context, c *client.Client, job string, f client.Following, each func(api.JobEvent) error) (*api.Job, error) {
	j, err := c.Job(ctx, job)
	if err != nil || j.Results == 0 {
		return &j, err
	}
	told := 0
	_, err = c.FollowJob(ctx, j.ID, f, func(e api.JobEvent) error {
		if e.Job != nil {
			told++
		}
		// The job is told of at first, and again when all results have been.
		if told > 1 || e.Result != nil && e.Result.Number > j.Results {
			return errSaid
		}
		return each(e)
	})
	if errors.Is(err, errSaid) {
		err = nil
	}
	return &j, err
}

// logsOfJob shows what the tasks of a job, or those named, have written so far, or
// goes on to their end.
func logsOfJob(cmd *cobra.Command, c *client.Client, t *target, follow bool) error {
	r, err := newReport(cmd, c, &mapFlags{progress: choice{word: "none"}})
	if err != nil {
		return err
	}
	defer r.close()
	job, f := t.id, client.Following{Tasks: t.tasks}
	if t.job != "" {
		job = t.job
	}
	if follow {
		_, err = c.FollowJob(cmd.Context(), job, f, r.event)
	} else {
		_, err = soFar(cmd.Context(), c, job, f, r.event)
	}
	if errors.Is(err, errOutput) {
		return protocol.Errorf(protocol.CodeFile, "%v", err).WithHint("'spare logs %s' has the output from its start", t.id)
	}
	return ofTask(err, t.id)
}

// filesOfJob writes the files that the tasks of a job, or those named, have left,
// those of each to a directory with its number.
func filesOfJob(ctx context.Context, c *client.Client, t *target, dir string, wait bool) error {
	job, f := t.id, client.Following{Tasks: t.tasks, Brief: true}
	if t.job != "" {
		job = t.job
	}
	var o outcome
	var have []*api.JobResult // of those that have left files
	take := func(e api.JobEvent) error {
		if e.Result == nil {
			return nil
		}
		if o.note(e.Result); e.Result.Files > 0 && !e.Result.Stale {
			have = append(have, e.Result)
		}
		return nil
	}
	var j *api.Job
	var err error
	if wait {
		j, err = c.FollowJob(ctx, job, f, take)
	} else {
		j, err = soFar(ctx, c, job, f, take)
	}
	if err != nil {
		return ofTask(err, t.id)
	}
	which, err := protocol.ParseRanges(t.tasks)
	if err == nil {
		which, err = which.Of(j.Tasks)
	}
	if err != nil {
		return err
	}
	if j.Ended == nil && o.ended < which.Count(j.Tasks) {
		return protocol.Errorf(protocol.CodeNotFound, "%d of %s of job %s have ended: the files come at the end of all",
			o.ended, plural(which.Count(j.Tasks), "task"), j.ID).WithHint("wait for them with --wait, or name those that have ended")
	}
	if len(have) == 0 {
		fmt.Fprintf(os.Stderr, "spare: tasks of job %s have left no files\n", j.ID)
	}
	r := report{c: c, job: j.ID}
	slices.SortFunc(have, func(a, b *api.JobResult) int { return int(a.Index) - int(b.Index) })
	for _, one := range have {
		if err := r.files(filepath.Join(dir, strconv.FormatUint(one.Index, 10)), one); err != nil {
			return err
		}
	}
	return nil
}

func newRerun(h *home) *cobra.Command {
	var failed, detach bool
	cmd := &cobra.Command{
		Use:   "rerun JOB | JOB/TASKS",
		Short: "Go on with a job that ended before its end, or run tasks of it again",
		Long: `Go on with a job that ended before all of its tasks were run, and show what comes.
Tasks that were cancelled before they began are run, too.

With --failed, those that have failed are run again as well. JOB/7, JOB/3-9 or
JOB/1,4,10-12 runs just these tasks again, whether they had passed or not, and no
others: what they had counts no longer. Equal runs are equal, so that a program
that failed fails again; another result is of spare, of a peer that was wrong, or
of output that was kept no longer.`,
		Args: exactly("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if failed && t.job != "" {
				return usage(cmd, "--failed is of a whole job: tasks that are named are run again anyway")
			}
			c, err := h.node()
			if err != nil {
				return err
			}
			job := t.id
			if t.job != "" {
				job = t.job
			}
			j, err := c.RerunJob(cmd.Context(), job, t.tasks, failed)
			if err != nil {
				return err
			}
			if j.Ended != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "spare: job %s has nothing left to run: %s\n", j.ID, progressText(&j))
				return nil
			}
			if detach {
				return nil
			}
			r, err := newReport(cmd, c, &mapFlags{progress: choice{word: "auto"}})
			if err != nil {
				return err
			}
			defer r.close()
			r.after = j.Results
			t.job, t.id = j.ID, j.ID
			return followAttached(cmd.Context(), *h, c, &t, r)
		},
	}
	cmd.Flags().BoolVar(&failed, "failed", false, "run failed tasks again, too")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait")
	return cmd
}
