//go:build !chaos

package node

import "github.com/spare-network/spare/node/provider"

// runner is what runs tasks here.
func (n *Node) runner() provider.Runner { return runner{n.sandbox} }
