package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// directives are what a unit says, without its comments.
func directives(t *testing.T, unit string) (all []string) {
	t.Helper()
	for line := range strings.Lines(unit) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '[' {
			all = append(all, line)
		}
	}
	return all
}

func unitOf(t *testing.T, s service) string {
	t.Helper()
	text, err := s.text("service")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestUnits(t *testing.T) {
	machine := service{machine: true, home: systemHome, program: "/usr/bin/spare", group: "spare"}
	own := service{home: "/home/me/.local/share/spare", program: "/home/me/bin/spare"}
	// What both must say, for the jail, for who waits, and for an orderly end.
	both := []string{"Type=notify", "Delegate=yes", "KillMode=mixed", "Slice=spare.slice", "NoNewPrivileges=yes", "UMask=0077", "StandardOutput=null"}
	// What takes something that the node or its jail needs, in what both say no to.
	neither := []string{"RestrictNamespaces=", "PrivateUsers=", "MemoryDenyWriteExecute=", "PrivateDevices=", "ProtectControlGroups=", "ProcSubset=", "PrivateNetwork="}
	// What only a manager that is root can do.
	root := []string{"User=spare", "StateDirectory=spare", "ProtectSystem=strict", "ProtectHome=yes", "CapabilityBoundingSet=", "PrivateTmp=yes"}
	for _, c := range []struct {
		name      string
		s         service
		has, lack []string
	}{
		{"machine's", machine, append(root, "EnvironmentFile=-"+optionsFile, "WantedBy=multi-user.target"), nil},
		{"user's", own, []string{"WantedBy=default.target", "ExecStart=/home/me/bin/spare up --home /home/me/.local/share/spare"}, root},
	} {
		said := directives(t, unitOf(t, c.s))
		for _, line := range append(both, c.has...) {
			if !slices.Contains(said, line) {
				t.Errorf("the %s does not say %s", c.name, line)
			}
		}
		for _, key := range append(neither, c.lack...) {
			if slices.ContainsFunc(said, func(line string) bool { return strings.HasPrefix(line, key) }) {
				t.Errorf("the %s says %s", c.name, key)
			}
		}
	}
	joined := machine
	joined.group = "staff"
	if said := directives(t, unitOf(t, joined)); !slices.Contains(said, "SupplementaryGroups=staff") {
		t.Errorf("a node for staff is not of that group:\n%s", strings.Join(said, "\n"))
	}
	if said := directives(t, unitOf(t, machine)); slices.ContainsFunc(said, func(line string) bool { return strings.HasPrefix(line, "SupplementaryGroups=") }) {
		t.Error("a node for its own group is of another")
	}
	wide := machine
	wide.flags = []string{"--network", `a "b" $HOME 100% \`}
	if want := `--network "a \"b\" $$HOME 100%% \\" $SPARE_OPTIONS`; !strings.Contains(unitOf(t, wide), want) {
		t.Errorf("there is no %s in\n%s", want, unitOf(t, wide))
	}
	wide.flags = []string{"a\nUser=root"}
	if text, err := wide.text("service"); err == nil {
		t.Errorf("a line break goes into\n%s", text)
	}
}

// TestUnitsAreSystemds has systemd's own checks of what is installed.
func TestUnitsAreSystemds(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, unitName)
	analyze := func(args ...string) {
		t.Helper()
		cmd := exec.Command("systemd-analyze", args...)
		if out, err := cmd.CombinedOutput(); err != nil || args[0] == "verify" && len(out) > 0 {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, sliceName), []byte(sliceText), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range []service{{home: "/home/a b", program: program}, {machine: true, home: systemHome, program: program, group: "spare"}} {
		if err := os.WriteFile(path, []byte(unitOf(t, s)), 0o644); err != nil {
			t.Fatal(err)
		}
		analyze("verify", "--man=no", path, filepath.Join(dir, sliceName))
	}
	analyze("security", "--offline=true", "--threshold=35", "--no-pager", path) // of 100; most services have 90
}

// TestServiceOfAUser has a stand-in for systemctl note what it is told.
func TestServiceOfAUser(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\necho \"$@\" >>"+log+"\n[ \"$2\" != \"$FAILS\" ]\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	told := func() string {
		b, _ := os.ReadFile(log) // not there: nothing
		_ = os.Remove(log)
		return string(b)
	}
	s := service{home: filepath.Join(dir, "home"), program: "/opt/spare"}
	unit := filepath.Join(dir, "config/systemd/user", unitName)

	if _, err := s.uninstall(t.Context(), false); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("without a service: %v", err)
	}
	if _, err := s.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(unit); err != nil || string(b) != unitOf(t, s) {
		t.Errorf("%v: %s", err, b)
	}
	if got, want := told(), "--user daemon-reload\n--user enable spare.service\n--user restart spare.service\n"; got != want {
		t.Errorf("systemctl is told\n%swant\n%s", got, want)
	}

	// A home that is none is not deleted, nor is one without --purge.
	for path, text := range map[string]string{"home/identity.key": "key", "home/blobs/x": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.uninstall(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(unit); err == nil {
		t.Error("the unit is still there")
	}
	if _, err := os.Stat(filepath.Join(s.home, "identity.key")); err != nil {
		t.Error(err)
	}
	if got, want := told(), "--user disable --now spare.service\n--user daemon-reload\n"; got != want {
		t.Errorf("systemctl is told\n%swant\n%s", got, want)
	}

	// Nor is anything stopped that is another home's.
	if _, err := s.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	told()
	for _, other := range []string{dir, s.home + "2", filepath.Join(s.home, "sub")} {
		if _, err := (&service{home: other, program: s.program}).uninstall(t.Context(), true); protocol.CodeOf(err) != protocol.CodeService {
			t.Errorf("as the service of %s: %v", other, err)
		}
	}
	if got := told(); got != "" {
		t.Errorf("for another home systemctl is told\n%s", got)
	}

	t.Setenv("FAILS", "restart")
	if _, err := s.install(t.Context()); protocol.CodeOf(err) != protocol.CodeService {
		t.Errorf("of a start that fails it says %v", err)
	}
	if _, err := s.uninstall(t.Context(), true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.home); err == nil {
		t.Error("the home is still there")
	}
	if err := removeHome(t.Context(), dir); protocol.CodeOf(err) != protocol.CodeFile {
		t.Errorf("of what is no home: %v", err)
	}
}

func TestProgramsThatNoServiceSees(t *testing.T) {
	dir := t.TempDir() // which is in /tmp, or of this user alone
	program := filepath.Join(dir, "spare")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, seen := range map[string]bool{program: false, "/home/me/spare": false, "/bin/sh": true, "/etc/passwd": false, "/no/such": false} {
		if err := visible(path); (err == nil) != seen {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestTheManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := tellManager(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	n, _, err := l.ReadFrom(b)
	if err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("%q, %v", b[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", path+"/none")
	if err := tellManager(); err == nil {
		t.Error("nobody has heard it")
	}
}

// TestTheMachinesNode is used by who has none, and only then.
func TestTheMachinesNode(t *testing.T) {
	dir := t.TempDir()
	listen := func(name string) string {
		path := filepath.Join(dir, name)
		l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return path
	}
	there, alsoThere, none := listen("a"), listen("b"), filepath.Join(dir, "none")
	for _, c := range []struct {
		name, own, system string
		isOwn             bool
	}{
		{"both run", there, alsoThere, true},
		{"the user's runs", there, none, true},
		{"the machine's runs", none, there, false},
		{"none runs", none, none, true},
	} {
		own := client.New(c.own)
		if got := ownOr(own, c.system); (got == own) != c.isOwn {
			t.Errorf("%s: the user's own is asked: %v", c.name, got == own)
		}
	}
}
