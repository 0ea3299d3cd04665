package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// sources are where a job's items come from.
type sources struct {
	lists  []source // of the command line, in its order
	files  []string // -a
	globs  []string
	colsep string
	null   bool
}

// source is a list of items on the command line, or a file of them.
type source struct {
	words  []string
	file   string
	linked bool // its items belong to those of the source before, one to one
}

// Separators begin lists of items, and of files of items, on the command line.
const (
	separator     = ":::"
	fileSeparator = "::::"
	linked        = "+" // after either
)

func isSeparator(arg string) bool {
	arg = strings.TrimSuffix(arg, linked)
	return arg == separator || arg == fileSeparator
}

// endFlags returns the args with an end of flags before the first list of items:
// an item may begin with a dash, such as a number below 0.
func endFlags(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	i := slices.IndexFunc(args, isSeparator)
	if err != nil || cmd.Name() != "map" || i < 0 || slices.Contains(args[:i], "--") {
		return args
	}
	return slices.Insert(slices.Clone(args), i, "--")
}

// splitArgs parts the args of the program from the lists of items.
func splitArgs(args []string) (program []string, lists []source) {
	end := func(args []string) int {
		if i := slices.IndexFunc(args, isSeparator); i >= 0 {
			return i
		}
		return len(args)
	}
	i := end(args)
	program, args = slices.Clip(args[:i]), args[i:]
	for len(args) > 0 {
		kind, words := args[0], args[1:]
		i = end(words)
		words, args = words[:i], words[i:]
		_, link := strings.CutSuffix(kind, linked)
		if strings.TrimSuffix(kind, linked) == separator {
			lists = append(lists, source{words: words, linked: link})
			continue
		}
		for _, file := range words {
			lists = append(lists, source{file: file, linked: link})
		}
	}
	return program, lists
}

// likeFlag returns the first item of the command line that would be one of the
// flags if it came before the items, or "".
func (s *sources) likeFlag(flags *pflag.FlagSet) string {
	for _, from := range s.lists {
		for _, word := range from.words {
			long, isLong := strings.CutPrefix(word, "--")
			name, _, _ := strings.Cut(long, "=")
			if isLong && flags.Lookup(name) != nil || len(word) == 2 && word[0] == '-' && flags.ShorthandLookup(word[1:]) != nil {
				return word
			}
		}
	}
	return ""
}

// items reads all of them; stdin's lines when nothing else is named.
func (s *sources) items(stdin *os.File) ([]mapItem, error) {
	split := func(text string) []string { return []string{text} }
	if s.colsep != "" {
		by, err := regexp.Compile(s.colsep)
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeUsage, "--colsep is no regular expression: %v", err)
		}
		split = func(text string) []string { return by.Split(text, -1) }
	}
	var list []source
	for _, name := range s.files {
		list = append(list, source{file: name})
	}
	for _, pattern := range s.globs {
		names, err := glob(pattern)
		if err != nil {
			return nil, err
		}
		list = append(list, source{words: names})
	}
	if list = append(list, s.lists...); len(list) == 0 {
		if isTerminal(stdin) {
			fmt.Fprintln(os.Stderr, "spare: items are read from the terminal, one a line; Ctrl-D ends them")
		}
		list = []source{{file: "-"}}
	}
	all := make([][]mapItem, 0, len(list))
	for _, from := range list {
		texts := from.words
		if from.file != "" {
			var err error
			if texts, err = s.linesOf(from.file, stdin); err != nil {
				return nil, err
			}
		}
		items := make([]mapItem, len(texts))
		for i, text := range texts {
			items[i] = split(text)
		}
		if !from.linked {
			all = append(all, items)
			continue
		}
		if len(all) == 0 {
			return nil, protocol.Errorf(protocol.CodeUsage, "there are no items before %s%s to join with", separator, linked)
		}
		last := all[len(all)-1]
		if len(last) != len(items) {
			return nil, protocol.Errorf(protocol.CodeUsage, "%s%s joins items one to one, and there are %d and %d", separator, linked, len(last), len(items))
		}
		for i := range last {
			last[i] = slices.Concat(last[i], items[i])
		}
	}
	n := uint64(1)
	for _, items := range all {
		if n *= uint64(len(items)); n > maxItems {
			return nil, protocol.Errorf(protocol.CodeUsage, "there are more than %d items", maxItems).WithHint("submit several jobs")
		}
	}
	if n == 0 {
		return nil, protocol.Errorf(protocol.CodeUsage, "there is no item").WithHint("give items after :::, in a file with -a, or a line each on stdin")
	}
	return combine(all), nil
}

// maxItems is how many items may be parted into tasks, so that a product of lists
// does not take all memory.
const maxItems = 16 << 20

// glob returns the names of files that match a pattern, sorted: the same items
// each time, as --resume wants them. As in shells, * and ** leave away what begins
// with a dot, and ** does not follow links to directories.
func glob(pattern string) (names []string, err error) {
	if pattern == "" {
		return nil, protocol.Errorf(protocol.CodeUsage, "--glob is empty").WithHint("name files by a pattern, such as --glob '*.txt'")
	}
	options := []doublestar.GlobOption{doublestar.WithNoHidden(), doublestar.WithFailOnIOErrors()}
	if strings.Contains(pattern, "**") {
		options = append(options, doublestar.WithNoFollow())
	}
	names, err = doublestar.FilepathGlob(pattern, options...)
	switch {
	case errors.Is(err, doublestar.ErrBadPattern):
		return nil, protocol.Errorf(protocol.CodeUsage, "--glob %q is no pattern", pattern).
			WithHint("there are *, ?, [a-z], {one,two} and ** for any directories; \\ takes their meaning away")
	case err != nil:
		return nil, protocol.Errorf(protocol.CodeFile, "cannot look for --glob %q: %v", pattern, err)
	}
	found := len(names)
	names = slices.DeleteFunc(names, func(name string) bool {
		info, err := os.Stat(name)
		return err == nil && info.IsDir()
	})
	switch {
	case len(names) > 0:
		slices.Sort(names)
		return slices.Compact(names), nil
	case found > 0:
		return nil, protocol.Errorf(protocol.CodeNotFound, "only directories are called %s", pattern).
			WithHint("%s has the files in and below them", filepath.Join(pattern, "**"))
	case strings.ContainsAny(pattern, "*?[{"):
		return nil, protocol.Errorf(protocol.CodeNotFound, "no file is called %s", pattern).
			WithHint("** goes into directories, and * leaves away what begins with a dot")
	default:
		return nil, protocol.Errorf(protocol.CodeNotFound, "no file is called %s", pattern).
			WithHint("quote the pattern, so that the shell leaves it alone; names go after %s", separator)
	}
}

// linesOf reads the lines of a file, or of stdin when its name is -.
func (s *sources) linesOf(name string, stdin *os.File) (lines []string, err error) {
	f := stdin
	if name != "-" {
		f, err = os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, protocol.Errorf(protocol.CodeNotFound, "there is no file %s", name).WithHint("-a names a file with an item on each line")
		}
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeFile, "cannot read the items: %v", err)
		}
		defer f.Close()
	}
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, protocol.MaxArgBytes)
	trim := func(line string) string { return strings.TrimSuffix(line, "\r") }
	if s.null {
		scan.Split(splitNull)
		trim = func(line string) string { return line }
	}
	for scan.Scan() {
		line := trim(scan.Text())
		if i := strings.IndexByte(line, 0); i >= 0 {
			return nil, protocol.Errorf(protocol.CodeUsage, "item %d of %s has a NUL byte, which no argument can have", len(lines)+1, f.Name()).
				WithHint("-0 parts items at NUL bytes, as 'find -print0' does")
		}
		lines = append(lines, line)
	}
	switch err := scan.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, protocol.Errorf(protocol.CodeUsage, "item %d of %s has more than %s", len(lines)+1, f.Name(), protocol.SizeText(protocol.MaxArgBytes)).
			WithHint("an item is an argument; give what is long as a file with -i, or on stdin with --pipe")
	case err != nil:
		return nil, protocol.Errorf(protocol.CodeFile, "cannot read the items of %s: %v", f.Name(), err)
	}
	return lines, nil
}

// splitNull is [bufio.ScanLines] for lines that end with NUL.
func splitNull(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// blocks parts what r has into blocks of whole lines, of at most so many bytes
// unless a line alone has more, and gives each to take.
func blocks(r io.Reader, length int, take func([]byte) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var block []byte
	whole := 0 // how much of it is whole lines
	for {
		piece, err := in.ReadSlice('\n')
		ended := err == nil
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil // the line goes on
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return protocol.Errorf(protocol.CodeFile, "cannot read stdin: %v", err)
		}
		if whole > 0 && len(block)+len(piece) > length {
			if err := take(block[:whole]); err != nil {
				return err
			}
			block = append(block[:0], block[whole:]...)
			whole = 0
		}
		if len(block)+len(piece) > protocol.MaxBlob {
			return protocol.Errorf(protocol.CodeUsage, "a line of stdin has more than %s", protocol.SizeText(protocol.MaxBlob)).
				WithHint("--pipe parts stdin between lines")
		}
		if block = append(block, piece...); ended {
			whole = len(block)
		}
		if err != nil {
			if len(block) == 0 {
				return nil
			}
			return take(block)
		}
	}
}

// feeder makes the items of a job, with what they need at the node.
type feeder struct {
	c      *client.Client
	args   []string // of the program, with placeholders
	each   []string // -i with placeholders
	limits *protocol.Limits
	seen   map[string][]protocol.Input // by what an -i was expanded to
}

// feed makes the item of each group and calls take with it.
func (f *feeder) feed(ctx context.Context, groups [][]mapItem, take func(*protocol.Item) error) error {
	for i, group := range groups {
		item := &protocol.Item{Args: taskArgs(f.args, f.each, group, i+1)}
		item.Label = protocol.SafeText(strings.Join(slices.Concat(group...), " "))
		for _, in := range f.each {
			for _, m := range group {
				list, err := f.inputs(ctx, m.expand(in, i+1))
				if err != nil {
					return protocol.About(fmt.Sprintf("item %d", i+1), err)
				}
				item.Inputs = append(item.Inputs, list...)
			}
		}
		if err := take(item); err != nil {
			return err
		}
	}
	return nil
}

// inputs gives the node the files that an -i names, once.
func (f *feeder) inputs(ctx context.Context, flag string) ([]protocol.Input, error) {
	if list, ok := f.seen[flag]; ok {
		return list, nil
	}
	files, err := gatherInputs([]string{flag}, f.limits, fetching(ctx, f.c))
	if err != nil {
		return nil, err
	}
	list := make([]protocol.Input, len(files))
	for i := range files {
		blob, err := files[i].read(-1)
		if err != nil {
			return nil, err
		}
		list[i] = protocol.Input{Path: files[i].guest, Digest: blob.Sum().String()}
		missing, err := f.c.Missing(ctx, []string{list[i].Digest})
		if err != nil {
			return nil, err
		}
		if len(missing) > 0 {
			if err := files[i].upload(ctx, f.c, list[i].Digest); err != nil {
				return nil, err
			}
		}
	}
	f.seen[flag] = list
	return list, nil
}
