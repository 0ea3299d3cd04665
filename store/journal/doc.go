// Package journal is a log of records on disk that outlast a power cut soon
// after they were appended: the write-ahead log of a slower store, its
// checkpoint, which takes over what is in the log from time to time.
//
// It knows nothing of what records mean, starts no goroutine, keeps no record
// that the checkpoint has, and reads records only when it is opened.
//
// A journal is a directory of up to 16 segments, files of 1 MiB. Records have
// numbers, 1, 2, 3 ... for ever. The records that were appended while the disk
// was busy are one group, and a group is one frame, which is one write and one
// sync:
//
//	8 bytes  ID of the journal, little-endian as all that follows
//	8 bytes  number of the first record
//	4 bytes  length of the records
//	4 bytes  CRC-32C of the frame without this field
//	then each record: its length as a uvarint, and its bytes
//
// # Torn tail and damage
//
// A frame is begun when the one before is synced. So a crash harms at most the
// last frame, which nobody was told of, and [Open] leaves it out. When a frame
// is missing and a later one is there, the disk has lost what it had
// acknowledged: that is [ErrDamaged]. The checksum is of the group and not of
// each record, since no record of a torn group has been acknowledged.
//
// # Why numbers that never return
//
// A segment is used again from its beginning, without a write that says so,
// when the checkpoint has all of it. What an older use left behind has numbers
// up to the checkpoint's, which is how it is told from what counts.
//
// # Why an ID
//
// Records hold bytes that peers have chosen, perhaps such that look like a
// frame. They cannot know the ID, which is random and never leaves the home.
// It also keeps a journal from being replayed over a checkpoint not its own.
//
// # Why zeros are written to a new segment
//
// The sync of a write into blocks that hold data already flushes the data
// alone. Blocks reserved by fallocate become data with the first write, which
// is a change of metadata: syncs took 0.23 ms then, 0.18 ms after zeros, 0.42 ms
// at the end of a growing file (ext4, the quickest of three runs each).
//
// # Why not a library
//
// github.com/hashicorp/raft-wal v0.4.2 brings hashicorp/raft, etcd and a
// retracted msgpack, 5 MiB of program; it has a bbolt file of its own with a
// commit for every new segment, deletes segments rather than using them again,
// and has no group commit. github.com/tidwall/wal v1.2.1 has no checksums.
package journal
