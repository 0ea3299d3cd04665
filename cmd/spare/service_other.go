//go:build !linux

package main

import (
	"context"
	"errors"
	"html"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	manager "github.com/kardianos/service"

	"github.com/spare-network/spare/protocol"
)

// systemHome is empty: a socket here is for one user, so there is no node of the
// machine that others could use.
const systemHome = ""

// machineHome is where a service of the machine has its home; for Windows, whose
// services all are.
func machineHome() string { return filepath.Join(os.Getenv("ProgramData"), "spare") }

func machineOnly() bool { return runtime.GOOS == "windows" }

// mayChange reports why the service cannot be changed.
func (s *service) mayChange() error {
	if s.machine && runtime.GOOS != "windows" || runtime.GOOS != "windows" && os.Geteuid() == 0 {
		return protocol.Errorf(protocol.CodeService, "on this system a service is one user's").WithHint("install it as that user, without sudo and --system")
	}
	return nil
}

// text fails: what a unit is elsewhere, the library writes.
func (s *service) text(string) (string, error) {
	return "", protocol.Errorf(protocol.CodeUsage, "there is a unit to print only on Linux").WithHint("leave --print away")
}

// manager returns what installs, removes and starts the service. On Windows it runs
// as LocalService, which has few rights and no password; on macOS as the user's
// agent, from its login on.
func (s *service) manager(p manager.Interface) (manager.Service, error) {
	cfg := &manager.Config{
		Name:        "spare",
		DisplayName: "spare",
		Description: "Spare CPU for peers",
		Executable:  s.program,
		Arguments:   s.command()[1:],
		Option:      manager.KeyValue{"UserService": !s.machine, "RunAtLoad": true, "KeepAlive": true, "OnFailure": "restart"},
	}
	if runtime.GOOS == "windows" {
		cfg.UserName = `NT AUTHORITY\LocalService`
	}
	m, err := manager.New(p, cfg)
	if err != nil {
		return nil, refused(err)
	}
	return m, nil
}

func refused(err error) error {
	hint := "see what launchctl says"
	if runtime.GOOS == "windows" {
		hint = "run it as an administrator"
	}
	return protocol.Errorf(protocol.CodeService, "the system's manager of services: %v", err).WithHint("%s", hint)
}

func (s *service) install(context.Context) (done [][]string, err error) {
	m, err := s.manager(nil)
	if err != nil {
		return nil, err
	}
	if state, err := m.Status(); !errors.Is(err, manager.ErrNotInstalled) {
		if state == manager.StatusRunning {
			err = m.Stop()
		}
		if err = errors.Join(err, m.Uninstall()); err != nil {
			return nil, refused(err)
		}
		done = append(done, []string{"removed", "the one before"})
	}
	if err := m.Install(); err != nil {
		return done, refused(err)
	}
	done = append(done, []string{"installed", "spare"})
	if err := m.Start(); err != nil {
		return done, refused(err)
	}
	done = append(done, []string{"started", s.home})
	if s.machine {
		return append(done, []string{"next", "spare --home " + s.home + " status"}), nil
	}
	return append(done, []string{"next", "spare status"}), nil
}

func (s *service) uninstall(ctx context.Context, purge bool) (done [][]string, err error) {
	m, err := s.manager(nil)
	if err != nil {
		return nil, err
	}
	state, err := m.Status()
	if errors.Is(err, manager.ErrNotInstalled) {
		return nil, protocol.Errorf(protocol.CodeNotFound, "there is no service").WithHint("'spare service status' tells of it")
	}
	if err := s.isOfHome(); err != nil {
		return nil, err
	}
	if state == manager.StatusRunning {
		if err := m.Stop(); err != nil {
			return nil, refused(err)
		}
		done = append(done, []string{"stopped", "spare"})
	}
	if err := m.Uninstall(); err != nil {
		return done, refused(err)
	}
	done = append(done, []string{"removed", "spare"})
	if !purge {
		return append(done, []string{"kept", s.home + "   # with the identity; --purge would delete it"}), nil
	}
	if err := removeHome(ctx, s.home); err != nil {
		return done, err
	}
	return append(done, []string{"deleted", s.home}), nil
}

// isOfHome fails when the installed service has another home than this. That of a
// machine has one home only.
func (s *service) isOfHome() error {
	if s.machine {
		return nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return protocol.Errorf(protocol.CodeFile, "there is no directory of your agents: %v", err).WithHint("set HOME")
	}
	path := filepath.Join(user, "Library", "LaunchAgents", "spare.plist")
	agent, err := os.ReadFile(path)
	if err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot read which home the service has: %v", err).WithHint("see who may read %s", path)
	}
	_, rest, _ := strings.Cut(string(agent), "<string>--home</string>")
	if !strings.HasPrefix(strings.TrimSpace(rest), "<string>"+html.EscapeString(s.home)+"</string>") {
		return s.ofAnother(path)
	}
	return nil
}

func (s *service) state(context.Context) (serviceState, error) {
	state := serviceState{Home: s.home, State: "not installed"}
	m, err := s.manager(nil)
	if err != nil {
		return state, err
	}
	now, err := m.Status()
	if errors.Is(err, manager.ErrNotInstalled) {
		return state, nil
	}
	if err != nil {
		return state, refused(err)
	}
	state.Installed, state.Starts, state.Running = true, true, now == manager.StatusRunning
	state.File, state.State = m.Platform(), "stopped"
	if state.Running {
		state.State = "running"
	}
	return state, nil
}

// tellManager does nothing: nobody waits for a service to serve.
func tellManager() error { return nil }

// underManager runs f, and tells Windows of it when that has started this process.
func underManager(ctx context.Context, f func(context.Context) error) error {
	if runtime.GOOS != "windows" || manager.Interactive() {
		return f(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := &managed{run: func() error { return f(ctx) }, stop: stop, ended: make(chan error, 1)}
	m, err := (&service{machine: true, home: machineHome()}).manager(p)
	if err != nil {
		return err
	}
	return m.Run()
}

// managed is a node as Windows starts and stops it.
type managed struct {
	run   func() error
	stop  context.CancelFunc
	ended chan error
}

// Start implements [manager.Interface]. It does not wait for the node.
func (p *managed) Start(m manager.Service) error {
	go func() {
		err := p.run()
		p.ended <- err
		if err != nil {
			_ = m.Stop() // or Windows would take it for running
		}
	}()
	return nil
}

// Stop implements [manager.Interface], and waits for the node's end.
func (p *managed) Stop(manager.Service) error {
	p.stop()
	return <-p.ended
}
