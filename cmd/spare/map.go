package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// mapFlags are the flags of 'spare map'.
type mapFlags struct {
	own runFlags // of each task
	sources
	pipe        bool
	block       quantity
	jobs        quantity
	chunk       quantity
	retries     quantity
	halt        halting
	keep, tag   bool
	results     string
	joblog      string
	resume      bool
	retryFailed bool
	dryRun      bool
	detach      bool
	progress    choice
}

func newMap(h *home) *cobra.Command {
	f := mapFlags{
		own:      newRunFlags(),
		block:    quantity{sizes, 1 << 20, 1, protocol.MaxBlob},
		jobs:     quantity{counts, 0, 0, 65536},
		chunk:    quantity{counts, 1, 1, protocol.MaxArgs},
		retries:  quantity{counts, 1, 0, 100},
		progress: choice{"auto", []string{"auto", "bar", "plain", "jsonl", "none"}},
	}
	cmd := &cobra.Command{
		Use:   "map [flags] PROGRAM [-- ARG...] [::: ITEM... | :::: FILE...]...",
		Short: "Run a program once for each of many items",
		Long: `Run a program once for each of many items, on as many peers as are idle. PROGRAM
is what it is for 'spare run'; it is built once.

Items come after :::, from the lines of files (-a or ::::), from the names of
files (--glob), or from the lines of stdin. With several of these there is a task
for each combination, the last one varying fastest; :::+ and ::::+ join theirs to
those before, one to one, of which there must be as many. What follows ::: are items, also what looks like a flag.
Where an item goes, args and -i say as in GNU parallel:

  {}   the item                 {1} {2}   its columns, or that of each source
  {.}  without its extension    {/}       the last name of a path
  {//} its directory            {/.}      its last name without extension
  {#}  the number of the task   {1.} {2/} the same of a column; {-1} is the last

Without any of these the item is appended to the args, each column as one. With
--pipe the items are blocks of stdin's lines, and each task has one as its stdin.

--glob knows *, ?, [a-z], {one,two} and ** for any directories, and gives files in
the order of their names, without those that begin with a dot.

What tasks write comes here, each whole and as soon as it has ended, or in the
order of items with -k. The job goes on without this command, which may be
interrupted: the same command with --resume carries on where it is by then, and
says everything from the start.

The exit status is how many tasks have failed, at most 101, or as 'spare run'
has it when the job itself cannot be. The last jobs are kept, with their results;
'spare prune --help' says how many.`,
		Example: `  spare map resize.wasm -i '{}:/in/{/}' --results out --glob 'photos/*.jpg' -- /in/{/} --width 800
  spare map primes.wasm ::: 100000 200000 300000
  spare map count.py -i '{}:/in/text' --glob 'texts/**/*.txt'
  spare map wordcount.wasm --pipe --block 1MiB -k < big.txt`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) == 0 || dash == 0 || isSeparator(args[0]) {
				return usage(cmd, "PROGRAM is missing")
			}
			if args[0] == "" {
				return usage(cmd, "PROGRAM is empty")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, *h, args) },
	}
	cmd.SetFlagErrorFunc(unknownFlag)
	f.own.add(cmd)
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "arg-file", "a", nil, "items from the lines of `FILE`; - is stdin (repeatable)")
	flags.BoolVarP(&f.null, "null", "0", false, "items of files and of stdin end with a NUL byte, as 'find -print0' has them")
	flags.StringArrayVar(&f.globs, "glob", nil, "items from the names of files that match `PATTERN` (repeatable)")
	flags.StringVarP(&f.colsep, "colsep", "C", "", "part items into columns at this regular `EXPRESSION`")
	flags.BoolVar(&f.pipe, "pipe", false, "give each task a block of stdin's lines as its stdin")
	flags.Var(&f.block, "block", "how much of stdin a task gets with --pipe, or one line if that is longer")
	flags.VarP(&f.jobs, "jobs", "j", "tasks under way at once, `N` (default 0: as many as keep the peers busy)")
	flags.Var(&f.chunk, "chunk", "items of each task, `N`")
	flags.Var(&f.retries, "retries", "how often a task is run again, `N`, that spare failed; a program fails the same way each time")
	flags.Var(&f.halt, "halt", "when to stop: soon or now, then fail, success or done, then a number or a part of all, as in soon,fail=10%")
	flags.BoolVarP(&f.keep, "keep-order", "k", false, "show what tasks write in the order of items")
	flags.BoolVar(&f.tag, "tag", false, "begin each line with its item and a tab")
	flags.StringVar(&f.results, "results", "", "write what tasks leave to `DIR`/N/: stdout, stderr, and out/ with their files")
	flags.StringVar(&f.joblog, "joblog", "", "write a line for each task to `FILE`, with GNU parallel's columns")
	flags.BoolVar(&f.resume, "resume", false, "carry on with the last job of the same program, flags and items")
	flags.BoolVar(&f.retryFailed, "retry-failed", false, "the same, and run again what has failed in it")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the tasks and do nothing")
	flags.BoolVarP(&f.detach, "detach", "d", false, "print the job's ID and do not wait")
	flags.Var(&f.progress, "progress", "how to tell of the progress, on stderr")
	return cmd
}

func (f *mapFlags) check(cmd *cobra.Command, args []string) error {
	switch {
	case f.pipe && (len(f.lists)+len(f.files)+len(f.globs) > 0 || f.chunk.n > 1):
		return usage(cmd, "--pipe takes its items from stdin, and nothing else can be one")
	case f.pipe && hasItem(args, f.own.inputs):
		return protocol.Errorf(protocol.CodeUsage, "--pipe has no item for args and -i: a task's block is its stdin").WithHint("{#} is the number of the block, in args")
	case f.null && f.pipe, cmd.Flags().Changed("colsep") && f.pipe:
		return usage(cmd, "-0 and --colsep are of items, which --pipe has none of")
	case cmd.Flags().Changed("colsep") && f.colsep == "":
		return usage(cmd, "--colsep is empty")
	case cmd.Flags().Changed("results") && f.results == "", cmd.Flags().Changed("joblog") && f.joblog == "":
		return usage(cmd, "--results and --joblog want a name")
	case cmd.Flags().Changed("block") && !f.pipe:
		return usage(cmd, "--block is of --pipe")
	case f.detach && (f.keep || f.tag || f.results != "" || f.joblog != ""):
		return protocol.Errorf(protocol.CodeUsage, "-d does not wait for what is to be written").WithHint("'spare logs JOB -f' and 'spare get JOB -O DIR' have it")
	case f.chunk.n > 1 && hasPlaceholder(f.own.inputs):
		return usage(cmd, "an item for each -i, and --chunk gives a task several")
	}
	return nil
}

func (f *mapFlags) run(cmd *cobra.Command, h home, args []string) error {
	ctx := cmd.Context()
	var program []string
	program, f.lists = splitArgs(args)
	if err := f.check(cmd, program[1:]); err != nil {
		return err
	}
	if word := f.likeFlag(cmd.Flags()); word != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "spare: %s is an item, as is all that follows %s; as a flag it goes before that\n", protocol.SafeText(word), separator)
	}
	in, err := f.own.submission(cmd, program[:1])
	if err != nil {
		return err
	}
	c, err := h.node()
	if err != nil {
		return err
	}
	if f.dryRun {
		return f.show(cmd.OutOrStdout(), h, program)
	}
	p, err := f.find(h, program)
	if err != nil {
		return err
	}
	if err := p.into(in); err != nil {
		return err
	}
	if err := c.Reach(ctx); err != nil {
		return err
	}
	module, err := p.made(ctx)
	if err != nil {
		return err
	}
	report, err := newReport(cmd, c, f)
	if err != nil {
		return err
	}
	report.program = program[0]
	defer report.close()
	each, all := f.parted(p)
	if in.Inputs, err = giveInputs(ctx, c, all, f.own.limits()); err != nil {
		return err
	}
	room := protocol.MaxInline // for what rides in a task beside the inputs of all
	for _, one := range in.Inputs {
		room -= len(one.Data)
	}
	items, err := f.upload(ctx, c, program, each, room, report)
	if err != nil {
		return err
	}
	job, err := c.SubmitJob(ctx, &api.JobSubmission{
		Submission: *in, Items: items, Resume: f.resume, RetryFailed: f.retryFailed,
		Rules: api.JobRules{InFlight: uint32(f.jobs.n), Retries: uint32(f.retries.n), Halt: f.halt.rule},
	}, module)
	if err != nil {
		return err
	}
	f.tellResumed(cmd.ErrOrStderr(), &job)
	tellOlder(cmd.ErrOrStderr(), f.results, job.Tasks)
	if f.detach {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), job.ID); err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot write the ID of job %s: %v", job.ID, err).
				WithHint("it runs all the same; 'spare cancel %s' ends it", job.ID)
		}
		return nil
	}
	if err := report.begin(); err != nil {
		return err
	}
	return followAttached(ctx, h, c, &target{id: job.ID}, report)
}

// tellResumed says when there was nothing to carry on with: a flag or the program
// may have changed without intent.
func (f *mapFlags) tellResumed(w io.Writer, job *api.Job) {
	switch {
	case !f.resume && !f.retryFailed || job.Resumed:
	case job.Like != "":
		fmt.Fprintf(w, "spare: no job has just these items: job %s is a new one, which takes over what has passed in job %s for the same items\n", job.ID, job.Like)
	default:
		fmt.Fprintf(w, "spare: there is nothing to carry on with: the last job of the same program and flags, if there is one, has passed none of these items: job %s is a new one\n", job.ID)
	}
}

// groups are the items of each task.
func (f *mapFlags) groups(texts ...[]string) ([][]mapItem, error) {
	items, err := f.items(os.Stdin)
	if err != nil {
		return nil, err
	}
	if err := checkPlaceholders(items, texts...); err != nil {
		return nil, err
	}
	groups := slices.Collect(slices.Chunk(items, int(f.chunk.n)))
	if len(groups) > protocol.MaxJobTasks {
		return nil, protocol.Errorf(protocol.CodeUsage, "%d tasks are too many, a job has at most %d", len(groups), protocol.MaxJobTasks).
			WithHint("give each task several items with --chunk")
	}
	return groups, nil
}

// find is [findProgram] for a command line whose shell may have put names of
// files in the place of a pattern.
func (f *mapFlags) find(h home, program []string) (*program, error) {
	p, err := findProgram(h, program[0])
	var e *protocol.Error
	if len(f.globs) > 0 && len(program) > 1 && protocol.CodeOf(err) == protocol.CodeBadModule && errors.As(err, &e) {
		return nil, e.WithHint("quote the pattern of --glob: %s is taken for PROGRAM", program[0])
	}
	return p, err
}

// parted are the flags -i that items go into, and those of all tasks, which are
// no templates.
func (f *mapFlags) parted(p *program) (each, all []string) {
	all = slices.Clip(p.inputs)
	for _, flag := range f.own.inputs {
		if placeholder.MatchString(flag) {
			each = append(each, flag)
		} else {
			all = append(all, flag)
		}
	}
	return each, all
}

// show prints what would be run, as a shell would read it, when what it names is
// there.
func (f *mapFlags) show(w io.Writer, h home, program []string) error {
	line := func(words string) error {
		if _, err := fmt.Fprintln(w, printable(words)); err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
		}
		return nil
	}
	var each []string
	verify := func() error {
		p, err := f.find(h, program)
		if err == nil {
			var all []string
			each, all = f.parted(p)
			_, err = gatherInputs(filesOf(all), f.own.limits(), nil)
		}
		return err
	}
	if f.pipe {
		if err := verify(); err != nil {
			return err
		}
		n := 0
		err := blocks(os.Stdin, int(f.block.n), func(block []byte) error {
			n++
			args := expandArgs(program[1:], nil, n)
			return line(quoted(slices.Concat(program[:1], args)...) + fmt.Sprintf(" < block %d of %s", n, protocol.SizeText(uint64(len(block)))))
		})
		if err == nil && n == 0 {
			err = noBlocks()
		}
		return err
	}
	groups, err := f.groups(program[1:], f.own.inputs)
	if err != nil {
		return err
	}
	if err := verify(); err != nil {
		return err
	}
	for i, group := range groups {
		for _, in := range each {
			if _, err := gatherInputs(filesOf(expandArgs([]string{in}, group, i+1)), f.own.limits(), nil); err != nil {
				return protocol.About(fmt.Sprintf("item %d", i+1), err)
			}
		}
		if err := line(f.command(program, group, i+1)); err != nil {
			return err
		}
	}
	return nil
}

// filesOf leaves away inputs that a CID names: a dry run does not fetch them.
func filesOf(flags []string) (files []string) {
	for _, flag := range flags {
		if host, _ := splitInput(flag); !isCID(host) {
			files = append(files, flag)
		}
	}
	return files
}

// command is what a task runs, as a shell would read it.
func (f *mapFlags) command(program []string, group []mapItem, index int) string {
	words := program[:1:1]
	for _, in := range f.own.inputs {
		for _, in := range expandArgs([]string{in}, group, index) {
			words = append(words, "-i", in)
		}
	}
	return quoted(append(words, taskArgs(program[1:], f.own.inputs, group, index)...)...)
}

// printable is a text for a terminal: what terminals would act upon is taken away.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
}

// upload gives the node the items, and what they need, and returns their digest.
func (f *mapFlags) upload(ctx context.Context, c *client.Client, program, inputs []string, room int, report *report) (digest string, err error) {
	args := program[1:]
	r, w := io.Pipe()
	made := make(chan error, 1)
	go func() {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		var groups [][]mapItem
		take := func(item *protocol.Item) error {
			if group := len(report.labels); report.log != nil && !f.pipe {
				report.commands = append(report.commands, printable(f.command(program, groups[group], group+1)))
			}
			report.expect(item)
			return enc.Encode(item)
		}
		var err error
		if f.pipe {
			err = f.feedBlocks(ctx, c, args, room, take)
		} else {
			if groups, err = f.groups(args, inputs); err == nil {
				feed := feeder{c: c, args: args, each: inputs, limits: f.own.limits(), seen: make(map[string][]protocol.Input)}
				err = feed.feed(ctx, groups, take)
			}
		}
		w.CloseWithError(err)
		made <- err
	}()
	ref, err := c.PutBlob(ctx, r)
	_ = r.CloseWithError(io.ErrClosedPipe) // never fails
	// What failed here says more than that the upload broke off.
	if failed := <-made; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		return "", failed
	}
	return ref.Digest, err
}

// feedBlocks makes an item of each block of stdin, which rides in it if there is
// room.
func (f *mapFlags) feedBlocks(ctx context.Context, c *client.Client, args []string, room int, take func(*protocol.Item) error) error {
	n := 0
	err := blocks(os.Stdin, int(f.block.n), func(block []byte) error {
		n++
		item := &protocol.Item{Label: "block " + strconv.Itoa(n), Args: expandArgs(args, nil, n)}
		if len(block) <= room {
			item.Stdin = block
		} else {
			ref, err := c.PutBlob(ctx, bytes.NewReader(block))
			if err != nil {
				return err
			}
			item.StdinDigest = ref.Digest
		}
		return take(item)
	})
	if err == nil && n == 0 {
		err = noBlocks()
	}
	return err
}

// noBlocks is what --pipe makes of nothing.
func noBlocks() error {
	return protocol.Errorf(protocol.CodeUsage, "there is no item: stdin is empty").WithHint("--pipe gives each task a block of stdin's lines")
}

// halting is the value of --halt.
type halting struct{ rule *api.Halt }

// String implements pflag.Value.
func (h *halting) String() string { return "" }

// Type implements pflag.Value.
func (h *halting) Type() string { return "WHEN,WHY=N" }

// Set implements pflag.Value.
func (h *halting) Set(text string) error {
	const must = "must be like never, soon,fail=1, now,success=10% or soon,done=20"
	if text == "never" {
		h.rule = nil
		return nil
	}
	when, rest, _ := strings.Cut(text, ",")
	why, amount, ok := strings.Cut(rest, "=")
	part, percent := strings.CutSuffix(amount, "%")
	n, err := strconv.ParseUint(part, 10, 32)
	switch {
	case when != "soon" && when != "now", why != "fail" && why != "success" && why != "done", !ok, err != nil, n == 0, percent && n > 100:
		return fmt.Errorf("%s", must)
	}
	h.rule = &api.Halt{When: when, Why: why, Count: n}
	if percent {
		h.rule.Count, h.rule.Percent = 0, uint32(n)
	}
	return nil
}
