//go:build e2e && unix

package testnet

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sameRuns is how often each node runs each program.
const sameRuns = 10

// outcome is all of a run that must be the same everywhere.
type outcome struct {
	exit   int
	stdout string // digest
	files  string // paths, sizes and digests
	gas    uint64
}

// TestE2ESameEverywhere: the bytes and the gas of a program are the same on each
// node, in each run.
func TestE2ESameEverywhere(t *testing.T) {
	nodes, _ := startNet(t, 3)
	for _, p := range slices.Concat(programsInC(t), programsInGo(t), programsOfOthers(t)) {
		t.Run(p.Name, func(t *testing.T) {
			seen := make(map[outcome]int)
			flags := p.flags(t)
			for range sameRuns {
				for i, n := range nodes {
					seen[p.run(t, nodes[(i+1)%len(nodes)], n, flags)]++
				}
			}
			if len(seen) != 1 {
				t.Fatalf("%d outcomes: %+v", len(seen), seen)
			}
			for o := range seen {
				t.Logf("%d runs: %d gas, files: %s", seen[o], o.gas, o.files)
				if o.exit != 0 || o.gas == 0 {
					t.Errorf("it ends as %+v", o)
				}
			}
		})
	}
}

// flags are what spare run takes for the program.
func (p program) flags(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	var flags []string
	for i, path := range slices.Sorted(maps.Keys(p.Inputs)) {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, []byte(p.Inputs[path]), 0o600); err != nil {
			t.Fatal(err)
		}
		flags = append(flags, "-i", name+":"+path)
	}
	for _, e := range p.Env {
		flags = append(flags, "--env", e)
	}
	return append(append(flags, p.Module, "--"), p.Args...)
}

func (p program) run(t *testing.T, requester, provider *node, flags []string) outcome {
	t.Helper()
	end := requester.spare(t, []byte(p.Stdin), append([]string{"run", "--on", provider.Peer}, flags...)...)
	shown := requester.lastTask(t)
	// A provider that could not be heard for a while may have been asked twice.
	elsewhere := slices.ContainsFunc(shown.Attempts, func(a attempt) bool { return a.Provider != provider.Peer })
	if shown.StdoutDigest == nil || shown.Gas == nil || elsewhere {
		t.Fatalf("exit %d, %s; shown as %+v", end.code, end.stderr, shown)
	}
	if len(shown.Attempts) > 1 {
		t.Logf("attempts: %+v", shown.Attempts)
	}
	return outcome{end.code, *shown.StdoutDigest, fmt.Sprint(shown.Files), *shown.Gas}
}

// observation is what the sandbox's conformance test writes of a run.
type observation struct {
	Name   string `json:"name"`
	Exit   int    `json:"exit"`
	Code   string `json:"code"`
	Stdout string `json:"stdout_sha256"`
	Files  string `json:"files_sha256"`
	Gas    uint64 `json:"gas"`
}

// TestE2ESameOnEveryEngine: it makes no difference whether a program is compiled
// or interpreted, nor for which processor.
func TestE2ESameOnEveryEngine(t *testing.T) {
	emulator, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		missing(t, "qemu for arm64 (Debian: apt-get install qemu-user-static)", err)
	}
	dir := t.TempDir()
	list := programsInC(t)
	for _, p := range programsInGo(t) { // but for twins of those: an emulated compiler is slow
		if _, err := os.Stat(cSource(filepath.Base(p.Module))); err != nil {
			list = append(list, p)
		}
	}
	for i, p := range list {
		wasm, err := os.ReadFile(p.Module)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(p.Module)
		if err := os.WriteFile(filepath.Join(dir, name), wasm, 0o600); err != nil {
			t.Fatal(err)
		}
		list[i].Module, list[i].Args = name, append([]string{name}, p.Args...)
	}
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "programs.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	var want []observation
	for _, on := range []struct {
		processor string
		emulator  []string
	}{{"amd64", nil}, {"arm64", []string{emulator}}} {
		binary := filepath.Join(dir, "conformance-"+on.processor)
		build := exec.Command("go", "test", "-c", "-o", binary, "./node/sandbox")
		build.Dir = ".."
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+on.processor)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, engine := range []string{"compiler", "interpreter"} {
			t.Run(engine+" on "+on.processor, func(t *testing.T) {
				args := append(slices.Clone(on.emulator), binary, "-test.run=^TestConformance$", "-test.timeout=10m")
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Env = append(os.Environ(), "SPARE_CONFORMANCE_DIR="+dir, "SPARE_ENGINE="+engine)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				got := observations(t, filepath.Join(dir, "results-"+engine+"-"+on.processor+".json"))
				if want == nil {
					want = got
				}
				checkObservations(t, list, got, want)
			})
		}
	}
}

func observations(t *testing.T, path string) []observation {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []observation
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return list
}

func checkObservations(t *testing.T, list []program, got, want []observation) {
	t.Helper()
	if len(got) != len(list) || len(want) != len(list) {
		t.Fatalf("%d and %d observations of %d programs", len(got), len(want), len(list))
	}
	for i, p := range list {
		if g := got[i]; g != want[i] || g.Name != p.Name || g.Exit != 0 || g.Code != "" || g.Gas == 0 || len(g.Stdout) != 64 || strings.Trim(g.Files, "0123456789abcdef") != "" {
			t.Errorf("%s: %+v, want %+v", p.Name, g, want[i])
		}
	}
}
