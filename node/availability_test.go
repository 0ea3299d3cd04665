package node

import (
	"strings"
	"testing"

	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
)

func TestStrangersAreNotToldWhatTheMachineLacks(t *testing.T) {
	n := &Node{unmet: unmet([]sandbox.Layer{{Name: "landlock", Why: "it was turned off when the system started"}})}
	ours := n.stance()
	if ours.Availability != protocol.Paused || !strings.Contains(ours.Reason, "landlock") || !strings.Contains(ours.Reason, "turned off") {
		t.Errorf("the user is told %+v", ours)
	}
	state, theirs := n.told()
	if state != protocol.Paused || theirs != "a required layer of the sandbox is not in force" {
		t.Errorf("strangers are told %v, %q", state, theirs)
	}
}

func TestDiskIsDivided(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct{ disk, blobs, code int64 }{
		{0, 0, 4 * gib}, // as each has it
		{64 << 20, 48 << 20, 16 << 20},
		{10 * gib, 15 * gib / 2, 5 * gib / 2},
		{100 * gib, 96 * gib, 4 * gib},
	} {
		if blobs, code := split(c.disk); blobs != c.blobs || code != c.code {
			t.Errorf("of %d bytes: %d for blobs, %d for code; want %d, %d", c.disk, blobs, code, c.blobs, c.code)
		}
	}
}
