package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// smallStdin rides in the request, and from there in the Spec; more is uploaded
// first, which costs less than base64.
const smallStdin = protocol.MaxInline

// runFlags are the flags of 'spare run'.
type runFlags struct {
	local, remote   bool
	on              string
	replicas        uint32
	quorum          uint32
	verify          string
	env             []string
	timeout         time.Duration
	mem, output     byteSize
	gas             gasAmount
	fileBytes       byteSize
	files           uint32
	seed            string
	inputs          []string
	outputDir       string
	noStdin, detach bool
}

func newRun(h *home) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] PROGRAM [flags] [-- ARG...]",
		Short: "Run a WASI program and exit as it does",
		Long: `Run a WASI program on a nearby idle peer, or here when that is quicker.

stdin is read to its end first, unless it is a terminal; stdout and stderr are
the program's as it writes them. Flags up to -- are spare's; everything after
it is the program's.

It sees no files but those given with -i, below /in, and may write below /out;
-O has what it leaves there written to a directory here, in which it replaces
files of the same names, when it has ended by itself.

The exit status is the program's own, or:
  124  its time is over          125  spare, the network or a limit failed it
  126  it is no valid program    127  not found
  134  it trapped                130  Ctrl-C: the task goes on, a second one within a second cancels it`,
		Example: `  echo hello | spare run --remote wordcount.wasm
  spare run python.wasm --timeout 1m -- -c 'print(6*7)'
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
			module, err := readProgram(args[0])
			if err != nil {
				return err
			}
			// A pipe may stay open for long, and inputs be large: what can
			// fail before they are read to their end should.
			if err := c.Reach(cmd.Context()); err != nil {
				return err
			}
			files, err := gatherInputs(f.inputs, f.limits())
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
				_, err = fmt.Fprintln(cmd.OutOrStdout(), t.ID)
				return err
			}
			return runAttached(cmd.Context(), c, in, module, out)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if !strings.HasPrefix(err.Error(), "unknown ") {
			return usage(cmd, "%v", err)
		}
		return protocol.Errorf(protocol.CodeUsage, "%v", err).WithHint("arguments of the program go after --; see '%s --help'", cmd.CommandPath())
	})
	flags := cmd.Flags()
	flags.BoolVar(&f.local, "local", false, "only on this node")
	flags.BoolVar(&f.remote, "remote", false, "never on this node")
	flags.StringVar(&f.on, "on", "", "only on the `PEER` whose ID begins so")
	flags.Uint32Var(&f.replicas, "replicas", 1, fmt.Sprintf("distinct peers to run it on, `N` at most %d; the first valid result wins", protocol.MaxReplicas))
	flags.Uint32Var(&f.quorum, "quorum", 0, "so many of them must give the same result, `Q`, before any is shown")
	flags.StringVar(&f.verify, "verify", "default", "compare results without a quorum: off, `auto` (as often as a peer's past makes necessary) or strict")
	flags.StringArrayVar(&f.env, "env", nil, "`NAME=value` for the program, which inherits nothing (repeatable)")
	flags.DurationVar(&f.timeout, "timeout", 0, fmt.Sprintf("the program's wall time, each attempt (default %s)", protocol.DefaultWall))
	flags.Var(&f.mem, "mem", fmt.Sprintf("the program's memory (default %s)", size(protocol.DefaultMemory)))
	flags.Var(&f.output, "output-limit", fmt.Sprintf("stdout and stderr together (default %s)", size(protocol.DefaultOutput)))
	flags.Var(&f.gas, "gas", fmt.Sprintf("the program's instructions, about, such as 1e9 or 2T (default %s)", amount(protocol.DefaultGas)))
	flags.Var(&f.fileBytes, "file-bytes", fmt.Sprintf("all its files together, inputs included (default %s)", size(protocol.DefaultFileBytes)))
	flags.Uint32Var(&f.files, "files", protocol.DefaultFiles, "its files and directories, `N`, inputs included")
	flags.StringArrayVarP(&f.inputs, "input", "i", nil, "`FILE[:/in/NAME]` or DIR[:/in/NAME] for the program to read (repeatable)")
	flags.StringVarP(&f.outputDir, "output-dir", "O", "", "the `DIR` for what it leaves below /out, made when it is not there")
	flags.StringVar(&f.seed, "seed", "0", "a `NUMBER`, or random; equal runs with equal seeds are equal")
	flags.BoolVarP(&f.noStdin, "no-stdin", "n", false, "give the program an empty stdin")
	flags.BoolVarP(&f.detach, "detach", "d", false, "print the task's ID and do not wait")
	return cmd
}

func (f *runFlags) submission(cmd *cobra.Command, args []string) (*api.Submission, error) {
	in := &api.Submission{
		Name: filepath.Base(args[0]),
		Args: args[1:],
		Env:  f.env,
		Limits: api.Limits{
			MemoryBytes: uint64(f.mem),
			OutputBytes: uint64(f.output),
			WallMS:      uint64(f.timeout.Milliseconds()),
			Gas:         uint64(f.gas),
			FileBytes:   uint64(f.fileBytes),
			Files:       f.files,
		},
		Terms: api.Terms{Replicas: max(f.replicas, f.quorum), Quorum: f.quorum, On: f.on, Detached: f.detach},
	}
	switch {
	case f.local && f.remote:
		return nil, usage(cmd, "--local and --remote exclude each other")
	case f.local && f.on != "":
		return nil, usage(cmd, "--local and --on exclude each other")
	case f.local:
		in.Terms.Where = "local"
	case f.remote:
		in.Terms.Where = "remote"
	}
	if cmd.Flags().Changed("verify") {
		verify, err := protocol.ParseVerify(f.verify)
		if err != nil {
			return nil, usage(cmd, "--verify must be off, auto or strict, not %q", f.verify)
		}
		in.Terms.Verify = verify.Word()
		if f.quorum > 1 && verify > protocol.VerifyOff {
			return nil, usage(cmd, "--quorum and --verify exclude each other")
		}
	}
	switch {
	case cmd.Flags().Changed("on") && f.on == "":
		return nil, usage(cmd, "--on is empty")
	case f.replicas < 1 || f.replicas > protocol.MaxReplicas:
		return nil, usage(cmd, "--replicas must be 1 to %d", protocol.MaxReplicas)
	case f.quorum > protocol.MaxReplicas:
		return nil, usage(cmd, "--quorum must be 1 to %d", protocol.MaxReplicas)
	case cmd.Flags().Changed("replicas") && f.quorum > f.replicas:
		return nil, usage(cmd, "--quorum %d cannot be had of %d replicas", f.quorum, f.replicas)
	case in.Terms.Replicas > 1 && (f.local || f.on != ""):
		return nil, usage(cmd, "--replicas and --quorum want distinct peers, --local and --on only one")
	case cmd.Flags().Changed("timeout") && f.timeout < time.Millisecond:
		return nil, usage(cmd, "--timeout must be 1ms or more")
	case f.timeout > protocol.MaxWall:
		return nil, usage(cmd, "--timeout must be %s or less", protocol.MaxWall)
	case cmd.Flags().Changed("mem") && f.mem < protocol.PageSize:
		return nil, usage(cmd, "--mem must be %s or more", size(protocol.PageSize))
	case uint64(f.mem) > protocol.MaxMemory:
		return nil, usage(cmd, "--mem must be %s or less", size(protocol.MaxMemory))
	case cmd.Flags().Changed("output-limit") && f.output == 0:
		return nil, usage(cmd, "--output-limit must be 1 B or more")
	case uint64(f.output) > protocol.MaxOutput:
		return nil, usage(cmd, "--output-limit must be %s or less", size(protocol.MaxOutput))
	case cmd.Flags().Changed("gas") && f.gas == 0:
		return nil, usage(cmd, "--gas must be 1 or more")
	case f.gas > protocol.MaxGas:
		return nil, usage(cmd, "--gas must be %d or less", uint64(protocol.MaxGas))
	case cmd.Flags().Changed("file-bytes") && f.fileBytes == 0:
		return nil, usage(cmd, "--file-bytes must be 1 B or more")
	case f.fileBytes > protocol.MaxFileBytes:
		return nil, usage(cmd, "--file-bytes must be %s or less", size(protocol.MaxFileBytes))
	case f.files < 1 || f.files > protocol.MaxFiles:
		return nil, usage(cmd, "--files must be 1 to %d", protocol.MaxFiles)
	case cmd.Flags().Changed("output-dir") && f.outputDir == "":
		return nil, usage(cmd, "-O is empty")
	case f.detach && f.outputDir != "":
		return nil, protocol.Errorf(protocol.CodeUsage, "-d does not wait for the files that -O is for").
			WithHint("'spare get TASK -O DIR' writes them when it has ended")
	}
	for _, kv := range f.env {
		if strings.IndexByte(kv, '=') < 1 {
			return nil, usage(cmd, "--env %q is not NAME=value", kv)
		}
	}
	if f.seed == "random" {
		var b [8]byte
		rand.Read(b[:])
		in.Seed = binary.NativeEndian.Uint64(b[:])
		return in, nil
	}
	var err error
	if in.Seed, err = strconv.ParseUint(f.seed, 10, 64); err != nil {
		return nil, usage(cmd, "--seed %q is neither a number nor random", f.seed)
	}
	return in, nil
}

// limits are those of the task that its files must keep to.
func (f *runFlags) limits() *protocol.Limits {
	l := protocol.DefaultLimits()
	l.FileBytes = cmp.Or(uint64(f.fileBytes), l.FileBytes)
	l.Files = f.files
	return l
}

func readProgram(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, protocol.Errorf(protocol.CodeNotFound, "there is no file %s", path).WithHint("give the path of a .wasm file")
	case err == nil && !info.Mode().IsRegular():
		return nil, protocol.Errorf(protocol.CodeFile, "%s is not a file", path).WithHint("give the path of a .wasm file")
	case err == nil && info.Size() > protocol.MaxBlob:
		return nil, protocol.Errorf(protocol.CodeFile, "%s has %s, at most %s work", path, size(uint64(info.Size())), size(protocol.MaxBlob))
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeFile, "cannot read the program: %v", err)
	}
	return b, nil
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
		return api.Bytes{}, protocol.Errorf(protocol.CodeBadRequest, "stdin has %s; it is limited to %s, and so are a module and an input",
			size(uint64(info.Size()-at)), size(protocol.MaxBlob)).WithHint("cut the input into pieces and run one task for each")
	}
	head, err := io.ReadAll(io.LimitReader(stdin, smallStdin+1))
	if err != nil {
		return api.Bytes{}, protocol.Errorf(protocol.CodeFile, "cannot read stdin: %v", err)
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
