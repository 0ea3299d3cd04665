package api

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/spare-network/spare/protocol"
)

//go:embed web
var web embed.FS

const sessionPath = prefix + "/session"

// pageRoutes is the dashboard's page and the part of the API that it reads,
// behind the door.
func (s *Server) pageRoutes() http.Handler {
	mux := http.NewServeMux()
	s.readRoutes(s.newAPI(mux))
	_, port, _ := net.SplitHostPort(s.page.Addr().String()) // a TCP address always has one
	// Cookies know no ports: the name keeps two nodes of one machine apart.
	cookie := "spare-" + port
	mux.Handle("GET "+prefix+"/metrics", s.metrics) // where the cookie is sent
	mux.HandleFunc("POST "+sessionPath, func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Code string `json:"code"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&in); err != nil {
			writeProblem(w, problemOf(protocol.Errorf(protocol.CodeBadRequest, "the body is not {\"code\": …}")))
			return
		}
		if !s.door.useCode(time.Now(), in.Code) {
			deny(w, http.StatusUnauthorized, "the link has been used, or is too old")
			return
		}
		http.SetCookie(w, &http.Cookie{
			Name: cookie, Value: s.door.session, Path: prefix, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
		w.WriteHeader(http.StatusNoContent)
	})
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic("api: the embedded folder is called web: " + err.Error())
	}
	static := http.FileServerFS(files)
	mux.Handle("GET /{$}", static)
	open := []string{"/", "/healthz"}
	for _, file := range []string{"/main.js", "/client.js", "/view.js", "/style.css", "/icon.svg"} {
		mux.Handle("GET "+file, static)
		open = append(open, file)
	}
	return s.door.guard(cookie, open, mux)
}
