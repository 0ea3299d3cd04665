//go:build chaos

package node

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/spare-network/spare/node/provider"
)

// runner is what runs tasks here, and lies about them when testnet/chaos says so
// by "alone SHARE" or "together SHARE" in the environment.
func (n *Node) runner() provider.Runner {
	honest := runner{n.sandbox}
	l := liar{Runner: honest}
	var how string
	if _, err := fmt.Sscan(os.Getenv("SPARE_CHAOS_LIES"), &how, &l.share); err != nil {
		return honest
	}
	if how == "alone" {
		l.own = n.self.String()
	}
	return l
}

// liar alters the results of a share of the tasks. What it says follows from the
// task, so that those who lie together say the same, and from who it is if it
// lies alone.
type liar struct {
	provider.Runner
	own   string
	share float64
}

// Run runs x and says something else about it: that it wrote more than it did,
// or that it failed.
func (l liar) Run(ctx context.Context, x provider.Execution) (provider.Outcome, error) {
	end, err := l.Runner.Run(ctx, x)
	sum := sha256.Sum256(append([]byte(l.own), x.SpecBytes...))
	if err != nil || float64(binary.BigEndian.Uint32(sum[:])) >= l.share*(1<<32) {
		return end, err
	}
	end.Stdout = fmt.Appendf(end.Stdout, "a lie %x\n", sum[:8])
	if sum[8]%2 == 0 {
		end.ExitCode = 1
	}
	return end, nil
}
