package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spare-network/spare/protocol"
)

func TestSplitInput(t *testing.T) {
	for flag, want := range map[string][2]string{
		"a":                {"a", ""},
		"a:/in/b":          {"a", "/in/b"},
		"a:/in":            {"a", "/in"},
		"a:/in/":           {"a", "/in/"},
		`C:\x`:             {`C:\x`, ""},
		`C:\x:/in/a`:       {`C:\x`, "/in/a"},
		"a:/input":         {"a:/input", ""},
		"a:/in/b:/in/c":    {"a:/in/b", "/in/c"},
		"a:/in/b:/into":    {"a", "/in/b:/into"},
		"a:b:/in/c:d":      {"a:b", "/in/c:d"},
		":/in/a":           {"", "/in/a"},
		"":                 {"", ""},
		"a:/in/../b":       {"a", "/in/../b"},
		"https://x:/in/a":  {"https://x", "/in/a"},
		"/in/a":            {"/in/a", ""},
		"dir/in:/in/in/in": {"dir/in", "/in/in/in"},
	} {
		t.Run(flag, func(t *testing.T) {
			if host, guest := splitInput(flag); host != want[0] || guest != want[1] {
				t.Errorf("%q and %q, want %q", host, guest, want)
			}
		})
	}
}

func TestInputsThatChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	for name, c := range map[string]struct{ before, after int }{
		"a small one that shrinks": {100, 10},
		"a small one that grows":   {100, 200},
		"a large one that shrinks": {100_000, 10},
		"a large one that grows":   {100_000, 200_000},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, make([]byte, c.before), 0o600); err != nil {
				t.Fatal(err)
			}
			files, err := gatherInputs([]string{path}, protocol.DefaultLimits(), nil)
			if err != nil || len(files) != 1 || files[0].guest != "/in/a" {
				t.Fatalf("%+v %v", files, err)
			}
			if err := os.WriteFile(path, make([]byte, c.after), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := prepareInputs(files, protocol.DefaultLimits()); protocol.CodeOf(err) != protocol.CodeFile || !strings.Contains(err.Error(), "changed while it was read") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestSmallInputsRideUntilTheRoomIsUsed(t *testing.T) {
	dir := t.TempDir()
	for name, n := range map[string]int{"a": 40 << 10, "b": 40 << 10, "c": 24 << 10, "d": 0, "e": 1} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := gatherInputs([]string{dir + ":/in"}, protocol.DefaultLimits(), nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := prepareInputs(files, protocol.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var rides []string
	for _, in := range list {
		if in.Digest == "" {
			rides = append(rides, in.Path)
		}
	}
	if got := strings.Join(rides, " "); got != "/in/a /in/c /in/d" {
		t.Errorf("in the submission are %s", got)
	}
}

func TestTooManyInputs(t *testing.T) {
	dir := t.TempDir()
	for i := range protocol.MaxInputs + 1 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := gatherInputs([]string{dir}, protocol.DefaultLimits(), nil)
	if protocol.CodeOf(err) != protocol.CodeUsage || !strings.Contains(err.Error(), "more than 2048 files; pack them into an archive") {
		t.Errorf("the error is %v", err)
	}
}
