//go:build unix

// Chaos runs tasks in a network of real node processes on this machine while
// they are killed, stopped, cut off and deceived at random, and says what that
// cost: tasks lost, wrong or accepted twice, work done in vain, and how soon
// work went on elsewhere.
//
// The schedule of faults follows from the seed; what it meets does not, since
// processes and networks have a time of their own. The first node is the
// requester, which stays. Where this program may, each node lives in a network
// namespace of its own, so that links can be cut without a sign; elsewhere all
// are on loopback and the faults of networks and disks are left out.
//
// It must not know anything of a node but what its API tells, so that it judges
// the program as its users have it.
package main
