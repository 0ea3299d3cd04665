package api

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"path"
	"time"

	"github.com/spare-network/spare/protocol"
)

//go:embed web
var web embed.FS

const sessionPath = prefix + "/session"

// pageRoutes is the dashboard's page and the whole API, to be served behind the
// door, which paths of the page are open without.
func (s *Server) pageRoutes() (mux *patterns, open []string) {
	mux = new(patterns)
	s.routes(mux)
	mux.HandleFunc("POST "+sessionPath, func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Code string `json:"code"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&in); err != nil {
			writeProblem(w, problemOf(protocol.Errorf(protocol.CodeBadRequest, "the body is not {\"code\": …}")))
			return
		}
		now := time.Now()
		if !s.door.useCode(now, in.Code) {
			refuse(w, unproven("the link has been used, or is too old"))
			return
		}
		http.SetCookie(w, &http.Cookie{
			Name: s.cookie(), Value: s.door.session(now), Path: prefix, MaxAge: int(cookieLife.Seconds()),
			HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"page": s.door.page}) // or the browser has gone
	})
	return mux, append(staticFiles(mux), "/healthz")
}

// cookie is the name of the session's: cookies know no ports, and it keeps two
// nodes of one machine apart.
func (s *Server) cookie() string {
	_, port, _ := net.SplitHostPort(s.page.Addr().String()) // a TCP address always has one
	return "spare-" + port
}

// mediaType says what a file is, or nothing; what the machine knows may be wrong.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return ""
}

// staticFiles puts the page's files on mux and returns their paths.
func staticFiles(mux *patterns) (paths []string) {
	files, err := fs.Sub(web, "web")
	if err == nil {
		serve := http.FileServerFS(files)
		err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			pattern := "/" + name
			if name == "index.html" {
				pattern = "/"
			}
			paths = append(paths, pattern)
			if pattern == "/" {
				pattern = "/{$}"
			}
			mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
				if kind := mediaType(name); kind != "" {
					w.Header().Set("Content-Type", kind)
				}
				serve.ServeHTTP(w, r)
			})
			return nil
		})
	}
	if err != nil {
		panic("api: the embedded folder is called web: " + err.Error())
	}
	return paths
}
