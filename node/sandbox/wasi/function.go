package wasi

import "errors"

// Module is what guests import the functions from.
const Module = "wasi_snapshot_preview1"

// ValueType is the binary encoding of a WebAssembly type.
type ValueType = byte

// The types of parameters and results.
const (
	I32 ValueType = 0x7f
	I64 ValueType = 0x7e
)

// Memory is a guest's linear memory. Read returns a view of n bytes from
// offset, and false when they are not all in it.
type Memory interface {
	Read(offset, n uint32) ([]byte, bool)
}

// Function is one function of WASI.
type Function struct {
	Name    string
	Params  []ValueType
	Results []ValueType // one i32, the Errno, or none: the function does not return

	// Call runs the function with args, of which an i32 is the low half. A
	// module without a memory gives nil for it. An error ends the guest: an
	// [*Exit], [ErrOutOfGas], or what a stream returned.
	Call func(w *World, m Memory, args []uint64) (Errno, error)
}

// function wraps f, whose error may be an [Errno]. Types has a letter for each
// parameter: i for i32 and I for i64.
func function(name, types string, f func(*World, Memory, []uint64) error) Function {
	params := make([]ValueType, len(types))
	for i, t := range types {
		params[i] = I32
		if t == 'I' {
			params[i] = I64
		}
	}
	call := func(w *World, m Memory, args []uint64) (Errno, error) {
		if err := w.charge(priceCall); err != nil {
			return 0, err
		}
		if m == nil {
			m = noMemory{}
		}
		err := f(w, m, args)
		if err == nil {
			return Success, nil
		}
		if errno, ok := errors.AsType[Errno](err); ok {
			return errno, nil
		}
		return 0, err
	}
	return Function{Name: name, Params: params, Results: []ValueType{I32}, Call: call}
}

// Functions returns all functions of WASI preview 1, sorted by name.
func Functions() []Function {
	exit := function("proc_exit", "i", (*World).procExit)
	exit.Results = nil
	return []Function{
		function("args_get", "ii", (*World).argsGet),
		function("args_sizes_get", "ii", (*World).argsSizesGet),
		function("clock_res_get", "ii", (*World).clockResGet),
		function("clock_time_get", "iIi", (*World).clockTimeGet),
		function("environ_get", "ii", (*World).environGet),
		function("environ_sizes_get", "ii", (*World).environSizesGet),
		function("fd_advise", "iIIi", (*World).fdAdvise),
		function("fd_allocate", "iII", (*World).fdAllocate),
		function("fd_close", "i", (*World).fdClose),
		function("fd_datasync", "i", (*World).fdSync),
		function("fd_fdstat_get", "ii", (*World).fdFdstatGet),
		function("fd_fdstat_set_flags", "ii", (*World).fdFdstatSetFlags),
		function("fd_fdstat_set_rights", "iII", (*World).fdFdstatSetRights),
		function("fd_filestat_get", "ii", (*World).fdFilestatGet),
		function("fd_filestat_set_size", "iI", (*World).fdFilestatSetSize),
		function("fd_filestat_set_times", "iIIi", (*World).fdFilestatSetTimes),
		function("fd_pread", "iiiIi", (*World).fdPread),
		function("fd_prestat_dir_name", "iii", (*World).fdPrestatDirName),
		function("fd_prestat_get", "ii", (*World).fdPrestatGet),
		function("fd_pwrite", "iiiIi", (*World).fdPwrite),
		function("fd_read", "iiii", (*World).fdRead),
		function("fd_readdir", "iiiIi", (*World).fdReaddir),
		function("fd_renumber", "ii", (*World).fdRenumber),
		function("fd_seek", "iIii", (*World).fdSeek),
		function("fd_sync", "i", (*World).fdSync),
		function("fd_tell", "ii", (*World).fdTell),
		function("fd_write", "iiii", (*World).fdWrite),
		function("path_create_directory", "iii", (*World).pathCreateDirectory),
		function("path_filestat_get", "iiiii", (*World).pathFilestatGet),
		function("path_filestat_set_times", "iiiiIIi", (*World).pathFilestatSetTimes),
		function("path_link", "iiiiiii", (*World).pathLink),
		function("path_open", "iiiiiIIii", (*World).pathOpen),
		function("path_readlink", "iiiiii", (*World).pathReadlink),
		function("path_remove_directory", "iii", (*World).pathRemoveDirectory),
		function("path_rename", "iiiiii", (*World).pathRename),
		function("path_symlink", "iiiii", (*World).pathSymlink),
		function("path_unlink_file", "iii", (*World).pathUnlinkFile),
		function("poll_oneoff", "iiii", (*World).pollOneoff),
		exit,
		function("proc_raise", "i", (*World).procRaise),
		function("random_get", "ii", (*World).randomGet),
		function("sched_yield", "", (*World).schedYield),
		function("sock_accept", "iii", (*World).sock),
		function("sock_recv", "iiiiii", (*World).sock),
		function("sock_send", "iiiii", (*World).sock),
		function("sock_shutdown", "ii", (*World).sock),
	}
}
