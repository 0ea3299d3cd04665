//go:build !linux

package donor

func readPower() power { return powerUnknown }
