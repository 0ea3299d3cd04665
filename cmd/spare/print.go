package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/protocol"
)

// format is the value of --output.
type format struct{ choice }

// addFormat gives cmd the flag -o, whose first word is the default.
func addFormat(cmd *cobra.Command, words ...string) *format {
	f := &format{choice{words[0], words}}
	cmd.Flags().VarP(f, "output", "o", "how to print")
	return f
}

// print writes v as JSON, or calls the function that writes its text.
func (f *format) print(w io.Writer, v any, text func(io.Writer) error) error {
	if f.word != "json" {
		return text(w)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
	}
	return nil
}

// table writes rows in columns. Every cell may hold text of strangers.
func table(w io.Writer, head []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if head != nil {
		rows = append([][]string{head}, rows...)
	}
	for _, row := range rows {
		for i, cell := range row {
			row[i] = protocol.SafeText(cell)
			if cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot write: %v", err)
	}
	return nil
}

// shortPeer is the beginning of a peer ID: enough to tell peers apart, and to
// name one wherever a peer is asked for.
func shortPeer(id string) string { return id[:min(len(id), 16)] }

// peerName is how tables name a peer.
func peerName(id string, self bool) string {
	if self {
		return shortPeer(id) + " (this node)"
	}
	return shortPeer(id)
}

// millis writes milliseconds, nil as unknown.
func millis(ms *float64) string {
	switch {
	case ms == nil:
		return "unknown"
	case *ms >= 10_000:
		return fmt.Sprintf("%.1f s", *ms/1000)
	case *ms >= 100:
		return fmt.Sprintf("%.0f ms", *ms)
	default:
		return fmt.Sprintf("%.2f ms", *ms)
	}
}

// span writes a duration in its largest unit.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
