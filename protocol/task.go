package protocol

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
)

// DefaultClock is where a guest's wall clock starts unless its Spec says
// otherwise. It is fixed, so that equal runs are equal.
var DefaultClock = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// Short names of the generated constants.
const (
	StateQueued    = State_STATE_QUEUED
	StateFetching  = State_STATE_FETCHING
	StateCompiling = State_STATE_COMPILING
	StateRunning   = State_STATE_RUNNING
	StateDone      = State_STATE_DONE
	StateRefused   = State_STATE_REFUSED
	StateLost      = State_STATE_LOST
	StateCancelled = State_STATE_CANCELLED
	// These are states of replicas only.
	StateUnreachable = State_STATE_UNREACHABLE
	StateFailed      = State_STATE_FAILED
	StateCommitted   = State_STATE_COMMITTED
	StateDissenting  = State_STATE_DISSENTING

	VerifyDefault = Verify_VERIFY_DEFAULT
	VerifyOff     = Verify_VERIFY_OFF
	VerifyAuto    = Verify_VERIFY_AUTO
	VerifyStrict  = Verify_VERIFY_STRICT

	WhereAny    = Where_WHERE_ANY
	WhereLocal  = Where_WHERE_LOCAL
	WhereRemote = Where_WHERE_REMOTE

	FromGuest  = ExitSource_EXIT_SOURCE_GUEST
	FromSystem = ExitSource_EXIT_SOURCE_SYSTEM

	Open      = Availability_AVAILABILITY_OPEN
	Full      = Availability_AVAILABILITY_FULL
	Paused    = Availability_AVAILABILITY_PAUSED
	OwnerBusy = Availability_AVAILABILITY_OWNER_BUSY
)

// word turns PREFIX_SOME_NAME into "some-name".
func word(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")
}

// Word is how people and JSON name the state: queued, fetching, compiling,
// running, done, refused, lost, cancelled, and of a replica also unreachable,
// failed, committed, dissenting.
func (s State) Word() string { return word(s.String(), "STATE_") }

// Ended reports whether the state is an end. Only an unreachable replica may
// come back from it.
func (s State) Ended() bool { return s >= StateDone && s != StateCommitted }

// Word is how people, flags and JSON name it: default, off, auto, strict.
func (v Verify) Word() string { return word(v.String(), "VERIFY_") }

// ParseVerify returns what a word of [Verify.Word] stands for.
func ParseVerify(word string) (Verify, error) {
	for v := VerifyDefault; v <= VerifyStrict; v++ {
		if v.Word() == word {
			return v, nil
		}
	}
	return 0, Errorf(CodeBadRequest, "there is no verification %q", SafeText(word)).WithHint("there are default, off, auto and strict")
}

// Word is how people and JSON name the source: guest or system.
func (s ExitSource) Word() string { return word(s.String(), "EXIT_SOURCE_") }

// Word is how people and JSON name it: open, full, paused, owner-busy.
func (a Availability) Word() string { return word(a.String(), "AVAILABILITY_") }

// NewBlob returns a Blob that carries b inline when it is small enough, and
// only names it otherwise.
func NewBlob(b []byte) *Blob {
	d := DigestOf(b)
	blob := &Blob{Digest: d[:], Size: uint64(len(b))}
	if len(b) <= MaxInline {
		blob.Inline = b
	}
	return blob
}

// IsInline reports whether the bytes ride along. An empty blob always does.
func (b *Blob) IsInline() bool { return uint64(len(b.GetInline())) == b.GetSize() }

// Sum returns the digest of a Blob that has passed Validate.
func (b *Blob) Sum() Digest {
	if len(b.GetDigest()) != sha256.Size {
		return Digest{}
	}
	return Digest(b.Digest)
}

// Validate checks that b names at most [MaxBlob] bytes and that inline bytes
// are those it names.
func (b *Blob) Validate() error {
	d, err := DigestFrom(b.GetDigest())
	switch {
	case err != nil:
		return err
	case b.Size > MaxBlob:
		return fmt.Errorf("%w: blob of %d bytes", ErrMalformed, b.Size)
	case len(b.Inline) > MaxInline:
		return fmt.Errorf("%w: %d bytes inline", ErrMalformed, len(b.Inline))
	case len(b.Inline) > 0 && uint64(len(b.Inline)) != b.Size:
		return fmt.Errorf("%w: %d bytes inline of %d", ErrMalformed, len(b.Inline), b.Size)
	case b.IsInline() && DigestOf(b.Inline) != d:
		return fmt.Errorf("%w: inline bytes are not what their digest says", ErrMalformed)
	}
	return nil
}

// Marshal returns the canonical bytes of s, which are its identity: they are
// made once and carried verbatim.
func (s *Spec) Marshal() ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode spec: %w", err)
	}
	return b, nil
}

// ParseSpec decodes and validates the bytes of a Spec.
func ParseSpec(b []byte) (*Spec, error) {
	if len(b) > MaxSpec {
		return nil, fmt.Errorf("%w: spec of %d bytes, at most %d", ErrMalformed, len(b), MaxSpec)
	}
	s := new(Spec)
	if err := proto.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: spec: %w", ErrMalformed, err)
	}
	return s, s.Validate()
}

// Validate checks every bound of s.
func (s *Spec) Validate() error {
	if s.Module == nil || s.Stdin == nil || s.Limits == nil {
		return fmt.Errorf("%w: spec without module, stdin or limits", ErrMalformed)
	}
	if err := s.Module.Validate(); err != nil {
		return fmt.Errorf("module: %w", err)
	}
	if err := s.Stdin.Validate(); err != nil {
		return fmt.Errorf("stdin: %w", err)
	}
	if len(s.Module.Inline) > 0 || s.Module.Size == 0 {
		return fmt.Errorf("%w: module inline or empty", ErrMalformed)
	}
	if err := validateStrings("args", s.Args); err != nil {
		return err
	}
	if err := validateStrings("env", s.Env); err != nil {
		return err
	}
	for _, kv := range s.Env {
		if strings.IndexByte(kv, '=') < 1 {
			return fmt.Errorf("%w: env entry %.40q is not NAME=value", ErrMalformed, kv)
		}
	}
	if err := s.Limits.Validate(); err != nil {
		return err
	}
	return s.validateInputs()
}

// DefaultLimits returns what a task gets whose user names no limit.
func DefaultLimits() *Limits {
	return &Limits{
		MemoryBytes: DefaultMemory,
		OutputBytes: DefaultOutput,
		WallMs:      uint64(DefaultWall.Milliseconds()),
		Gas:         DefaultGas,
		FileBytes:   DefaultFileBytes,
		Files:       DefaultFiles,
	}
}

// MaxLimits returns the largest limits that a Spec may name.
func MaxLimits() *Limits {
	return &Limits{
		MemoryBytes: MaxMemory,
		OutputBytes: MaxOutput,
		WallMs:      uint64(MaxWall.Milliseconds()),
		Gas:         MaxGas,
		FileBytes:   MaxFileBytes,
		Files:       MaxFiles,
	}
}

// Validate checks that every limit is set and within what spare supports.
func (l *Limits) Validate() error {
	switch {
	case l.MemoryBytes == 0 || l.MemoryBytes > MaxMemory || l.MemoryBytes%PageSize != 0:
		return fmt.Errorf("%w: memory limit of %d bytes", ErrMalformed, l.MemoryBytes)
	case l.OutputBytes == 0 || l.OutputBytes > MaxOutput:
		return fmt.Errorf("%w: output limit of %d bytes", ErrMalformed, l.OutputBytes)
	case l.WallMs == 0 || l.WallMs > uint64(MaxWall.Milliseconds()):
		return fmt.Errorf("%w: wall time limit of %d ms", ErrMalformed, l.WallMs)
	case l.Gas == 0 || l.Gas > MaxGas:
		return fmt.Errorf("%w: gas limit of %d", ErrMalformed, l.Gas)
	case l.FileBytes > MaxFileBytes:
		return fmt.Errorf("%w: limit of %d bytes in files", ErrMalformed, l.FileBytes)
	case l.Files > MaxFiles:
		return fmt.Errorf("%w: limit of %d files", ErrMalformed, l.Files)
	}
	return nil
}

// Wall is the wall time limit of one attempt.
func (l *Limits) Wall() time.Duration { return time.Duration(l.GetWallMs()) * time.Millisecond }

func validateStrings(what string, list []string) error {
	total := 0
	for _, s := range list {
		total += len(s) + 1
		if strings.IndexByte(s, 0) >= 0 {
			return fmt.Errorf("%w: NUL in %s", ErrMalformed, what)
		}
	}
	if len(list) > MaxArgs || total > MaxArgBytes {
		return fmt.Errorf("%w: %d %s of %d bytes together", ErrMalformed, len(list), what, total)
	}
	return nil
}

// Validate checks a Run from a peer, except for its spec, which [ParseSpec]
// checks.
func (r *Run) Validate() error {
	if _, err := NonceFrom(r.Nonce); err != nil {
		return err
	}
	if len(r.Task) > TaskIDLen || strings.Trim(r.Task, idAlphabet) != "" {
		return fmt.Errorf("%w: task ID", ErrMalformed)
	}
	return nil
}

// ResultDigest is the digest that two honest replicas agree on. It covers the exit
// code, stdout, gas, profile and output files of r, in this order and fixed
// widths; never stderr, and never the text of a trap. stdout and files need
// only their digests, sizes and paths; files are sorted by path.
func ResultDigest(r *Result, profile uint32) Digest {
	b := make([]byte, 0, 128)
	b = append(b, "spare/result/2\x00"...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.GetExitCode()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.GetCode())))
	b = append(b, r.GetCode()...)
	sum := r.GetStdout().Sum()
	b = append(b, sum[:]...)
	b = binary.BigEndian.AppendUint64(b, r.GetStdout().GetSize())
	b = binary.BigEndian.AppendUint64(b, r.GetGas())
	b = binary.BigEndian.AppendUint32(b, profile)
	return DigestOf(appendFiles(b, r.GetFiles()))
}

// Validate checks an Outcome from a peer against the bounds of this package.
// What it claims is for the requester to judge.
func (o *Outcome) Validate() error {
	if o.Code != "" {
		return validateFailure(o.Code, o.Message)
	}
	r := o.Result
	if r == nil || o.Receipt == nil || r.Stdout == nil || r.Stderr == nil {
		return fmt.Errorf("%w: outcome without result, receipt or output", ErrMalformed)
	}
	if len(r.Receipts) > 0 || r.Hint != "" || len(r.Files) > 0 || r.FileCount > 0 || r.Pack != nil || len(r.Stdout.Inline) > 0 || len(r.Stderr.Inline) > 0 {
		return fmt.Errorf("%w: outcome that repeats itself", ErrMalformed)
	}
	if _, err := DigestFrom(r.Digest); err != nil {
		return err
	}
	for _, b := range []*Blob{r.Stdout, r.Stderr} {
		if _, err := DigestFrom(b.Digest); err != nil {
			return err
		}
		if b.Size > MaxOutput {
			return fmt.Errorf("%w: output of %d bytes", ErrMalformed, b.Size)
		}
	}
	if err := o.Receipt.validate(); err != nil {
		return err
	}
	if r.Gas > MaxGas || r.Gas != o.Receipt.Gas {
		return fmt.Errorf("%w: gas of %d with a receipt of %d", ErrMalformed, r.Gas, o.Receipt.Gas)
	}
	if r.ExitSource != FromGuest && r.ExitSource != FromSystem || (r.ExitSource == FromGuest) != (r.Code == "") {
		return fmt.Errorf("%w: exit source %d with code %.40q", ErrMalformed, r.ExitSource, r.Code)
	}
	if code := Code(r.Code); code != "" && (!code.EndsGuest() || int(r.ExitCode) != code.ExitStatus()) {
		return fmt.Errorf("%w: a guest ended by %.40q with %d", ErrMalformed, r.Code, r.ExitCode)
	}
	return validateTexts(r.Message)
}

// Validate checks a Refusal from a peer, except for its load.
func (r *Refusal) Validate() error { return validateFailure(r.Code, r.Message) }

// validate checks that a receipt is no larger than one must be.
func (r *Receipt) validate() error {
	_, err := NonceFrom(r.Nonce)
	if err == nil {
		_, err = DigestFrom(r.SpecDigest)
	}
	if err == nil {
		_, err = DigestFrom(r.ResultDigest)
	}
	if err == nil && (len(r.Requester) > maxPeerIDLen || len(r.Provider) > maxPeerIDLen) {
		err = fmt.Errorf("%w: peer ID in a receipt", ErrMalformed)
	}
	return err
}

// validateFailure checks a code, which may be of a later version, and its
// message.
func validateFailure(code, message string) error {
	if len(code) > 40 || !strings.HasPrefix(code, "E-") || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return fmt.Errorf("%w: code %.40q", ErrMalformed, code)
	}
	return validateTexts(message)
}

func validateTexts(texts ...string) error {
	if i := slices.IndexFunc(texts, func(s string) bool { return len(s) > MaxText }); i >= 0 {
		return fmt.Errorf("%w: text of %d bytes", ErrMalformed, len(texts[i]))
	}
	return nil
}
