// Bench measures what spare costs, on this machine and as ratios: remote warm
// tasks, in the node and through its socket, against a composite reference
// that does the least that a remote task needs, and the whole process of
// 'spare run'; and what metering costs a guest's CPU.
//
// The reference of tasks is two processes and, for each request, a new libp2p stream
// over QUIC on loopback and a fresh instance of the same module in a plain
// wazero within the serving process: no worker process, no placement, no
// journal, no receipts. It is measured in the same run, turn by turn with
// spare, since an absolute figure drifts with the machine and a ratio much
// less. The median over the rounds is what counts.
//
// The reference of metering is the same module as its compiler left it, on the
// same engine with the same WASI, so that nothing but what was injected differs.
// Instances are made beforehand; it is the process's CPU time that counts.
//
// What guests take of the CPUs while their owner wants all of them is measured by
// the kernel's accounts, and the owner's work beside the same work while the guests
// are stopped, pair by pair.
//
// Bench judges nothing: a target that is missed is marked, and is no failure.
//
// # Why echo
//
// A task that does nothing but copy 1 KiB leaves only the costs of others to be
// measured. Every request has other bytes, so that no answer can come from a
// cache, and every reply is compared with its request.
package main
