package wasi

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// caller is a module that exports a function for each of WASI's, which calls
// it, and a memory of as many bytes as a [guest] has.
func caller() []byte {
	section := func(id byte, items [][]byte) []byte {
		body := append(binary.AppendUvarint(nil, uint64(len(items))), slices.Concat(items...)...)
		return append(binary.AppendUvarint([]byte{id}, uint64(len(body))), body...)
	}
	text := func(s string) []byte { return append(binary.AppendUvarint(nil, uint64(len(s))), s...) }
	number := func(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
	var types, imports, wrappers, exports, code [][]byte
	for i, f := range functions {
		types = append(types, slices.Concat([]byte{0x60}, text(string(f.Params)), text(string(f.Results))))
		imports = append(imports, slices.Concat(text(Module), text(f.Name), []byte{0}, number(i)))
		wrappers = append(wrappers, number(i))
		exports = append(exports, slices.Concat(text(f.Name), []byte{0}, number(len(functions)+i)))
		body := []byte{0} // no locals
		for p := range f.Params {
			body = append(body, 0x20, byte(p))
		}
		body = slices.Concat(body, []byte{0x10}, number(i), []byte{0x0b})
		code = append(code, append(number(len(body)), body...))
	}
	exports = append(exports, slices.Concat(text("memory"), []byte{2, 0}))
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), section(1, types), section(2, imports), section(3, wrappers),
		section(5, [][]byte{{0, beyond >> 16}}), section(7, exports), section(10, code))
}

// wazeroGuest calls wazero's own functions, on directories of the host.
func wazeroGuest(t *testing.T, c Config, stdout *bytes.Buffer) (memory, func(name string, raw []uint64) Errno) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"in", "out", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, in := range c.Inputs {
		if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(in.Path)), in.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { _ = rt.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, rt)
	config := wazero.NewModuleConfig().WithArgs(c.Args...).WithStdin(c.Stdin).WithStdout(stdout).
		WithFSConfig(wazero.NewFSConfig().WithDirMount(root, "/"))
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		config = config.WithEnv(k, v)
	}
	m, err := rt.InstantiateWithConfig(ctx, caller(), config)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := m.Memory().Read(0, beyond)
	return b, func(name string, raw []uint64) Errno {
		t.Helper()
		results, err := m.ExportedFunction(name).Call(ctx, raw...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return Errno(results[0])
	}
}

// Where a program cannot tell this world from wazero's, they agree to the byte.
// Where they do not, the step says what wazero does.
func TestLikeWazero(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("wazero shows the host's own file system, which is not POSIX here")
	}
	c := Config{
		Args: []string{"prog", "arg"}, Env: []string{"A=b", "C="},
		Inputs: []Input{{"/in/file", []byte("the input")}},
	}
	var theirOut bytes.Buffer
	c.Stdin = strings.NewReader("from stdin")
	g := newGuest(t, c)
	c.Stdin = strings.NewReader("from stdin")
	theirs, callTheirs := wazeroGuest(t, c, &theirOut)

	type span struct{ from, to uint32 }
	fileID := []span{{result, result + 16}, {result + 24, result + 32}, {result + 40, result + 64}} // device, inode, links, times
	dirSize := append([]span{{result + 32, result + 40}}, fileID...)
	const ours = 1000 // a step's errno of wazero is this: the same as ours
	type step struct {
		want   Errno
		wazero Errno
		hide   []span // of results that differ in value
		name   string
		args   []any
	}
	same := func(want Errno, name string, args ...any) step { return step{want, ours, nil, name, args} }
	hide := func(spans []span, name string, args ...any) step { return step{Success, ours, spans, name, args} }
	differ := func(want, wazero Errno, name string, args ...any) step { return step{want, wazero, nil, name, args} }
	open := func(want Errno, path string, how, rights, flags int) step {
		return same(want, "path_open", 3, flagFollow, path, how, rights, 0, flags, result)
	}
	for _, b := range [][]byte{g.m, theirs} { // two vectors, of 5 and 3 bytes
		for i, v := range []uint32{buffer, 5, buffer + 5, 3} {
			binary.LittleEndian.PutUint32(b[list+4*i:], v)
		}
		copy(b[buffer:], "abcdefgh")
	}
	for _, s := range []step{
		same(0, "args_sizes_get", result, result+4), same(0, "args_get", result, result+100),
		same(0, "environ_sizes_get", result, result+4), same(0, "environ_get", result, result+100),
		same(EINVAL, "clock_time_get", 9, 0, result), same(EINVAL, "clock_res_get", 9, result),
		differ(0, EINVAL, "clock_res_get", clockProcess, result+200),
		same(0, "fd_prestat_get", 3, result), same(0, "fd_prestat_dir_name", 3, result, 1), same(EBADF, "fd_prestat_get", 4, result),
		differ(EBADF, 0, "fd_prestat_get", 0, result), differ(ENAMETOOLONG, 0, "fd_prestat_dir_name", 3, result, 0),
		same(0, "fd_write", 1, list, 2, result), differ(ESPIPE, 52, "fd_seek", 1, 0, 1, result), differ(ESPIPE, 52, "fd_tell", 0, result),
		differ(ESPIPE, 0, "fd_advise", 0, 0, 0, 0), same(ENOTDIR, "path_create_directory", 0, "x"), same(EBADF, "fd_readdir", 0, buffer, 100, 0, result),
		differ(0, EINVAL, "fd_fdstat_set_flags", 0, 2), differ(EINVAL, 0, "fd_fdstat_set_flags", 0, 1<<6),
		differ(ESPIPE, EBADF, "fd_pread", 0, list, 2, 0, result+200), differ(ESPIPE, EBADF, "fd_pwrite", 1, list, 2, 0, result+200),
		same(EBADF, "fd_write", 0, list, 2, result), same(EBADF, "fd_write", 9, list, 2, result), same(EBADF, "fd_read", 9, list, 2, result),
		same(EFAULT, "fd_write", 1, beyond-1, 2, result), same(EFAULT, "fd_write", 1, list, 2, beyond-1),
		same(0, "fd_read", 0, list, 2, result), same(0, "fd_read", 0, list, 2, result), same(0, "fd_read", 0, list, 2, result),

		open(0, "in/file", 0, reading, 0), // 4
		same(0, "fd_read", 4, list, 2, result), same(0, "fd_read", 4, list, 2, result), same(0, "fd_read", 4, list, 2, result),
		same(0, "fd_tell", 4, result), same(0, "fd_seek", 4, 3, 0, result), same(0, "fd_seek", 4, 1, 1, result), same(0, "fd_seek", 4, uint64(1<<64-2), 2, result),
		same(EINVAL, "fd_seek", 4, uint64(1<<64-20), 1, result), same(EINVAL, "fd_seek", 4, 0, 3, result), same(EISDIR, "fd_seek", 3, 0, 0, result),
		same(0, "fd_pread", 4, list, 2, 2, result), same(0, "fd_pread", 4, list, 2, 200, result),
		same(EBADF, "fd_write", 4, list, 2, result), same(EISDIR, "fd_read", 3, list, 2, result),
		hide([]span{{result + 8, result + 24}}, "fd_fdstat_get", 4, result), hide([]span{{result + 8, result + 24}}, "fd_fdstat_get", 3, result),
		hide(fileID, "fd_filestat_get", 4, result), hide(dirSize, "fd_filestat_get", 3, result),
		same(EBADF, "fd_filestat_get", 9, result), same(EBADF, "fd_fdstat_get", 9, result),
		same(EINVAL, "fd_advise", 4, 0, 0, 6), same(0, "fd_advise", 4, 0, 0, 1), same(EBADF, "fd_readdir", 4, buffer, 100, 0, result),
		differ(EROFS, 0, "path_open", 3, 0, "in/file", 0, both, 0, 0, result+200), // theirs is 5
		differ(EBADF, 0, "fd_close", 5),

		open(ENOENT, "out/f", 0, both, 0), open(0, "out/f", openCreate, both, 0), // 5
		same(0, "fd_write", 5, list, 2, result), same(0, "fd_pwrite", 5, list, 2, 12, result), same(0, "fd_tell", 5, result),
		same(0, "fd_pread", 5, list, 2, 6, result), same(0, "fd_filestat_set_size", 5, 15), same(0, "fd_allocate", 5, 10, 20),
		hide(fileID, "path_filestat_get", 3, flagFollow, "out/f", result),
		same(0, "fd_sync", 5), same(0, "fd_datasync", 5), same(EBADF, "fd_sync", 9), same(EBADF, "fd_datasync", 9),
		same(0, "fd_filestat_set_times", 5, 7, 8, 5), same(EINVAL, "fd_filestat_set_times", 5, 7, 8, 3),
		same(0, "path_filestat_set_times", 3, flagFollow, "out/f", 7, 8, 5), same(ENOENT, "path_filestat_set_times", 3, flagFollow, "out/no", 7, 8, 5),
		open(EEXIST, "out/f", openCreate|openExclusive, both, 0), open(ENOTDIR, "out/f", openDirectory, reading, 0),
		open(EINVAL, "out/x", openDirectory|openCreate, reading, 0), open(EISDIR, "out", 0, writing, 0),
		same(EPERM, "path_open", 3, 0, "../x", 0, reading, 0, 0, result), same(EPERM, "path_open", 3, 0, "/out", 0, reading, 0, 0, result),
		same(ENOTDIR, "path_open", 5, 0, "x", 0, reading, 0, 0, result), same(EBADF, "path_open", 9, 0, "x", 0, reading, 0, 0, result),
		open(0, "out/f", 0, writing, flagAppend), // 6
		same(0, "fd_write", 6, list, 2, result), hide(fileID, "fd_filestat_get", 6, result), same(0, "fd_close", 6), same(EBADF, "fd_close", 6),

		same(0, "path_create_directory", 3, "out/d"), same(EEXIST, "path_create_directory", 3, "out/d"), same(ENOENT, "path_create_directory", 3, "no/d"),
		differ(ENOTDIR, ENOENT, "path_create_directory", 3, "out/f/d"),
		same(0, "path_link", 3, 0, "out/f", 3, "out/d/g"), same(EEXIST, "path_link", 3, 0, "out/f", 3, "out/d/g"), same(ENOENT, "path_link", 3, 0, "out/no", 3, "out/h"),
		open(0, "out/d", openDirectory, reading, 0), // 6: has one entry, so wazero cannot sort it otherwise
		hide([]span{{buffer + 8, buffer + 16}, {buffer + 33, buffer + 41}, {buffer + 59, buffer + 67}}, "fd_readdir", 6, buffer, 200, 0, result),
		hide([]span{{buffer + 8, buffer + 16}}, "fd_readdir", 6, buffer, 200, 2, result),
		same(ENOENT, "fd_readdir", 6, buffer, 200, 9, result), same(EBADF, "fd_readdir", 9, buffer, 200, 0, result),
		differ(0, EINVAL, "fd_readdir", 6, buffer, 0, 0, result+200),

		same(0, "path_symlink", "g", 3, "out/d/l"), same(EEXIST, "path_symlink", "g", 3, "out/d/l"),
		same(0, "path_readlink", 3, "out/d/l", buffer, 100, result), same(EINVAL, "path_readlink", 3, "out/f", buffer, 100, result), same(ENOENT, "path_readlink", 3, "no", buffer, 100, result),
		hide(fileID, "path_filestat_get", 3, 0, "out/d/l", result), hide(fileID, "path_filestat_get", 3, flagFollow, "out/d/l", result),
		same(ELOOP, "path_open", 3, 0, "out/d/l", 0, reading, 0, 0, result),
		same(0, "path_symlink", "loop", 3, "out/loop"), same(ELOOP, "path_filestat_get", 3, flagFollow, "out/loop", result),
		same(ENOTEMPTY, "path_remove_directory", 3, "out/d"), same(ENOTDIR, "path_remove_directory", 3, "out/f"), same(ENOENT, "path_remove_directory", 3, "out/no"),
		same(EISDIR, "path_unlink_file", 3, "out/d"), same(ENOENT, "path_unlink_file", 3, "out/no"),
		same(0, "path_rename", 3, "out/f", 3, "out/r"), same(ENOENT, "path_rename", 3, "out/f", 3, "out/r"),
		same(ENOTDIR, "path_rename", 3, "out/d", 3, "out/r"), same(EISDIR, "path_rename", 3, "out/r", 3, "out/d"),
		same(0, "path_create_directory", 3, "out/e"), same(ENOTEMPTY, "path_rename", 3, "out/e", 3, "out/d"), same(0, "path_rename", 3, "out/d", 3, "out/e"),
		same(EINVAL, "path_rename", 3, "out/e", 3, "out/e/sub"),
		same(0, "path_unlink_file", 3, "out/e/l"), same(0, "path_unlink_file", 3, "out/e/g"), same(0, "path_remove_directory", 3, "out/e"),
		differ(0, ENOTSUP, "fd_renumber", 3, 3), differ(EBADF, 0, "fd_renumber", 4, 20), differ(0, EBADF, "fd_sync", 4), // theirs moved
		differ(EBADF, 0, "fd_renumber", 20, 4),
		same(0, "fd_renumber", 6, 4), same(EBADF, "fd_renumber", 6, 4), same(EBADF, "fd_close", 6),
		differ(ENOTSUP, 52, "fd_fdstat_set_rights", 5, 0, 0), differ(ENOTSUP, 52, "proc_raise", 6), same(0, "sched_yield"),
		differ(ENOTSOCK, EBADF, "sock_shutdown", 5, 3), differ(ENOTSOCK, EBADF, "sock_accept", 5, 0, result),
		same(EBADF, "sock_recv", 9, list, 1, 0, result, result), same(EBADF, "sock_send", 9, list, 1, 0, result),
		same(EINVAL, "poll_oneoff", buffer, buffer+1000, 0, result), same(EFAULT, "random_get", beyond-1, 2),
	} {
		mine := g.call(s.name, s.args...)
		other := callTheirs(s.name, values(theirs, s.args))
		want := s.wazero
		if want == ours {
			want = s.want
		}
		if mine != s.want || other != want || g.err != nil {
			t.Errorf("%s%v: %v (%v), wazero %v; want %v, %v", s.name, s.args, mine, g.err, other, s.want, want)
		}
		for _, h := range s.hide {
			clear(g.m[h.from:h.to])
			clear(theirs[h.from:h.to])
		}
		if s.wazero != ours {
			copy(theirs, g.m)
		}
		if !bytes.Equal(g.m, theirs) {
			at := 0
			for g.m[at] == theirs[at] {
				at++
			}
			t.Errorf("%s%v (%v): memory differs from %d on: % x, wazero % x", s.name, s.args, s.want, at, g.m[at:at+64], theirs[at:at+64])
			copy(theirs, g.m)
		}
	}
	// wazero writes before it finds that it has nowhere to tell how much.
	if g.stdout.String() != "abcdefgh" || theirOut.String() != "abcdefghabcdefgh" {
		t.Errorf("stdout %q, wazero's %q", &g.stdout, &theirOut)
	}
}
