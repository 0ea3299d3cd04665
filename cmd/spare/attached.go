package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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

var errOutput = errors.New("cannot write")

// signalled is the cause of a context that a signal ended.
type signalled struct{ os.Signal }

func (s signalled) Error() string { return s.String() }

// untilSignal returns a context that the first signal ends, with [signalled] as
// its cause, and where later ones come until stop is called.
func untilSignal(ctx context.Context) (watched context.Context, signals chan os.Signal, stop func()) {
	// A write to a closed pipe must come back as an error, to cancel what runs.
	signal.Ignore(syscall.SIGPIPE)
	signals = make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	watched, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case s := <-signals:
			cancel(signalled{s})
		case <-watched.Done():
		}
	}()
	return watched, signals, func() {
		cancel(nil)
		signal.Stop(signals)
	}
}

// runAttached runs a task and stays with it: its output becomes ours, its end
// our end. What it leaves is written to out unless that is nil.
func runAttached(ctx context.Context, h home, c *client.Client, in *api.Submission, module []byte, out *outputDir) error {
	watched, signals, stop := untilSignal(ctx)
	defer stop()
	var id string
	said := newNews(os.Stderr, isTerminal(os.Stderr))
	defer said.stop()
	t, err := c.Run(watched, in, module, func(e api.Event) error {
		if e.ID != "" {
			id = e.ID
		}
		said.note(e, time.Now())
		if err := write(os.Stdout, e.Stdout); err != nil {
			return err
		}
		return write(os.Stderr, e.Stderr)
	})
	said.stop()
	var by signalled
	switch {
	case err == nil:
		if out != nil && t.Error == nil {
			if err := out.collect(watched, c, t, t.Files); err != nil {
				return uncollected(t.ID, err)
			}
		}
		return endOf(t)
	case errors.As(context.Cause(watched), &by):
		err := detach(ctx, h, c, id, by, signals)
		if out != nil && id != "" {
			fmt.Fprintf(os.Stderr, "spare: '%s get %s -O DIR' writes its files when it has ended\n", h.command(), id)
		}
		return err
	case errors.Is(err, errOutput):
		return abandon(ctx, c, id, err)
	case id != "" && protocol.CodeOf(err) == protocol.CodeInternal:
		return protocol.Errorf(protocol.CodeInternal, "%v", err).WithHint("'spare show %s' tells how the task goes on", id)
	case id != "":
		return ofTask(err, id)
	default:
		return err
	}
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

// detach leaves the task alone, or cancels it when a second Ctrl-C follows the
// first.
func detach(ctx context.Context, h home, c *client.Client, id string, by signalled, signals <-chan os.Signal) error {
	if id == "" {
		fmt.Fprintln(os.Stderr, "spare: interrupted before the task was accepted")
		return status(protocol.ExitDetached)
	}
	time.Sleep(echo)
	for len(signals) > 0 {
		<-signals
	}
	if by.Signal != os.Interrupt {
		fmt.Fprintf(os.Stderr, "spare: task %s goes on; '%s logs -f %[1]s' goes back to it\n", id, h.command())
		return status(protocol.ExitDetached)
	}
	fmt.Fprintf(os.Stderr, "spare: task %s goes on; Ctrl-C again within a second cancels it; '%s logs -f %[1]s' goes back to it\n", id, h.command())
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

// uncollected is the error of a task that has ended well, some of whose files
// could not be written.
func uncollected(id string, err error) error {
	message := err.Error()
	var known *protocol.Error
	if errors.As(err, &known) {
		message = known.Message
	}
	return protocol.Errorf(protocol.CodeFile, "the task has ended, but not all of its files were written: %s", message).
		WithHint("'spare get %s -O DIR' writes them again", id)
}
