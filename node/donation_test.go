package node

import (
	"testing"

	"github.com/spare-network/spare/node/donor"
)

func TestSizesReadBackAsTheyWereSaid(t *testing.T) {
	for _, c := range []struct {
		said string
		n    uint64
		want string
	}{
		{"", 1500 << 20, "1.4 GiB"},
		{"1500MiB", 1500 << 20, "1500 MiB"},
		{"20GiB", 20 << 30, "20 GiB"},
		{"2PiB", 2 << 50, "2048 TiB"},
		{"1000001", 1_000_001, "1000001 B"},
	} {
		if got := sizeSaid(donor.Setting{Value: c.said}, c.n); got != c.want {
			t.Errorf("%q is shown as %q, want %q", c.said, got, c.want)
		}
	}
}
