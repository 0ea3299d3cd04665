package node

import (
	"fmt"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/node/donor"
	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
)

// unmet names the first of the required layers that are missing.
func unmet(missing []sandbox.Layer) string {
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("the sandbox layer %s is required and not in force: %s", missing[0].Name, missing[0].Why)
}

// stance is whether tasks of others run here now, and why or why not, in words
// for the node's user.
func (n *Node) stance() donor.Stance {
	if n.unmet != "" {
		return donor.Stance{Availability: protocol.Paused, Reason: n.unmet}
	}
	return n.donor.State()
}

// told is the availability in words for strangers, who need not know what this
// machine lacks. It is asked for every task.
func (n *Node) told() (protocol.Availability, string) {
	if n.unmet != "" {
		return protocol.Paused, "a required layer of the sandbox is not in force"
	}
	s := n.donor.State()
	return s.Availability, s.Reason
}

// stanceChanged has the provider follow what the donor has decided.
func (n *Node) stanceChanged() {
	n.provider.NoteAvailability()
	if s := n.donor.State(); s.HandOver {
		n.provider.HandOver(s.Reason)
	}
}

// donation is the stance as the API shows it.
func (n *Node) donation() api.Donate {
	s := n.stance()
	d := api.Donate{Mode: n.cfg.Donate, State: s.Availability.Word(), Reason: s.Reason}
	if !s.Until.IsZero() {
		until := api.Time(s.Until)
		d.Until = &until
	}
	return d
}

// owner takes what the machine's owner decides.
type owner struct{ *Node }

// Pause has nothing new of others run, for a while or, with 0, until Resume.
// What runs is handed over, or with finish may end.
func (o owner) Pause(d time.Duration, finish bool) (api.Donate, error) {
	p := donor.Pause{Finish: finish}
	if d > 0 {
		p.Until = time.Now().Add(d)
	}
	err := o.donor.Pause(p)
	return o.donation(), err
}

// Resume takes a pause back.
func (o owner) Resume() (api.Donate, error) {
	err := o.donor.Resume()
	return o.donation(), err
}
