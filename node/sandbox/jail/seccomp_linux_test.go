package jail

import (
	"slices"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
)

// TestCallsAreKnown guards against names that no architecture knows, which
// would be passed over in silence.
func TestCallsAreKnown(t *testing.T) {
	amd64 := []string{"newfstatat", "epoll_wait"}
	arm64 := []string{"fstatat"}
	for _, c := range []calls{loadingCalls(), runningCalls()} {
		names := slices.Clone(c.always)
		for _, n := range c.only {
			names = append(names, n.Name)
		}
		for _, name := range names {
			_, x := arch.X86_64.SyscallNames[name]
			_, a := arch.AARCH64.SyscallNames[name]
			if x == slices.Contains(arm64, name) || a == slices.Contains(amd64, name) {
				t.Errorf("%s: known to amd64 %t, to arm64 %t", name, x, a)
			}
		}
	}
}
