package testnet

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	{"a tile of a picture", "mandelbrot", "", []string{"120", "30", "50", "70", "40"}, ""},
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
		if _, err := os.Stat(cSource(run.program)); err != nil {
			continue
		}
		t.Run(run.name, func(t *testing.T) {
			checkExample(t, run.stdout, run.stdin, cModule(t, run.program), native(t, run.program), run.args)
		})
	}
}

func cSource(name string) string { return filepath.Join("examples", name, name+".c") }

// cModule is the path of an example program in C, compiled to WASI. Without a
// compiler the test ends.
func cModule(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(scratch, name+"-c.wasm")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	out, err := exec.Command("clang", "--target=wasm32-wasi", "-std=c11", "-O2", "-o", path, cSource(name)).CombinedOutput()
	if err != nil {
		t.Skipf("clang cannot build for WASI here: %v\n%s", err, out)
	}
	return path
}

// TestExamplesOnlyInC compares with what is known: the energies that the
// benchmark game gives, and numbers that are sorted here.
func TestExamplesOnlyInC(t *testing.T) {
	for _, run := range []struct {
		name, program, arg, stdout string
	}{
		{"planets at their start", "nbody", "0", "-0.169075164\n-0.169075164\n"},
		{"planets after ten days", "nbody", "1000", "-0.169075164\n-0.169087605\n"},
		{"one number", "sort", "1", sorted(1)},
		{"few numbers", "sort", "17", sorted(17)},
		{"many numbers", "sort", "100000", sorted(100_000)},
	} {
		t.Run(run.name, func(t *testing.T) {
			if got := underWazero(t, cModule(t, run.program), nil, run.arg); got.code != 0 || string(got.stdout) != run.stdout {
				t.Errorf("exits %d with %q, want %q; %s", got.code, got.stdout, run.stdout, got.stderr)
			}
		})
	}
}

// sorted is what "sort N" prints.
func sorted(n int) string {
	list := make([]uint32, n)
	x := uint32(1)
	for i := range list {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		list[i] = x
	}
	slices.Sort(list)
	sum := uint64(0xcbf29ce484222325)
	for _, v := range list {
		sum = (sum ^ uint64(v)) * 0x100000001b3
	}
	return fmt.Sprintf("%016x\n", sum)
}

// TestTally compares what it writes natively and under wazero with what is in
// its files.
func TestTally(t *testing.T) {
	from := t.TempDir()
	for name, content := range map[string]string{"b/one.txt": "One two, two; three-3", "a.txt": "ä Ö ö", "empty": ""} {
		path := filepath.Join(from, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mounted, direct := t.TempDir(), t.TempDir()
	for to, cmd := range map[string]*exec.Cmd{
		direct:  exec.Command(native(t, "tally"), from, direct),
		mounted: exec.Command(built(t, buildWazero, "wazero"), "run", "-mount="+from+":/in:ro", "-mount="+mounted+":/out", module(t, "tally")),
	} {
		if end := finish(t, cmd); end.code != 0 || string(end.stdout) != "a.txt 3 2\nb/one.txt 5 4\nempty 0 0\n" {
			t.Errorf("%s exits %d with %q: %s", cmd, end.code, end.stdout, end.stderr)
		}
		for name, want := range map[string]string{"b/one.txt": "2 two\n1 3\n1 one\n1 three\n", "a.txt": "2 ö\n1 ä\n", "empty": ""} {
			if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v; want %q", name, got, err, want)
			}
		}
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
		{"sleeps", []string{"nap", "1"}, 0, "1s\n"},
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
