package mesh

import (
	"net/netip"
	"testing"
)

func TestVicinity(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7":          "192.0.0.0/16",
		"::ffff:192.0.200.7": "192.0.0.0/16",
		"2001:db8:1:2::3":    "2001:db8::/32",
	} {
		if got := vicinity(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is near %q, want %q", addr, got, want)
		}
	}
}
