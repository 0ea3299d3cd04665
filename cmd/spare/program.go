package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// program is what the PROGRAM of a command line stands for.
type program struct {
	name   string
	args   []string // before the user's own
	inputs []string // as -i has them
	// module reads, builds or fetches the module, which may take long.
	module func(context.Context) ([]byte, error)
}

// findProgram finds out what path stands for: a module, Go, C, C++ or Rust to be
// built, or a script for one of the home's runtimes. It is quick, and tells all
// that can be told without building.
func findProgram(h home, path string) (*program, error) {
	if dir, ok := goPattern(path); ok {
		if _, err := os.Stat(dir); err == nil {
			return goProgram(path)
		}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, protocol.Errorf(protocol.CodeNotFound, "there is no file %s", path).WithHint("give the path of a .wasm file, or of a program as 'spare run --help' has them")
	case err == nil && info.IsDir():
		return goProgram(path)
	case err == nil && !info.Mode().IsRegular():
		return nil, protocol.Errorf(protocol.CodeFile, "%s is not a file", path).WithHint("give the path of a .wasm file")
	}
	var head []byte
	if err == nil {
		head, err = headOf(path)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	p := &program{name: filepath.Base(path)}
	ending := endingOf(path)
	switch {
	case isModule(head):
	case ending == ".go":
		return goProgram(path)
	case slices.Contains(builtEndings(), ending):
		return compiled(path, ending)
	default:
		i, err := interpreterFor(h, ending)
		if err != nil {
			return nil, err
		}
		if i != nil {
			return i.program(h, path)
		}
		if isScript(ending, head) {
			return nil, noInterpreter(path, ending)
		}
		return nil, notAProgram(path, head)
	}
	p.module = func(context.Context) ([]byte, error) { return readModule(path) }
	return p, nil
}

// endingOf is by what a program is told: .py of script.py.
func endingOf(path string) string { return strings.ToLower(filepath.Ext(path)) }

// magic begins every WebAssembly module.
const magic = "\x00asm"

func isModule(b []byte) bool { return bytes.HasPrefix(b, []byte(magic)) }

// isScript reports whether a file that is no module wants an interpreter.
func isScript(ending string, head []byte) bool {
	return bytes.HasPrefix(head, []byte("#!")) ||
		slices.Contains([]string{".py", ".js", ".mjs", ".ts", ".lua", ".rb", ".php", ".pl", ".sh"}, ending)
}

// notAProgram says why a file is none that runs here, and what would be.
func notAProgram(path string, head []byte) error {
	const what = "spare runs WASI preview 1 modules (.wasm), and Go, C, C++, Rust and scripts as 'spare run --help' has them"
	if slices.ContainsFunc([]string{"\x7fELF", "MZ", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe"}, func(magic string) bool { return bytes.HasPrefix(head, []byte(magic)) }) {
		return protocol.Errorf(protocol.CodeBadModule, "%s is a program for one kind of machine, which cannot run in the sandbox", path).
			WithHint("build it for WASI, as 'GOOS=wasip1 GOARCH=wasm go build' or 'clang --target=wasm32-wasi' do; " + what)
	}
	return protocol.Errorf(protocol.CodeBadModule, "%s is not a WebAssembly module", path).WithHint(what)
}

// headOf returns the first bytes of a file, as many as begin a module.
func headOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, len(magic))
	n, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:n], err
}

func unreadable(err error) error {
	return protocol.Errorf(protocol.CodeFile, "cannot read the program: %v", err).WithHint("give the path of a .wasm file that you may read")
}

func readModule(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > protocol.MaxBlob {
		return nil, protocol.Errorf(protocol.CodeFile, "%s has %s, at most %s work", path, protocol.SizeText(uint64(info.Size())), protocol.SizeText(protocol.MaxBlob))
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	return b, nil
}

// into makes a submission one of the program.
func (p *program) into(in *api.Submission) error {
	in.Name, in.Args = p.name, slices.Concat(p.args, in.Args)
	return in.CheckWords()
}

// made returns the program's module. A signal ends what makes it, so that
// nothing is left behind.
func (p *program) made(ctx context.Context) ([]byte, error) {
	watched, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	module, err := p.module(watched)
	if watched.Err() != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "spare: interrupted before anything was submitted")
		return nil, status(protocol.ExitDetached)
	}
	return module, err
}

// whileLong says on w what goes on when it takes longer than people wait
// without wondering; it is over when stop is called.
func whileLong(w io.Writer, format string, args ...any) (stop func()) {
	var mu sync.Mutex
	over := false
	timer := time.AfterFunc(quiet, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			fmt.Fprintf(w, "spare: %s\n", protocol.SafeText(fmt.Sprintf(format, args...)))
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
	}
}
