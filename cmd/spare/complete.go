package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/protocol"
)

const (
	// completeWithin bounds how long a shell that waits for a word is kept.
	completeWithin = time.Second
	// completeMost bounds the words that a shell is given.
	completeMost = 200
)

func newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print what makes a shell complete spare's commands, IDs and peers",
		Long: `Print what makes a shell complete spare's commands and flags, and with a running
node the IDs of tasks and jobs, and peers.

For this shell alone:

  source <(spare completion bash)
  source <(spare completion zsh)
  spare completion fish | source
  spare completion powershell | Out-String | Invoke-Expression

For good:

  spare completion bash > ~/.local/share/bash-completion/completions/spare
  spare completion zsh > "${fpath[1]}/_spare"
  spare completion fish > ~/.config/fish/completions/spare.fish`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactly("SHELL")(cmd, args); err != nil {
				return err
			}
			if !slices.Contains(shells, args[0]) {
				return usage(cmd, "the shell must be %s or %s, not %.40q", strings.Join(shells[:3], ", "), shells[3], args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			root, w := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(w, true)
			case "zsh":
				err = root.GenZshCompletion(w)
			case "fish":
				err = root.GenFishCompletion(w, true)
			default:
				err = root.GenPowerShellCompletionWithDesc(w)
			}
			if err != nil {
				return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
			}
			return nil
		},
	}
}

// words are what may stand in one place of a command line, each with a tab and what
// it is.
type words func(ctx context.Context, c *client.Client) ([]string, error)

// addCompletions gives every command below cmd what completes its words. It goes by
// how their usage names them, so that a new command that takes a TASK or a PEER has
// its words completed, too.
func addCompletions(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		addCompletions(sub)
	}
	if cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil && !cmd.HasSubCommands() {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			name := argument(cmd, len(args))
			if isFile(name) {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return complete(cmd, wordsOf(cmd, name), word, args)
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { completeFlag(cmd, f) })
}

func completeFlag(cmd *cobra.Command, f *pflag.Flag) {
	name, about := pflag.UnquoteUsage(f)
	if f.Usage = about; name == "DIR" { // shells show it as it is
		_ = cmd.MarkFlagDirname(f.Name) // the flag is there
	}
	if isFile(name) || f.Value.Type() == "bool" {
		return
	}
	of := wordsOf(cmd, name)
	switch {
	case strings.Contains(name, "|"): // a choice, as its type has it
		of = fixed(slices.DeleteFunc(strings.Split(name, "|"), func(word string) bool { return word != strings.ToLower(word) })...)
	case f.Name == "for":
		of = fixed("30m", "2h", "8h", "24h")
	}
	if rule, ok := f.Value.(*ruleFlag); ok {
		of = ruleWords(rule, of)
	}
	// It fails for a flag that is not there, or that has one of its own.
	_ = cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return complete(cmd, of, word, nil)
	})
}

// argument is how the usage of a command names its argument, or "".
func argument(cmd *cobra.Command, n int) string {
	first, _, _ := strings.Cut(cmd.Use, " | ") // one of several ways
	var names []string
	for _, word := range strings.Fields(first)[1:] {
		name, more := strings.CutSuffix(strings.Trim(word, "[]"), "...")
		switch {
		case name == "--":
			return at(names, n)
		case name == "" || name != strings.ToUpper(name) || name[0] == '-':
			continue
		}
		names = append(names, strings.Trim(name, "[]"))
		if more && n >= len(names) {
			return names[len(names)-1]
		}
	}
	return at(names, n)
}

func at(names []string, n int) string {
	if n < len(names) {
		return names[n]
	}
	return ""
}

// isFile reports whether the shell itself completes what a usage calls so.
func isFile(name string) bool {
	return slices.ContainsFunc([]string{"PROGRAM", "PATH", "FILE", "DIR"}, func(kind string) bool { return strings.HasPrefix(name, kind) })
}

// wordsOf are those of what a usage calls so, or nil.
func wordsOf(cmd *cobra.Command, name string) words {
	switch name {
	case "TASK", "ID":
		switch cmd.Name() {
		case "cancel", "wait":
			return tasksAndJobs(func(ended bool) bool { return !ended })
		case "prune":
			return tasksAndJobs(func(ended bool) bool { return ended })
		}
		return tasksAndJobs(nil)
	case "JOB":
		return jobIDs
	case "PEER":
		return peerIDs
	case "CID":
		return addedData
	case "COMMAND":
		return fixed(commandsOf(cmd.Root())...)
	case "NAME":
		if cmd.Name() == "remove" {
			return func(context.Context, *client.Client) ([]string, error) { return runtimeNames(homeOf(cmd)) }
		}
	}
	return nil
}

// complete asks for the words that begin as word does. What goes wrong is not said:
// there is nobody to read it.
func complete(cmd *cobra.Command, of words, word string, args []string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if of == nil {
		return nil, none
	}
	c, err := homeOf(cmd).node()
	if err != nil {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	all, err := of(ctx, c)
	if err != nil {
		return nil, none
	}
	var list []string
	for _, w := range all {
		w, about, _ := strings.Cut(w, "\t")
		if w = protocol.SafeText(w); strings.HasPrefix(w, word) && !slices.Contains(args, w) && len(list) < completeMost {
			list = append(list, cobra.CompletionWithDesc(w, protocol.SafeText(about)))
		}
	}
	return list, none | cobra.ShellCompDirectiveKeepOrder
}

func commandsOf(root *cobra.Command) (list []string) {
	for _, sub := range root.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, sub.Name()+"\t"+sub.Short)
		}
	}
	return list
}

func fixed(list ...string) words {
	return func(context.Context, *client.Client) ([]string, error) { return list, nil }
}

// tasksAndJobs are the newest of them; of those that a filter lets pass.
func tasksAndJobs(ended func(bool) bool) words {
	return func(ctx context.Context, c *client.Client) (list []string, err error) {
		all, _, err := listed(ctx, c, completeMost, true, true)
		for _, one := range all {
			switch v := one.(type) {
			case api.Task:
				if ended == nil || ended(v.Ended != nil) {
					list = append(list, fmt.Sprintf("%s\t%s, %s", v.ID, v.Name, stateText(&v)))
				}
			case api.Job:
				if ended == nil || ended(v.Ended != nil) {
					list = append(list, jobWord(&v))
				}
			}
		}
		return list, err
	}
}

func jobIDs(ctx context.Context, c *client.Client) (list []string, err error) {
	page, err := c.Jobs(ctx, completeMost, "")
	for _, j := range page.Jobs {
		list = append(list, jobWord(&j))
	}
	return list, err
}

func jobWord(j *api.Job) string {
	return fmt.Sprintf("%s\tjob of %s, %s, %s", j.ID, plural(j.Tasks, "task"), j.Name, j.State)
}

func peerIDs(ctx context.Context, c *client.Client) (list []string, err error) {
	peers, err := c.Peers(ctx)
	for _, p := range peers {
		about := "not connected"
		if p.Connected {
			about = millis(p.RTTMS)
		}
		if p.OfferAgeMS != nil {
			about += fmt.Sprintf(", %d of %d slots in use, %s", p.Inflight, p.Slots, p.Availability)
		}
		list = append(list, p.Peer+"\t"+about)
	}
	return list, err
}

func addedData(ctx context.Context, c *client.Client) (list []string, err error) {
	data, err := c.Data(ctx)
	for _, d := range data {
		list = append(list, d.CID+"\t"+d.Name)
	}
	return list, err
}

func runtimeNames(h home) (list []string, err error) {
	dir, err := h.path()
	if err != nil {
		return nil, err
	}
	found, err := interpreters(dir)
	for _, i := range found {
		if !i.Config {
			list = append(list, i.Name+"\t"+strings.Join(i.Ext, " "))
		}
	}
	return list, err
}

// ruleWords are what a rule of donating may be, and what it is now.
func ruleWords(rule *ruleFlag, fixedOnes words) words {
	return func(ctx context.Context, c *client.Client) (list []string, err error) {
		switch {
		case fixedOnes != nil:
			list, _ = fixedOnes(ctx, c)
		case rule.name == donor.RuleCPU:
			list = []string{"25%", "50%", "75%", "100%"}
		case rule.name == donor.RuleIdle:
			list = []string{"no\twhatever others do", protocol.TimeText(donor.UsualIdle), "10m"}
		case rule.name == donor.RuleWhen:
			list = []string{"always", "mon-fri 19:00-07:00, sat, sun"}
		}
		if d, err := c.Donation(ctx); err == nil {
			for _, r := range d.Rules {
				if _, can := donor.CheckRule(rule.name, r.Value); r.Key == rule.name && can {
					list = slices.DeleteFunc(list, func(w string) bool { return w == r.Value })
					list = append([]string{r.Value + "\tas it is now, by " + r.Origin}, list...)
				}
			}
		}
		return append(list, again+"\ttakes back what was set"), nil
	}
}
