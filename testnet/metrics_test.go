//go:build unix

package testnet

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// metricNames are the names of what a node that has just begun tells.
func metricNames(t *testing.T) []string {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	if len(home) > 90 { // a socket is below it
		t.Skip("the path of the scratch folder is too long")
	}
	var said bytes.Buffer
	cmd := exec.Command(spareBinary(t), "up", "--home", home, "--no-dashboard")
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Process.Signal(os.Interrupt); err == nil {
			_ = cmd.Wait() // how it ends is not what is looked at here
		}
	}()
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(home, "api.sock"))
	}}}
	defer web.CloseIdleConnections()
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		res, err := web.Get("http://spare/metrics")
		if err != nil {
			if time.Since(start) > 2*time.Minute {
				t.Fatalf("the node does not serve: %v\n%s", err, said.Bytes())
			}
			continue
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)`).FindAllSubmatch(b, -1) {
			names = append(names, string(m[1]))
		}
		return names
	}
}

// namesIn are the metrics that an expression of Prometheus names.
func namesIn(expr string) (names []string) {
	for _, part := range []string{`\{[^}]*\}`, `\[[^\]]*\]`, `"[^"]*"`, `\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`} {
		expr = regexp.MustCompile(part).ReplaceAllString(expr, " ")
	}
	words := []string{"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"}
	for _, m := range regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\(?)`).FindAllStringSubmatch(expr, -1) {
		if m[2] == "" && !slices.Contains(words, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

// TestEveryMetricIsThere holds the dashboard and the alerts to what a node tells.
func TestEveryMetricIsThere(t *testing.T) {
	if got, want := namesIn(`sum by (a) (rate(b_total{c="d"}[5m])) / on(e) f > 2 * g and up{h=~"i"} == 0`), []string{"b_total", "f", "g", "up"}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	dashboard, err := os.ReadFile("../.dist/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(dashboard, &d); err != nil {
		t.Fatal(err)
	}
	type use struct{ where, expr string }
	var uses []use
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			uses = append(uses, use{p.Title, target.Expr})
		}
	}
	alerts, err := os.ReadFile("../.dist/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`- alert: (.*)\n\s+expr: (.*)\n`).FindAllSubmatch(alerts, -1) {
		uses = append(uses, use{string(m[1]), string(m[2])})
	}
	if len(uses) < len(d.Panels)+strings.Count(string(alerts), "alert:") {
		t.Fatalf("only %d expressions are found", len(uses))
	}
	there := append(metricNames(t), "up") // which Prometheus makes itself
	for _, u := range uses {
		names := namesIn(u.expr)
		if len(names) == 0 {
			t.Errorf("%s: %s names nothing", u.where, u.expr)
		}
		for _, name := range names {
			if !slices.Contains(there, name) {
				t.Errorf("%s: a node tells no %s", u.where, name)
			}
		}
	}
}

// TestAlertsArePrometheuss has Prometheus read the alerts, where it is installed.
func TestAlertsArePrometheuss(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed")
	}
	if end := finish(t, exec.Command("promtool", "check", "rules", "../.dist/alerts.yml")); end.code != 0 {
		t.Errorf("%s%s", end.stdout, end.stderr)
	}
}
