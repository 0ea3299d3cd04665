package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

const (
	// echo is how long one Ctrl-C may arrive twice: timeout(1) signals the
	// process and then its group.
	echo = 100 * time.Millisecond
	// secondChance is how long after a first Ctrl-C a second one cancels.
	secondChance = time.Second
	// cancelTimeout bounds the last word to a node that may be gone.
	cancelTimeout = 5 * time.Second
	// exitPipe is what shells show for a program that SIGPIPE ended.
	exitPipe = 141
)

var (
	errInterrupted = errors.New("interrupted")
	errOutput      = errors.New("cannot write")
)

// runAttached runs a task and stays with it: its output becomes ours, its end
// our end.
func runAttached(ctx context.Context, c *client.Client, in *api.Submission, module []byte) error {
	// A write to a closed pipe must come back as an error, to cancel the task.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	watched, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-signals:
			stop(errInterrupted)
		case <-watched.Done():
		}
	}()

	var id string
	var wait waiting
	t, err := c.Run(watched, in, module, func(e api.Event) error {
		if e.ID != "" {
			id = e.ID
		}
		wait.note(e.Task, time.Now())
		if err := write(os.Stdout, e.Stdout); err != nil {
			return err
		}
		return write(os.Stderr, e.Stderr)
	})
	switch {
	case err == nil:
		return endOf(t)
	case errors.Is(context.Cause(watched), errInterrupted):
		return detach(ctx, c, id, signals)
	case errors.Is(err, errOutput):
		return abandon(ctx, c, id, err)
	case id != "" && protocol.CodeOf(err) == protocol.CodeInternal:
		return protocol.Errorf(protocol.CodeInternal, "%v", err).WithHint("'spare show %s' tells how the task goes on", id)
	default:
		return err
	}
}

// waiting tells people why nothing seems to happen, at most every 30 s.
type waiting struct{ told time.Time }

const tellEvery = 30 * time.Second

func (w *waiting) note(t *api.Task, now time.Time) {
	if t == nil || t.State != protocol.StateQueued.Word() || !strings.HasPrefix(t.Reason, "waiting") || now.Sub(w.told) < tellEvery {
		return
	}
	w.told = now
	fmt.Fprintf(os.Stderr, "spare: task %s is %s\n", t.ID, protocol.SafeText(t.Reason))
}

func write(f *os.File, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := f.Write(p); err != nil {
		return fmt.Errorf("%w: %w", errOutput, err)
	}
	return nil
}

// detach leaves the task alone, or cancels it at a second signal.
func detach(ctx context.Context, c *client.Client, id string, signals <-chan os.Signal) error {
	if id == "" {
		fmt.Fprintln(os.Stderr, "spare: interrupted before the task was accepted")
		return status(protocol.ExitDetached)
	}
	time.Sleep(echo)
	for len(signals) > 0 {
		<-signals
	}
	fmt.Fprintf(os.Stderr, "spare: task %s goes on; Ctrl-C again cancels it\n", id)
	select {
	case <-signals:
		if err := cancelTask(ctx, c, id); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "spare: task %s is cancelled\n", id)
	case <-time.After(secondChance):
	}
	return status(protocol.ExitDetached)
}

// abandon cancels a task whose output nobody takes.
func abandon(ctx context.Context, c *client.Client, id string, why error) error {
	if err := cancelTask(ctx, c, id); err != nil {
		return err
	}
	if errors.Is(why, syscall.EPIPE) {
		return status(exitPipe)
	}
	return protocol.Errorf(protocol.CodeFile, "%v", why).WithHint("the task is cancelled; 'spare logs %s' has its output up to then", id)
}

func cancelTask(ctx context.Context, c *client.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	_, err := c.Cancel(ctx, id)
	return err
}
