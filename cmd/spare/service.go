package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// service is a node that the system starts. Its methods, of which each system has
// its own, return rows for people: what was done, and what can be done next.
type service struct {
	machine bool     // for all users, by a user of its own, and not for this user alone
	home    string   // the node's
	program string   // absolute path
	group   string   // who may use the machine's, besides root
	flags   []string // further ones of 'spare up'
}

// serviceState is what the system says of a service.
type serviceState struct {
	Installed bool   `json:"installed"`
	Running   bool   `json:"running"`
	Starts    bool   `json:"starts"` // by itself, with the machine or the user's session
	State     string `json:"state"`  // in the system's words
	PID       int    `json:"pid"`    // 0: none
	Home      string `json:"home"`
	File      string `json:"file"` // where the system has it from, or empty
}

// idleService is how 'spare service status' ends when no service runs.
const idleService = status(1)

func newService(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Have the system start this node, and keep it running",
		Long: `Have the system start this node, and keep it running: systemd on Linux, launchd
on macOS, the service manager on Windows.

For yourself it is your node, in your home, and runs while you are logged in. As
root on Linux, and on Windows, it is one for the machine, with a user and a home
of its own; who is in the group 'spare' may use it, without a home of theirs.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return noCommand(cmd, args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newServiceInstall(h), newServiceUninstall(h), newServiceStatus(h))
	return cmd
}

func newServiceInstall(h *home) *cobra.Command {
	var s service
	var machine bool
	show := choice{"", []string{"service", "slice"}}
	cmd := &cobra.Command{
		Use:   "install [-- FLAGS OF spare up]",
		Short: "Install the service, and start it",
		Long: `Install the service, and start it. What comes after -- are flags of 'spare up':

  spare service install -- --listen /ip4/0.0.0.0/tcp/4001

What is installed already is replaced, and started again. --print shows on Linux
the unit, with the reason for each of its lines, or that of its slice, and changes
nothing.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n > 0 || n < 0 && len(args) > 0 {
				return usage(cmd, "%q is one argument too many: flags of 'spare up' come after --", args[0])
			}
			return checkUpFlags(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.Var(&show, "print", "print the unit, and install nothing")
	flags.Lookup("print").NoOptDefVal = show.of[0]
	flags.BoolVar(&machine, "system", false, "for the machine and not for yourself; so it is for root")
	flags.StringVar(&s.group, "socket-group", "spare", "`NAME` of the group of users who may use the machine's node")
	flags.StringVar(&s.program, "program", "", "`PATH` of spare on the machine that runs it (default this program)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := s.locate(*h, machine); err != nil {
			return err
		}
		s.flags = args
		if show.word != "" {
			text, err := s.text(show.word)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
				return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
			}
			return nil
		}
		return s.tell(cmd, s.install)
	}
	return cmd
}

func newServiceUninstall(h *home) *cobra.Command {
	var s service
	var machine, purge bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop the service, and remove it",
		Long: `Stop the service, and remove it. The home stays, with the node's identity and all
its tasks, unless --purge is said.`,
		Args: exactly(),
	}
	cmd.Flags().BoolVar(&machine, "system", false, "the machine's, and not yours; so it is for root")
	cmd.Flags().BoolVar(&purge, "purge", false, "delete the home as well, with the identity and all tasks")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.locate(*h, machine); err != nil {
			return err
		}
		return s.tell(cmd, func(ctx context.Context) ([][]string, error) { return s.uninstall(ctx, purge) })
	}
	return cmd
}

func newServiceStatus(h *home) *cobra.Command {
	var s service
	var machine bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Whether the service is installed, and runs",
		Long: `Tell whether the service is installed, and runs. The exit status is 1 when it
does not run. What the node itself does, 'spare status' tells.`,
		Args: exactly(),
	}
	cmd.Flags().BoolVar(&machine, "system", false, "the machine's, and not yours; so it is for root")
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.locate(*h, machine); err != nil {
			return err
		}
		state, err := s.state(cmd.Context())
		if err != nil {
			return err
		}
		if err := f.print(cmd.OutOrStdout(), state, func(w io.Writer) error { return printService(w, state) }); err != nil {
			return err
		}
		if !state.Running {
			return idleService
		}
		return nil
	}
	return cmd
}

func printService(w io.Writer, s serviceState) error {
	rows := [][]string{{"installed", yesNo(s.Installed)}}
	if s.Installed {
		rows = append(rows, []string{"file", s.File}, []string{"starts by itself", yesNo(s.Starts)})
	}
	rows = append(rows, []string{"running", yesNo(s.Running)}, []string{"state", s.State})
	if s.PID > 0 {
		rows = append(rows, []string{"pid", fmt.Sprint(s.PID)})
	}
	rows = append(rows, []string{"home", s.Home})
	return table(w, nil, rows)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// tell does something with the service, and prints what was done.
func (s *service) tell(cmd *cobra.Command, do func(context.Context) ([][]string, error)) error {
	if err := s.mayChange(); err != nil {
		return err
	}
	rows, err := do(cmd.Context())
	return errors.Join(err, table(cmd.OutOrStdout(), nil, rows))
}

// locate decides whose service it is, which home it has, and its program.
func (s *service) locate(h home, machine bool) error {
	s.machine = machine || machineOnly()
	var err error
	if s.machine {
		if s.home = machineHome(); h != "" {
			return protocol.Errorf(protocol.CodeUsage, "the machine's service keeps its home in %s", s.home).WithHint("leave --home away")
		}
	} else if s.home, err = h.path(); err != nil {
		return err
	}
	if s.program == "" {
		if s.program, err = os.Executable(); err == nil {
			s.program, err = filepath.EvalSymlinks(s.program)
		}
		if err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot find this program: %v", err).WithHint("name it with --program")
		}
	}
	if !filepath.IsAbs(s.program) {
		return protocol.Errorf(protocol.CodeUsage, "--program must be an absolute path, not %.100q", s.program).WithHint("for example /usr/local/bin/spare")
	}
	return nil
}

// command is what the service runs.
func (s *service) command() []string {
	args := []string{s.program, "up", "--home", s.home}
	if s.machine && s.group != "" && systemHome != "" {
		args = append(args, "--socket-group", s.group)
	}
	return append(args, s.flags...)
}

// checkUpFlags tells of what 'spare up' would not start with.
func checkUpFlags(cmd *cobra.Command, args []string) error {
	var h home
	up := newUp(&h)
	up.Flags().StringVar((*string)(&h), "home", "", "")
	err := up.ParseFlags(args)
	if errors.Is(err, pflag.ErrHelp) {
		return usage(cmd, "--help is no flag that a service can have")
	}
	if err != nil {
		return flagError(cmd, err)
	}
	if rest := up.Flags().Args(); len(rest) > 0 {
		return usage(cmd, "%q is no flag of 'spare up'", rest[0])
	}
	for _, name := range []string{"home", "socket-group"} {
		if up.Flags().Changed(name) {
			return usage(cmd, "--%s comes before --", name)
		}
	}
	return nil
}

// ofAnother says that what is installed, from a file, is not this home's.
func (s *service) ofAnother(file string) error {
	return protocol.Errorf(protocol.CodeService, "the service that %s installs is not of the home %s", file, s.home).
		WithHint("say --home as at its installation; that file has it")
}

// endsWithin is how long a node that the system has stopped may still end.
const endsWithin = 10 * time.Second

// removeHome deletes a home and everything in it, unless a node runs there.
func removeHome(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "identity.key")); err != nil {
		return protocol.Errorf(protocol.CodeFile, "%s is no home of a node: it has no identity.key", dir).
			WithHint("look what is in it, and delete it yourself")
	}
	ctx, cancel := context.WithTimeout(ctx, endsWithin)
	defer cancel()
	return store.Delete(ctx, dir)
}

// firstLine is the first line of what a program has said.
func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}
