package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// followAttached stays with a job, or with those of its tasks that are named, to
// the end. A first Ctrl-C leaves it alone, a
// second one cancels it.
func followAttached(ctx context.Context, h home, c *client.Client, t *target, r *report) error {
	watched, signals, stop := untilSignal(ctx)
	defer stop()
	id := t.id
	j, err := c.FollowJob(watched, id, client.Following{Tasks: t.tasks}, r.event)
	if err == nil {
		err = r.rest(j.Tasks)
	}
	r.bar.stop()
	var by signalled
	switch {
	case err == nil && t.tasks != "":
		return r.seen.end(j, t)
	case err == nil:
		tellHalted(r.stderr, &h, j)
		return endOfJob(j)
	case errors.As(context.Cause(watched), &by):
		return leaveJob(ctx, h, c, id, by, signals)
	case errors.Is(err, errOutput):
		if _, err := c.CancelJob(ctx, id, ""); err != nil {
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
		if _, err := c.CancelJob(ctx, id, ""); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "spare: job %s is cancelled\n", id)
	case <-time.After(secondChance):
	}
	return status(protocol.ExitDetached)
}

// orJob does what is asked with a task, or with the job when no task has the ID.
func orJob(t *target, task, job func() error) error {
	err := task()
	if t.job != "" || protocol.CodeOf(err) != protocol.CodeNotFound {
		return err
	}
	if other := job(); protocol.CodeOf(other) != protocol.CodeNotFound {
		return other
	}
	return err
}

func printJob(w io.Writer, j api.Job) error {
	rows := [][]string{
		{"job", j.ID},
		{"program", j.Name},
		{"module", j.Module},
		{"state", jobText(&j)},
		{"reason", j.Reason},
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
	tries := "tries"
	if r.Retries == 1 {
		tries = "try"
	}
	text += fmt.Sprintf(", %d more %s when spare fails", r.Retries, tries)
	if h := r.Halt; h != nil {
		part := fmt.Sprint(h.Count)
		if h.Percent > 0 {
			part = fmt.Sprintf("%d%%", h.Percent)
		}
		text += fmt.Sprintf(", halt %s,%s=%s", h.When, h.Why, part)
	}
	return text
}
