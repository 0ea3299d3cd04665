package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// followAttached stays with a job to its end. A first Ctrl-C leaves it alone, a
// second one cancels it.
func followAttached(ctx context.Context, h home, c *client.Client, id string, r *report) error {
	watched, signals, stop := untilSignal(ctx)
	defer stop()
	j, err := c.FollowJob(watched, id, 0, r.event)
	if err == nil {
		err = r.rest(j.Tasks)
	}
	r.bar.stop()
	var by signalled
	switch {
	case err == nil:
		return endOfJob(j)
	case errors.As(context.Cause(watched), &by):
		return leaveJob(ctx, h, c, id, by, signals)
	case errors.Is(err, errOutput):
		if _, err := c.CancelJob(ctx, id); err != nil {
			return err
		}
		if errors.Is(err, syscall.EPIPE) {
			return status(exitPipe)
		}
		return protocol.Errorf(protocol.CodeFile, "%v", err).WithHint("job %s is cancelled; 'spare rerun %[1]s' goes on with it", id)
	case protocol.CodeOf(err) == protocol.CodeShutdown:
		return protocol.Errorf(protocol.CodeShutdown, "the node stopped before job %s had ended", id).
			WithHint("it goes on when the node runs again; the same command with --resume says everything")
	default:
		return err
	}
}

// leaveJob leaves a job alone, or cancels it when a second Ctrl-C follows.
func leaveJob(ctx context.Context, h home, c *client.Client, id string, by signalled, signals <-chan os.Signal) error {
	time.Sleep(echo)
	for len(signals) > 0 {
		<-signals
	}
	const back = "the same command with --resume, or '%s logs -f %s', goes back to it"
	if by.Signal != os.Interrupt {
		fmt.Fprintf(os.Stderr, "spare: job %s goes on; "+back+"\n", id, h.command(), id)
		return status(protocol.ExitDetached)
	}
	fmt.Fprintf(os.Stderr, "spare: job %s goes on; Ctrl-C again within a second cancels it; "+back+"\n", id, h.command(), id)
	select {
	case <-signals:
		ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
		defer cancel()
		if _, err := c.CancelJob(ctx, id); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "spare: job %s is cancelled\n", id)
	case <-time.After(secondChance):
	}
	return status(protocol.ExitDetached)
}

// orJob does what is asked with a task, or with the job when no task has the ID.
func orJob(task, job func() error) error {
	err := task()
	if protocol.CodeOf(err) != protocol.CodeNotFound {
		return err
	}
	if other := job(); protocol.CodeOf(other) != protocol.CodeNotFound {
		return other
	}
	return err
}

var errSaid = errors.New("all is said")

// logsOfJob shows what the tasks of a job have written so far, or goes on to the
// job's end.
func logsOfJob(cmd *cobra.Command, h home, c *client.Client, id string, follow bool) error {
	j, err := c.Job(cmd.Context(), id)
	if err != nil {
		return err
	}
	r, err := newReport(cmd, c, &mapFlags{progress: choice{word: "none"}})
	if err != nil {
		return err
	}
	defer r.close()
	if follow {
		return followAttached(cmd.Context(), h, c, j.ID, r)
	}
	if j.Results == 0 {
		return nil
	}
	_, err = c.FollowJob(cmd.Context(), j.ID, 0, func(e api.JobEvent) error {
		if err := r.event(e); err != nil {
			return err
		}
		if e.Result != nil && e.Result.Number >= j.Results {
			return errSaid
		}
		return nil
	})
	if errors.Is(err, errSaid) {
		return nil
	}
	return err
}

// filesOfJob writes the files that the tasks of an ended job have left, those of
// each to a directory with its number.
func filesOfJob(ctx context.Context, c *client.Client, id, dir string, wait bool) error {
	ask := c.Job
	if wait {
		ask = c.WaitJob
	}
	j, err := ask(ctx, id)
	if err != nil {
		return err
	}
	if j.Ended == nil {
		return protocol.Errorf(protocol.CodeNotFound, "job %s has not ended: its files come at its end", j.ID).WithHint("wait for it with --wait")
	}
	_, err = c.FollowJob(ctx, j.ID, 0, func(e api.JobEvent) error {
		if e.Result == nil || e.Result.Files == 0 {
			return nil
		}
		r := report{c: c, job: j.ID}
		return r.files(filepath.Join(dir, strconv.FormatUint(e.Result.Index, 10)), e.Result)
	})
	return err
}

func printJob(w io.Writer, j api.Job) error {
	rows := [][]string{
		{"job", j.ID},
		{"program", j.Name},
		{"module", j.Module},
		{"state", j.State},
		{"reason", j.Reason},
		{"tasks", progressText(&j)},
		{"submitted", clock(&j.Submitted)},
		{"ended", clock(j.Ended)},
		{"limits", limitsText(&j.Limits)},
		{"placed", placed(&j.Terms)},
		{"rules", rulesText(&j.Rules)},
		{"seed", fmt.Sprint(j.Seed)},
	}
	return table(w, nil, rows)
}

func rulesText(r *api.JobRules) string {
	text := "as many at once as keep the peers busy"
	if r.InFlight > 0 {
		text = fmt.Sprintf("%d at once", r.InFlight)
	}
	text += fmt.Sprintf(", %d more tries when spare fails", r.Retries)
	if h := r.Halt; h != nil {
		part := fmt.Sprint(h.Count)
		if h.Percent > 0 {
			part = fmt.Sprintf("%d%%", h.Percent)
		}
		text += fmt.Sprintf(", halt %s,%s=%s", h.When, h.Why, part)
	}
	return text
}

func newRerun(h *home) *cobra.Command {
	var failed, detach bool
	cmd := &cobra.Command{
		Use:   "rerun JOB",
		Short: "Go on with a job that ended before its end, or with what has failed in it",
		Args:  exactly("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := h.node()
			if err != nil {
				return err
			}
			j, err := c.RerunJob(cmd.Context(), args[0], failed)
			if err != nil || detach {
				return err
			}
			r, err := newReport(cmd, c, &mapFlags{progress: choice{word: "auto"}})
			if err != nil {
				return err
			}
			defer r.close()
			return followAttached(cmd.Context(), *h, c, j.ID, r)
		},
	}
	cmd.Flags().BoolVar(&failed, "failed", false, "run failed tasks again, too")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait")
	return cmd
}
