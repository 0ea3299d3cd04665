package testnet

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// exampleRuns are runs of the example programs whose output is known from
// elsewhere: wc, sha256sum, and the prime counting function.
var exampleRuns = []struct {
	name, program string
	stdin         string
	args          []string
	stdout        string // empty: whatever the native program prints
}{
	{"nothing to count", "wordcount", "", nil, "0 0 0\n"},
	{"one line", "wordcount", "hello\n", nil, "1 1 6\n"},
	{"words between all kinds of space", "wordcount", "a\tb\vc\fd\re  f\n\ng", nil, "2 7 15\n"},
	{"no newline at the end", "wordcount", "one two", nil, "0 2 7\n"},
	{"more than one buffer", "wordcount", strings.Repeat("four words a line\n", 10_000), nil, "10000 40000 180000\n"},
	{"hash of nothing", "sha256", "", nil, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n"},
	{"hash of abc", "sha256", "abc", nil, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n"},
	{"hash of 55 bytes, which pad to one block", "sha256", strings.Repeat("a", 55), nil, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318  -\n"},
	{"hash of 56 bytes, which pad to two blocks", "sha256", strings.Repeat("a", 56), nil, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a  -\n"},
	{"hash of a million a", "sha256", strings.Repeat("a", 1_000_000), nil, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0  -\n"},
	{"primes below 2", "primes", "", []string{"2"}, "0\n"},
	{"primes below 3", "primes", "", []string{"3"}, "1\n"},
	{"primes below 1,000,000", "primes", "", []string{"1000000"}, "78498\n"},
	{"a picture", "mandelbrot", "", []string{"120"}, ""},
	{"a chain of hashes", "guest", "", []string{"chain", "1000"}, ""},
}

func TestExamplesGivenToWazero(t *testing.T) {
	for _, run := range exampleRuns {
		t.Run(run.name, func(t *testing.T) {
			checkExample(t, run.stdout, run.stdin, module(t, run.program), native(t, run.program), run.args)
		})
	}
}

// TestExamplesInC gives the C twins the same runs, where a compiler is there.
func TestExamplesInC(t *testing.T) {
	for _, run := range exampleRuns {
		source := filepath.Join("examples", run.program, run.program+".c")
		if _, err := os.Stat(source); err != nil {
			continue
		}
		t.Run(run.name, func(t *testing.T) {
			path := filepath.Join(scratch, run.program+"-c.wasm")
			if _, err := os.Stat(path); err != nil {
				out, err := exec.Command("clang", "--target=wasm32-wasi", "-std=c11", "-O2", "-o", path, source).CombinedOutput()
				if err != nil {
					t.Skipf("clang cannot build for WASI here: %v\n%s", err, out)
				}
			}
			checkExample(t, run.stdout, run.stdin, path, native(t, run.program), run.args)
		})
	}
}

// checkExample compares a module under wazero with the native program, and
// both with what is known.
func checkExample(t *testing.T, want, stdin, modulePath, nativePath string, args []string) {
	t.Helper()
	cmd := exec.Command(nativePath, args...)
	cmd.Stdin = strings.NewReader(stdin)
	expected := finish(t, cmd)
	if expected.code != 0 || want != "" && string(expected.stdout) != want {
		t.Errorf("the native program exits %d with %q, want 0 with %q", expected.code, expected.stdout, want)
	}
	got := underWazero(t, modulePath, []byte(stdin), args...)
	if got.code != 0 || !bytes.Equal(got.stdout, expected.stdout) {
		t.Errorf("the module exits %d with %d bytes %.80q, want %d bytes %.80q", got.code, len(got.stdout), got.stdout, len(expected.stdout), expected.stdout)
	}
}

func TestGuest(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   []string
		code   int
		stdout string
	}{
		{"ends with a code", []string{"exit", "7"}, 7, ""},
		{"takes memory", []string{"grow", "1000000"}, 0, "1000000 bytes in 16 pages\n"},
		{"crashes", []string{"crash"}, 2, ""},
		{"is asked for nonsense", []string{"dance"}, 2, ""},
		{"is asked for nothing", nil, 2, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := underWazero(t, module(t, "guest"), nil, test.args...)
			if got.code != test.code || string(got.stdout) != test.stdout {
				t.Errorf("exits %d with %q, want %d with %q", got.code, got.stdout, test.code, test.stdout)
			}
			if code := finish(t, exec.Command(native(t, "guest"), test.args...)).code; code != test.code {
				t.Errorf("natively it exits %d, want %d", code, test.code)
			}
		})
	}
}
