package market

import (
	"fmt"

	"github.com/spare-network/spare/protocol"
)

// amount is something of which a task may use so much, and a provider gives
// at most so much.
type amount struct {
	noun  string // after a number, as in "8 GiB of memory"
	flag  string // by which the task's user asks for it; empty: there is none
	asked func(Need) uint64
	most  func(*protocol.Offer) uint64
	words func(uint64) string // for people
	unit  string              // for people, when words would hide a difference
	value func(uint64) string // for the flag, rounded down
}

// amounts are all that an offer bounds.
var amounts = []amount{
	{" of memory", "--mem", func(n Need) uint64 { return n.Limits.GetMemoryBytes() }, (*protocol.Offer).GetMemoryBytes, protocol.SizeText, " bytes", flagSize},
	{" of output", "--output-limit", func(n Need) uint64 { return n.Limits.GetOutputBytes() }, (*protocol.Offer).GetOutputBytes, protocol.SizeText, " bytes", flagSize},
	{" of run time", "--timeout", func(n Need) uint64 { return n.Limits.GetWallMs() }, (*protocol.Offer).GetWallMs, wall, " ms", flagWall},
	{" of gas", "--gas", func(n Need) uint64 { return n.Limits.GetGas() }, (*protocol.Offer).GetGas, protocol.GasText, "", flagGas},
	{" of files", "--file-bytes", func(n Need) uint64 { return n.Limits.GetFileBytes() }, (*protocol.Offer).GetFileBytes, protocol.SizeText, " bytes", flagSize},
	{" files", "--files", func(n Need) uint64 { return uint64(n.Limits.GetFiles()) }, func(o *protocol.Offer) uint64 { return uint64(o.GetFiles()) }, digits, "", digits},
	{" for its module", "", func(n Need) uint64 { return n.ModuleBytes }, (*protocol.Offer).GetModuleBytes, protocol.SizeText, " bytes", nil},
}

// Beyond says which ceiling of o the task is beyond, in the words of the
// provider that refuses it, or nothing.
func (n Need) Beyond(o *protocol.Offer) string {
	a, beyond := n.short(o)
	if !beyond {
		return ""
	}
	asked, most := protocol.Apart(a.words, a.unit, a.asked(n), a.most(o))
	return fmt.Sprintf("the task may use %s%s, this node gives at most %s", asked, a.noun, most)
}

// short returns the first amount of which the task may use more than o gives.
func (n Need) short(o *protocol.Offer) (amount, bool) {
	for _, a := range amounts {
		if a.asked(n) > a.most(o) {
			return a, true
		}
	}
	return amount{}, false
}

// remedy is what the user may do about it when nobody gives more than most.
func (a amount) remedy(most uint64) string {
	if a.flag == "" || most == 0 {
		return "see 'spare offers'"
	}
	return fmt.Sprintf("try %s %s, or see 'spare offers'", a.flag, a.value(most))
}
