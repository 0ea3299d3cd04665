package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

const (
	topTasks = 500 // newest tasks that are shown, and
	topJobs  = 200 // jobs
	// topTotals is how many requesters' totals are known.
	topTotals = 100
	// topAgain is how long after the node has gone it is looked for again.
	topAgain = time.Second
	// topGuestsEvery is how often guests and figures are asked for, which no event tells of.
	topGuestsEvery = 2 * time.Second
	// topWithin bounds one question.
	topWithin = 15 * time.Second
)

func newTop(h *home) *cobra.Command {
	return &cobra.Command{
		Use:   "top",
		Short: "Watch this node, its peers, its tasks and its guests, and rule it by keys",
		Long: `Watch this node, its peers, its tasks and jobs, and its guests, as they change.

  tab, left, right, 1-4   another view
  up, down, page up ...   another line; enter tells more, and why
  p  r  c                 pause, resume, cancel the task or job
  /                       only lines with some text
  ?                       help
  q                       quit

NO_COLOR is heeded. Programs ask 'spare status -o json' and its like.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !isTerminal(os.Stdin) || !isTerminal(os.Stdout) || os.Getenv("TERM") == "dumb" {
				return protocol.Errorf(protocol.CodeUsage, "'spare top' wants a terminal, for what it shows and for your keys").
					WithHint("'spare status -o json' tells of the node, 'spare ps -o json' of tasks, 'spare peers -o json' of peers")
			}
			c, err := h.node()
			if err != nil {
				return err
			}
			if err := c.Reach(cmd.Context()); err != nil {
				return err
			}
			return watch(cmd.Context(), c)
		},
	}
}

// watch shows the node until the user has seen enough.
func watch(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newTopModel(time.Now(), func(o topOrder) tea.Msg { return obey(ctx, c, o) })
	p := tea.NewProgram(m, tea.WithContext(ctx))
	var feeds sync.WaitGroup
	feeds.Go(func() { feedTop(ctx, c, p.Send) })
	feeds.Go(func() { pollTop(ctx, c, p.Send) })
	_, err := p.Run()
	cancel()
	feeds.Wait()
	if err != nil {
		return fmt.Errorf("show the node: %w", err)
	}
	return nil
}

// feedTop sends what changes, and all there is whenever the node has come back.
func feedTop(ctx context.Context, c *client.Client, send func(tea.Msg)) {
	for ctx.Err() == nil {
		err := c.Events(ctx, func(e client.Event) error {
			send(topHeard(time.Now()))
			if e.Kind == "hello" || e.Kind == "reset" {
				all, err := snapshot(ctx, c)
				if err == nil {
					send(all)
				}
				return err
			}
			msg, err := topChange(e)
			if err == nil && msg != nil {
				send(msg)
			}
			return err
		})
		if ctx.Err() != nil {
			return
		}
		send(topLost{protocol.SafeText(err.Error())})
		select {
		case <-time.After(topAgain):
		case <-ctx.Done():
		}
	}
}

// topChange is what an event has the model know, or nil.
func topChange(e client.Event) (tea.Msg, error) {
	switch e.Kind {
	case "status":
		return decodeTop[api.Status](e)
	case "peers":
		return decodeTop[api.PeerChanges](e)
	case "task":
		return decodeTop[api.Task](e)
	case "job":
		return decodeTop[api.Job](e)
	case "donation":
		return decodeTop[api.Donation](e)
	default:
		return nil, nil
	}
}

func decodeTop[T any](e client.Event) (tea.Msg, error) {
	var v T
	if err := json.Unmarshal(e.Data, &v); err != nil {
		return nil, fmt.Errorf("decode an event of the kind %q: %w", e.Kind, err)
	}
	return v, nil
}

// snapshot is all there is.
func snapshot(ctx context.Context, c *client.Client) (all topAll, err error) {
	ctx, cancel := context.WithTimeout(ctx, topWithin)
	defer cancel()
	if all.status, err = c.Status(ctx); err != nil {
		return all, err
	}
	if all.donation, err = c.Donation(ctx); err != nil {
		return all, err
	}
	if all.peers, err = c.Peers(ctx); err != nil {
		return all, err
	}
	tasks, err := c.Tasks(ctx, topTasks, "")
	if err != nil {
		return all, err
	}
	jobs, err := c.Jobs(ctx, topJobs, "")
	all.tasks, all.jobs = tasks.Tasks, jobs.Jobs
	return all, err
}

// pollTop sends what no event tells of, while the node answers.
func pollTop(ctx context.Context, c *client.Client, send func(tea.Msg)) {
	tick := time.NewTicker(topGuestsEvery)
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, topWithin)
		if f, err := c.Process(ask); err == nil {
			send(f)
		}
		if g, err := c.Guests(ask, topTotals, ""); err == nil {
			send(g)
		}
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// topOrder is what the user wants of the node.
type topOrder struct {
	verb string // pause, finish, resume, cancel or tell
	kind string // of what is told of or cancelled: task, job, peer or node
	id   string
	long time.Duration // of a pause; 0: until it is resumed
}

// topAnswer is what has come of an order.
type topAnswer struct {
	order topOrder
	text  string // what there is to tell, in lines
	err   error
}

// obey does what is ordered.
func obey(ctx context.Context, c *client.Client, o topOrder) topAnswer {
	ctx, cancel := context.WithTimeout(ctx, topWithin)
	defer cancel()
	var err error
	var b bytes.Buffer
	switch o.verb + " " + o.kind {
	case "pause node", "finish node":
		_, err = c.Pause(ctx, o.long, o.verb == "finish")
	case "resume node":
		_, err = c.Resume(ctx)
	case "cancel task":
		_, err = c.Cancel(ctx, o.id)
	case "cancel job":
		_, err = c.CancelJob(ctx, o.id, "")
	case "tell task":
		err = tellTask(ctx, c, o.id, &b)
	case "tell job":
		var j api.Job
		if j, err = c.Job(ctx, o.id); err == nil {
			err = tellJob(&j, &b)
		}
	}
	return topAnswer{o, b.String(), err}
}

// tellTask tells why a task is where it is, and all else of it.
func tellTask(ctx context.Context, c *client.Client, id string, w io.Writer) error {
	why, err := askTaskWhy(ctx, c, id)
	if err == nil {
		err = printTaskWhy(w, why)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	return printTask(w, why.Task)
}

// tellJob tells of a job, and how to see more of it.
func tellJob(j *api.Job, w io.Writer) error {
	if err := printJob(w, *j); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return table(w, nil, [][]string{
		{"its tasks", fmt.Sprintf("spare show %s/1-%d", j.ID, min(j.Tasks, 100))},
		{"why one is where it is", fmt.Sprintf("spare why %s/1", j.ID)},
		{"what failed", "spare show --failed " + j.ID},
		{"what they wrote", "spare logs " + j.ID},
	})
}

// linesOf parts text into lines without an empty last one.
func linesOf(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }
