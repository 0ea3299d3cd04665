// Package store keeps the durable state of one node in its home directory:
// tasks with their results, results that wait to be acknowledged, evidence, what
// is known of peers, the offer sequence, identity and secrets, and content-addressed blobs. It survives kill -9 and a
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
//	state/NAME.json      what its owner has decided while the node ran
//	store.db             tasks, evidence, held results, peers, guests, the offer sequence (bbolt)
//	journal/             the last changes of tasks and held results
//	blobs/xx/DIGEST      bytes by their sha2-256 in hexadecimal
//	tmp/                 files being written; emptied when the home is opened
//
// # Why a journal before bbolt
//
// A commit of bbolt is two syncs of pages all over its file, several times a
// task's run on a good disk. So a save goes to memory and to the journal, where
// one sync, of one write to blocks that are there already, serves all who wait
// for it: [Store.SaveTaskNow] at once, other saves within 50 ms. bbolt is the
// journal's checkpoint: about every second, or when there is much, one
// transaction takes over what is in memory, later changes of a place having
// replaced earlier ones. With it goes the number of the last record of the
// journal that it has; [Open] makes the changes behind that number again. NoSync
// would be as fast, but a power cut could then destroy the whole file.
//
// What is kept of peers, and evidence, is not worth a place in the journal: a
// crash may cost what was learned in the last second or two.
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
