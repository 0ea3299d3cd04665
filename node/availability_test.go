package node

import (
	"strings"
	"testing"

	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
)

func TestStrangersAreNotToldWhatTheMachineLacks(t *testing.T) {
	n := &Node{unmet: unmet([]sandbox.Layer{{Name: "landlock", Why: "it was turned off when the system started"}})}
	state, ours := n.availability()
	if state != protocol.Paused || !strings.Contains(ours, "landlock") || !strings.Contains(ours, "turned off") {
		t.Errorf("the user is told %v, %q", state, ours)
	}
	state, theirs := n.told()
	if state != protocol.Paused || theirs != "a required layer of the sandbox is not in force" {
		t.Errorf("strangers are told %v, %q", state, theirs)
	}
}
