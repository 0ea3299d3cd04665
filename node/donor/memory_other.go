//go:build !linux && !darwin && !windows

package donor

import "errors"

// totalMemory cannot tell here.
func totalMemory() (uint64, error) { return 0, errors.ErrUnsupported }
