package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

const (
	// systemHome is where the machine's service has its home.
	systemHome = "/var/lib/spare"
	systemUser = "spare"
	systemDir  = "/etc/systemd/system"
)

// packageDirs are where packages put units, the second on systems with /usr apart.
func packageDirs() []string { return []string{"/usr/lib/systemd/system", "/lib/systemd/system"} }

func machineHome() string { return systemHome }

func machineOnly() bool { return os.Geteuid() == 0 }

// mayChange reports why this user may not change the service.
func (s *service) mayChange() error {
	if s.machine && os.Geteuid() != 0 {
		return protocol.Errorf(protocol.CodeService, "the machine's service is for root to change").WithHint("put sudo before it, or leave --system away for a service of your own")
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return protocol.Errorf(protocol.CodeService, "this system is not run by systemd, and spare knows no other manager of services on Linux").
			WithHint("have yours run: %s", strings.Join(s.command(), " "))
	}
	return nil
}

// dir is where the service's units are.
func (s *service) dir() (string, error) {
	if s.machine {
		return systemDir, nil
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return "", protocol.Errorf(protocol.CodeFile, "there is no directory for your units: %v", err).WithHint("set HOME")
	}
	return filepath.Join(config, "systemd", "user"), nil
}

func (s *service) install(ctx context.Context) (done [][]string, err error) {
	if s.machine {
		if err := s.ofPackage("'systemctl enable --now spare' starts it"); err != nil {
			return nil, err
		}
		if err := visible(s.program); err != nil {
			return nil, err
		}
		if s.group != systemUser { // which comes with the user
			if err := api.CheckGroup(s.group); err != nil {
				return nil, err
			}
		}
		made, err := makeUser(ctx)
		if err != nil {
			return nil, err
		}
		if made {
			done = append(done, []string{"made user", systemUser})
		}
	}
	unit, err := s.text("service")
	if err != nil {
		return done, err
	}
	dir, err := s.dir()
	if err != nil {
		return done, err
	}
	err = os.MkdirAll(dir, 0o755)
	for _, f := range []struct{ name, text string }{{sliceName, sliceText}, {unitName, unit}} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), 0o644)
		}
		if err != nil {
			return done, protocol.Errorf(protocol.CodeFile, "cannot write the unit: %v", err).WithHint("see who may write to %s", dir)
		}
		done = append(done, []string{"wrote", filepath.Join(dir, f.name)})
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", unitName}, {"restart", unitName}} {
		if _, err := s.systemctl(ctx, args...); err != nil {
			return done, err
		}
	}
	done = append(done, []string{"started", s.home})
	if !s.machine {
		return append(done,
			[]string{"next", "spare status"},
			[]string{"next", "journalctl --user -u spare   # what it says"},
			[]string{"next", "loginctl enable-linger       # or it stops when you log out"}), nil
	}
	who := cmp.Or(os.Getenv("SUDO_USER"), "USER")
	if s.group != "" {
		done = append(done, []string{"next", "usermod -aG " + s.group + " " + who + "   # who may use it; log in again after it"})
	}
	return append(done, []string{"next", "journalctl -u spare   # what it says"},
		[]string{"next", optionsFile + "   # more flags, as SPARE_OPTIONS=\"--listen ...\"; then systemctl restart spare"}), nil
}

func (s *service) uninstall(ctx context.Context, purge bool) (done [][]string, err error) {
	if s.machine {
		if err := s.ofPackage("remove the package: apt-get remove spare, or dnf remove spare"); err != nil {
			return nil, err
		}
	}
	dir, err := s.dir()
	if err != nil {
		return nil, err
	}
	unit, err := os.ReadFile(filepath.Join(dir, unitName))
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeNotFound, "there is no service in %s", dir).WithHint("'spare service status' tells of it")
	}
	if !strings.Contains(string(unit), " --home "+unitWord(s.home)+" ") && !strings.Contains(string(unit), " --home "+unitWord(s.home)+"\n") {
		return nil, s.ofAnother(filepath.Join(dir, unitName))
	}
	if _, err := s.systemctl(ctx, "disable", "--now", unitName); err != nil {
		return nil, err
	}
	done = append(done, []string{"stopped", unitName})
	for _, name := range []string{unitName, sliceName} {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return done, protocol.Errorf(protocol.CodeFile, "cannot remove the unit: %v", err).WithHint("see who may write to %s", dir)
		}
		done = append(done, []string{"removed", path})
	}
	if _, err := s.systemctl(ctx, "daemon-reload"); err != nil {
		return done, err
	}
	if !purge {
		return append(done, []string{"kept", s.home + "   # with the identity; --purge would delete it"}), nil
	}
	if err := removeHome(ctx, s.home); err != nil {
		return done, err
	}
	done = append(done, []string{"deleted", s.home})
	if s.machine {
		if err := run(ctx, "userdel", systemUser); err != nil {
			return done, err
		}
		if _, err := user.LookupGroup(systemUser); err == nil { // which userdel leaves while others are in it
			if err := run(ctx, "groupdel", systemUser); err != nil {
				return done, err
			}
		}
		done = append(done, []string{"removed user", systemUser})
	}
	return done, nil
}

// state asks systemd, which knows nothing of a service where it does not run.
func (s *service) state(ctx context.Context) (serviceState, error) {
	state := serviceState{Home: s.home, State: "this system is not run by systemd"}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return state, nil
	}
	out, err := s.systemctl(ctx, "show", unitName, "--property=LoadState,ActiveState,SubState,Result,MainPID,UnitFileState,FragmentPath")
	if err != nil {
		return state, err
	}
	said := make(map[string]string)
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		said[key] = value
	}
	state.Installed = said["LoadState"] == "loaded"
	state.Running = said["ActiveState"] == "active"
	state.Starts = strings.HasPrefix(said["UnitFileState"], "enabled")
	state.File = said["FragmentPath"]
	state.State = said["ActiveState"] + ", " + said["SubState"]
	if result := said["Result"]; result != "success" && result != "" {
		state.State += ", " + result + "; see 'journalctl -u spare'"
	}
	state.PID, _ = strconv.Atoi(said["MainPID"]) // systemd's own number
	return state, nil
}

// ofPackage fails when a package has installed the machine's unit.
func (s *service) ofPackage(hint string) error {
	for _, dir := range packageDirs() {
		if _, err := os.Stat(filepath.Join(dir, unitName)); err == nil {
			return protocol.Errorf(protocol.CodeService, "a package has installed the service, as %s/%s", dir, unitName).WithHint("%s", hint)
		}
	}
	return nil
}

// visible fails when the user of a service cannot execute the program, or its unit
// would hide it.
func visible(program string) error {
	hint := "sudo install " + program + " /usr/local/bin/ && sudo /usr/local/bin/spare service install"
	for _, dir := range []string{"/home", "/root", "/run", "/tmp", "/var/tmp"} { // see ProtectHome and PrivateTmp
		if strings.HasPrefix(program, dir+"/") {
			return protocol.Errorf(protocol.CodeService, "a service does not see %s, which is in %s", program, dir).WithHint("%s", hint)
		}
	}
	for path := program; ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return protocol.Errorf(protocol.CodeService, "cannot see %s: %v", program, err).WithHint("name the program with --program")
		}
		if info.Mode().Perm()&0o001 == 0 {
			return protocol.Errorf(protocol.CodeService, "the service's user may not execute %s: %s has mode %04o", program, path, info.Mode().Perm()).WithHint("%s", hint)
		}
		if path == filepath.Dir(path) {
			return nil
		}
	}
}

// makeUser sees to it that the service's user is there, with a group of its own.
func makeUser(ctx context.Context) (made bool, err error) {
	if _, err := user.Lookup(systemUser); err == nil {
		return false, nil
	}
	if err := run(ctx, "groupadd", "--system", "--force", systemUser); err != nil {
		return false, err
	}
	return true, run(ctx, "useradd", "--system", "--gid", systemUser, "--home-dir", systemHome, "--no-create-home",
		"--shell", "/usr/sbin/nologin", "--comment", "spare's node", systemUser)
}

func (s *service) systemctl(ctx context.Context, args ...string) (string, error) {
	if !s.machine {
		args = append([]string{"--user"}, args...)
	}
	return output(ctx, "systemctl", args...)
}

func run(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, name, args...)
	return err
}

// output runs a program of the system, and returns what it writes to stdout.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		hint := "systemctl status spare; journalctl -u spare"
		if len(args) > 0 && args[0] == "--user" {
			hint = "systemctl --user status spare; it wants a login of your own, which 'su' and 'sudo' are not"
		}
		return "", protocol.Errorf(protocol.CodeService, "%s %s: %s", name, strings.Join(args, " "), cmp.Or(firstLine(stderr.Bytes()), err.Error())).WithHint("%s", hint)
	}
	return string(out), nil
}

// tellManager tells systemd, when it has started this node, that it serves: see
// sd_notify(3).
func tellManager() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", path) // with @ for an abstract one, as Go has it, too
	if err == nil {
		_, err = conn.Write([]byte("READY=1"))
		err = errors.Join(err, conn.Close())
	}
	return err
}

// underManager runs f as a service is run here: like any process.
func underManager(ctx context.Context, f func(context.Context) error) error { return f(ctx) }
