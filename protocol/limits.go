package protocol

import "time"

// Sizes of what may arrive from a peer, in bytes unless said otherwise.
// Everything larger is refused before it is read.
const (
	// MaxInline is the largest blob, or output, that rides in a message
	// instead of taking a stream of its own.
	MaxInline = 64 << 10
	// MaxSpec is the largest marshalled Spec.
	MaxSpec = MaxInline + 256<<10 + maxInputList
	// MaxTaskMessage is the largest Ask or Reply.
	MaxTaskMessage = MaxSpec + 4<<10
	// MaxOutputChunk is the largest data field of an OutputChunk.
	MaxOutputChunk = 32 << 10
	// MaxOutputMessage is the largest message on an output stream.
	MaxOutputMessage = MaxOutputChunk + 64
	// MaxBeat is the largest Beat.
	MaxBeat = 64 << 10
	// MinBeat is the size that every Beat is padded to.
	MinBeat = 64
	// MaxOffer is the largest SignedOffer.
	MaxOffer = 4 << 10
	// MaxBlobMessage is the largest BlobRequest or BlobHeader.
	MaxBlobMessage = 256
	// MaxTreeMessage is the largest TreeRequest or TreeReply.
	MaxTreeMessage = MaxBlob/LeafSize*32 + 4<<10
	// MaxHandshake is the largest Hello or Proof.
	MaxHandshake = 512
	// MaxSmallMessage is the largest BookPull or Echo.
	MaxSmallMessage = 128
	// MaxWorkerMessage is the largest message between node and worker.
	MaxWorkerMessage = MaxSpec + 64<<10

	// MaxBlob is the largest module or input.
	MaxBlob = 1 << 30
	// LeafSize is the size of the leaves in which peers carry a blob to each
	// other, and MinTree that of the smallest blob for which they do.
	LeafSize = 256 << 10
	MinTree  = 1 << 20
	// MaxAdded is the largest number of files and directories that a node keeps
	// for its network, each announced every few minutes.
	MaxAdded = 128
	// MaxListing is the largest marshalled Listing.
	MaxListing = MaxInputs * (MaxPath + 64)
	// MaxHolders is the largest number of holders in a TreeReply.
	MaxHolders = 16
	// MaxArgs is the largest number of args, and of env entries.
	MaxArgs = 4096
	// MaxArgBytes bounds all args, and all env entries, together.
	MaxArgBytes = 96 << 10
	// MaxWarm is the largest number of warm modules in an Offer.
	MaxWarm = 32
	// MaxBookOffers is the largest number of offers that one BookPull yields.
	MaxBookOffers = 4096
	// MaxProgress is the largest number of Progress entries in a Beat.
	MaxProgress = 1024
	// MaxReceipts is the largest number of receipts in a batch.
	MaxReceipts = 1024
	// MaxSettle is the largest number of nonces in a Settle.
	MaxSettle = 1024
	// MaxReplicas is the largest number of replicas of a task.
	MaxReplicas = 16
	// MaxText is the largest text for people: reasons, messages, names.
	MaxText = 512

	// MaxPath is the longest path of an input or output file.
	MaxPath = 512
	maxName = 255 // bytes of one name in it, as file systems have it
	// MaxInputs is the largest number of input files of a task.
	MaxInputs = 2048

	// maxInputList bounds the paths of all inputs and what else is said of each.
	maxInputList  = 256 << 10
	inputOverhead = 64

	maxPeerIDLen = 128
)

// Limits that a Spec may name, and what it gets when it names none.
const (
	PageSize = 64 << 10 // of WebAssembly linear memory

	DefaultMemory = 512 << 20
	MaxMemory     = 4 << 30

	DefaultOutput = 64 << 20
	MaxOutput     = 1 << 30

	DefaultWall = time.Hour
	MaxWall     = 7 * 24 * time.Hour

	// Gas counts executed WebAssembly instructions, about; a core of today
	// does some 1e9 a second, so that the default is hours.
	DefaultGas = 10_000_000_000_000
	MaxGas     = 1 << 60

	DefaultFileBytes = 256 << 20
	MaxFileBytes     = 1 << 30

	DefaultFiles = 4096
	MaxFiles     = 16384

	// MaxModule is the largest module that any sandbox takes; clang has 75 MB.
	MaxModule = 128 << 20
)

// Directories of the guest's file system that a task fills and collects.
const (
	InputDir  = "/in"
	OutputDir = "/out"
)

// Profile is the version of the sandbox profile that this software implements:
// what a guest can observe of clock, randomness, environment and files, and
// how its gas is counted. Replicas of different profiles are never compared.
const Profile = 3

// SlowestTransfer, in bytes per second, is how slowly blobs and output files
// may come: whoever awaits them holds a place that others could use.
const SlowestTransfer = 1 << 20

// AtSlowest is how long n bytes take at [SlowestTransfer].
func AtSlowest(n uint64) time.Duration {
	return time.Duration(float64(n) / SlowestTransfer * float64(time.Second))
}

// MaxOfferTTL bounds how long a peer may claim an Offer stays valid.
const MaxOfferTTL = 10 * time.Minute
