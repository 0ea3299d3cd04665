package wasi

import "strconv"

// Errno is a WASI error number, which a guest gets as the result of its call.
type Errno uint16

// The error numbers that this package returns.
const (
	Success      Errno = 0
	EBADF        Errno = 8
	EEXIST       Errno = 20
	EFAULT       Errno = 21
	EFBIG        Errno = 22
	EILSEQ       Errno = 25
	EINVAL       Errno = 28
	EISDIR       Errno = 31
	ELOOP        Errno = 32
	EMFILE       Errno = 33
	ENAMETOOLONG Errno = 37
	ENOENT       Errno = 44
	ENOMEM       Errno = 48
	ENOSPC       Errno = 51
	ENOTDIR      Errno = 54
	ENOTEMPTY    Errno = 55
	ENOTSOCK     Errno = 57
	ENOTSUP      Errno = 58
	EPERM        Errno = 63
	EROFS        Errno = 69
	ESPIPE       Errno = 70
	EXDEV        Errno = 75
)

var errnoNames = map[Errno]string{
	Success: "success", EBADF: "EBADF", EEXIST: "EEXIST", EFAULT: "EFAULT", EFBIG: "EFBIG",
	EILSEQ: "EILSEQ", EINVAL: "EINVAL", EISDIR: "EISDIR", ELOOP: "ELOOP", EMFILE: "EMFILE",
	ENAMETOOLONG: "ENAMETOOLONG", ENOENT: "ENOENT", ENOMEM: "ENOMEM", ENOSPC: "ENOSPC",
	ENOTDIR: "ENOTDIR", ENOTEMPTY: "ENOTEMPTY", ENOTSOCK: "ENOTSOCK", ENOTSUP: "ENOTSUP",
	EPERM: "EPERM", EROFS: "EROFS", ESPIPE: "ESPIPE", EXDEV: "EXDEV",
}

// Error implements error, by which the functions of this package hand an Errno
// to each other.
func (e Errno) Error() string {
	if name, ok := errnoNames[e]; ok {
		return name
	}
	return "errno " + strconv.Itoa(int(e))
}
