package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/api/client"
	"github.com/spare-network/spare/protocol"
)

// outputDir is the user's directory for a task's files.
type outputDir struct{ root *os.Root }

// openOutputDir opens the directory, which is made when it is not there: that it
// cannot be is better known before the task has run.
func openOutputDir(dir string) (*outputDir, error) {
	err := os.MkdirAll(dir, 0o777)
	var root *os.Root
	if err == nil {
		root, err = os.OpenRoot(dir)
	}
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeFile, "cannot use %s for output files: %v", dir, err).
			WithHint("name a directory with -O that you may write to; it is made when it is not there")
	}
	return &outputDir{root}, nil
}

// close gives the directory up. Everything is written by then.
func (d *outputDir) close() { _ = d.root.Close() }

// collect writes files of a task.
func (d *outputDir) collect(ctx context.Context, c *client.Client, t *api.Task, files []api.File) error {
	return d.write(files, func(f api.File) (io.ReadCloser, error) { return c.File(ctx, t.ID, f.Path) })
}

// write writes files, which open opens. All names are checked before the first
// file is written.
func (d *outputDir) write(files []api.File, open func(api.File) (io.ReadCloser, error)) error {
	if err := checkOutputs(runtime.GOOS, files); err != nil {
		return err
	}
	for _, f := range files {
		if err := d.fetch(f, open); err != nil {
			var e *protocol.Error
			if !errors.As(err, &e) {
				e = protocol.Errorf(protocol.CodeFile, "cannot write %s: %v", filepath.Join(d.root.Name(), hostName(f.Path)), err)
			}
			return e
		}
	}
	return nil
}

// hostName is a file's path below the output directory on this system.
func hostName(guest string) string {
	return filepath.FromSlash(strings.TrimPrefix(guest, protocol.OutputDir+"/"))
}

// fetch writes one file under a name of its own and puts it in its place when
// it is whole, so that no half a file is ever there.
func (d *outputDir) fetch(f api.File, open func(api.File) (io.ReadCloser, error)) error {
	name := hostName(f.Path)
	if err := d.directories(filepath.Dir(name)); err != nil {
		return err
	}
	body, err := open(f)
	if err != nil {
		return err
	}
	defer body.Close()
	temp := filepath.Join(filepath.Dir(name), ".spare-"+rand.Text())
	w, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(w, h), io.LimitReader(body, int64(f.Size)+1))
	err = errors.Join(err, w.Close())
	if err == nil {
		err = whole(h, f)
	}
	if err == nil {
		err = d.root.Rename(temp, name) // which replaces a link, and never follows it
	}
	if err != nil {
		return errors.Join(err, d.root.Remove(temp))
	}
	return nil
}

func whole(h hash.Hash, f api.File) error {
	if got := protocol.Digest(h.Sum(nil)); got.String() != f.Digest {
		return protocol.Errorf(protocol.CodeBlob, "the bytes of %s are not those that their digest names", protocol.SafeText(f.Path))
	}
	return nil
}

// directories makes those that a file is to be in. A link in their place is
// not followed, wherever it leads.
func (d *outputDir) directories(dir string) error {
	if dir == "." {
		return nil
	}
	if err := d.directories(filepath.Dir(dir)); err != nil {
		return err
	}
	info, err := d.root.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.root.Mkdir(dir, 0o777)
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a link", filepath.Join(d.root.Name(), dir))
	case !info.IsDir():
		return fmt.Errorf("%s is in the way: it is not a directory", filepath.Join(d.root.Name(), dir))
	}
	return nil
}

// checkOutputs checks that the names, which strangers chose, can be those of
// files on the system goos.
func checkOutputs(goos string, files []api.File) error {
	folds := goos == "windows" || goos == "darwin" // as their file systems come
	taken := make(map[string]string)               // folded paths to those of files and directories
	for _, f := range files {
		if err := protocol.CheckPath(protocol.OutputDir, f.Path); err != nil {
			return protocol.Errorf(protocol.CodeFile, "%q is no path of an output file", f.Path)
		}
		for name := range strings.SplitSeq(f.Path[1:], "/") {
			if why := unfit(goos, name); why != "" {
				return protocol.Errorf(protocol.CodeFile, "%s cannot be written on %s: %s", protocol.SafeText(f.Path), goos, why).
					WithHint("'spare get' takes the others by their paths")
			}
		}
		for p := f.Path; folds && p != protocol.OutputDir; p = path.Dir(p) {
			folded := strings.ToLower(p)
			if other, ok := taken[folded]; ok && other != p {
				return protocol.Errorf(protocol.CodeFile, "%s and %s are one name on %s", protocol.SafeText(other), protocol.SafeText(p), goos).
					WithHint("'spare get' takes one of them by its path")
			}
			taken[folded] = p
		}
	}
	return nil
}

// maxName is the longest name that the file systems of today hold, in bytes.
const maxName = 255

// unfit says why no file can have the name on the system goos, or nothing. The
// rules of Windows are at
// https://learn.microsoft.com/windows/win32/fileio/naming-a-file
func unfit(goos, name string) string {
	if len(name) > maxName {
		return fmt.Sprintf("the name has %d bytes, at most %d work", len(name), maxName)
	}
	if goos != "windows" {
		return ""
	}
	if i := strings.IndexAny(name, `<>:"\|?*`); i >= 0 {
		return fmt.Sprintf("no name has the character %c there", name[i])
	}
	if strings.TrimRight(name, ". ") != name {
		return "no name ends with a dot or a space there"
	}
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return base + " is the name of a device there"
	}
	for _, device := range []string{"COM", "LPT"} {
		if port, ok := strings.CutPrefix(base, device); ok && strings.Contains("0123456789¹²³", port) && len([]rune(port)) == 1 {
			return base + " is the name of a device there"
		}
	}
	return ""
}
