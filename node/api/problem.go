package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/spare-network/spare/protocol"
)

// Problem is an error as the API tells it (RFC 9457).
type Problem struct {
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail" doc:"What happened and why"`
	Code   protocol.Code `json:"code" doc:"Stable name of what went wrong"`
	Hint   string        `json:"hint,omitempty" doc:"What mends it"`
}

// Err returns p as the error that it was made of.
func (p *Problem) Err() *protocol.Error {
	return &protocol.Error{Code: p.Code, Message: p.Detail, Hint: p.Hint}
}

// Error returns what [protocol.Error] would.
func (p *Problem) Error() string { return p.Err().Error() }

// GetStatus returns the HTTP status, for huma.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns when to try again, for huma.
func (p *Problem) GetHeaders() http.Header {
	if p.Status == http.StatusServiceUnavailable {
		return http.Header{"Retry-After": {"5"}}
	}
	return nil
}

// ContentType returns the media type of problems, for huma.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

var problemSchema = reflect.TypeFor[Problem]()

// problemOf tells err to a client. Only a [protocol.Error] is meant for
// people; of anything else they learn that spare failed, with its text, since
// whoever may use the API may also read the node's log.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var e *protocol.Error
	if !errors.As(err, &e) {
		switch {
		case errors.Is(err, protocol.ErrMalformed):
			e = protocol.Errorf(protocol.CodeBadRequest, "%v", err)
		case errors.Is(err, context.Canceled):
			e = protocol.Errorf(protocol.CodeShutdown, "the request ended before its answer")
		default:
			e = protocol.Errorf(protocol.CodeInternal, "%v", err)
		}
	}
	status := statusOf(e.Code)
	return &Problem{Title: http.StatusText(status), Status: status, Detail: e.Message, Code: e.Code, Hint: e.Hint}
}

func statusOf(c protocol.Code) int {
	switch c {
	case protocol.CodeBadRequest, protocol.CodeUsage, protocol.CodeAddress:
		return http.StatusBadRequest
	case protocol.CodeUnproven:
		return http.StatusUnauthorized
	case protocol.CodeForbidden:
		return http.StatusForbidden
	case protocol.CodeMethod:
		return http.StatusMethodNotAllowed
	case protocol.CodeNotFound:
		return http.StatusNotFound
	case protocol.CodeAmbiguous, protocol.CodeBlob:
		return http.StatusConflict
	case protocol.CodeBadModule, protocol.CodeImport, protocol.CodeMemoryLimit:
		return http.StatusUnprocessableEntity
	case protocol.CodeNoPeers, protocol.CodeNoOffers, protocol.CodeBusy, protocol.CodeShutdown:
		return http.StatusServiceUnavailable
	case protocol.CodeTimeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// problemsOnly turns the errors that huma makes itself, of requests that do
// not fit their schema, into Problems. It is a huma transformer.
func problemsOnly(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	detail := m.Detail
	if len(m.Errors) > 0 {
		e := m.Errors[0]
		detail = fmt.Sprintf("%s: %s", e.Location, e.Message)
	}
	code := protocol.CodeBadRequest
	if m.Status >= 500 {
		code = protocol.CodeInternal
	}
	return &Problem{Title: m.Title, Status: m.Status, Detail: detail, Code: code, Hint: "the API is described at /openapi.json"}, nil
}
