package client

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Process is what the node's own process has used, without its workers.
type Process struct {
	CPU           time.Duration // since it was started
	ResidentBytes uint64
	At            time.Time
}

// Process asks what the node uses. What its system does not tell is zero.
func (c *Client) Process(ctx context.Context) (Process, error) {
	body, err := c.do(ctx, http.MethodGet, "/metrics", "", nil)
	if err != nil {
		return Process{}, err
	}
	defer body.Close()
	p := Process{At: time.Now()}
	for lines := bufio.NewScanner(body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		figure, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "process_cpu_seconds_total":
			p.CPU = time.Duration(figure * float64(time.Second))
		case name == "process_resident_memory_bytes":
			p.ResidentBytes = uint64(figure)
		}
	}
	return p, nil
}
