package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"go.etcd.io/bbolt"
)

const (
	maxPeers     = 256
	maxPeerAddrs = 16
	maxAddrLen   = 256 // bytes
	// peerFreshness is how old the stored time of a peer may become, so that
	// an idle node among many leaves its disk alone.
	peerFreshness = time.Hour
)

// RememberPeer stores, within a second or two and to the hour, when the peer was seen at these
// addresses, in place of those it had before. The 256 peers seen last are kept,
// each with its first 16 addresses. A peer without an address is of no use and
// passed over.
func (s *Store) RememberPeer(info peer.AddrInfo, now time.Time) error {
	r := remembered{Info: peer.AddrInfo{ID: info.ID, Addrs: usableAddrs(info.Addrs)}, Seen: now.UTC().Round(0)}
	if err := info.ID.Validate(); err != nil {
		return fmt.Errorf("remember peer: %w", err)
	}
	if len(r.Info.Addrs) == 0 {
		return nil
	}
	s.mu.Lock()
	before, known := s.peers[info.ID]
	s.mu.Unlock()
	if known && slices.EqualFunc(before.Info.Addrs, r.Info.Addrs, multiaddr.Multiaddr.Equal) &&
		now.Sub(before.Seen).Abs() < peerFreshness {
		return nil
	}
	record, err := encodePeer(r)
	if err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	s.peers[info.ID] = r
	s.pending.put(change{at(peersBucket, []byte(info.ID)), record})
	if len(s.peers) > maxPeers {
		last := slices.MinFunc(s.peersSeen(), remembered.compare).Info.ID
		delete(s.peers, last)
		s.pending.put(change{at(peersBucket, []byte(last)), nil})
	}
	return nil
}

// usableAddrs returns them sorted, since those of a peer come in any order.
func usableAddrs(addrs []multiaddr.Multiaddr) (usable []multiaddr.Multiaddr) {
	for _, a := range addrs {
		if len(usable) < maxPeerAddrs && a != nil && len(a.Bytes()) <= maxAddrLen {
			usable = append(usable, a)
		}
	}
	slices.SortFunc(usable, multiaddr.Multiaddr.Compare)
	return usable
}

// Peers returns the remembered peers, the last seen first.
func (s *Store) Peers() ([]peer.AddrInfo, error) {
	s.mu.Lock()
	seen := s.peersSeen()
	s.mu.Unlock()
	slices.SortFunc(seen, func(a, b remembered) int { return b.compare(a) })
	infos := make([]peer.AddrInfo, len(seen))
	for i, r := range seen {
		infos[i] = peer.AddrInfo{ID: r.Info.ID, Addrs: slices.Clone(r.Info.Addrs)}
	}
	return infos, nil
}

// peersSeen is called with mu held.
func (s *Store) peersSeen() []remembered {
	list := make([]remembered, 0, len(s.peers))
	for _, r := range s.peers {
		list = append(list, r)
	}
	return list
}

// compare orders by the time seen, the oldest first.
func (r remembered) compare(other remembered) int {
	return cmp.Or(r.Seen.Compare(other.Seen), cmp.Compare(r.Info.ID, other.Info.ID))
}

func (s *Store) loadPeers(tx *bbolt.Tx) error {
	return tx.Bucket(peersBucket).ForEach(func(key, record []byte) error {
		r, err := decodePeer(record)
		if err != nil || string(r.Info.ID) != string(key) {
			return s.db.damage(fmt.Errorf("peer %.40x: %w", key, err))
		}
		s.peers[r.Info.ID] = r
		return nil
	})
}
