package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// whereOf names the provider that gave the result; before there is one, or
// without, that of the attempt that runs, else of the last.
func whereOf(t *api.Task) string {
	for _, state := range []protocol.State{protocol.StateDone, protocol.StateRunning} {
		for _, a := range t.Attempts {
			if a.State == state.Word() {
				return peerName(a.Provider, a.Self)
			}
		}
	}
	if n := len(t.Attempts); n > 0 {
		last := t.Attempts[n-1]
		return peerName(last.Provider, last.Self)
	}
	return ""
}

func stateText(t *api.Task) string {
	switch {
	case t.Error != nil:
		return fmt.Sprintf("%s, %s", t.State, t.Error.Code)
	case t.ExitCode != nil && *t.ExitCode != 0:
		return fmt.Sprintf("%s, exit %d", t.State, *t.ExitCode)
	default:
		return t.State
	}
}

func newShow(h *home) *cobra.Command {
	var failed bool
	cmd := newInspect(h, "show TASK", "A task, a job, or tasks of a job: what they are, where they ran and why", exactly("TASK"),
		func(ctx context.Context, c *client.Client, args []string) (shown any, err error) {
			t, err := parseTarget(args[0])
			if err != nil {
				return nil, err
			}
			if failed && t.job == "" {
				t.job = t.id // all tasks of it
			}
			if t.several() || failed {
				return tasksOf(ctx, c, &t, failed)
			}
			err = orJob(&t, func() error {
				one, err := c.Task(ctx, t.id)
				shown = one
				return err
			}, func() error {
				j, err := c.Job(ctx, t.id)
				shown = j
				return err
			})
			return shown, err
		},
		func(w io.Writer, shown any) error {
			switch v := shown.(type) {
			case api.Job:
				return printJob(w, v)
			case []api.Task:
				return printParts(w, v)
			case api.Task:
				return printTask(w, v)
			}
			return nil // there are these three
		})
	cmd.Long = cmd.Short + ".\n\n" + targetHelp
	cmd.Flags().BoolVar(&failed, "failed", false, "the tasks of a job, or those named, that have failed")
	return cmd
}

func printTask(w io.Writer, t api.Task) error {
	rows := [][]string{
		{"task", t.ID},
		{"program", t.Name},
		{"module", t.Module},
		{"args", strings.Join(t.Args[min(1, len(t.Args)):], " ")},
		{"state", stateText(&t)},
		{"reason", t.Reason},
		{"submitted", clock(&t.Submitted)},
		{"ended", clock(t.Ended)},
	}
	if t.ExitCode != nil {
		rows = append(rows, []string{"exit code", fmt.Sprintf("%d, from the %s", *t.ExitCode, *t.ExitSource)})
	}
	if t.WallMS != nil {
		rows = append(rows, []string{"guest time", millis(t.WallMS)})
	}
	if t.Gas != nil {
		rows = append(rows, []string{"gas", fmt.Sprintf("%s of %s", protocol.GasText(*t.Gas), protocol.GasText(t.GasLimit))})
	}
	stdout, stderr := "", "" // nobody has counted before the end
	if t.Ended != nil {
		stdout, stderr = protocol.SizeText(t.StdoutBytes), protocol.SizeText(t.StderrBytes)
	}
	rows = append(rows,
		[]string{"stdin", protocol.SizeText(t.StdinBytes)},
		[]string{"stdout", stdout},
		[]string{"stderr", stderr},
		[]string{"limits", limitsText(&t.Limits)},
		[]string{"placed", placed(&t.Terms)},
		[]string{"seed", fmt.Sprint(t.Seed)})
	rows = append(append(rows, fileRows("input", t.Inputs)...), fileRows("file", t.Files)...)
	if err := table(w, nil, rows); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	rows = nil
	for _, a := range t.Attempts {
		gas := ""
		if a.Gas > 0 {
			gas = protocol.GasText(a.Gas)
		}
		rows = append(rows, []string{fmt.Sprint(a.Attempt), peerName(a.Provider, a.Self), a.State, millis(a.RTTMS), clock(a.Started), clock(a.Ended), gas, a.Result[:min(len(a.Result), 12)], a.Reason})
	}
	return table(w, []string{"ATTEMPT", "PROVIDER", "STATE", "RTT", "STARTED", "ENDED", "GAS", "RESULT", "REASON"}, rows)
}

func limitsText(l *api.Limits) string {
	return fmt.Sprintf("%s memory, %s output, %s, %s gas, %d files of %s", protocol.SizeText(l.MemoryBytes), protocol.SizeText(l.OutputBytes),
		protocol.TimeText(time.Duration(l.WallMS)*time.Millisecond), protocol.GasText(l.Gas), l.Files, protocol.SizeText(l.FileBytes))
}

// placed says what was asked of the placement.
func placed(t *api.Terms) string {
	said := t.Where
	if t.On != "" {
		said = "on " + shortPeer(t.On)
	}
	if t.Replicas == 1 {
		said += ", 1 replica"
	} else {
		said += fmt.Sprintf(", %d replicas", t.Replicas)
	}
	if t.Quorum > 1 {
		said += fmt.Sprintf(", a quorum of %d", t.Quorum)
	}
	if len(t.Labels) > 0 {
		said += ", where " + strings.Join(t.Labels, " and ")
	}
	if t.Verify != "" && t.Verify != "off" {
		said += ", verify " + t.Verify
	}
	return said
}

// shownFiles is how many files people want to see of each kind.
const shownFiles = 20

func fileRows(kind string, files []api.File) [][]string {
	var rows [][]string
	for i, f := range files {
		if i == shownFiles {
			return append(rows, []string{kind, fmt.Sprintf("and %d more; -o json lists them", len(files)-i)})
		}
		rows = append(rows, []string{kind, fmt.Sprintf("%s  %s", f.Path, protocol.SizeText(f.Size))})
	}
	return rows
}

func clock(t *api.Time) string {
	if t == nil {
		return ""
	}
	return time.Time(*t).Local().Format("2006-01-02 15:04:05.000")
}

func newLogs(h *home) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs TASK",
		Short: "What a task, or those of a job, have written: their stdout on stdout, their stderr on stderr",
		Long: `What a task has written, or tasks of a job, in the order of their ends: their stdout
on stdout, their stderr on stderr.

` + targetHelp,
		Args: exactly("TASK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			c, err := h.node()
			if err != nil {
				return err
			}
			if t.several() {
				return logsOfJob(cmd, c, &t, follow)
			}
			task := func() error { return logsOf(cmd, c, t.id) }
			if follow {
				task = func() error { return followTask(cmd.Context(), c, t.id) }
			}
			return orJob(&t, task, func() error { return logsOfJob(cmd, c, &t, follow) })
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on to the end; Ctrl-C only stops following")
	return cmd
}

func followTask(ctx context.Context, c *client.Client, id string) error {
	t, err := c.Follow(ctx, id, func(e api.Event) error {
		if err := write(os.Stdout, e.Stdout); err != nil {
			return err
		}
		return write(os.Stderr, e.Stderr)
	})
	if err == nil && t.Error != nil {
		fmt.Fprintf(os.Stderr, "spare: task %s failed: %s: %s\n", t.ID, t.Error.Code, protocol.SafeText(t.Error.Message))
	}
	if errors.Is(err, errOutput) {
		return protocol.Errorf(protocol.CodeFile, "%v", err).WithHint("the task goes on; 'spare logs %s' has its output", id)
	}
	return ofTask(err, id)
}

func logsOf(cmd *cobra.Command, c *client.Client, id string) error {
	for fd, w := range []io.Writer{1: cmd.OutOrStdout(), 2: cmd.ErrOrStderr()} {
		if w == nil {
			continue
		}
		if err := copyOutput(cmd.Context(), c, id, fd, w); err != nil {
			return err
		}
	}
	return nil
}

func copyOutput(ctx context.Context, c *client.Client, id string, fd int, w io.Writer) error {
	out, err := c.Output(ctx, id, fd)
	if err != nil {
		return ofTask(err, id)
	}
	defer out.Close()
	if _, err := io.Copy(w, out); err != nil {
		return protocol.Errorf(protocol.CodeFile, "the output broke off: %v", err).WithHint("'spare logs %s' has it from its start", id)
	}
	return nil
}

func newWait(h *home) *cobra.Command {
	timeout := quantity{unit: times, least: uint64(time.Millisecond)}
	cmd := &cobra.Command{
		Use:   "wait TASK",
		Short: "Wait for a task, a job, or tasks of a job, and exit as they did",
		Long: `Wait for a task, a job, or tasks of a job, and exit as they did: with the task's
status, or with how many tasks have failed, at most 101.

` + targetHelp,
		Args: exactly("TASK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			c, err := h.node()
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			if timeout.n > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(timeout.n))
				defer cancel()
			}
			if t.several() {
				err = waitTasks(ctx, c, &t)
			} else {
				err = orJob(&t, func() error {
					one, err := c.Wait(ctx, t.id)
					if err != nil {
						return ofTask(err, t.id)
					}
					return endOf(&one)
				}, func() error {
					j, err := c.WaitJob(ctx, t.id)
					if err != nil {
						return ofTask(err, t.id)
					}
					tellHalted(cmd.ErrOrStderr(), h, &j)
					return endOfJob(&j)
				})
			}
			if errors.Is(err, context.DeadlineExceeded) {
				return protocol.Errorf(protocol.CodeTimeout, "it has not ended within %s", &timeout).WithHint("it goes on; see 'spare show %s'", t.id)
			}
			return err
		},
	}
	cmd.Flags().Var(&timeout, "timeout", "give up after this time (exit status 124); the task goes on")
	return cmd
}

func newCancel(h *home) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel TASK",
		Short: "End a task, a job, or tasks of a job",
		Long: `End a task, a job, or tasks of a job. Those of a job that have not begun are not run
and count as failed; 'spare rerun JOB' runs them.

` + targetHelp,
		Args: exactly("TASK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			c, err := h.node()
			if err != nil {
				return err
			}
			if t.several() {
				return cancelTasks(cmd, c, &t)
			}
			return orJob(&t, func() error {
				one, err := c.Task(cmd.Context(), t.id)
				if err != nil {
					return err
				}
				if one.Ended != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "spare: task %s has ended already: %s\n", one.ID, stateText(&one))
					return nil
				}
				_, err = c.Cancel(cmd.Context(), one.ID)
				return err
			}, func() error { return cancelTasks(cmd, c, &target{job: t.id}) })
		},
	}
}

// cancelTasks ends a job, or those of its tasks that are named.
func cancelTasks(cmd *cobra.Command, c *client.Client, t *target) error {
	j, err := c.Job(cmd.Context(), t.job)
	if err != nil {
		return err
	}
	if j.Ended != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "spare: job %s has ended already: %s\n", j.ID, jobText(&j))
		return nil
	}
	_, err = c.CancelJob(cmd.Context(), j.ID, t.tasks)
	return err
}

// ofTask names the task in the error of a node that has gone.
func ofTask(err error, id string) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.Code == protocol.CodeShutdown {
		return e.WithHint("'spare show %s' tells of the task when the node runs again", id)
	}
	return err
}

// endOf is the error that makes the command line exit as the task did: a
// program's own status passes through, any other end is told.
func endOf(t *api.Task) error {
	if t.Error != nil {
		return &protocol.Error{Code: t.Error.Code, Message: t.Error.Message, Hint: hintFor(t.Error, t.ID)}
	}
	if t.ExitCode == nil {
		return protocol.Errorf(protocol.CodeInternal, "task %s is %s without a result: %s", t.ID, t.State, t.Reason)
	}
	code := int(*t.ExitCode)
	switch {
	case code == 0:
		return nil
	case code&0xff == 0:
		// The system keeps eight bits; a failure must not turn into a success.
		return status(255)
	default:
		return status(code & 0xff)
	}
}

// hintFor says what mends the end of a task.
func hintFor(e *api.TaskError, id string) string {
	if e.Hint != "" {
		return e.Hint
	}
	switch e.Code {
	case protocol.CodeNoPeers:
		return "'spare peers' lists neighbours; join some with 'spare up --bootstrap ADDRESS', or run it here with --local"
	case protocol.CodeNoOffers, protocol.CodeBusy, protocol.CodeRefused:
		return "'spare offers' tells what each peer gives"
	case protocol.CodeImport:
		return "spare gives programs WASI preview 1 and nothing else"
	case protocol.CodeBadModule:
		return "spare runs WASI preview 1 modules, as 'GOOS=wasip1 GOARCH=wasm go build' or 'clang --target=wasm32-wasi' make them"
	default:
		return fmt.Sprintf("'spare show %s' tells each attempt", id)
	}
}
