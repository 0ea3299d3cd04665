package api

import (
	"reflect"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

const (
	linesType = "application/jsonl"
	rawType   = "application/octet-stream"
)

var (
	taskSchema  = reflect.TypeFor[Task]()
	eventSchema = reflect.TypeFor[Event]()
)

// Task is a task as people see it.
type Task struct {
	Kind         string     `json:"kind" doc:"task"`
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	State        string     `json:"state" doc:"queued, fetching, compiling, running, done, refused, lost or cancelled"`
	Reason       string     `json:"reason"`
	ExitCode     *int32     `json:"exit_code" doc:"null until it has ended"`
	ExitSource   *string    `json:"exit_source" doc:"guest or system; null until it has ended"`
	StdoutDigest *string    `json:"stdout_digest" doc:"sha2-256 in hex; null without a result"`
	StdoutBytes  uint64     `json:"stdout_bytes"`
	StderrBytes  uint64     `json:"stderr_bytes"`
	Files        []File     `json:"files" doc:"What it has left below /out, sorted by path; null before its end and where many tasks are listed"`
	WallMS       *float64   `json:"wall_ms" doc:"Guest wall time; null when it did not run"`
	Gas          *uint64    `json:"gas" doc:"What it has used; null when that is not known"`
	GasLimit     uint64     `json:"gas_limit" doc:"What it might use"`
	Error        *TaskError `json:"error" doc:"What went wrong; null when nothing did"`
	Submitted    Time       `json:"submitted"`
	Ended        *Time      `json:"ended"`
	Module       string     `json:"module" doc:"CID"`
	Args         []string   `json:"args" doc:"argv"`
	Env          []string   `json:"env"`
	StdinDigest  string     `json:"stdin_digest"`
	StdinBytes   uint64     `json:"stdin_bytes"`
	Inputs       []File     `json:"inputs" doc:"Sorted by path; null where many tasks are listed"`
	Limits       Limits     `json:"limits"`
	Seed         uint64     `json:"seed"`
	Terms        Terms      `json:"terms"`
	Attempts     []Attempt  `json:"attempts"`
}

// File is a file that a task has found below /in, or left below /out.
type File struct {
	Path   string `json:"path" doc:"Where its program saw it"`
	Size   uint64 `json:"size" doc:"Bytes"`
	Digest string `json:"digest" doc:"sha2-256 in hex"`
}

// TaskError says why a task has no result of its program's own.
type TaskError struct {
	Code    protocol.Code `json:"code"`
	Message string        `json:"message"`
	Hint    string        `json:"hint,omitempty" doc:"What mends it"`
}

// Attempt is one replica.
type Attempt struct {
	Attempt  uint32   `json:"attempt"`
	Provider string   `json:"provider" doc:"Peer ID"`
	Self     bool     `json:"self" doc:"The provider is this node"`
	State    string   `json:"state"`
	Reason   string   `json:"reason" doc:"Why this provider, then why it ended so"`
	RTTMS    *float64 `json:"rtt_ms" doc:"null when unknown"`
	Started  *Time    `json:"started" doc:"When the lease was granted, by the requester's clock"`
	Ended    *Time    `json:"ended"`
	Result   string   `json:"result,omitempty" doc:"sha2-256 of the result that the provider has given, or is bound to, in hexadecimal"`
	Gas      uint64   `json:"gas,omitempty" doc:"What that took, or has taken so far"`
}

// Event is one line of a followed task. One of its fields is set.
type Event struct {
	ID     string   `json:"id,omitempty" doc:"The first line"`
	Stdout []byte   `json:"stdout,omitempty"`
	Stderr []byte   `json:"stderr,omitempty"`
	Task   *Task    `json:"task,omitempty" doc:"Its state has changed"`
	Ended  *Task    `json:"ended,omitempty" doc:"The last line of a task that has ended"`
	Error  *Problem `json:"error,omitempty" doc:"The last line when it can be followed no longer"`
}

// viewTask shows t with its files. Its spec was checked when it was submitted.
func (s *Server) viewTask(t *protocol.Task) Task {
	v := s.listTask(t)
	v.Inputs = viewFiles(specOf(t.Spec).Inputs)
	if t.Result != nil {
		v.Files = viewFiles(t.Result.Files)
	}
	return v
}

// specOf reads a spec that was checked when it was submitted.
func specOf(raw []byte) *protocol.Spec {
	spec := new(protocol.Spec)
	if err := proto.Unmarshal(raw, spec); err != nil {
		return new(protocol.Spec)
	}
	return spec
}

func viewLimits(l *protocol.Limits) Limits {
	return Limits{
		MemoryBytes: l.GetMemoryBytes(),
		OutputBytes: l.GetOutputBytes(),
		WallMS:      l.GetWallMs(),
		Gas:         l.GetGas(),
		FileBytes:   l.GetFileBytes(),
		Files:       l.GetFiles(),
	}
}

func viewTerms(t *protocol.Terms) Terms {
	return Terms{
		Replicas: t.GetReplicas(),
		Quorum:   t.GetQuorum(),
		Verify:   verifyWord(t.GetVerify()),
		Where:    whereWord(t.GetWhere()),
		Labels:   t.GetLabels(),
		On:       t.GetOn(),
		Detached: t.GetDetached(),
	}
}

func viewFiles(list []*protocol.File) []File {
	files := make([]File, 0, len(list))
	for _, f := range list {
		files = append(files, File{Path: f.Path, Size: f.Blob.GetSize(), Digest: f.Blob.Sum().String()})
	}
	return files
}

// listTask shows t without its files, of which there may be thousands.
func (s *Server) listTask(t *protocol.Task) Task {
	v := Task{
		Kind:      "task",
		ID:        t.Id,
		Name:      t.Name,
		State:     t.State.Word(),
		Reason:    t.Reason,
		Submitted: Time(time.UnixMilli(t.SubmittedUnixMs)),
		Ended:     moment(t.EndedUnixMs),
		Terms:     viewTerms(t.Terms),
		Attempts:  make([]Attempt, 0, len(t.Replicas)),
	}
	spec := specOf(t.Spec)
	v.Module = spec.Module.Sum().CID()
	v.StdinDigest, v.StdinBytes = spec.Stdin.Sum().String(), spec.Stdin.GetSize()
	v.Limits, v.Seed = viewLimits(spec.Limits), spec.Seed
	v.GasLimit = v.Limits.Gas
	v.Args, v.Env = some(spec.Args), some(spec.Env)
	for _, r := range t.Replicas {
		v.Attempts = append(v.Attempts, s.viewAttempt(r))
	}
	if r := t.Result; r != nil {
		source, stdout, wall := r.ExitSource.Word(), r.Stdout.Sum().String(), float64(r.WallUs)/1000
		v.ExitCode, v.ExitSource = &r.ExitCode, &source
		if r.WallUs > 0 {
			v.WallMS = &wall
		}
		if r.Stdout != nil { // or its guest was never run
			v.StdoutDigest = &stdout
		}
		if r.Gas > 0 { // the least that a guest can use is more
			v.Gas = &r.Gas
		}
		v.StdoutBytes, v.StderrBytes = r.Stdout.GetSize(), r.Stderr.GetSize()
		if r.Code != "" {
			v.Error = &TaskError{Code: protocol.Code(r.Code), Message: r.Message, Hint: r.Hint}
		}
	}
	return v
}

func (s *Server) viewAttempt(r *protocol.Replica) Attempt {
	v := Attempt{
		Attempt:  r.Attempt,
		Provider: r.Provider,
		Self:     r.Provider == s.self(),
		State:    r.State.Word(),
		Reason:   r.Reason,
		Started:  moment(r.StartedUnixMs),
		Ended:    moment(r.EndedUnixMs),
		Gas:      r.Gas,
	}
	if d, err := protocol.DigestFrom(r.ResultDigest); err == nil {
		v.Result = d.String()
	}
	if r.RttUs >= 0 {
		rtt := float64(r.RttUs) / 1000
		v.RTTMS = &rtt
	}
	return v
}

// moment returns nil for a time that is not set.
func moment(unixMS int64) *Time {
	if unixMS == 0 {
		return nil
	}
	t := Time(time.UnixMilli(unixMS))
	return &t
}

// verifyWord leaves away what the node's configuration says.
func verifyWord(v protocol.Verify) string {
	if v == protocol.VerifyDefault {
		return ""
	}
	return v.Word()
}

func whereWord(w protocol.Where) string {
	switch w {
	case protocol.WhereLocal:
		return "local"
	case protocol.WhereRemote:
		return "remote"
	default:
		return "any"
	}
}
