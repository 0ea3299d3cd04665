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

	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
)

func main() {
	sandbox.WorkerMain()
	os.Exit(execute(context.Background(), newRoot(), os.Stderr))
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
	if h := home(root.PersistentFlags().Lookup("home").Value.String()); e.Code == protocol.CodeNoNode {
		e.Hint = strings.ReplaceAll(e.Hint, "'spare up'", "'"+h.command()+" up'")
	}
	complain(stderr, e)
	return e.Code.ExitStatus()
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
			err := protocol.Errorf(protocol.CodeUsage, "there is no command %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return err.WithHint("did you mean 'spare %s'?", strings.Join(near, "' or 'spare "))
			}
			return err.WithHint("see 'spare --help'")
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%v", err) })
	root.PersistentFlags().StringVar((*string)(&home), "home", "", "the node's `DIR` (default $SPARE_HOME, or spare in $XDG_DATA_HOME or ~/.local/share)")
	root.AddCommand(
		newUp(&home), newRun(&home),
		newPs(&home), newShow(&home), newLogs(&home), newWait(&home), newGet(&home), newCancel(&home),
		newStatus(&home), newDoctor(&home), newPeers(&home), newOffers(&home), newPing(&home), newDashboard(&home), newVersion(),
	)
	return root
}

// exactly makes a command take these arguments and no others.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage(cmd, "%s is missing", names[len(args)])
		case len(args) > len(names):
			return usage(cmd, "%q is one argument too many", args[len(names)])
		}
		if i := slices.Index(args, ""); i >= 0 {
			return usage(cmd, "%s is empty", names[i])
		}
		return nil
	}
}
