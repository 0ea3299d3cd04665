package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spare-network/spare/protocol"
)

// newMan makes the command that packages are made with.
//
// The pages are written here and not by cobra/doc: that renders Markdown, which help
// is not, has no word for a flag's value, and the libraries that it brings cost each
// start of every command 0.4 ms.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages of all commands to a directory",
		Hidden: true,
		Args:   exactly("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := os.MkdirAll(args[0], 0o755)
			if err == nil {
				err = writePages(args[0], cmd.Root())
			}
			if err != nil {
				return protocol.Errorf(protocol.CodeFile, "cannot write the manual to %s: %v", args[0], err).WithHint("name a directory that you may write to")
			}
			return nil
		},
	}
}

// pageName is the page of a command: spare-donate-set.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func writePages(dir string, cmd *cobra.Command) error {
	if err := os.WriteFile(filepath.Join(dir, pageName(cmd)+".1"), page(cmd), 0o644); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			if err := writePages(dir, sub); err != nil {
				return err
			}
		}
	}
	return nil
}

// page is the manual page of a command, in the macros of man(7).
func page(cmd *cobra.Command) []byte {
	var b bytes.Buffer
	cmd.InitDefaultHelpFlag()
	fmt.Fprintf(&b, ".TH %s 1 \"%s\" \"%s\" \"spare\"\n", roff(strings.ToUpper(pageName(cmd))), built(), roff("spare "+versionText()))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(pageName(cmd)), roff(cmd.Short))
	b.WriteString(".SH SYNOPSIS\n")
	use := strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())
	if cmd.HasSubCommands() {
		use += " COMMAND"
	}
	fmt.Fprintf(&b, ".B %s\n%s\n", roff(cmd.CommandPath()), roff(use))
	b.WriteString(".SH DESCRIPTION\n")
	long := cmd.Long
	if long == "" {
		long = cmd.Short
	}
	paragraphs(&b, long)
	if cmd.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				entry(&b, sub.Name(), sub.Short)
			}
		}
	}
	b.WriteString(".SH OPTIONS\n")
	options := func(f *pflag.Flag) {
		if !f.Hidden {
			entry(&b, flagName(f), flagText(f))
		}
	}
	cmd.LocalFlags().VisitAll(options)
	cmd.InheritedFlags().VisitAll(options)
	if !cmd.HasParent() {
		general(&b)
	}
	b.WriteString(".SH SEE ALSO\n")
	var also []string
	if cmd.HasParent() {
		also = append(also, fmt.Sprintf(".BR %s (1)", roff(pageName(cmd.Parent()))))
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			also = append(also, fmt.Sprintf(".BR %s (1)", roff(pageName(sub))))
		}
	}
	b.WriteString(strings.Join(also, ",\n") + "\n")
	return b.Bytes()
}

// general is what all commands have in common, as the page of spare tells it.
func general(b *bytes.Buffer) {
	b.WriteString(".SH ENVIRONMENT\n")
	entry(b, "SPARE_HOME", "the node's directory, when --home does not name it")
	entry(b, "XDG_DATA_HOME", "where the node's directory is when neither does")
	entry(b, "NO_COLOR", "when it is set, nothing is written in colour")
	b.WriteString(".SH FILES\n")
	entry(b, "~/.local/share/spare", "the node's directory: its key, what it keeps, and its socket")
	entry(b, "~/.local/share/spare/config.toml", "what the owner decides; spare never writes it")
	b.WriteString(".SH EXIT STATUS\n")
	for _, one := range [][2]string{
		{"0", "it went well"},
		{"1", "spare doctor has found something that is bad"},
		{"2", "the command line cannot be"},
		{"124", "a time limit was reached"},
		{"125", "spare or the network failed, a limit was reached, a file cannot be read or written, or the beginning of an ID fits several"},
		{"126", "the program is no valid module"},
		{"127", "there is no such program, task or peer"},
		{"130", "interrupted"},
		{"134", "the program trapped"},
	} {
		entry(b, one[0], one[1])
	}
	b.WriteString(".PP\n")
	paragraphs(b, "'spare run' and 'spare wait' otherwise exit as the program does, 'spare map' with how many tasks have failed, at most 101.")
}

func flagName(f *pflag.Flag) string {
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	value, _ := pflag.UnquoteUsage(f)
	switch {
	case value == "":
	case f.NoOptDefVal != "":
		name += "[=" + value + "]"
	default:
		name += " " + value
	}
	return name
}

// flagText is what the help says of a flag, with its default.
func flagText(f *pflag.Flag) string {
	_, text := pflag.UnquoteUsage(f)
	switch f.DefValue {
	case "", "0", "false", "[]":
		return text
	}
	if strings.Contains(text, "(default") {
		return text
	}
	return text + " (default " + f.DefValue + ")"
}

func entry(b *bytes.Buffer, what, text string) {
	fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(what), roff(text))
}

// paragraphs writes text whose lines may be filled anew, but for those that are set
// off by spaces.
func paragraphs(b *bytes.Buffer, text string) {
	off := false
	for _, line := range strings.Split(text, "\n") {
		if example := strings.HasPrefix(line, "  "); example != off && line != "" {
			b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[example])
			off = example
		}
		if line == "" {
			b.WriteString(".PP\n")
			continue
		}
		b.WriteString(roff(line) + "\n")
	}
	if off {
		b.WriteString(".fi\n")
	}
}

// roff keeps a line of text as it is.
func roff(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(line)
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}

// built is the day of the commit that this was built from, or "".
func built() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t.Format(time.DateOnly)
			}
		}
	}
	return ""
}
