package main

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/donor"
)

func TestAnnounceNewSecret(t *testing.T) {
	const (
		warning = "spare: E-NETWORK-SECRET: the network lab was not known here"
		copyIt  = "/h/networks/lab.secret (copy it to the other members)"
	)
	for name, c := range map[string]struct {
		made       bool
		bootstrap  []string
		warns, row bool
	}{
		"the first of a network":            {made: true, row: true},
		"one that joins without the secret": {made: true, bootstrap: []string{"/ip4/127.0.0.1/tcp/1"}, warns: true},
		"one that joins with it":            {bootstrap: []string{"/ip4/127.0.0.1/tcp/1"}},
		"one that starts again":             {},
	} {
		t.Run(name, func(t *testing.T) {
			var out, stderr strings.Builder
			info := node.Info{Paused: "the moat is dry", Network: "lab", NewSecret: c.made, SecretFile: "/h/networks/lab.secret", Donates: "on Sundays"}
			announce(&out, &stderr, info, node.Config{Bootstrap: c.bootstrap}, "/h")
			if got := strings.Contains(out.String(), copyIt); got != c.row {
				t.Errorf("stdout %q", out.String())
			}
			if got := strings.HasPrefix(stderr.String(), warning) && strings.Contains(stderr.String(), "copy networks/lab.secret from a member's home to /h/networks/lab.secret"); got != c.warns {
				t.Errorf("stderr %q", stderr.String())
			}
			if !c.warns && stderr.String() != "" {
				t.Errorf("stderr %q", stderr.String())
			}
			if !strings.Contains(out.String(), "the moat is dry; tasks of this node run all the same, see 'spare why'\n") {
				t.Errorf("no row paused in %q", out.String())
			}
			if !strings.Contains(out.String(), "on Sundays\n") {
				t.Errorf("no row donates in %q", out.String())
			}
		})
	}
}

func TestNarrowCeilingsAreTold(t *testing.T) {
	c := node.Default().Ceilings
	if texts := narrow(c); len(texts) > 0 {
		t.Errorf("by default: %q", texts)
	}
	c.Files, c.Wall, c.Gas = 3, 30*time.Minute, 5e9
	want := []string{
		"runs without --timeout: they ask for 1h, this node gives 30m",
		"runs without --gas: they ask for 10 T, this node gives 5 G",
		"runs without --files: they ask for 4096, this node gives 3",
	}
	if texts := narrow(c); !slices.Equal(texts, want) {
		t.Errorf("%q, want %q", texts, want)
	}
}

func TestASecretForOthersToReadIsToldOf(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	path := filepath.Join(t.TempDir(), "lab.secret")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{
		0o600: "",
		0o644: "spare: E-NETWORK-SECRET: " + path + " has mode 0644, and whoever can read it is a member\n  hint: chmod 600 " + path + "\n",
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		announce(io.Discard, &stderr, node.Info{Network: "lab", SecretFile: path}, node.Config{}, "/h")
		if stderr.String() != want {
			t.Errorf("with mode %o: %q, want %q", mode, stderr.String(), want)
		}
	}
}

func TestFlagsLeaveWhatConfigSays(t *testing.T) {
	file := node.Default()
	if err := applyConfig(&file, []byte("tasks.verify = 'strict'\nsandbox.require = ['process']\nlimits = { memory = '1GiB', files = 7 }")); err != nil {
		t.Fatal(err)
	}
	said := node.Default()
	said.Network, said.Listen = "lab", []string{"/ip4/127.0.0.1/tcp/1"}
	said.Flags = donor.Rules{donor.RuleSlots: "3", donor.RuleMemory: "2147483648"}
	want := file
	want.Network, want.Listen, want.Flags = said.Network, said.Listen, said.Flags
	if got := withFlags(file, said); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
