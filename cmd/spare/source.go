package main

import (
	"bufio"
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

	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// sources are where a job's items come from.
type sources struct {
	lists  [][]string // after each :::
	files  []string   // -a
	globs  []string
	colsep string
}

// separator begins a list of items on the command line.
const separator = ":::"

// splitArgs parts the args of the program from the lists of items.
func splitArgs(args []string) (program []string, lists [][]string) {
	for {
		i := slices.Index(args, separator)
		if i < 0 {
			i = len(args)
		}
		if program == nil {
			program = slices.Clip(args[:i])
		} else {
			lists = append(lists, args[:i])
		}
		if i == len(args) {
			return program, lists
		}
		args = args[i+1:]
	}
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
	var all [][]mapItem
	add := func(texts []string) {
		list := make([]mapItem, len(texts))
		for i, text := range texts {
			list[i] = mapItem{text, split(text)}
		}
		all = append(all, list)
	}
	for _, name := range s.files {
		texts, err := linesOf(name, stdin)
		if err != nil {
			return nil, err
		}
		add(texts)
	}
	for _, pattern := range s.globs {
		texts, err := filepath.Glob(pattern)
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeUsage, "--glob %q is no pattern: %v", pattern, err)
		}
		if len(texts) == 0 {
			return nil, protocol.Errorf(protocol.CodeNotFound, "no file is called %s", pattern).WithHint("quote the pattern, so that the shell leaves it alone")
		}
		add(texts)
	}
	for _, texts := range s.lists {
		add(texts)
	}
	if len(all) == 0 {
		texts, err := linesOf("-", stdin)
		if err != nil {
			return nil, err
		}
		add(texts)
	}
	items := combine(all)
	switch {
	case len(items) == 0:
		return nil, protocol.Errorf(protocol.CodeUsage, "there is no item").WithHint("give items after :::, in a file with -a, or a line each on stdin")
	case len(items) > protocol.MaxJobTasks:
		return nil, protocol.Errorf(protocol.CodeUsage, "%d items are too many, a job has at most %d", len(items), protocol.MaxJobTasks).
			WithHint("give each task several of them with --chunk")
	}
	return items, nil
}

// linesOf reads the lines of a file, or of stdin when its name is -.
func linesOf(name string, stdin *os.File) (lines []string, err error) {
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
	for scan.Scan() {
		lines = append(lines, strings.TrimSuffix(scan.Text(), "\r"))
	}
	if err := scan.Err(); err != nil {
		return nil, protocol.Errorf(protocol.CodeFile, "cannot read the items of %s: %v", f.Name(), err).
			WithHint("an item is a line of at most %d bytes", protocol.MaxArgBytes)
	}
	return lines, nil
}

// blocks parts what r has into blocks of whole lines, about as long as wanted,
// and gives each to take.
func blocks(r io.Reader, length int, take func([]byte) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	block := make([]byte, 0, length+4096)
	for {
		line, err := in.ReadSlice('\n')
		block = append(block, line...)
		whole := err == nil
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil // the line goes on
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return protocol.Errorf(protocol.CodeFile, "cannot read stdin: %v", err)
		}
		if len(block) > 0 && (whole && len(block) >= length || err != nil) {
			if err := take(block); err != nil {
				return err
			}
			block = block[:0]
		}
		if err != nil {
			return nil
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
	appended := !hasPlaceholder(f.args, f.each)
	for i, group := range groups {
		item := &protocol.Item{Args: expandArgs(f.args, group, i+1)}
		texts := make([]string, len(group))
		for k, m := range group {
			texts[k] = m.text
			if appended {
				item.Args = append(item.Args, m.columns...)
			}
		}
		item.Label = protocol.SafeText(strings.Join(texts, " "))
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
	files, err := gatherInputs([]string{flag}, f.limits)
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
