package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
)

func main() {
	sandbox.WorkerMain()
	root := newRoot()
	root.SetArgs(endFlags(root, os.Args[1:]))
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], cobra.ShellCompRequestCmd) {
		root.InitDefaultHelpCmd() // which is added last
		addCompletions(root)
	}
	os.Exit(execute(context.Background(), root, os.Stderr))
}

// status ends a command with an exit status when all has been said.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// execute runs the command line and returns the exit status.
func execute(ctx context.Context, root *cobra.Command, stderr io.Writer) int {
	err := root.ExecuteContext(ctx)
	var s status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &s):
		return int(s)
	}
	var e *protocol.Error
	if !errors.As(err, &e) {
		e = protocol.Errorf(protocol.CodeInternal, "%v", err)
	}
	if h := homeOf(root); e.Code != protocol.CodeUsage {
		e.Hint = h.named(e.Hint)
	}
	complain(stderr, e)
	return e.Code.ExitStatus()
}

// named names the home in the commands of a hint, but for help, which is of none.
func (h home) named(hint string) string {
	parts := strings.Split(hint, "'")
	for i, part := range parts {
		if rest, ok := strings.CutPrefix(part, "spare "); ok && i > 0 && !strings.HasSuffix(rest, "--help") {
			parts[i] = h.command() + " " + rest
		}
	}
	return strings.Join(parts, "'")
}

// homeOf is the home that a command line names.
func homeOf(cmd *cobra.Command) home {
	return home(cmd.Root().PersistentFlags().Lookup("home").Value.String())
}

// complain tells a person what went wrong and what mends it.
func complain(w io.Writer, e *protocol.Error) {
	fmt.Fprintf(w, "spare: %s: %s\n", e.Code, protocol.SafeText(e.Message))
	if e.Hint != "" {
		fmt.Fprintf(w, "  hint: %s\n", protocol.SafeText(e.Hint))
	}
}

// usage is the error of a command line that cannot be.
func usage(cmd *cobra.Command, format string, args ...any) error {
	return protocol.Errorf(protocol.CodeUsage, format, args...).WithHint("see '%s --help'", cmd.CommandPath())
}

// flagError says of a flag's value what it must be.
func flagError(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		unknown := protocol.Errorf(protocol.CodeUsage, "%v", err)
		if near := nearFlag(cmd, err); near != "" {
			return unknown.WithHint("did you mean --%s?", near)
		}
		return unknown.WithHint("see '%s --help'", cmd.CommandPath())
	}
	flag, must := bad.GetFlag(), bad.Unwrap().Error()
	if flag.Value.Type() == "bool" { // whose own words are of a programmer's
		must = "must be true or false"
	}
	return usage(cmd, "--%s %s, not %.100q", flag.Name, must, bad.GetValue())
}

// nearFlag is the flag of cmd whose name goes on like that of one that is unknown,
// or "".
func nearFlag(cmd *cobra.Command, err error) (near string) {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 2 {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if near == "" && strings.HasPrefix(f.Name, unknown.GetSpecifiedName()) {
				near = f.Name
			}
		})
	}
	return near
}

// noCommand is the error of a word that is no command of root.
func noCommand(root *cobra.Command, word string) error {
	err := protocol.Errorf(protocol.CodeUsage, "there is no command %q", word)
	if near := root.SuggestionsFor(word); len(near) > 0 {
		return err.WithHint("did you mean 'spare %s'?", strings.Join(near, "' or 'spare "))
	}
	return err.WithHint("see 'spare --help'")
}

func newRoot() *cobra.Command {
	var home home
	root := &cobra.Command{
		Use:           "spare",
		Short:         "Run programs on the idle CPU of nearby peers",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return noCommand(cmd, args[0])
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	// Cobra's own --version takes a template, with which the linker must keep every
	// method of every type: 5 MB of this program.
	tell := root.Flags().BoolP("version", "v", false, "print the version")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *tell {
			return printVersion(cmd.OutOrStdout())
		}
		return cmd.Help()
	}
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return noCommand(root, args[0])
			}
			cmd.InitDefaultHelpFlag() // to be shown
			return cmd.Help()
		},
	})
	root.PersistentFlags().StringVar((*string)(&home), "home", "", "the node's `DIR` (default $SPARE_HOME, or spare in $XDG_DATA_HOME or ~/.local/share)")
	for _, g := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Start a node and rule it:", []*cobra.Command{
			newUp(&home), newService(&home), newDonate(&home), newPause(&home), newResume(&home), newConfig(&home),
		}},
		{"Run programs:", []*cobra.Command{newRun(&home), newMap(&home), newRuntime(&home)}},
		{"See to tasks and jobs:", []*cobra.Command{
			newPs(&home), newShow(&home), newLogs(&home), newWait(&home), newGet(&home), newCancel(&home), newRerun(&home), newPrune(&home), newWhy(&home),
		}},
		{"Share data:", []*cobra.Command{newAdd(&home), newCat(&home)}},
		{"Choose whom:", []*cobra.Command{
			newGuests(&home), newAccess(&home), newBlock(&home), newUnblock(&home), newAllow(&home), newDisallow(&home),
		}},
		{"Look around:", []*cobra.Command{
			newStatus(&home), newTop(&home), newDashboard(&home), newPeers(&home), newOffers(&home), newPing(&home), newNetcheck(&home), newDoctor(&home),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	root.AddCommand(newVersion(), newCompletion(), newMan())
	return root
}

// tooMany is the error of an argument that cmd has no use for, which may be a flag
// that lacks its dashes.
func tooMany(cmd *cobra.Command, arg string) error {
	err := protocol.Errorf(protocol.CodeUsage, "%q is one argument too many", arg)
	if cmd.Flags().Lookup(arg) != nil {
		return err.WithHint("did you mean --%s?", arg)
	}
	return err.WithHint("see '%s --help'", cmd.CommandPath())
}

// exactly makes a command take these arguments and no others.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage(cmd, "%s is missing", names[len(args)])
		case len(args) > len(names):
			return tooMany(cmd, args[len(names)])
		}
		if i := slices.Index(args, ""); i >= 0 {
			return usage(cmd, "%s is empty", names[i])
		}
		return nil
	}
}
