package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const prefix = "/api/v1"

// reply is a JSON body.
type reply[T any] struct {
	Body T
}

// patterns is a ServeMux that knows what is on it, so that a test finds every
// route.
type patterns struct {
	http.ServeMux
	list []string
}

// HandleFunc registers a route.
func (p *patterns) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	p.list = append(p.list, pattern)
	p.ServeMux.HandleFunc(pattern, h)
}

// socketRoutes is for the owner of the socket, who may look into the process too.
func (s *Server) socketRoutes() *patterns {
	mux := new(patterns)
	s.routes(mux)
	profileRoutes(mux)
	return mux
}

// routes puts everything on mux that both the socket and the page have.
func (s *Server) routes(mux *patterns) {
	a := s.newAPI(mux)
	s.readRoutes(a)
	s.eventRoutes(a)
	s.nodeRoutes(a)
	s.ownerRoutes(a)
	s.hostRoutes(a)
	s.taskRoutes(a)
	s.jobRoutes(a)
	s.pruneRoutes(a)
	s.fileRoutes(a)
	s.blobRoutes(a)
	s.dataRoutes(a)
	mux.HandleFunc("GET /metrics", s.metrics.ServeHTTP)
	mux.HandleFunc("GET "+prefix+"/metrics", s.metrics.ServeHTTP) // where the page's cookie is sent
	describe := sync.OnceValues(func() ([]byte, error) { return json.Marshal(a.OpenAPI()) })
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		b, err := describe()
		if err != nil {
			writeProblem(w, problemOf(err))
			return
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(b) // the client has gone
	})
}

// profileRoutes tell how the process does, by runtime/pprof.
func profileRoutes(mux *patterns) {
	const base = "/debug/pprof/"
	mux.HandleFunc("GET "+base, pprof.Index)
	mux.HandleFunc("GET "+base+"cmdline", pprof.Cmdline)
	mux.HandleFunc("GET "+base+"profile", pprof.Profile)
	mux.HandleFunc("GET "+base+"symbol", pprof.Symbol)
	mux.HandleFunc("GET "+base+"trace", pprof.Trace)
}

// aboutAPI describes what all routes have in common.
const aboutAPI = "What a spare node does for its user. The socket api.sock in the node's home needs no proof. " +
	"The dashboard's address wants the token, or a session with the page's header, for every request. " +
	"Whatever goes wrong is told as a Problem. Lists that are whole arrays tell with the header Link, rel=next, that there is more."

// proofs are the ways to show whom a request is from.
func proofs() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "For programs: what the file api-token in the node's home holds"},
		"session": {Type: "apiKey", In: "cookie", Name: "spare-PORT", Description: "For the page: POST /api/v1/session {code} swaps the code of a link for it, and for {page}; PORT is the node's"},
		"page":    {Type: "apiKey", In: "header", Name: pageHeader, Description: "With a session: the secret {page} that came with it, which nothing else on the machine is sent"},
	}
}

// newAPI puts huma, /healthz and the answer to every unknown path on mux.
func (s *Server) newAPI(mux *patterns) huma.API {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // the client has gone
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		err := protocol.Errorf(protocol.CodeNotFound, "no route %s", protocol.SafeText(r.URL.Path))
		if allow := otherMethods(mux, r); allow != "" {
			w.Header().Set("Allow", allow)
			err = protocol.Errorf(protocol.CodeMethod, "%s takes %s, not %s", protocol.SafeText(r.URL.Path), allow, protocol.SafeText(r.Method))
		}
		writeProblem(w, problemOf(err.WithHint("the API is described at /openapi.json")))
	})
	return humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "spare", Version: s.cfg.Version, Description: aboutAPI},
			Components: &huma.Components{SecuritySchemes: proofs(), Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)},
			Security:   []map[string][]string{{"token": {}}, {"session": {}, "page": {}}},
		},
		Formats:       map[string]huma.Format{"application/json": formatJSON(), "json": formatJSON()},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{problemsOnly},
	})
}

// formatJSON is huma's, for clients that may go before they have read it: huma
// would give them another status then, which the server logs as one too many.
func formatJSON() huma.Format {
	f := huma.DefaultJSONFormat
	write := f.Marshal
	f.Marshal = func(w io.Writer, v any) error { return write(regardless{w}, v) }
	return f
}

// regardless writes without regard to whether it is read.
type regardless struct{ to io.Writer }

// Write implements [io.Writer].
func (r regardless) Write(p []byte) (int, error) {
	_, _ = r.to.Write(p) // the client has gone
	return len(p), nil
}

// otherMethods returns those by which the route of r is there, for people.
func otherMethods(mux *patterns, r *http.Request) string {
	var list []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := *r
		other.Method = method
		if _, pattern := mux.Handler(&other); pattern != "/" && pattern != "" {
			list = append(list, method)
		}
	}
	return strings.Join(list, ", ")
}

// route registers h, whose errors become Problems.
func route[I, O any](a huma.API, op huma.Operation, h func(context.Context, *I) (*O, error)) {
	op.Path = prefix + op.Path
	op.BodyReadTimeout = -1 // inTime sees to that
	op.MaxBodyBytes = maxBody
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "Problem",
		Content: map[string]*huma.MediaType{
			problemType: {Schema: a.OpenAPI().Components.Schemas.Schema(problemSchema, true, "")},
		},
	}
	huma.Register(a, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, problemOf(err)
		}
		return out, nil
	})
}

// writeProblem answers a request that did not reach huma.
func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone
}

func (s *Server) status() Status {
	st := s.cfg.Node.Status()
	st.DashboardURL = s.DashboardURL()
	st.Addrs, st.Refused, st.Warm = some(st.Addrs), some(st.Refused), some(st.Warm)
	st.Sandbox.Layers = some(st.Sandbox.Layers)
	return st
}

func (s *Server) peers() []Peer {
	peers := some(s.cfg.Node.Peers())
	for i := range peers {
		peers[i].Addrs = some(peers[i].Addrs)
	}
	return peers
}

// readRoutes are those that change nothing.
func (s *Server) readRoutes(a huma.API) {
	route(a, huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: "/status", Summary: "What this node says about itself",
	}, func(context.Context, *struct{}) (*reply[Status], error) { return &reply[Status]{s.status()}, nil })
	route(a, huma.Operation{
		OperationID: "peers", Method: http.MethodGet, Path: "/peers", Summary: "Peers that are connected or have an offer",
	}, func(_ context.Context, in *pageInput) (*part[Peer], error) {
		return cut(s.peers(), "/peers", in, func(p Peer) string { return p.Peer })
	})
	route(a, huma.Operation{
		OperationID: "offers", Method: http.MethodGet, Path: "/offers", Summary: "Who offers what, and why not when it is not usable",
	}, func(_ context.Context, in *pageInput) (*part[Offer], error) {
		return cutOffers(s.cfg.Node.Offers(), "/offers", in)
	})
	route(a, huma.Operation{
		OperationID: "tasks", Method: http.MethodGet, Path: "/tasks", Summary: "Tasks of this node, newest first",
	}, s.listTasks)
	route(a, huma.Operation{
		OperationID: "task", Method: http.MethodGet, Path: "/tasks/{id}", Summary: "One task",
	}, s.getTask)
}

// nodeRoutes ask the node to do something.
func (s *Server) nodeRoutes(a huma.API) {
	type who struct {
		Peer string `path:"peer" doc:"Beginning of a peer ID"`
	}
	route(a, huma.Operation{
		OperationID: "ping", Method: http.MethodPost, Path: "/peers/{peer}/ping", Summary: "Measure one round trip",
	}, func(ctx context.Context, in *who) (*reply[Pong], error) {
		id, err := s.findPeer(in.Peer)
		// A whole peer ID need not be known yet: a peer may be asked for it.
		if whole, bad := peer.Decode(in.Peer); bad == nil && protocol.CodeOf(err) == protocol.CodeNotFound {
			id, err = whole.String(), nil
		}
		if err != nil {
			return nil, err
		}
		rtt, err := s.cfg.Node.Ping(ctx, id)
		if err != nil {
			return nil, err
		}
		return &reply[Pong]{Pong{Peer: id, RTTMS: Millis(rtt)}}, nil
	})
	route(a, huma.Operation{
		OperationID: "diagnose", Method: http.MethodPost, Path: "/diagnosis", Summary: "Have a worker try to break out of the sandbox",
	}, func(ctx context.Context, _ *struct{}) (*reply[Diagnosis], error) {
		d, err := s.cfg.Node.Diagnose(ctx)
		d.Layers, d.Trials = some(d.Layers), some(d.Trials)
		return &reply[Diagnosis]{d}, err
	})
	route(a, huma.Operation{
		OperationID: "dashboard-link", Method: http.MethodPost, Path: "/dashboard/link", Summary: "A URL that opens the dashboard once",
	}, func(context.Context, *struct{}) (*reply[Link], error) {
		url, err := s.DashboardLink()
		return &reply[Link]{Link{URL: url}}, err
	})
}

// isNamed reports whether a peer's ID begins with prefix, or goes on with it after
// what the IDs of all Ed25519 keys begin with, as the dashboard shortens them.
func isNamed(id, prefix string) bool {
	rest, short := strings.TrimPrefix(id, "12D3KooW"), strings.TrimPrefix(prefix, "…")
	return strings.HasPrefix(id, prefix) || short != "" && strings.HasPrefix(rest, short)
}

// findPeer returns the ID of the one known peer, this node included, whose ID
// begins with prefix.
func (s *Server) findPeer(prefix string) (string, error) {
	var found []string
	if self := s.cfg.Node.Status().Peer; isNamed(self, prefix) {
		found = append(found, self)
	}
	for _, p := range s.cfg.Node.Peers() {
		if isNamed(p.Peer, prefix) {
			found = append(found, p.Peer)
		}
	}
	switch {
	case len(found) == 1 && prefix != "":
		return found[0], nil
	case len(found) > 1 || prefix == "":
		return "", protocol.Errorf(protocol.CodeAmbiguous, "%d peer IDs begin with %q", len(found), prefix).
			WithHint("give more of it, see 'spare peers -o json'")
	}
	return "", protocol.Errorf(protocol.CodeNotFound, "no peer is known whose ID begins with %q", protocol.SafeText(prefix)).
		WithHint("see 'spare peers'")
}

// some makes an empty list an empty list in JSON.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return slices.Clip(list)
}

// timeText reads a duration of a query, at most most.
func timeText(text string, most time.Duration) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, protocol.Errorf(protocol.CodeBadRequest, "%q is no duration", protocol.SafeText(text)).WithHint("write 500ms, 30s or 2m")
	}
	return min(d, most), nil
}
