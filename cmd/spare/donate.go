package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node"
	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/protocol"
)

func newDonate(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "donate",
		Short: "What this machine gives to others, and when",
		Args:  subcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newInspect(h, "show", "What this machine gives, when, and who has said so", exactly(),
		func(ctx context.Context, c *client.Client, _ []string) (api.Donation, error) { return c.Donation(ctx) },
		printDonation), newDonateSet(h))
	return cmd
}

// subcommand refuses a word that is no command of cmd.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(cmd, "there is no command %q", cmd.Name()+" "+args[0])
}

// again is the value of a rule that takes back what was set.
const again = "default"

// ruleFlag is the value of a flag that is a rule of donating.
type ruleFlag struct {
	rules donor.Rules // to be said
	name  string
	kind  string
}

// String returns nothing: only the node knows what holds.
func (r *ruleFlag) String() string { return "" }

// Type names the value in the help.
func (r *ruleFlag) Type() string { return r.kind }

// Set takes what can be, or [again].
func (r *ruleFlag) Set(text string) error {
	if text == again {
		r.rules[r.name] = ""
		return nil
	}
	wants, ok := donor.CheckRule(r.name, text)
	if !ok {
		return errors.New("must be " + wants)
	}
	r.rules[r.name] = text
	return nil
}

func newDonateSet(h *home) *cobra.Command {
	rules := make(donor.Rules)
	var always bool
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Change what this machine gives, from now on",
		Long: `Change what this machine gives, from now on. Only what is named is changed;
"` + again + `" takes it back. What holds is the first of what flags of 'spare up', this
command and config.toml say; 'spare donate show' tells which.

  spare donate set --cpu 50% --only-idle=5m --when "mon-fri 19:00-07:00, sat, sun"

The share of the CPUs, the slots, the memory, the disk and the rate bound this
node's own tasks as well; the rest only those of others. The share is kept by running fewer
tasks at once and, where workers are in a control group, by the kernel. A window
of --when whose end is not after its beginning ends on the next day. What runs
for others when a window closes, on battery, or when the machine is hot, is handed
over to other nodes. Where the system does not tell whether somebody is at the
keyboard, or how hot the machine is, 'spare donate show' says so, and it does not
keep the machine from donating.`,
		Args: exactly(),
	}
	f := addFormat(cmd, "table", "json")
	flags := cmd.Flags()
	rule := func(flag, name, kind, what string) { flags.Var(&ruleFlag{rules, name, kind}, flag, what) }
	rule("cpu", donor.RuleCPU, "SHARE", "most of all CPUs, such as 50%")
	rule("slots", donor.RuleSlots, "N", "tasks to run at once")
	rule("mem", donor.RuleMemory, "SIZE", "most memory for one task")
	rule("disk", donor.RuleDisk, "SIZE", "most bytes of programs, inputs and results, and of compiled code")
	rule("only-idle", donor.RuleIdle, "TIME", "only when others have left the CPUs alone, and nobody was at the machine, for so long")
	flags.Lookup("only-idle").NoOptDefVal = protocol.TimeText(donor.UsualIdle)
	flags.BoolVar(&always, "always", false, "whatever others on this machine do")
	rule("when", donor.RuleWhen, "WINDOWS", "only at these times of the week, or always")
	rule("on-battery", donor.RuleBattery, "pause|ignore", "what to do on battery")
	rule("on-hot", donor.RuleHot, "pause|ignore", "what to do when the machine is as hot as it may be")
	rule("net", donor.RuleNet, "RATE", "most bytes a second to send of inputs, programs and results, and to take of the first two, at least 4MiB/s, such as 10MB/s, or all")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 && flags.Changed("only-idle") {
			return protocol.Errorf(protocol.CodeUsage, "%q is one argument too many", args[0]).WithHint("--only-idle takes its time after a sign: --only-idle=%s", args[0])
		}
		return exactly()(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, idle := rules[donor.RuleIdle]; always && idle {
			return usage(cmd, "--always and --only-idle exclude each other")
		} else if always {
			rules[donor.RuleIdle] = "no"
		}
		if len(rules) == 0 {
			return usage(cmd, "nothing is named that is to change")
		}
		c, err := h.node()
		if err != nil {
			return err
		}
		d, err := c.SetRules(cmd.Context(), rules)
		if err != nil {
			return err
		}
		for _, r := range d.Rules {
			if value, said := rules[r.Key]; said && value != "" && r.Origin != donor.FromSet {
				fmt.Fprintf(cmd.ErrOrStderr(), "spare: %s is kept, but a %s says %s, which wins while this node runs\n", r.Key, r.Origin, protocol.SafeText(r.Value))
			}
		}
		return f.print(cmd.OutOrStdout(), d, func(w io.Writer) error { return printDonation(w, d) })
	}
	return cmd
}

func printDonation(w io.Writer, d api.Donation) error {
	if err := printTakes(w, d.Donate); err != nil {
		return err
	}
	var rows [][]string
	for _, r := range d.Rules {
		rows = append(rows, []string{r.Key, r.Value, r.Origin, r.Note})
	}
	return table(w, []string{"RULE", "VALUE", "SAID BY", "HERE"}, rows)
}

func newConfig(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "What holds of all that a user may decide",
		Args:  subcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var origin bool
	show := &cobra.Command{
		Use:   "show",
		Short: "Every value that a user may decide, of the node that runs or would",
		Args:  exactly(),
	}
	f := addFormat(show, "table", "json")
	show.Flags().BoolVar(&origin, "origin", false, "and who has said so: a flag, donate set, config.toml, or nobody")
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		list, err := c.Settings(cmd.Context())
		if protocol.CodeOf(err) == protocol.CodeNoNode {
			var cfg node.Config
			if cfg, err = readConfig(*h); err == nil {
				list, err = node.Settings(cfg)
			}
		}
		if err != nil {
			return err
		}
		slices.SortStableFunc(list, func(a, b api.Setting) int { return cmp.Compare(a.Key, b.Key) })
		return f.print(cmd.OutOrStdout(), list, func(w io.Writer) error {
			head, rows := []string{"KEY", "VALUE"}, [][]string(nil)
			if origin {
				head = append(head, "SAID BY")
			}
			for _, s := range list {
				rows = append(rows, append([]string{s.Key, s.Value}, s.Origin)[:len(head)])
			}
			return table(w, head, rows)
		})
	}
	cmd.AddCommand(show)
	return cmd
}

func newPause(h *home) *cobra.Command {
	var (
		during = quantity{times, 0, uint64(time.Second), uint64(api.MaxPause)}
		finish bool
	)
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Run nothing for others, for a while or until 'spare resume'",
		Long: `Run nothing for others, for a while or until 'spare resume', also when the node
is stopped and started again meanwhile.

What runs here for others stops at once, and their nodes have it run elsewhere;
with --finish it may end. Tasks of this node go on.`,
		Args: exactly(),
	}
	f := addFormat(cmd, "table", "json")
	cmd.Flags().Var(&during, "for", "how long (default until 'spare resume')")
	cmd.Flags().BoolVar(&finish, "finish", false, "let what runs here already end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		d, err := c.Pause(cmd.Context(), time.Duration(during.n), finish)
		if err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), d, func(w io.Writer) error { return printTakes(w, d) })
	}
	return cmd
}

func newResume(h *home) *cobra.Command {
	cmd := &cobra.Command{Use: "resume", Short: "Take a pause back", Args: exactly()}
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := h.node()
		if err != nil {
			return err
		}
		d, err := c.Resume(cmd.Context())
		if err != nil {
			return err
		}
		return f.print(cmd.OutOrStdout(), d, func(w io.Writer) error { return printTakes(w, d) })
	}
	return cmd
}

func printTakes(w io.Writer, d api.Donate) error {
	return table(w, nil, [][]string{{"takes tasks", takesTasks(d)}})
}

// takesTasks says whether a node takes tasks of others, and why or why not.
func takesTasks(d api.Donate) string {
	said := fmt.Sprintf("%s (--donate %s)", d.State, d.Mode)
	if d.Reason != "" {
		said += ": " + d.Reason
	}
	return said
}
