package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/node/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.WorkerMain()
	if err := os.Setenv("TZ", "UTC"); err != nil { // before the first time is shown
		panic(err)
	}
	testscript.Main(m, map[string]func(){"spare": main})
}

// TestTranscripts runs the scripts in testdata. Besides the commands of
// testscript they have
//
//	serve                 start a stand-in for a node in $SPARE_HOME
//	wasm FILE WORDS...    write a program for it, see apitest.Module
//	break                 take a layer of the stand-in's sandbox away
//	alone                 take the stand-in's neighbour away
//	puts N                the stand-in has stored N blobs so far
//	large FILE N          write a file of N bytes
//	exits N COMMAND...    run a command that ends with status N
//	ready                 wait for the real node in $SPARE_HOME
//	program FILE          write a real program that exits with status 7
//	say FILE              write a real program that writes its args, parted by |,
//	                      and its stdin; with ! for the first arg it exits with status 3
//	toolchains            let compilers find what they keep outside of the script
//
// and the condition [builds:.c], true if files of that ending can be built here.
func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			tb, ok := env.T().(testing.TB)
			if !ok {
				return errors.New("testscript has a T of its own")
			}
			home := apitest.Home(tb)
			env.Setenv("SPARE_HOME", home)
			env.Setenv("TZ", "UTC")
			spare, err := exec.LookPath("spare") // for scripts that have another PATH
			if err != nil {
				return err
			}
			env.Setenv("SPARE", spare)
			// A node without the race detector compiles in a third of the time.
			env.Setenv("NODE", cmp.Or(os.Getenv("SPARE_BIN"), spare))
			// Or each process that ends well sleeps for a second under -race.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Values["test"], env.Values["node"] = tb, apitest.New(tb.TempDir())
			return nil
		},
		Condition: func(cond string) (bool, error) {
			ending, ok := strings.CutPrefix(cond, "builds:")
			if !ok {
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			return canBuild(t.Context(), ending), nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":      serve,
			"break":      func(ts *testscript.TestScript, _ bool, _ []string) { standIn(ts).Break() },
			"alone":      func(ts *testscript.TestScript, _ bool, _ []string) { standIn(ts).SetAlone(true) },
			"puts":       puts,
			"large":      large,
			"wasm":       writeModule,
			"exits":      exits,
			"ready":      ready,
			"toolchains": toolchains,
			"program": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(exitSeven), 0o600))
			},
			"say": func(ts *testscript.TestScript, _ bool, args []string) {
				b, err := base64.StdEncoding.DecodeString(say)
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
			},
		},
	})
}

func serve(ts *testscript.TestScript, _ bool, _ []string) {
	tb, ok := ts.Value("test").(testing.TB)
	if !ok {
		ts.Fatalf("Setup has left no test")
	}
	apitest.Serve(tb, standIn(ts), ts.Getenv("SPARE_HOME"))
}

// standIn returns the script's stand-in for a node.
func standIn(ts *testscript.TestScript) *apitest.Node {
	n, ok := ts.Value("node").(*apitest.Node)
	if !ok {
		ts.Fatalf("Setup has left no node")
	}
	return n
}

// toolchains gives the script what it has no home directory for.
func toolchains(ts *testscript.TestScript, _ bool, _ []string) {
	said, err := exec.Command("go", "env", "-json", "GOCACHE", "GOMODCACHE", "GOPROXY").Output()
	ts.Check(err)
	env := make(map[string]string)
	ts.Check(json.Unmarshal(said, &env))
	if user, err := os.UserHomeDir(); err == nil {
		env["RUSTUP_HOME"] = filepath.Join(user, ".rustup")
	}
	for _, name := range []string{"RUSTUP_HOME", "RUSTC", "CLANG_WASI"} {
		if value := os.Getenv(name); value != "" {
			env[name] = value
		}
	}
	for name, value := range env {
		ts.Setenv(name, value)
	}
}

func puts(ts *testscript.TestScript, _ bool, args []string) {
	if got := strconv.Itoa(standIn(ts).Puts()); got != args[0] {
		ts.Fatalf("%s blobs stored, want %s", got, args[0])
	}
}

func large(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte("spare"), n/5+1)[:n], 0o600))
}

func writeModule(ts *testscript.TestScript, _ bool, args []string) {
	instruction := args[1]
	for _, word := range args[2:] {
		instruction += " " + word
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), apitest.Module(instruction), 0o600))
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// ready asks until the node answers; that it does within a minute is all that
// is asked of the machine.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	var err error
	for range 600 {
		if err = ts.Exec("spare", "status"); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("no node after a minute: %v", err)
}

// exitSeven is the module
//
//	(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
//	(memory (export "memory") 1)
//	(func (export "_start") (call 0 (i32.const 7)))
const exitSeven = "\x00asm\x01\x00\x00\x00" +
	"\x01\x08\x02\x60\x01\x7f\x00\x60\x00\x00" +
	"\x02\x24\x01\x16wasi_snapshot_preview1\x09proc_exit\x00\x00" +
	"\x03\x02\x01\x01" +
	"\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x01" +
	"\x0a\x08\x01\x06\x00\x41\x07\x10\x00\x0b"

// say is the module of
//
//	func main() {
//		if argc > 1 { write(1, join(argv[1:], "|") + "\n") }
//		for n := read(0, buf); n > 0; n = read(0, buf) { write(1, buf[:n]) }
//		if argc > 1 && argv[1][0] == '!' { proc_exit(3) }
//	}
//
// by hand, with args_sizes_get, args_get, fd_read, fd_write and proc_exit alone.
const say = "" +
	"AGFzbQEAAAABGwVgAn9/AX9gBH9/f38Bf2ABfwBgAn9/AGAAAAKxAQUWd2FzaV9zbmFwc2hvdF9wcmV2aWV3MQ5hcmdzX3NpemVz" +
	"X2dldAAAFndhc2lfc25hcHNob3RfcHJldmlldzEIYXJnc19nZXQAABZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxB2ZkX3JlYWQAARZ3" +
	"YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAEWd2FzaV9zbmFwc2hvdF9wcmV2aWV3MQlwcm9jX2V4aXQAAgMDAgMEBQMB" +
	"AAQHEwIGbWVtb3J5AgAGX3N0YXJ0AAYK3wECGwBBCCAANgIAQQwgATYCAEEBQQhBAUEAEAMaC8ABAQN/QQBBBBAAGkGACEGAgAQQ" +
	"ARpBgIAEQQQoAgBqIQEgASEAQQAoAgBBAUsEQEGECCgCACEAIAAhAgNAIAItAABFBEAgAkH8ADoAAAsgAkEBaiECIAIgAUkNAAsg" +
	"AUEBa0EKOgAAIAAgASAAaxAFCwJAA0BBCEGAgAw2AgBBDEGAgAQ2AgBBAEEIQQFBEBACGkEQKAIARQ0BQYCADEEQKAIAEAUMAAsL" +
	"IAAgAUkEQCAALQAAQSFGBEBBAxAECwsL"
