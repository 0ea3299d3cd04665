package main

import (
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

func newGet(h *home) *cobra.Command {
	var dir string
	var wait bool
	cmd := &cobra.Command{
		Use:   "get TASK -O DIR [PATH...] | get CID [-O PATH]",
		Short: "Write the files that a task, or those of a job, have left below /out, or added data, to a directory",
		Long: `Write the files that a task has left below /out to a directory: all, or those named.
Those of a job, or of several of its tasks, go to a directory for each, DIR/N. A CID's go to PATH, or to one of its own name.

` + targetHelp,
		Example: `  spare get k4q -O results
  spare get k4q -O results /out/report.csv /out/plots
  spare get k4q/3-9 -O results
  spare get bafy… -O corpus`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 || args[0] == "":
				return usage(cmd, "TASK is missing")
			case isCID(args[0]):
				return exactly("CID")(cmd, args)
			case dir == "":
				return usage(cmd, "-O DIR is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if isCID(args[0]) {
				c, err := h.node()
				if err != nil {
					return err
				}
				return getData(cmd.Context(), c, args[0], dir)
			}
			at, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if at.several() && len(args) > 1 {
				return usage(cmd, "paths are of one task, and %s are several", args[0])
			}
			c, err := h.node()
			if err != nil {
				return err
			}
			if at.several() {
				return filesOfJob(cmd.Context(), c, &at, dir, wait)
			}
			ask := c.Task
			if wait {
				ask = c.Wait
			}
			t, err := ask(cmd.Context(), at.id)
			if protocol.CodeOf(err) == protocol.CodeNotFound && len(args) == 1 && at.job == "" {
				if other := filesOfJob(cmd.Context(), c, &at, dir, wait); protocol.CodeOf(other) != protocol.CodeNotFound {
					return other
				}
			}
			if err != nil {
				return ofTask(err, args[0])
			}
			switch {
			case t.Ended == nil:
				return protocol.Errorf(protocol.CodeNotFound, "task %s has not ended: its files come at its end", t.ID).WithHint("wait for it with --wait")
			case t.Error != nil:
				return protocol.Errorf(protocol.CodeNotFound, "task %s has left no files, since it did not end by itself: %s", t.ID, t.Error.Code).
					WithHint("see 'spare show %s'", t.ID)
			}
			files, err := chosen(&t, args[1:])
			if err != nil {
				return err
			}
			if len(files) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "spare: task %s has left no files\n", t.ID)
			}
			out, err := openOutputDir(dir)
			if err != nil {
				return err
			}
			defer out.close()
			return out.collect(cmd.Context(), c, &t, files)
		},
	}
	cmd.Flags().StringVarP(&dir, "output-dir", "O", "", "the `DIR`, made when it is not there; of a CID, the file or directory, else named as the CID")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the task's end first")
	return cmd
}

// chosen returns the files that the paths name, each a file's or a
// directory's, with or without /out; no path names all.
func chosen(t *api.Task, paths []string) ([]api.File, error) {
	if len(paths) == 0 {
		return t.Files, nil
	}
	used := make([]bool, len(paths))
	var files []api.File
	for _, f := range t.Files {
		take := false
		for i, p := range paths {
			p = path.Clean("/" + p)
			if p != protocol.OutputDir && !strings.HasPrefix(p, protocol.OutputDir+"/") {
				p = path.Join(protocol.OutputDir, p)
			}
			if f.Path == p || strings.HasPrefix(f.Path, p+"/") {
				take, used[i] = true, true
			}
		}
		if take {
			files = append(files, f)
		}
	}
	for i, p := range paths {
		if !used[i] {
			return nil, protocol.Errorf(protocol.CodeNotFound, "task %s has left no file %s", t.ID, p).WithHint("'spare show %s' lists them", t.ID)
		}
	}
	return files, nil
}
