package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// smallStdin rides in the request, and from there in the Spec; more is uploaded
// first, which costs less than base64.
const smallStdin = protocol.MaxInline

// runFlags are the flags of 'spare run'.
type runFlags struct {
	local, remote   bool
	on              string
	where           wishes
	replicas        quantity
	quorum          quantity
	verify          choice
	env             environment
	timeout         quantity
	mem, output     quantity
	gas             quantity
	fileBytes       quantity
	files           quantity
	seed            seed
	inputs          []string
	outputDir       string
	noStdin, detach bool
}

func newRunFlags() runFlags {
	return runFlags{
		replicas:  quantity{counts, 1, 1, protocol.MaxReplicas},
		quorum:    quantity{counts, 0, 0, protocol.MaxReplicas},
		verify:    choice{of: []string{"off", "auto", "strict"}},
		timeout:   quantity{times, uint64(protocol.DefaultWall), uint64(time.Millisecond), uint64(protocol.MaxWall)},
		mem:       quantity{sizes, protocol.DefaultMemory, protocol.PageSize, protocol.MaxMemory},
		output:    quantity{sizes, protocol.DefaultOutput, 1, protocol.MaxOutput},
		gas:       quantity{gases, protocol.DefaultGas, 1, protocol.MaxGas},
		fileBytes: quantity{sizes, protocol.DefaultFileBytes, 1, protocol.MaxFileBytes},
		files:     quantity{counts, protocol.DefaultFiles, 1, protocol.MaxFiles},
	}
}

func newRun(h *home) *cobra.Command {
	f := newRunFlags()
	cmd := &cobra.Command{
		Use:   "run [flags] PROGRAM [-- ARG...]",
		Short: "Run a program and exit as it does",
		Long: fmt.Sprintf(`Run a program, as WebAssembly with WASI, on a nearby idle peer, or here when that
is quicker.

PROGRAM is a module (.wasm) or what becomes one: a directory or a file of Go,
DIR/... with one program below it, a file in C (.c), C++ (.cc, .cpp, .cxx; no
exceptions) or Rust (.rs), built by the go, clang ($CLANG_WASI) or rustc ($RUSTC)
that is installed here; or a script, such as .py, for which 'spare runtime' has
what runs it. A script is one file: what else it imports goes along with -i.

stdin is read to its end first, unless it is a terminal; stdout and stderr are
the program's as it writes them. Flags up to -- are spare's; everything after
it is the program's, and so are words before it that are no flags.

It sees no files but those given with -i, below /in, and may write below /out;
-O has what it leaves there written to a directory here, in which it replaces
files of the same names, when it has ended by itself.

It gets at most %d args and as many variables, and %s of either.

The exit status is the program's own (its lowest eight bits; 255 when those of
a failure are 0), or:
    2  the command line cannot be
  124  its time is over          125  spare, the network or a limit failed it
  126  it is no valid program, or cannot be built here
  127  not found
  134  it trapped                130  Ctrl-C: the task goes on, a second one within a second cancels it`, protocol.MaxArgs-1, protocol.SizeText(protocol.MaxArgBytes)),
		Example: `  echo hello | spare run --remote wordcount.wasm
  spare run ./cmd/tally -i notes.txt -- /in/notes.txt
  spare run script.py -i helper.py --timeout 1m -- an-arg
  spare run resize.wasm -i photos:/in -O small -- --width 800`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) == 0 || dash == 0 {
				return usage(cmd, "PROGRAM is missing")
			}
			if args[0] == "" {
				return usage(cmd, "PROGRAM is empty")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := h.node()
			if err != nil {
				return err
			}
			in, err := f.submission(cmd, args)
			if err != nil {
				return err
			}
			p, err := findProgram(*h, args[0])
			if err != nil {
				return err
			}
			if err := p.into(in); err != nil {
				return err
			}
			// A pipe may stay open for long, inputs be large, and building
			// take its time: what can fail before should.
			if err := c.Reach(cmd.Context()); err != nil {
				return err
			}
			files, err := gatherInputs(slices.Concat(p.inputs, f.inputs), f.limits(), fetching(cmd.Context(), c))
			if err != nil {
				return err
			}
			module, err := p.made(cmd.Context())
			if err != nil {
				return err
			}
			if in.Inputs, err = prepareInputs(files, f.limits()); err != nil {
				return err
			}
			var out *outputDir
			if f.outputDir != "" {
				if out, err = openOutputDir(f.outputDir); err != nil {
					return err
				}
				defer out.close()
			}
			if err := uploadInputs(cmd.Context(), c, files, in.Inputs); err != nil {
				return err
			}
			if !f.noStdin {
				if in.Stdin, err = spoolStdin(cmd.Context(), c, os.Stdin); err != nil {
					return err
				}
			}
			if f.detach {
				t, err := c.Submit(cmd.Context(), in, module)
				if err != nil {
					return err
				}
				if _, err = fmt.Fprintln(cmd.OutOrStdout(), t.ID); err != nil {
					return protocol.Errorf(protocol.CodeFile, "cannot write the ID of task %s: %v", t.ID, err).
						WithHint("it runs all the same; 'spare cancel %s' ends it", t.ID)
				}
				return nil
			}
			return runAttached(cmd.Context(), *h, c, in, module, out)
		},
	}
	cmd.SetFlagErrorFunc(unknownFlag)
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.outputDir, "output-dir", "O", "", "the `DIR` for what it leaves below /out, made when it is not there")
	flags.BoolVarP(&f.noStdin, "no-stdin", "n", false, "give the program an empty stdin")
	flags.BoolVarP(&f.detach, "detach", "d", false, "print the task's ID and do not wait")
	return cmd
}

// unknownFlag says where flags that are the program's go.
func unknownFlag(cmd *cobra.Command, err error) error {
	if !strings.HasPrefix(err.Error(), "unknown ") || nearFlag(cmd, err) != "" {
		return flagError(cmd, err)
	}
	return protocol.Errorf(protocol.CodeUsage, "%v", err).WithHint("arguments of the program go after --; see '%s --help'", cmd.CommandPath())
}

// add gives cmd the flags that say what a task is and where it may run.
func (f *runFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.local, "local", false, "only on this node")
	flags.BoolVar(&f.remote, "remote", false, "never on this node")
	flags.StringVar(&f.on, "on", "", "only on the `PEER` whose ID begins so")
	flags.Var(&f.where, "where", "only where the label is so: site=berlin, site!=berlin, or site with any value (repeatable: all of them)")
	flags.Var(&f.replicas, "replicas", fmt.Sprintf("distinct peers to run it on, `N` at most %d; the first valid result wins", protocol.MaxReplicas))
	flags.Var(&f.quorum, "quorum", "so many of them must give the same result, `Q`, before any is shown")
	flags.Var(&f.verify, "verify", "compare results without a quorum: auto is as often as a peer's past makes necessary (default off, or as config.toml says)")
	flags.Var(&f.env, "env", "a variable for the program, which inherits nothing (repeatable)")
	flags.Var(&f.timeout, "timeout", "the program's wall time, each attempt")
	flags.Var(&f.mem, "mem", "the program's memory")
	flags.Var(&f.output, "output-limit", "stdout and stderr together")
	flags.Var(&f.gas, "gas", "the program's instructions, about, such as 1e9 or 2T")
	flags.Var(&f.fileBytes, "file-bytes", "all its files together, inputs included")
	flags.Var(&f.files, "files", "its files and directories, `N`, inputs included")
	flags.StringArrayVarP(&f.inputs, "input", "i", nil, "`FILE[:/in/NAME]`, DIR[:/in/NAME] or CID[:/in/NAME] for the program to read (repeatable)")
	flags.Var(&f.seed, "seed", "equal runs with equal seeds are equal (default 0)")
}

func (f *runFlags) submission(cmd *cobra.Command, args []string) (*api.Submission, error) {
	in := &api.Submission{
		Name: filepath.Base(args[0]),
		Args: args[1:],
		Env:  f.env,
		Limits: api.Limits{
			MemoryBytes: f.mem.n,
			OutputBytes: f.output.n,
			WallMS:      f.timeout.n / uint64(time.Millisecond),
			Gas:         f.gas.n,
			FileBytes:   f.fileBytes.n,
			Files:       uint32(f.files.n),
		},
		Seed:  uint64(f.seed),
		Terms: api.Terms{Replicas: uint32(max(f.replicas.n, f.quorum.n)), Quorum: uint32(f.quorum.n), Verify: f.verify.word, Labels: f.where, On: f.on, Detached: f.detach},
	}
	verified := f.verify.word == "auto" || f.verify.word == "strict"
	switch {
	case f.local && f.remote:
		return nil, usage(cmd, "--local and --remote exclude each other")
	case f.local && f.on != "":
		return nil, usage(cmd, "--local and --on exclude each other")
	case f.quorum.n > 1 && verified:
		return nil, usage(cmd, "--quorum and --verify exclude each other")
	case f.on != "" && verified:
		return nil, usage(cmd, "--verify %s wants results of several peers, --on only one", f.verify.word)
	case cmd.Flags().Changed("on") && f.on == "":
		return nil, usage(cmd, "--on is empty")
	case cmd.Flags().Changed("replicas") && f.quorum.n > f.replicas.n:
		return nil, usage(cmd, "--quorum %d cannot be had of %d replicas", f.quorum.n, f.replicas.n)
	case in.Terms.Replicas > 1 && (f.local || f.on != ""):
		return nil, usage(cmd, "--replicas and --quorum want distinct peers, --local and --on only one")
	case cmd.Flags().Changed("output-dir") && f.outputDir == "":
		return nil, usage(cmd, "-O is empty")
	case f.detach && f.outputDir != "":
		return nil, protocol.Errorf(protocol.CodeUsage, "-d does not wait for the files that -O is for").
			WithHint("'spare get TASK -O DIR' writes them when it has ended")
	case f.local:
		in.Terms.Where = "local"
	case f.remote:
		in.Terms.Where = "remote"
	}
	return in, in.CheckWords()
}

// limits are those of the task that its files must keep to.
func (f *runFlags) limits() *protocol.Limits {
	l := protocol.DefaultLimits()
	l.FileBytes, l.Files = f.fileBytes.n, uint32(f.files.n)
	return l
}

// spoolStdin reads stdin to its end and gives it to the node, large ones
// without holding them here. A terminal means empty.
func spoolStdin(ctx context.Context, c *client.Client, stdin *os.File) (api.Bytes, error) {
	info, err := stdin.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice != 0 {
		return api.Bytes{}, nil // closed, a terminal, or /dev/null
	}
	// What is known to be too large need not be read.
	if at, err := stdin.Seek(0, io.SeekCurrent); err == nil && info.Mode().IsRegular() && info.Size()-at > protocol.MaxBlob {
		has, most := protocol.Apart(protocol.SizeText, " bytes", uint64(info.Size()-at), protocol.MaxBlob)
		return api.Bytes{}, protocol.Errorf(protocol.CodeBadRequest, "stdin has %s; it is limited to %s, and so are a module and an input", has, most).
			WithHint("cut the input into pieces and run one task for each")
	}
	head, err := io.ReadAll(io.LimitReader(stdin, smallStdin+1))
	if err != nil {
		return api.Bytes{}, protocol.Errorf(protocol.CodeFile, "cannot read stdin: %v", err).WithHint("-n gives the program an empty one")
	}
	if len(head) <= smallStdin {
		return api.Bytes{Data: head}, nil
	}
	ref, err := c.PutBlob(ctx, io.MultiReader(bytes.NewReader(head), stdin))
	if err != nil {
		return api.Bytes{}, err
	}
	return api.Bytes{Digest: ref.Digest}, nil
}
