package swarm

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/server"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// nowhere is a network with nobody.
type nowhere struct{ network.BitSwapNetwork }

func (nowhere) Self() peer.ID { return "self" }

// TestServerRunsWhileItIsOfUse sees the server start with the first want, stay while
// leaves go out, end when none have for a while, and start again.
func TestServerRunsWhileItIsOfUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &Exchange{net: nowhere{}, index: make(map[cid.Cid][]leaf)}
		x.engine.x, x.engine.base = x, time.Now()
		e := &x.engine
		running := func() (is *server.Server) {
			e.tell(func(s *server.Server) { is = s })
			return is
		}
		if running() != nil {
			t.Fatal("it runs before it is of use")
		}
		var first *server.Server
		e.use(func(s *server.Server) { first = s })
		if first == nil {
			t.Fatal("it does not run when it is of use")
		}
		for range 5 {
			time.Sleep(restAfter * 2 / 3)
			if e.note(); running() != first {
				t.Fatal("it has ended while it was of use")
			}
		}
		time.Sleep(2 * restAfter)
		synctest.Wait()
		if running() != nil {
			t.Fatal("it runs on")
		}
		var second *server.Server
		e.use(func(s *server.Server) { second = s })
		if second == nil || second == first {
			t.Fatal("it does not start again")
		}
		e.close()
		e.use(func(*server.Server) { t.Error("it takes something after its end") })
	})
}
