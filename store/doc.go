// Package store keeps the durable state of one node in its home directory:
// tasks with their results, evidence, remembered peers, the offer sequence,
// identity and secrets, and content-addressed blobs. It survives kill -9 and a
// power cut at any moment: what was acknowledged is there when the home is
// opened again, and a blob is never anything but what its digest says.
//
// It decides nothing about tasks, knows no network, and starts no goroutine
// outside [Store.Run].
//
// A home looks like this:
//
//	lock, pid            who runs here
//	identity.key         the Ed25519 key that is the peer ID
//	networks/NAME.secret what makes a peer a member, 64 hexadecimal characters
//	keys/NAME.key        32 random bytes each
//	store.db             tasks, evidence, peers and the offer sequence (bbolt)
//	blobs/xx/DIGEST      bytes by their sha2-256 in hexadecimal
//	tmp/                 files being written; emptied when the home is opened
//
// # Why a write-behind queue over bbolt
//
// One fsync takes about a millisecond on a good disk, and a task that runs
// remotely takes a third of that. So saves collect in memory, later ones of a
// task replacing earlier ones, and one transaction commits them together: at
// most every 50 ms, or at once when [Store.SaveTaskNow] waits for it. NoSync
// would be faster still, but a power cut could then destroy the whole file.
//
// # Why the index of tasks is in memory
//
// Tasks lie under their number of submission, so that inserts are sequential
// and a commit touches few pages. Task IDs are random: an index of them on
// disk would touch every one of its pages in each commit. The key carries the
// ID and the record begins with what the index wants, so that opening a home
// with 10,000 tasks reads keys and decodes nothing.
//
// # Why the list of a task's files lies beside its record
//
// A task may leave thousands of files, whose list takes a megabyte. A record
// has their number, and the size of the blob that holds their bytes; so many
// tasks can be listed without reading what only one task's view shows.
package store
