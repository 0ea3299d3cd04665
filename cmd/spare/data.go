package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

func newAdd(h *home) *cobra.Command {
	var list bool
	var remove []string
	var output *format
	cmd := &cobra.Command{
		Use:   "add PATH...",
		Short: "Keep files and directories on this node for its network, and print their CIDs",
		Long: `Keep files and directories on this node for its network, and print their CIDs.

Every member of the network who knows a CID can read what it names, for as long
as this node is up and keeps it. Links are left out.`,
		Example: `  spare add corpus
  spare run -i bafy…:/in/corpus count.wasm
  spare add --list; spare add --remove bafy…`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !list && len(remove) == 0 {
				return usage(cmd, "PATH is missing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := h.node()
			if err != nil {
				return err
			}
			for _, cid := range remove {
				if err := c.RemoveData(cmd.Context(), cid); err != nil {
					return err
				}
			}
			for _, p := range args {
				cid, err := addPath(cmd.Context(), c, p)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), cid)
			}
			if !list {
				return nil
			}
			kept, err := c.Data(cmd.Context())
			if err != nil {
				return err
			}
			return output.print(cmd.OutOrStdout(), kept, func(w io.Writer) error { return printData(w, kept) })
		},
	}
	cmd.Flags().BoolVar(&list, "list", false, "say what this node keeps")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "keep `CID` no longer (repeatable)")
	output = addFormat(cmd, "table", "json")
	return cmd
}

func printData(w io.Writer, kept []api.AddedData) error {
	var rows [][]string
	for _, d := range kept {
		rows = append(rows, []string{d.CID, d.Name, strconv.Itoa(int(d.Files)), protocol.SizeText(d.Size), span(time.Since(d.Added))})
	}
	return table(w, []string{"CID", "NAME", "FILES", "SIZE", "AGE"}, rows)
}

// addPath has the node keep a file or a directory.
func addPath(ctx context.Context, c *client.Client, p string) (string, error) {
	whole, err := filepath.Abs(p)
	if err != nil {
		return "", protocol.Errorf(protocol.CodeFile, "cannot find %s: %v", p, err)
	}
	info, err := os.Stat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", protocol.Errorf(protocol.CodeNotFound, "there is no file or directory %s", p).WithHint("name what there is, on this machine")
	case err != nil:
		return "", protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", p, err)
	case info.IsDir():
		return addDirectory(ctx, c, p, filepath.Base(whole))
	case !info.Mode().IsRegular():
		return "", protocol.Errorf(protocol.CodeFile, "%s is not a regular file", p)
	}
	ref, err := upload(ctx, c, p)
	if err != nil {
		return "", err
	}
	added, err := c.AddData(ctx, ref.CID(), filepath.Base(whole))
	return added.CID, err
}

// upload gives the node the bytes of a file.
func upload(ctx context.Context, c *client.Client, p string) (protocol.Digest, error) {
	f, err := os.Open(p)
	if err != nil {
		return protocol.Digest{}, protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", p, err)
	}
	defer f.Close()
	return put(ctx, c, f)
}

func put(ctx context.Context, c *client.Client, r io.Reader) (protocol.Digest, error) {
	ref, err := c.PutBlob(ctx, r)
	if err != nil {
		return protocol.Digest{}, err
	}
	return protocol.ParseDigest(ref.Digest)
}

// addDirectory uploads the files of a directory that the node lacks, then the
// listing of all.
func addDirectory(ctx context.Context, c *client.Client, dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", dir, err)
	}
	defer root.Close()
	in := inputs{limits: &protocol.Limits{Files: protocol.MaxInputs, FileBytes: protocol.MaxFileBytes}}
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		host := filepath.Join(dir, filepath.FromSlash(name))
		if err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", host, err)
		}
		if entry.IsDir() || entry.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", host, err)
		}
		return in.file(path.Join(protocol.InputDir, name), host, info, func() (*os.File, error) { return root.Open(filepath.FromSlash(name)) })
	})
	if err != nil {
		return "", err
	}
	if len(in.files) == 0 {
		return "", protocol.Errorf(protocol.CodeFile, "there is no file in %s", dir)
	}
	slices.SortFunc(in.files, func(a, b input) int { return strings.Compare(a.guest, b.guest) })
	listing := new(protocol.Listing)
	var list []api.Input
	for i := range in.files {
		blob, err := in.files[i].read(-1)
		if err != nil {
			return "", err
		}
		listing.Files = append(listing.Files, &protocol.File{Path: strings.TrimPrefix(in.files[i].guest, protocol.InputDir+"/"), Blob: blob})
		var there api.Input
		there.Digest = blob.Sum().String()
		list = append(list, there)
	}
	if err := uploadInputs(ctx, c, in.files, list); err != nil {
		return "", err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(listing)
	if err != nil {
		return "", fmt.Errorf("encode the listing: %w", err)
	}
	d, err := put(ctx, c, bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	added, err := c.AddData(ctx, protocol.DataCID(d, true), name)
	return added.CID, err
}

func newCat(h *home) *cobra.Command {
	return &cobra.Command{
		Use:   "cat CID",
		Short: "Print a file that a member of the network has added",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := exactly("CID")(cmd, args); err != nil {
				return err
			}
			if !isCID(args[0]) {
				return usage(cmd, "%.100q is no CID of data", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := h.node()
			if err != nil {
				return err
			}
			content, err := c.FetchData(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if content.Directory {
				return protocol.Errorf(protocol.CodeUsage, "%s is a directory of %d files", args[0], len(content.Files)).
					WithHint("'spare get %s' writes them to one of its name", args[0])
			}
			body, err := c.DataBytes(cmd.Context(), args[0], "")
			if err != nil {
				return err
			}
			defer body.Close()
			if _, err := io.Copy(cmd.OutOrStdout(), body); err != nil {
				return protocol.Errorf(protocol.CodeFile, "cannot print %s: %v", args[0], err)
			}
			return nil
		},
	}
}

// getData writes what a CID names: a directory's files into to, a file as to. When
// that is empty it is the CID.
func getData(ctx context.Context, c *client.Client, cid, to string) error {
	content, err := c.FetchData(ctx, cid)
	if err != nil {
		return err
	}
	to = cmp.Or(to, cid)
	dir, name := to, ""
	if !content.Directory {
		if info, err := os.Stat(to); err == nil && info.IsDir() {
			to = filepath.Join(to, cid)
		}
		dir, name = filepath.Split(filepath.Clean(to))
		dir = cmp.Or(dir, ".")
	}
	out, err := openOutputDir(dir)
	if err != nil {
		return err
	}
	defer out.close()
	paths := make(map[string]string) // in the data, by those that the output directory knows
	var files []api.File
	for _, f := range content.Files {
		as := path.Join(protocol.OutputDir, cmp.Or(f.Path, filepath.ToSlash(name)))
		paths[as] = f.Path
		files = append(files, api.File{Path: as, Size: f.Size, Digest: f.Digest})
	}
	return out.write(files, func(f api.File) (io.ReadCloser, error) { return c.DataBytes(ctx, cid, paths[f.Path]) })
}
