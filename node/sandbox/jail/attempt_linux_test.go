package jail

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// stopped tells which layers, each by itself, stop an attempt.
func stopped() map[string][]string {
	files := []string{MountNamespace, Landlock, Seccomp}
	signal, connect := []string{PIDNamespace, Seccomp}, []string{NetNamespace, Seccomp}
	version, err := landlockInfo(unix.LANDLOCK_CREATE_RULESET_VERSION)
	if err == nil && version >= 4 {
		connect = append(connect, Landlock)
	}
	errata, err := landlockInfo(unix.LANDLOCK_CREATE_RULESET_ERRATA)
	if err == nil && version >= 6 && errata&ownSignals != 0 {
		signal = append(signal, Landlock)
	}
	return map[string][]string{
		// Landlock denies such a signal when it is sent.
		"direct signals of input to the node": {PIDNamespace, Seccomp},

		"open /etc/passwd":           files,
		"open a file of the node":    files,
		"list /proc":                 files,
		"list the node's open files": files,
		"list /":                     files,
		"write into the directory":   files,
		"execute a program":          files,
		"signal the node":            signal,
		"read the node's memory":     {UserNamespace, PIDNamespace, Landlock, Seccomp},
		"trace the node":             {UserNamespace, PIDNamespace, Landlock, Seccomp},
		"limit the node":             {PIDNamespace, Seccomp},
		"create a socket":            {Seccomp},
		"connect to the node":        connect,
		"choose a signal of input":   {Seccomp},
		"make memory executable":     {Seccomp},
		"make a file in memory":      {Seccomp},
		"make a user namespace":      {Seccomp},
		"mount a file system":        {NoNewPrivs, Landlock, Seccomp},
		"rename the host":            {NoNewPrivs, Seccomp},
		"raise a limit":              {RLimits, Seccomp},
		"take the processor back":    {Seccomp},
		"use io_uring":               {Seccomp},
		"fork a process":             {Seccomp},
	}
}

// needed is what a layer cannot be without.
func needed(name string) []string {
	inNamespace := slices.ContainsFunc(namespaces, func(n namespace) bool { return n.name == name })
	if name == MountNamespace || inNamespace && os.Getuid() != 0 {
		return []string{Process, UserNamespace, name}
	}
	return []string{Process, name}
}

func try(t *testing.T, b *Box) []Attempt {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := b.Try(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	table := stopped()
	if len(all) != len(table) {
		t.Errorf("%d attempts, the table has %d", len(all), len(table))
	}
	for _, a := range all {
		if table[a.What] == nil {
			t.Errorf("%s is not in the table", a.What)
		}
		if a.Succeeded != (a.How == "") {
			t.Errorf("%+v", a)
		}
	}
	return all
}

// held checks that what a layer in force stops has failed.
func held(t *testing.T, b *Box) {
	t.Helper()
	in, table := inForce(b), stopped()
	for _, a := range try(t, b) {
		stops := slices.ContainsFunc(table[a.What], func(name string) bool { return in[name] })
		if stops && a.Succeeded {
			t.Errorf("%s succeeded, with %s", a.What, b.Plan())
		}
	}
}

func TestNothingSucceedsInside(t *testing.T) {
	b := newBox(t)
	if !inForce(b)[Seccomp] {
		t.Skip("this kernel lacks seccomp")
	}
	for _, a := range try(t, b) {
		if a.Succeeded {
			t.Errorf("%s succeeded", a.What)
		}
	}
}

func TestEverythingSucceedsOutside(t *testing.T) {
	if os.Getuid() != 0 || os.Getenv(refusing) != "" {
		t.Skip("something outside of this test may stop who is not root")
	}
	for _, a := range try(t, newBox(t, Names()[1:]...)) {
		if !a.Succeeded {
			t.Errorf("%s: %s", a.What, a.How)
		}
	}
}

func TestOthersHoldWithoutOne(t *testing.T) {
	for _, name := range Names()[1:] {
		t.Run(name, func(t *testing.T) { held(t, newBox(t, name)) })
	}
}

func TestEachHoldsAlone(t *testing.T) {
	for _, name := range Names()[1:] {
		t.Run(name, func(t *testing.T) {
			keep := needed(name)
			b := newBox(t, slices.DeleteFunc(Names(), func(n string) bool { return slices.Contains(keep, n) })...)
			if in := inForce(b); capable()[name] && !in[name] {
				t.Errorf("in force: %v, possible: %v", in, capable())
			}
			held(t, b)
		})
	}
}
