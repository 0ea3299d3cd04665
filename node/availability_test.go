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
