package api

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/spare-network/spare/protocol"
)

// Submission asks for a task.
type Submission struct {
	Name   string   `json:"name,omitempty" maxLength:"256" doc:"The program's name: argv[0], and what people see"`
	Module Bytes    `json:"module"`
	Args   []string `json:"args,omitempty" doc:"argv[1:]"`
	Env    []string `json:"env,omitempty" doc:"NAME=value; nothing is inherited"`
	Stdin  Bytes    `json:"stdin,omitzero"`
	Inputs []Input  `json:"inputs,omitempty" maxItems:"2048" doc:"Files below /in, in any order"`
	Limits Limits   `json:"limits,omitzero"`
	Seed   uint64   `json:"seed,omitempty" doc:"Equal runs with equal seeds are equal"`
	Terms  Terms    `json:"terms,omitzero"`
}

// Bytes are given whole, or by the digest of a blob uploaded before.
type Bytes struct {
	Data   Base64 `json:"data,omitempty" doc:"Base64, at most 1 MiB before encoding"`
	Digest string `json:"digest,omitempty" maxLength:"128" doc:"sha2-256 in hex, or a CID"`
}

// Base64 are bytes that JSON shows in base64.
type Base64 []byte

// Schema describes the bytes without the content encoding that huma would
// check by a regular expression, which takes 50 ms for a MiB; decoding checks it
// as well.
func (Base64) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "byte"}
}

// Limits that the guest may meet. Zero means the default.
type Limits struct {
	MemoryBytes uint64 `json:"memory_bytes,omitempty" doc:"Rounded up to 64 KiB"`
	OutputBytes uint64 `json:"output_bytes,omitempty" doc:"stdout and stderr together"`
	WallMS      uint64 `json:"wall_ms,omitempty" doc:"Guest wall time of one attempt"`
	Gas         uint64 `json:"gas,omitempty" doc:"Executed WebAssembly instructions, about"`
	FileBytes   uint64 `json:"file_bytes,omitempty" doc:"All its files together, inputs included"`
	Files       uint32 `json:"files,omitempty" doc:"Files and directories, inputs included"`
}

// Terms say how the task is to be placed.
type Terms struct {
	Replicas uint32   `json:"replicas,omitempty" maximum:"16" doc:"Distinct providers that run it; the first valid result wins"`
	Quorum   uint32   `json:"quorum,omitempty" maximum:"16" doc:"So many of them must give the same result; 0 and 1: the first one is taken"`
	Verify   string   `json:"verify,omitempty" enum:"default,off,auto,strict" doc:"How results are verified without a quorum: by as many providers as their past makes necessary (auto, strict), or not (off); by default as the node is configured"`
	Where    string   `json:"where,omitempty" enum:"any,local,remote" doc:"any (default), local: only on this node, remote: never on it"`
	Labels   []string `json:"labels,omitempty" maxItems:"16" doc:"What the labels of providers must be: KEY=VALUE, KEY!=VALUE (also without the key), or KEY with any value"`
	On       string   `json:"on,omitempty" doc:"Beginning of the peer ID of the only provider wanted"`
	Detached bool     `json:"detached,omitempty" doc:"Nobody waits: it is on disk before it is accepted"`
}

// understand turns a submission into a Spec and Terms whose blobs are stored,
// or inline.
func (s *Server) understand(in *Submission) (*protocol.Spec, *protocol.Terms, error) {
	if err := in.CheckWords(); err != nil {
		return nil, nil, err
	}
	terms, err := s.terms(&in.Terms)
	if err != nil {
		return nil, nil, err
	}
	module, err := s.module(&in.Module)
	if err != nil {
		return nil, nil, err
	}
	stdin, err := s.stdin(&in.Stdin)
	if err != nil {
		return nil, nil, err
	}
	inputs, err := s.inputs(in.Inputs, uint64(protocol.MaxInline-len(stdin.Inline)))
	if err != nil {
		return nil, nil, err
	}
	name := in.Name
	if name == "" {
		name = "program"
	}
	spec := &protocol.Spec{
		Module:      module,
		Args:        append([]string{name}, in.Args...),
		Env:         in.Env,
		Stdin:       stdin,
		Inputs:      inputs,
		Limits:      in.Limits.spec(),
		Profile:     protocol.Profile,
		Seed:        in.Seed,
		ClockUnixNs: protocol.DefaultClock.UnixNano(),
	}
	return spec, terms, spec.Validate()
}

// CheckWords returns [protocol.CodeUsage] when the program cannot be given the
// args or the environment.
func (in *Submission) CheckWords() error {
	for _, x := range []struct {
		what  string
		words []string
		most  int
		size  int // bytes of those that are not in words
	}{
		{"args", in.Args, protocol.MaxArgs - 1, len(in.Name) + 1},
		{"variables of the environment", in.Env, protocol.MaxArgs, 0},
	} {
		size := x.size
		for _, w := range x.words {
			size += len(w) + 1 // with its NUL
		}
		var err *protocol.Error
		switch {
		case len(x.words) > x.most:
			err = protocol.Errorf(protocol.CodeUsage, "%d %s, a program gets at most %d", len(x.words), x.what, x.most)
		case size > protocol.MaxArgBytes:
			err = protocol.Errorf(protocol.CodeUsage, "%d bytes of %s, a program gets at most %d", size, x.what, protocol.MaxArgBytes)
		default:
			continue
		}
		return err.WithHint("give it what is long in a file with -i, or on stdin")
	}
	return nil
}

// spec returns l with defaults for what it leaves out.
func (l *Limits) spec() *protocol.Limits {
	def := protocol.DefaultLimits()
	return &protocol.Limits{
		// Not beyond the largest, so that rounding cannot overflow.
		MemoryBytes: (min(cmp.Or(l.MemoryBytes, def.MemoryBytes), protocol.MaxMemory+1) + protocol.PageSize - 1) / protocol.PageSize * protocol.PageSize,
		OutputBytes: cmp.Or(l.OutputBytes, def.OutputBytes),
		WallMs:      cmp.Or(l.WallMS, def.WallMs),
		Gas:         cmp.Or(l.Gas, def.Gas),
		FileBytes:   cmp.Or(l.FileBytes, def.FileBytes),
		Files:       cmp.Or(l.Files, def.Files),
	}
}

func (s *Server) terms(in *Terms) (*protocol.Terms, error) {
	wishes, err := protocol.ParseWishes(in.Labels)
	if err != nil {
		return nil, err
	}
	t := &protocol.Terms{Replicas: max(in.Replicas, in.Quorum, 1), Quorum: in.Quorum, Detached: in.Detached}
	for _, w := range wishes {
		t.Labels = append(t.Labels, w.String())
	}
	// The same wishes make the same job, whatever their order.
	slices.Sort(t.Labels)
	t.Labels = slices.Compact(t.Labels)
	if in.Verify != "" {
		t.Verify, _ = protocol.ParseVerify(in.Verify) // the schema has no other words
	}
	switch in.Where {
	case "", "any":
		t.Where = protocol.WhereAny
	case "local":
		t.Where = protocol.WhereLocal
	case "remote":
		t.Where = protocol.WhereRemote
	}
	switch {
	case t.Replicas > protocol.MaxReplicas:
		return nil, protocol.Errorf(protocol.CodeBadRequest, "%d replicas, at most %d", t.Replicas, protocol.MaxReplicas)
	case t.Where == protocol.WhereLocal && in.On != "":
		return nil, protocol.Errorf(protocol.CodeBadRequest, "local and on exclude each other")
	case t.Quorum > 1 && t.Verify > protocol.VerifyOff:
		return nil, protocol.Errorf(protocol.CodeBadRequest, "a quorum and verify %s exclude each other", t.Verify.Word())
	case in.On != "" && t.Verify > protocol.VerifyOff:
		return nil, protocol.Errorf(protocol.CodeBadRequest, "on and verify %s exclude each other", t.Verify.Word())
	case t.Replicas > 1 && (t.Where == protocol.WhereLocal || in.On != ""):
		return nil, protocol.Errorf(protocol.CodeBadRequest, "%d replicas run on as many peers, and only one is allowed", t.Replicas)
	}
	if in.On != "" {
		// Results of one peer prove nothing, whatever the node's configuration says.
		t.Verify = protocol.VerifyOff
		t.On, err = s.findPeer(in.On)
		if err == nil && t.Where == protocol.WhereRemote && t.On == s.cfg.Node.Status().Peer {
			err = protocol.Errorf(protocol.CodeBadRequest, "remote excludes this node, which on names")
		}
	}
	return t, err
}

var (
	// A module begins with its magic and version 1; a component, which spare
	// does not run, with version 13 and layer 1.
	// https://webassembly.github.io/spec/core/binary/modules.html
	magic     = []byte("\x00asm")
	coreLayer = []byte("\x00asm\x01\x00\x00\x00")
)

func (s *Server) module(in *Bytes) (*protocol.Blob, error) {
	if err := in.check("module"); err != nil {
		return nil, err
	}
	head := in.Data
	if in.Digest != "" {
		d, err := protocol.ParseDigest(in.Digest)
		if err != nil {
			return nil, err
		}
		if head, err = s.head(d, len(coreLayer)); err != nil {
			return nil, err
		}
	}
	const hint = "spare runs WASI preview 1 modules, as 'GOOS=wasip1 GOARCH=wasm go build' or 'clang --target=wasm32-wasi' make them"
	switch {
	case !bytes.HasPrefix(head, magic):
		return nil, protocol.Errorf(protocol.CodeBadModule, "the program is not a WebAssembly module").WithHint(hint)
	case !bytes.HasPrefix(head, coreLayer):
		return nil, protocol.Errorf(protocol.CodeBadModule, "the program is WebAssembly of another version or a component").WithHint(hint)
	}
	b, err := s.blob("module", in)
	if err != nil {
		return nil, err
	}
	b.Inline = nil
	return b, nil
}

// head reads the first n bytes of a blob, or all when it is shorter.
func (s *Server) head(d protocol.Digest, n int) ([]byte, error) {
	f, _, err := s.cfg.Blobs.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(n)))
}

func (s *Server) stdin(in *Bytes) (*protocol.Blob, error) {
	if in.Data == nil && in.Digest == "" {
		return protocol.NewBlob(nil), nil
	}
	if err := in.check("stdin"); err != nil {
		return nil, err
	}
	return s.blob("stdin", in)
}

func (in *Bytes) check(what string) error {
	switch {
	case (in.Data == nil) == (in.Digest == ""):
		return protocol.Errorf(protocol.CodeBadRequest, "%s: give either data or digest", what)
	case len(in.Data) > maxInlineBody:
		return tooMuchData(what, len(in.Data))
	}
	return nil
}

func tooMuchData(what string, n int) error {
	return protocol.Errorf(protocol.CodeBadRequest, "%s: %d bytes of data, at most %d", what, n, maxInlineBody).
		WithHint("upload it by POST %s/blobs and give its digest", prefix)
}

// blob stores bytes that do not ride inline, or finds those that were
// uploaded before. A module is always stored.
func (s *Server) blob(what string, in *Bytes) (*protocol.Blob, error) {
	if in.Digest == "" {
		b := protocol.NewBlob(in.Data)
		if what == "module" || len(b.Inline) < len(in.Data) {
			if _, _, err := s.cfg.Blobs.Put(bytes.NewReader(in.Data), maxInlineBody); err != nil {
				return nil, fmt.Errorf("store %s: %w", what, err)
			}
		}
		return b, nil
	}
	d, err := protocol.ParseDigest(in.Digest)
	if err != nil {
		return nil, err
	}
	f, size, err := s.cfg.Blobs.Open(d)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open %s: %w", what, err)
	}
	return &protocol.Blob{Digest: d[:], Size: uint64(size)}, nil
}
