package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	goversion "go/version"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spare-network/spare/protocol"
)

// builtEndings are those of the files that are built.
func builtEndings() []string { return []string{".go", ".c", ".cc", ".cpp", ".cxx", ".rs"} }

// afterInterrupt is how long a compiler that was told to end may take.
const afterInterrupt = 5 * time.Second

// goPattern returns the directory before /..., and whether there is one.
func goPattern(path string) (dir string, ok bool) {
	dir, ok = strings.CutSuffix(filepath.ToSlash(path), "/...")
	return cmp.Or(dir, "/"), ok
}

// goProgram is the Go program of a directory, of the only one below DIR/..., or
// of one file.
func goProgram(path string) (*program, error) {
	dir, pkg := path, "."
	below, isPattern := goPattern(path)
	switch {
	case isPattern:
		dir, pkg = below, "./..."
	case endingOf(path) == ".go" && !isDir(path):
		dir, pkg = filepath.Dir(path), "./"+filepath.Base(path)
	default:
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, unreadable(err)
		}
		if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return endingOf(e.Name()) == ".go" }) {
			return nil, noGo(dir)
		}
	}
	whole, err := filepath.Abs(path)
	if err != nil {
		return nil, unreadable(err)
	}
	if isPattern {
		whole = filepath.Dir(whole)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, noGoCommand(path, "it is not there")
	}
	b := builder{path: path, dir: dir, env: []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, stderr: os.Stderr}
	return &program{name: filepath.Base(whole), module: func(ctx context.Context) ([]byte, error) {
		if isPattern {
			var err error
			if pkg, err = b.onlyMain(ctx); err != nil {
				return nil, err
			}
		}
		// Neither where it was built nor the state of the repository is to show,
		// so that equal sources make equal modules.
		module, err := b.build(ctx, []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"}, pkg)
		if protocol.CodeOf(err) == protocol.CodeBuild {
			// One that is too old says so in words of its own.
			if said, failed := b.command(ctx, "go", "env", "GOVERSION").Output(); failed == nil && goversion.Compare(strings.TrimSpace(string(said)), "go1.21") < 0 {
				return nil, noGoCommand(path, "it is "+strings.TrimSpace(string(said)))
			}
		}
		return module, err
	}}, nil
}

func noGoCommand(path, why string) error {
	return protocol.Errorf(protocol.CodeToolchain, "%s needs the go command, 1.21 or newer: %s", path, why).
		WithHint("install Go (Debian 13: apt-get install golang-go), or build a .wasm file elsewhere with 'GOOS=wasip1 GOARCH=wasm go build'")
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func noGo(dir string) error {
	err := protocol.Errorf(protocol.CodeFile, "%s is a directory without a Go program", dir)
	if _, absent := os.Stat(filepath.Join(dir, "Cargo.toml")); absent == nil {
		return err.WithHint("spare does not call cargo: run 'cargo build --release --target wasm32-wasip1' and give the .wasm file below target/")
	}
	return err.WithHint("give the path of a .wasm file, of a directory with a Go program, or of a file that is a program")
}

// compiled is the program of one file in C, C++ or Rust.
func compiled(path, ending string) (*program, error) {
	find := clang
	if ending == ".rs" {
		find = rustc
	}
	words, probe, missing := find(path, ending)
	if missing != nil {
		return nil, missing
	}
	// In the file's directory, so that where spare was called from does not show.
	b := builder{path: path, dir: filepath.Dir(path), stderr: os.Stderr}
	return &program{name: filepath.Base(path), module: func(ctx context.Context) ([]byte, error) {
		module, err := b.build(ctx, words, "./"+filepath.Base(path))
		if protocol.CodeOf(err) == protocol.CodeBuild && ctx.Err() == nil && !builds(ctx, words, "probe"+ending, probe) {
			return nil, noToolchain(path, ending, fmt.Sprintf("%s cannot build even an empty program", words[0]))
		}
		return module, err
	}}, nil
}

// stackSize is that of a program's first thread on Linux, in bytes.
const stackSize = "8388608"

// clang is how a file in C or C++ is built: Debian's clang finds the headers and
// libraries of WASI by itself, and $CLANG_WASI may be another with its options.
// The stack is below the data, so that a program that overflows it traps; clang's
// own 64 KiB grow into the data.
func clang(path, ending string) (words []string, probe string, missing error) {
	words = strings.Fields(os.Getenv("CLANG_WASI"))
	if len(words) == 0 {
		words = []string{"clang", "--target=wasm32-wasi"}
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return nil, "", noToolchain(path, ending, words[0]+" is not there")
	}
	words = append(words, "-O2", "-Wl,--strip-all,--stack-first,-z,stack-size="+stackSize)
	for _, what := range []string{"signal", "process-clocks", "mman", "getpid"} { // which people take for granted
		words = append(words, "-D_WASI_EMULATED_"+strings.ToUpper(strings.ReplaceAll(what, "-", "_")), "-lwasi-emulated-"+what)
	}
	if ending == ".c" {
		return words, "#include <stdio.h>\nint main(void) { return puts(\"\"); }\n", nil
	}
	return append(words, "--driver-mode=g++", "-std=gnu++20", "-fno-exceptions"), "#include <iostream>\nint main() { std::cout << 1; }\n", nil
}

// rustc is how a file in Rust is built, for the target of WASI that is installed;
// $RUSTC may be another compiler.
func rustc(path, ending string) (words []string, probe string, missing error) {
	name := cmp.Or(os.Getenv("RUSTC"), "rustc")
	if _, err := exec.LookPath(name); err != nil {
		return nil, "", noToolchain(path, ending, name+" is not there")
	}
	for _, target := range []string{"wasm32-wasip1", "wasm32-wasi"} { // the second is what it was called up to 1.77
		libraries, err := exec.Command(name, "--print", "target-libdir", "--target", target).Output() // fails when it knows no such target
		if err == nil && isDir(strings.TrimSpace(string(libraries))) {
			return []string{name, "--edition=2021", "--target=" + target, "-O", "-Cstrip=symbols", "-Clink-arg=-zstack-size=" + stackSize}, "fn main() { println!(); }\n", nil
		}
	}
	return nil, "", noToolchain(path, ending, name+" has no such target")
}

// noToolchain says what builds files of an ending, and how to get it.
func noToolchain(path, ending, why string) error {
	needs, hint := "clang for wasm32-wasi with wasi-libc", "Debian: apt-get install clang lld wasi-libc libclang-rt-dev-wasm32; or name another as in CLANG_WASI='clang --target=wasm32-wasi'"
	switch ending {
	case ".c":
	case ".rs":
		needs, hint = "rustc with the wasm32-wasip1 target", "rustup target add wasm32-wasip1; or Debian: apt-get install rustc libstd-rust-dev-wasm32 lld; or name another rustc with RUSTC"
	default:
		needs += " and libc++"
		hint = strings.Replace(hint, "dev-wasm32;", "dev-wasm32 libc++-dev-wasm32;", 1)
	}
	return protocol.Errorf(protocol.CodeToolchain, "%s needs %s: %s", path, needs, why).WithHint("%s", hint)
}

// builds reports whether the words build a program that cannot fail but for
// what is not installed.
func builds(ctx context.Context, words []string, name, text string) bool {
	dir, err := os.MkdirTemp("", "spare-probe-")
	if err != nil {
		return true // it says nothing about the toolchain
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		return true
	}
	b := builder{path: name, dir: dir, stderr: io.Discard}
	_, err = b.build(ctx, words, name)
	return err == nil
}

// builder runs what makes a module of the program at path.
type builder struct {
	path   string
	dir    string // where it is run
	env    []string
	stderr io.Writer
}

func (b *builder) command(ctx context.Context, words ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr = b.dir, append(os.Environ(), b.env...), b.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = afterInterrupt
	return cmd
}

// build has the compiler that words begin make a module of source, and returns
// it. Its messages go to stderr as they are.
func (b *builder) build(ctx context.Context, words []string, source string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "spare-build-")
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeFile, "cannot build %s: %v", b.path, err).WithHint("TMPDIR names a directory to build in")
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is the system's to clear
	out := filepath.Join(dir, "program.wasm")
	stop := whileLong(b.stderr, "building %s with %s", b.path, words[0])
	cmd := b.command(ctx, slices.Concat(words, []string{"-o", out, source})...)
	cmd.Stdout = b.stderr // nothing but the program's own may be on stdout
	err = cmd.Run()
	stop()
	if err != nil {
		return nil, b.failed(words[0], err)
	}
	module, err := readModule(out)
	if err != nil {
		return nil, err
	}
	if !isModule(module) {
		return nil, protocol.Errorf(protocol.CodeBuild, "%s is no program: it is of a Go package that is not main", b.path).WithHint("give the directory of a package main")
	}
	return module, nil
}

func (b *builder) failed(compiler string, err error) error {
	e := protocol.Errorf(protocol.CodeBuild, "%s cannot be built: %s: %v", b.path, compiler, err)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		e = protocol.Errorf(protocol.CodeBuild, "%s cannot be built: %s ended with %v", b.path, compiler, exit)
	}
	switch {
	case compiler != "go":
		return e.WithHint("its messages are above; a program of several files is built by its own means, and given as the .wasm file")
	case endingOf(b.path) == ".go":
		return e.WithHint("its messages are above; a package of several files is given by its directory")
	default:
		return e.WithHint("its messages are above; a directory that is in no module yet becomes one with 'go mod init NAME'")
	}
}

// onlyMain returns the one main package below the directory.
func (b *builder) onlyMain(ctx context.Context) (string, error) {
	out := new(strings.Builder)
	cmd := b.command(ctx, "go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./...")
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		return "", b.failed("go", err)
	}
	switch found := strings.Fields(out.String()); len(found) {
	case 0:
		return "", protocol.Errorf(protocol.CodeBuild, "there is no Go program below %s", b.dir).WithHint("a program is a package main")
	case 1:
		return found[0], nil
	default:
		return "", protocol.Errorf(protocol.CodeBuild, "%s are %d programs: %s", b.path, len(found), strings.Join(found, ", ")).WithHint("give the directory of one")
	}
}
