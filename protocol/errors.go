package protocol

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrMalformed is wrapped by every decoder and Validate method of this package.
var ErrMalformed = errors.New("malformed message")

// Code is a stable name of what went wrong, the same on the wire, in JSON and
// on the terminal.
type Code string

// Codes. The text after each is when it is used.
const (
	CodeBadRequest  Code = "E-BAD-REQUEST"    // a value that cannot be
	CodeUnproven    Code = "E-UNAUTHORIZED"   // a request to the API that does not prove whom it is from
	CodeForbidden   Code = "E-FORBIDDEN"      // a request to the API from where none may come
	CodeMethod      Code = "E-METHOD"         // a request to the API by a method that its route does not have
	CodeUsage       Code = "E-USAGE"          // a command line that cannot be
	CodeFile        Code = "E-FILE"           // a file of the user's cannot be read or written
	CodeConfig      Code = "E-CONFIG"         // a config.toml that cannot be
	CodeNotFound    Code = "E-NOT-FOUND"      // a file, task or peer that is not there
	CodeAmbiguous   Code = "E-AMBIGUOUS"      // an ID prefix that fits several
	CodeBadModule   Code = "E-BAD-MODULE"     // not WebAssembly, or not valid
	CodeImport      Code = "E-UNKNOWN-IMPORT" // the module imports what no sandbox gives
	CodeBuild       Code = "E-BUILD"          // a compiler made no module of the program
	CodeToolchain   Code = "E-TOOLCHAIN"      // what would make a module of the program is not installed
	CodeRuntime     Code = "E-RUNTIME"        // the module that would run the script is not there, or is another
	CodeNoNode      Code = "E-NO-NODE"        // no node runs in this home
	CodeGroup       Code = "E-GROUP"          // a group of users that is not there, or that one is no member of
	CodeService     Code = "E-SERVICE"        // the system's manager of services is not there, or refuses
	CodeHomeInUse   Code = "E-HOME-IN-USE"    // another node runs in this home
	CodeSocketPath  Code = "E-SOCKET-PATH"    // the path of api.sock is too long
	CodeAddress     Code = "E-ADDRESS"        // a multiaddr that cannot be used
	CodeNetwork     Code = "E-NETWORK-SECRET" // a peer of the same name with another secret
	CodeForeign     Code = "E-OTHER-NETWORK"  // a peer of another network
	CodeNoPeers     Code = "E-NO-PEERS"       // no peer is known
	CodeNoOffers    Code = "E-NO-OFFERS"      // peers are known, none can run it
	CodeBusy        Code = "E-BUSY"           // the provider's queue is full
	CodeRefused     Code = "E-REFUSED"        // the provider's ceilings are lower, or it is paused
	CodeBlocked     Code = "E-BLOCKED"        // the owner of the other node runs nothing of this one, or this one's of it
	CodeHandedOver  Code = "E-HANDED-OVER"    // the provider's owner wants the machine back: another is to run it
	CodeReplay      Code = "E-REPLAY"         // the nonce has been seen
	CodeTimeout     Code = "E-TIMEOUT"        // the attempt's wall time is over
	CodeOutputLimit Code = "E-OUTPUT-LIMIT"   // more output than the Spec allows
	CodeMemoryLimit Code = "E-MEMORY-LIMIT"   // the module needs more memory at start than the Spec allows
	CodeFileLimit   Code = "E-FILE-LIMIT"     // files that a task may not hand on: too many, too large, or of a strange name
	CodeGasLimit    Code = "E-GAS-LIMIT"      // more gas than the Spec allows
	CodeDepthLimit  Code = "E-DEPTH-LIMIT"    // calls nested deeper than the profile allows
	CodeTrap        Code = "E-TRAP"           // the guest trapped
	CodeWorker      Code = "E-WORKER"         // the sandbox process failed
	CodeBlob        Code = "E-BLOB"           // bytes are missing, or are not what their digest says
	CodeLost        Code = "E-LOST"           // every attempt was lost
	CodeDiverged    Code = "E-DIVERGED"       // two replicas wrote different output
	CodeQuorum      Code = "E-NO-QUORUM"      // too few providers gave the same result
	CodeCancelled   Code = "E-CANCELLED"      // the user cancelled
	CodeShutdown    Code = "E-SHUTDOWN"       // the node is stopping
	CodeInternal    Code = "E-INTERNAL"       // a defect of spare
)

// Exit statuses of the command line that are spare's own.
const (
	ExitTimeout   = 124
	ExitSystem    = 125
	ExitBadModule = 126
	ExitNotFound  = 127
	ExitDetached  = 130
	ExitTrap      = 134
)

// ExitStatus is the status that a command ends with when it fails with c.
func (c Code) ExitStatus() int {
	switch c {
	case CodeTimeout:
		return ExitTimeout
	case CodeBadModule, CodeImport, CodeBuild, CodeToolchain, CodeRuntime:
		return ExitBadModule
	case CodeNotFound:
		return ExitNotFound
	case CodeTrap, CodeDepthLimit:
		return ExitTrap
	case CodeUsage:
		return 2
	default:
		return ExitSystem
	}
}

// Known reports whether c is one of this package: a peer may say any.
func (c Code) Known() bool {
	switch c {
	case CodeBadRequest, CodeUnproven, CodeForbidden, CodeMethod, CodeUsage, CodeFile, CodeConfig, CodeNotFound, CodeAmbiguous,
		CodeBadModule, CodeImport, CodeBuild, CodeToolchain, CodeRuntime, CodeNoNode,
		CodeGroup, CodeService, CodeHomeInUse, CodeSocketPath, CodeAddress, CodeNetwork,
		CodeForeign, CodeNoPeers, CodeNoOffers, CodeBusy, CodeRefused, CodeBlocked,
		CodeHandedOver, CodeReplay, CodeTimeout, CodeOutputLimit, CodeMemoryLimit, CodeFileLimit,
		CodeGasLimit, CodeDepthLimit, CodeTrap, CodeWorker, CodeBlob, CodeLost,
		CodeDiverged, CodeQuorum, CodeCancelled, CodeShutdown, CodeInternal:
		return true
	default:
		return false
	}
}

// EndsGuest reports whether c is how a guest can end other than by itself. All
// but [CodeTimeout], which depends on the machine's speed, every provider would
// say of it.
func (c Code) EndsGuest() bool {
	switch c {
	case CodeTrap, CodeTimeout, CodeOutputLimit, CodeFileLimit, CodeMemoryLimit, CodeGasLimit, CodeDepthLimit, CodeBadModule, CodeImport:
		return true
	default:
		return false
	}
}

// Error is a failure that a person is told: what happened and why, and what to
// do about it. Message and Hint are lower case, without a period at the end.
type Error struct {
	Code    Code
	Message string
	Hint    string // a command or a change that mends it, or empty
}

// Errorf returns an [Error] with a formatted message and no hint.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint sets the hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error returns "CODE: message; hint".
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Message
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// About returns err with what it is about before its message, as people see it.
func About(what string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", what, err)
	}
	about := *e
	about.Message = what + ": " + e.Message
	return &about
}

// CodeOf returns the Code of the first [Error] in err's chain, or
// [CodeInternal].
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// SafeText makes text from a stranger fit to be shown: valid UTF-8 on one
// line, no control characters (so no terminal escapes), at most [MaxText]
// bytes.
func SafeText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	if len(s) > MaxText {
		cut := MaxText - len("…")
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return s
}
