//go:build !linux

package donor

import "errors"

// readCPUTimes cannot tell here.
func readCPUTimes(bool) (cpuTimes, error) { return cpuTimes{}, errors.ErrUnsupported }
