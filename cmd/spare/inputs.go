package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// input is a file of the user's that a program is to find below /in.
type input struct {
	guest string // its path there
	host  string // its path here
	size  int64
	open  func() (*os.File, error)
	there string // digest of what the node has already; then it cannot be opened here
}

// inputs are the files of a task, at most so many and so large.
type inputs struct {
	files  []input
	bytes  uint64
	limits *protocol.Limits
	fetch  fetcher
}

// fetcher has the node bring what a CID names.
type fetcher func(cid string) (api.Content, error)

// fetching returns a fetcher for as long as ctx lives.
func fetching(ctx context.Context, c *client.Client) fetcher {
	return func(cid string) (api.Content, error) { return c.FetchData(ctx, cid) }
}

// gatherInputs finds the files that the flags -i name, sorted by their paths
// below /in.
func gatherInputs(flags []string, limits *protocol.Limits, fetch fetcher) ([]input, error) {
	in := inputs{limits: limits, fetch: fetch}
	for _, flag := range flags {
		if err := in.add(flag); err != nil {
			return nil, err
		}
	}
	hosts := make(map[string]string) // by path below /in
	for _, f := range in.files {
		hosts[f.guest] = f.host
	}
	for _, f := range in.files {
		for dir := path.Dir(f.guest); dir != protocol.InputDir; dir = path.Dir(dir) {
			if host, ok := hosts[dir]; ok {
				return nil, protocol.Errorf(protocol.CodeUsage, "%s would be %s, but %s would be the file %s", f.host, f.guest, host, dir).
					WithHint("give one another name, as in -i FILE:/in/NAME")
			}
		}
	}
	slices.SortFunc(in.files, func(a, b input) int { return strings.Compare(a.guest, b.guest) })
	for i := range in.files[:max(len(in.files)-1, 0)] {
		a, b := in.files[i], in.files[i+1]
		if a.guest == b.guest {
			return nil, protocol.Errorf(protocol.CodeUsage, "%s and %s would both be %s", a.host, b.host, a.guest).
				WithHint("give one another name, as in -i FILE:/in/NAME")
		}
	}
	return in.files, nil
}

// splitInput parts HOST:/in/GUEST at its last ":/in", so that HOST may have
// colons. Without one the guest is empty.
func splitInput(flag string) (host, guest string) {
	for i := len(flag); ; {
		i = strings.LastIndex(flag[:i], ":"+protocol.InputDir)
		if i < 0 {
			return flag, ""
		}
		if guest = flag[i+1:]; guest == protocol.InputDir || strings.HasPrefix(guest, protocol.InputDir+"/") {
			return flag[:i], guest
		}
	}
}

// add adds the file or directory that one -i names.
func (in *inputs) add(flag string) error {
	host, guest := splitInput(flag)
	info, err := os.Stat(host)
	switch {
	case host == "":
		return protocol.Errorf(protocol.CodeUsage, "-i %q names no file", flag).WithHint("write -i FILE:/in/NAME")
	case errors.Is(err, fs.ErrNotExist) && isCID(host):
		return in.data(host, guest)
	case errors.Is(err, fs.ErrNotExist):
		return protocol.Errorf(protocol.CodeNotFound, "there is no file or directory %s", host).
			WithHint("write -i FILE:/in/NAME; a program finds its inputs below %s only", protocol.InputDir)
	case err != nil:
		return protocol.Errorf(protocol.CodeFile, "cannot read the input: %v", err)
	}
	if guest == "" {
		whole, err := filepath.Abs(host)
		if err != nil {
			return protocol.Errorf(protocol.CodeFile, "cannot find %s: %v", host, err)
		}
		guest = protocol.InputDir + "/" + filepath.Base(whole)
	}
	if guest != protocol.InputDir {
		if err := protocol.CheckPath(protocol.InputDir, guest); err != nil {
			return protocol.Errorf(protocol.CodeUsage, "%q cannot be the path of an input", guest).WithHint("write -i FILE:/in/NAME, without '..' and such")
		}
	}
	switch {
	case info.IsDir():
		return in.walk(host, guest)
	case guest == protocol.InputDir:
		return protocol.Errorf(protocol.CodeUsage, "%s is a file and %s a directory", host, protocol.InputDir).WithHint("write -i FILE:/in/NAME")
	}
	return in.file(guest, host, info, func() (*os.File, error) { return os.Open(host) })
}

func isCID(s string) bool {
	_, _, err := protocol.ParseDataCID(s)
	return err == nil
}

// data adds what a CID names, which need not be uploaded.
func (in *inputs) data(cid, guest string) error {
	content, err := in.fetch(cid)
	if err != nil {
		return err
	}
	if guest == "" {
		guest = path.Join(protocol.InputDir, cid)
	}
	if !content.Directory && guest == protocol.InputDir {
		return protocol.Errorf(protocol.CodeUsage, "%s is a file and %s a directory", cid, protocol.InputDir).WithHint("write -i CID:/in/NAME")
	}
	for _, f := range content.Files {
		if err := in.take(input{guest: path.Join(guest, f.Path), host: path.Join(cid, f.Path), size: int64(f.Size), there: f.Digest}); err != nil {
			return err
		}
	}
	return nil
}

// walk adds the files of a directory. What its links lead to is taken only
// when it is a file within.
func (in *inputs) walk(dir, guest string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot read the input: %v", err)
	}
	defer root.Close()
	before := len(in.files)
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		host := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case err != nil:
			return protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", host, err)
		case entry.IsDir():
			return nil
		}
		info, err := root.Stat(filepath.FromSlash(name))
		switch {
		case err != nil && entry.Type()&fs.ModeSymlink != 0:
			return protocol.Errorf(protocol.CodeFile, "%s is a link that leads nowhere, or out of %s", host, dir).
				WithHint("remove it, or name the file that it leads to with an -i of its own")
		case err != nil:
			return protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", host, err)
		case info.IsDir():
			return protocol.Errorf(protocol.CodeFile, "%s is a link to a directory, and those are not followed", host).
				WithHint("remove it, or name the directory that it leads to with an -i of its own")
		}
		return in.file(path.Join(guest, name), host, info, func() (*os.File, error) { return os.OpenInRoot(dir, filepath.FromSlash(name)) })
	})
	if err == nil && len(in.files) == before {
		return protocol.Errorf(protocol.CodeFile, "there is no file in %s", dir).WithHint("an input is a file, or a directory with files")
	}
	return err
}

// file adds one file within the limits.
func (in *inputs) file(guest, host string, info fs.FileInfo, open func() (*os.File, error)) error {
	if !info.Mode().IsRegular() {
		return protocol.Errorf(protocol.CodeFile, "%s is not a regular file", host).WithHint("copy what it has into a file, or give it as stdin")
	}
	return in.take(input{guest: guest, host: host, size: info.Size(), open: open})
}

func (in *inputs) take(f input) error {
	if err := protocol.CheckPath(protocol.InputDir, f.guest); err != nil {
		return protocol.Errorf(protocol.CodeFile, "%q cannot be the path of an input", f.guest).
			WithHint("names are UTF-8 without control characters, and a path has at most %d bytes", protocol.MaxPath)
	}
	in.files = append(in.files, f)
	in.bytes += uint64(f.size)
	most := min(protocol.MaxInputs, int(in.limits.Files))
	switch {
	case len(in.files) > most && most < protocol.MaxInputs:
		return protocol.Errorf(protocol.CodeUsage, "the inputs are more than %d files", most).WithHint("allow the task more with --files")
	case len(in.files) > most:
		return protocol.Errorf(protocol.CodeUsage, "the inputs are more than %d files", most).WithHint("pack them into an archive that the program reads")
	case in.bytes > in.limits.FileBytes && in.limits.FileBytes < protocol.MaxFileBytes:
		return protocol.Errorf(protocol.CodeUsage, "the inputs have more than %s", protocol.SizeText(in.limits.FileBytes)).
			WithHint("allow the task more with --file-bytes, at most %s", protocol.SizeText(protocol.MaxFileBytes))
	case in.bytes > in.limits.FileBytes:
		return protocol.Errorf(protocol.CodeUsage, "the inputs have more than %s", protocol.SizeText(in.limits.FileBytes)).
			WithHint("cut them into pieces and run one task for each")
	}
	return nil
}

// prepareInputs reads the files: small ones ride in the submission, and of the
// others the digests. It checks what the node would refuse after the upload.
func prepareInputs(files []input, limits *protocol.Limits) ([]api.Input, error) {
	var list []api.Input
	room := int64(smallStdin)
	spec := &protocol.Spec{ // of which only the inputs are still in question
		Module: &protocol.Blob{Digest: make([]byte, sha256.Size), Size: 1}, Stdin: protocol.NewBlob(nil), Limits: limits,
	}
	for _, f := range files {
		in := api.Input{Path: f.guest}
		blob, err := f.read(min(room, smallStdin))
		if err != nil {
			return nil, err
		}
		if blob.IsInline() {
			in.Data = append(api.Base64{}, blob.Inline...)
			room -= int64(len(in.Data))
		} else {
			in.Digest = blob.Sum().String()
		}
		list = append(list, in)
		spec.Inputs = append(spec.Inputs, &protocol.File{Path: f.guest, Blob: blob})
	}
	if err := spec.Validate(); err != nil {
		return nil, protocol.Errorf(protocol.CodeUsage, "the task cannot have these inputs: %s",
			strings.TrimPrefix(err.Error(), protocol.ErrMalformed.Error()+": ")).
			WithHint("allow the task more with --files or --file-bytes, or pack them into an archive that the program reads")
	}
	return list, nil
}

// read returns the blob of a file, with its bytes when they are at most room.
func (f *input) read(room int64) (*protocol.Blob, error) {
	if f.there != "" {
		d, err := protocol.ParseDigest(f.there)
		return &protocol.Blob{Digest: d[:], Size: uint64(f.size)}, err
	}
	file, err := f.open()
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", f.host, err).WithHint("see to it that you may read it, and that nothing changes it")
	}
	defer file.Close()
	if f.size <= room {
		b, err := io.ReadAll(io.LimitReader(file, f.size+1))
		if err != nil || int64(len(b)) != f.size {
			return nil, f.changed(err)
		}
		return protocol.NewBlob(b), nil
	}
	h := sha256.New()
	if n, err := io.Copy(h, io.LimitReader(file, f.size+1)); err != nil || n != f.size {
		return nil, f.changed(err)
	}
	return &protocol.Blob{Digest: h.Sum(nil), Size: uint64(f.size)}, nil
}

func (f *input) changed(err error) error {
	if err == nil {
		err = errors.New("it changed while it was read")
	}
	return protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", f.host, err).WithHint("see to it that you may read it, and that nothing changes it")
}

// giveInputs gives the node the files that the flags -i name, and returns them as
// a submission has them.
func giveInputs(ctx context.Context, c *client.Client, flags []string, limits *protocol.Limits) ([]api.Input, error) {
	files, err := gatherInputs(flags, limits, fetching(ctx, c))
	if err != nil {
		return nil, err
	}
	list, err := prepareInputs(files, limits)
	if err != nil {
		return nil, err
	}
	return list, uploadInputs(ctx, c, files, list)
}

// uploadInputs gives the node those of the files that it lacks. list is what
// [prepareInputs] made of files.
func uploadInputs(ctx context.Context, c *client.Client, files []input, list []api.Input) error {
	var digests []string
	for _, in := range list {
		if in.Digest != "" {
			digests = append(digests, in.Digest)
		}
	}
	if len(digests) == 0 {
		return nil
	}
	missing, err := c.Missing(ctx, digests)
	if err != nil {
		return err
	}
	for i := range files {
		at := slices.Index(missing, list[i].Digest)
		if list[i].Digest == "" || at < 0 {
			continue
		}
		if err := files[i].upload(ctx, c, list[i].Digest); err != nil {
			return err
		}
		// Its twins are there as well now.
		missing = slices.DeleteFunc(missing, func(d string) bool { return d == list[i].Digest })
	}
	return nil
}

func (f *input) upload(ctx context.Context, c *client.Client, digest string) error {
	if f.there != "" {
		return protocol.Errorf(protocol.CodeBlob, "%s has gone from the node meanwhile", f.host).WithHint("try again")
	}
	file, err := f.open()
	if err != nil {
		return protocol.Errorf(protocol.CodeFile, "cannot read %s: %v", f.host, err).WithHint("see to it that you may read it, and that nothing changes it")
	}
	defer file.Close()
	ref, err := c.PutBlob(ctx, io.LimitReader(file, f.size+1))
	if err != nil {
		return fmt.Errorf("upload %s: %w", f.host, err)
	}
	if ref.Digest != digest {
		return f.changed(nil)
	}
	return nil
}
