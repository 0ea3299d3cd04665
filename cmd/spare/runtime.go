package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/spare-network/spare/protocol"
)

func newRuntime(h *home) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runtime",
		Short: "The modules that run scripts, such as CPython",
		Long: `The modules that run scripts: 'spare run script.py' takes the runtime for .py, and
gives it /in/script.py as its first arg. It can be any interpreter that is built
for WASI preview 1, and is kept in the home.

config.toml in the home may name some as well, which are fetched when they are
first used and go before those that were added:

  [runtimes.python]
  source = "https://…/python.wasm"   # or a path, from the home on
  digest = "sha256:…"                # nothing else is taken
  ext = [".py"]                      # only python does not need it`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, "there is no command %q", "runtime "+args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRuntimeAdd(h), newRuntimeList(h), newRuntimeRemove(h))
	return cmd
}

func newRuntimeAdd(h *home) *cobra.Command {
	var i interpreter
	cmd := &cobra.Command{
		Use:   "add NAME FILE|URL",
		Short: "Keep a module that runs scripts, in place of one of the same name",
		Example: `  spare runtime add python python.wasm
  spare runtime add quickjs qjs.wasm --ext .js --ext .mjs`,
		Args: exactly("NAME", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			i.Name, i.Source = args[0], args[1]
			dir, err := h.path()
			if err != nil {
				return err
			}
			return i.add(cmd, dir)
		},
	}
	cmd.Flags().StringArrayVar(&i.Ext, "ext", nil, "the `ENDING` of scripts that it runs, such as .js (repeatable; python has .py)")
	cmd.Flags().StringVar(&i.Digest, "digest", "", "take it only if this is its `DIGEST`, sha256:HEX; a URL wants one")
	return cmd
}

func (i *interpreter) add(cmd *cobra.Command, dir string) error {
	if bad := i.check(); bad != nil {
		return bad
	}
	_, remote := i.remote()
	switch {
	case remote && i.Digest == "":
		return usage(cmd, "what comes from the network wants a --digest")
	case !remote:
		info, err := os.Stat(i.Source)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return protocol.Errorf(protocol.CodeNotFound, "there is no file %s", i.Source).WithHint("give the path of a .wasm file")
		case err == nil && !info.Mode().IsRegular():
			return protocol.Errorf(protocol.CodeFile, "%s is not a file", i.Source).WithHint("give the path of a .wasm file")
		case err == nil:
			i.Source, err = filepath.Abs(i.Source)
		}
		if err != nil {
			return unreadable(err)
		}
	}
	list, err := interpreters(dir)
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.Name == i.Name && other.Config {
			return inConfig(i.Name)
		}
		for _, ending := range i.Ext {
			if other.Name != i.Name && slices.Contains(other.Ext, ending) {
				return protocol.Errorf(protocol.CodeUsage, "%s runs scripts that end in %s", other.Name, ending).
					WithHint("name another ending with --ext, or 'spare runtime remove %s' first", other.Name)
			}
		}
	}
	p := program{module: func(ctx context.Context) ([]byte, error) {
		defer whileLong(os.Stderr, "fetching the runtime %s from %s", i.Name, i.from())()
		return i.fetch(ctx, dir)
	}}
	if _, err := p.made(cmd.Context()); err != nil {
		return err
	}
	text, err := toml.Marshal(i)
	if err == nil {
		err = writeWhole(filepath.Join(dir, runtimeDir, i.Name+".toml"), text)
	}
	if err == nil {
		err = sweep(dir)
	}
	if err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot keep the runtime %s: %v", i.Name, err).WithHint("see to it that you may write to %s", dir)
	}
	return table(cmd.OutOrStdout(), nil, [][]string{{"runtime", i.Name}, {"runs", strings.Join(i.Ext, " ")}, {"digest", i.Digest}})
}

func inConfig(name string) error {
	return protocol.Errorf(protocol.CodeUsage, "the runtime %s is of config.toml, which spare never writes", name).
		WithHint("change [runtimes.%s] there", name)
}

func newRuntimeList(h *home) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "What runs scripts here", Args: exactly()}
	f := addFormat(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := h.path()
		if err != nil {
			return err
		}
		list, err := interpreters(dir)
		if err != nil {
			return err
		}
		rows := make([][]string, len(list))
		for n, i := range list {
			i.Source = i.from()
			here := "when first used"
			if info, err := os.Stat(i.file(dir)); err == nil {
				here = protocol.SizeText(uint64(info.Size()))
			} else if !i.Config {
				here = "lost"
			}
			rows[n] = []string{i.Name, strings.Join(i.Ext, " "), i.Digest, here, i.Source}
		}
		return f.print(cmd.OutOrStdout(), append([]*interpreter{}, list...), func(w io.Writer) error {
			return table(w, []string{"RUNTIME", "RUNS", "DIGEST", "SIZE", "SOURCE"}, rows)
		})
	}
	return cmd
}

func newRuntimeRemove(h *home) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a module that runs scripts",
		Args:  exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := h.path()
			if err != nil {
				return err
			}
			list, err := interpreters(dir)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(list, func(i *interpreter) bool { return i.Name == args[0] })
			switch {
			case at < 0:
				return protocol.Errorf(protocol.CodeNotFound, "there is no runtime %.40q", args[0]).WithHint("'spare runtime list' shows them")
			case list[at].Config:
				return inConfig(args[0])
			}
			if err := errors.Join(os.Remove(filepath.Join(dir, runtimeDir, args[0]+".toml")), sweep(dir)); err != nil {
				return protocol.Errorf(protocol.CodeFile, "cannot remove the runtime %s: %v", args[0], err)
			}
			return nil
		},
	}
}

// sweep removes the modules in the directory of a home that no runtime has.
func sweep(dir string) error {
	list, err := interpreters(dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(dir, runtimeDir))
	for _, entry := range entries {
		file := filepath.Join(dir, runtimeDir, entry.Name())
		if filepath.Ext(file) == ".wasm" && !slices.ContainsFunc(list, func(i *interpreter) bool { return i.file(dir) == file }) {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}
