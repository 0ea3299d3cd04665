package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxInlineBody is the most that a submission may carry of each of its
	// module, stdin and all inputs, before base64. Larger ones are uploaded first.
	maxInlineBody = 1 << 20
	maxHeader     = 32 << 10
	maxBody       = 6 << 20 // three inline bodies in base64, names of inputs, args and env

	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// farewell is how long requests under way may take to notice the end.
	farewell = time.Second
)

// Config is what a [Server] needs.
type Config struct {
	Socket    string // path of the unix socket; its folder becomes private
	Group     string // of the users, besides this one, who may use the socket, or empty
	Dashboard string // loopback address of the dashboard page, or empty
	Token     string // opens that address to programs; wanted when there is one
	Version   string
	Tasks     Tasks
	Jobs      Jobs
	Keeper    Keeper
	Blobs     Blobs
	Data      Data
	Node      Node
	Owner     Owner
	Host      Host
	Logger    *slog.Logger
}

// Server serves the API.
type Server struct {
	cfg    Config
	socket net.Listener
	page   net.Listener // nil when there is no dashboard
	door   *door

	registry *prometheus.Registry
	metrics  http.Handler
	feed     *feed
	self     func() string // the node's peer ID
}

// New opens the socket and, if wanted, the dashboard's address. The caller
// holds the lock of the home, so that an old socket file is nobody's. It
// returns a [protocol.Error] when a path or an address cannot be used.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, door: newDoor(cfg.Token), registry: prometheus.NewRegistry()}
	s.metrics = serveMetrics(s.registry, cfg.Node)
	s.feed = newFeed(s.glance(), cfg.Logger)
	s.self = sync.OnceValue(func() string { return cfg.Node.Status().Peer }) // which never changes
	if cfg.Dashboard != "" && cfg.Token == "" {
		return nil, errors.New("a dashboard without a token would be open to everybody")
	}
	var err error
	if s.socket, err = listenSocket(cfg.Socket, cfg.Group); err != nil {
		return nil, err
	}
	if cfg.Dashboard != "" {
		if s.page, err = listenLoopback(cfg.Dashboard); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Metrics takes collectors whose figures /metrics shows beside the API's own.
func (s *Server) Metrics() prometheus.Registerer { return s.registry }

// Close gives up the listeners of a Server that is not running.
func (s *Server) Close() error {
	err := s.socket.Close()
	if s.page != nil {
		err = errors.Join(err, s.page.Close())
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// DashboardURL returns the page's address, or "" when it is off. It opens
// nothing without a code, see [Server.DashboardLink].
func (s *Server) DashboardURL() string {
	if s.page == nil {
		return ""
	}
	return "http://" + s.page.Addr().String() + "/"
}

// DashboardLink returns a URL that opens the dashboard once, within ten
// minutes. It fails with [protocol.CodeNotFound] when the dashboard is off.
func (s *Server) DashboardLink() (string, error) {
	if s.page == nil {
		return "", protocol.Errorf(protocol.CodeNotFound, "this node runs without a dashboard").
			WithHint("start it without --no-dashboard")
	}
	return s.DashboardURL() + "#code=" + s.door.newCode(time.Now()), nil
}

// Run serves until ctx ends and closes the listeners.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.feed.run(ctx) })
	s.serve(ctx, g, s.socket, s.socketRoutes())
	if s.page != nil {
		mux, open := s.pageRoutes()
		s.serve(ctx, g, s.page, s.door.guard(s.cookie(), open, mux))
	}
	return g.Wait()
}

func (s *Server) serve(ctx context.Context, g *errgroup.Group, l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler:           inTime(bodyGrace, h),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
	}
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if srv.Shutdown(last) != nil {
			return srv.Close()
		}
		return nil
	})
}

// CheckDashboard returns [protocol.CodeAddress] when addr is not an address of
// this machine alone. An empty one is no dashboard.
func CheckDashboard(addr string) error {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return protocol.Errorf(protocol.CodeAddress, "dashboard address %q: want HOST:PORT, with a port of at most 65535", addr).
			WithHint("for example --dashboard 127.0.0.1:0")
	}
	if ip := net.ParseIP(host); host != "localhost" && !ip.IsLoopback() {
		return protocol.Errorf(protocol.CodeAddress, "dashboard address %q is not of this machine alone", addr).
			WithHint("use 127.0.0.1 and an ssh tunnel")
	}
	return nil
}

func listenLoopback(addr string) (net.Listener, error) {
	if err := CheckDashboard(addr); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeAddress, "dashboard: %v", err).
			WithHint("choose another port with --dashboard 127.0.0.1:PORT, or 0 for a free one")
	}
	return l, nil
}
