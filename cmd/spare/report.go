package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// report brings what the tasks of a job write to where its user wants it.
type report struct {
	c        *client.Client
	stdout   io.Writer
	stderr   io.Writer
	program  string   // its file, for commands
	labels   []string // of tasks, from the first on; known to who has submitted them
	commands []string // the same, if there is a log
	keep     bool
	tag      bool
	dir      string   // --results
	log      *os.File // --joblog, or nil
	bar      *progress

	job   string
	after uint64 // results up to this one were told before
	seen  outcome
	next  uint64                    // the task whose turn it is, when the order is kept
	early map[uint64]*api.JobResult // those that have come before their turn
	held  int                       // bytes that these have with them

	hinted map[protocol.Code]bool // how to mend it was said
}

// maxHeld bounds the bytes of output that wait for their turn here. Beyond that they
// are asked for when it comes.
const maxHeld = 32 << 20

func newReport(cmd *cobra.Command, c *client.Client, f *mapFlags) (*report, error) {
	r := &report{
		c: c, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), keep: f.keep, tag: f.tag, dir: f.results,
		bar: newProgress(f.progress.word, os.Stderr), next: 1, early: make(map[uint64]*api.JobResult),
		hinted: make(map[protocol.Code]bool),
	}
	if r.dir != "" {
		if err := os.MkdirAll(r.dir, 0o777); err != nil {
			return nil, protocol.Errorf(protocol.CodeFile, "cannot use %s for results: %v", r.dir, err).WithHint("name a directory with --results that you may write to")
		}
	}
	if f.joblog != "" {
		log, err := os.OpenFile(f.joblog, os.O_WRONLY|os.O_CREATE, 0o666)
		if err != nil {
			return nil, cannotLog(err)
		}
		r.log = log
	}
	return r, nil
}

func cannotLog(err error) error {
	return protocol.Errorf(protocol.CodeFile, "cannot write the log: %v", err).WithHint("name a file with --joblog that you may write to")
}

// begin takes away what the log has from before, once there is a job to tell of.
func (r *report) begin() error {
	if r.log == nil {
		return nil
	}
	info, err := r.log.Stat()
	if err == nil && info.Mode().IsRegular() {
		err = r.log.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(r.log, "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand")
	}
	if err != nil {
		return cannotLog(err)
	}
	return nil
}

// tellOlder says that a directory of results has some of an earlier job with more
// tasks, which stay there.
func tellOlder(w io.Writer, dir string, tasks uint64) {
	if dir == "" {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // who writes there says so
	}
	older := uint64(0)
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 64); err == nil && n > tasks && e.IsDir() {
			older++
		}
	}
	if older > 0 {
		fmt.Fprintf(w, "spare: %s has results of %s that this job does not have, of an earlier one: they stay there\n", dir, plural(older, "task"))
	}
}

// expect takes the next task's item.
func (r *report) expect(item *protocol.Item) {
	r.labels = append(r.labels, item.Label)
	if r.log != nil && len(r.commands) < len(r.labels) {
		r.commands = append(r.commands, printable(quoted(append([]string{r.program}, item.Args...)...)))
	}
}

func (r *report) close() {
	r.bar.stop()
	if r.log != nil {
		_ = r.log.Close() // each write was checked
	}
}

// event takes one line of the followed job.
func (r *report) event(e api.JobEvent) error {
	if e.Job != nil {
		r.job = e.Job.ID
		r.bar.note(e.Job)
	}
	if e.Ended != nil {
		r.bar.note(e.Ended)
	}
	one := e.Result
	if one == nil || one.Stale {
		return nil
	}
	if r.seen.note(one); one.Number <= r.after {
		return nil
	}
	if err := r.keepResult(one); err != nil {
		return err
	}
	if !r.keep {
		return r.show(one)
	}
	if one.Index < r.next {
		return nil // it was run again after its turn
	}
	for r.hold(one); r.early[r.next] != nil; r.next++ {
		if err := r.show(r.release(r.next)); err != nil {
			return err
		}
	}
	return nil
}

// hold keeps a result until its turn, without its output if there is no room.
func (r *report) hold(one *api.JobResult) {
	r.release(one.Index) // it was run again
	if size := len(one.Stdout) + len(one.Stderr); r.held+size <= maxHeld || one.Index == r.next {
		r.held += size
	} else {
		one.Stdout, one.Stderr = nil, nil
	}
	r.early[one.Index] = one
}

// release returns a result that was held, or nil.
func (r *report) release(index uint64) *api.JobResult {
	one := r.early[index]
	if one != nil {
		r.held -= len(one.Stdout) + len(one.Stderr)
		delete(r.early, index)
	}
	return one
}

// rest shows what has come although others before it have not.
func (r *report) rest(tasks uint64) error {
	for i := r.next; i <= tasks && len(r.early) > 0; i++ {
		if one := r.release(i); one != nil {
			if err := r.show(one); err != nil {
				return err
			}
		}
	}
	return nil
}

func failedTask(one *api.JobResult) bool { return one.Error != nil || one.ExitCode != 0 }

func (r *report) label(index uint64) string {
	if index <= uint64(len(r.labels)) {
		return r.labels[index-1]
	}
	return strconv.FormatUint(index, 10)
}

func (r *report) command(index uint64) string {
	if index <= uint64(len(r.commands)) {
		return r.commands[index-1]
	}
	return r.label(index)
}

// keepResult writes the task's line to the log, and its directory of results.
func (r *report) keepResult(one *api.JobResult) error {
	if r.log != nil {
		start, end := time.Time(one.Started), time.Time(one.Ended)
		host := shortPeer(one.Provider)
		if host == "" {
			host = ":"
		}
		_, err := fmt.Fprintf(r.log, "%d\t%s\t%d.%03d\t%10.3f\t%d\t%d\t%d\t%d\t%s\n", one.Index, host,
			start.Unix(), start.Nanosecond()/1e6, end.Sub(start).Seconds(), 0, one.StdoutBytes, one.ExitCode&0xff, 0, r.command(one.Index))
		if err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot write the log %s: %v", r.log.Name(), err)
		}
	}
	if r.dir == "" {
		return nil
	}
	dir := filepath.Join(r.dir, strconv.FormatUint(one.Index, 10))
	err := os.MkdirAll(dir, 0o777)
	if err == nil {
		err = os.RemoveAll(filepath.Join(dir, "out")) // of an earlier run
	}
	for fd, name := range map[int]string{1: "stdout", 2: "stderr"} {
		if err == nil {
			err = r.keepOutput(filepath.Join(dir, name), one, fd)
		}
	}
	if err == nil && one.Files > 0 {
		err = r.files(filepath.Join(dir, "out"), one)
	}
	var known *protocol.Error
	if err != nil && !errors.As(err, &known) {
		err = protocol.Errorf(protocol.CodeFile, "cannot keep the results of task %s/%d: %v", r.job, one.Index, err)
	}
	return err
}

func (r *report) keepOutput(path string, one *api.JobResult, fd int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(r.output(f, one, fd), f.Close())
}

func (r *report) files(dir string, one *api.JobResult) error {
	t, err := r.c.Task(context.Background(), r.part(one.Index))
	if err != nil {
		return err
	}
	out, err := openOutputDir(dir)
	if err != nil {
		return err
	}
	defer out.close()
	return out.collect(context.Background(), r.c, &t, t.Files)
}

func (r *report) part(index uint64) string {
	return string(protocol.Part(protocol.TaskID(r.job), index))
}

// output writes what a task has written: small outputs have come with its
// result, others are asked for.
func (r *report) output(w io.Writer, one *api.JobResult, fd int) error {
	have, size := one.Stdout, one.StdoutBytes
	if fd == 2 {
		have, size = one.Stderr, one.StderrBytes
	}
	if uint64(len(have)) == size {
		_, err := w.Write(have)
		return err
	}
	body, err := r.c.Output(context.Background(), r.part(one.Index), fd)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

// show writes what a task has written to stdout and stderr, and why it failed.
func (r *report) show(one *api.JobResult) error {
	r.bar.hide()
	for fd, w := range []io.Writer{1: r.stdout, 2: r.stderr} {
		if w == nil {
			continue
		}
		if r.tag {
			w = &tagger{w: w, tag: []byte(r.label(one.Index) + "\t"), fresh: true}
		}
		if err := r.output(w, one, fd); err != nil {
			return fmt.Errorf("%w: %w", errOutput, err)
		}
	}
	switch {
	case one.Error != nil:
		fmt.Fprintf(r.stderr, "spare: task %s failed: %s: %s\n", r.called(one.Index), one.Error.Code, protocol.SafeText(one.Error.Message))
		if code := one.Error.Code; !r.hinted[code] { // once says it for all
			r.hinted[code] = true
			fmt.Fprintf(r.stderr, "  hint: %s\n", protocol.SafeText(hintFor(one.Error, r.part(one.Index))))
		}
	case one.ExitCode != 0:
		fmt.Fprintf(r.stderr, "spare: task %s ended with exit code %d\n", r.called(one.Index), one.ExitCode)
	}
	return nil
}

// called is a task's ID, with its item if that is known here.
func (r *report) called(index uint64) string {
	if index > uint64(len(r.labels)) {
		return r.part(index)
	}
	return fmt.Sprintf("%s (%s)", r.part(index), protocol.SafeText(r.label(index)))
}

// tagger begins each line with a tag.
type tagger struct {
	w     io.Writer
	tag   []byte
	fresh bool // a line begins
}

// Write implements [io.Writer].
func (t *tagger) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if t.fresh {
			if _, err := t.w.Write(t.tag); err != nil {
				return 0, err
			}
		}
		if _, err := t.w.Write(line); err != nil {
			return 0, err
		}
		t.fresh = bytes.HasSuffix(line, []byte("\n"))
	}
	return len(p), nil
}

// maxFailed is the exit status that stands for so many failed tasks or more.
const maxFailed = 101

// endOfJob is the error that makes the command line exit as the job did.
func endOfJob(j *api.Job) error {
	left := j.Tasks - j.Passed - j.Failed
	switch {
	case j.State == protocol.StateCancelled.Word():
		return protocol.Errorf(protocol.CodeCancelled, "job %s was cancelled: %d of %s %s not run", j.ID, left, plural(j.Tasks, "task"), were(left)).
			WithHint("'spare rerun %s' runs them", j.ID)
	case j.State == protocol.StateLost.Word():
		return protocol.Errorf(protocol.CodeInternal, "job %s cannot go on: %s", j.ID, j.Reason).WithHint("'spare rerun %s' tries again", j.ID)
	case j.Failed > 0:
		return status(min(j.Failed, maxFailed))
	default:
		return nil
	}
}

// plural writes a number of things.
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// isHalted reports whether a job's rule has ended it before all of its tasks were
// run.
func isHalted(j *api.Job) bool {
	return j.State == protocol.StateDone.Word() && j.Passed+j.Failed < j.Tasks
}

// jobText is the state of a job, and how far it has come.
func jobText(j *api.Job) string {
	state := j.State
	if isHalted(j) {
		state = "halted"
	}
	return state + ", " + progressText(j)
}

// tellHalted says what a job has not run that its rule has ended: how it exits
// does not tell.
func tellHalted(w io.Writer, h *home, j *api.Job) {
	if left := j.Tasks - j.Passed - j.Failed; isHalted(j) {
		fmt.Fprintf(w, "spare: job %s ended after %s: %s; %d %s not run; '%s rerun %[1]s' goes on\n", j.ID, progressText(j), j.Reason, left, were(left), h.command())
	}
}

// progressText is how far a job has come, in words.
func progressText(j *api.Job) string {
	text := fmt.Sprintf("%d of %s", j.Passed+j.Failed, plural(j.Tasks, "task"))
	if j.Failed > 0 {
		text += fmt.Sprintf(", %d failed", j.Failed)
	}
	return strings.TrimSpace(text)
}
