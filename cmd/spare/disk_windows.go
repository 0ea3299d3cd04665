package main

import "golang.org/x/sys/windows"

// diskRoom is how many bytes a user may still write where dir is, and how many
// there are in all.
func diskRoom(dir string) (free, all uint64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	err = windows.GetDiskFreeSpaceEx(name, &free, &all, nil)
	return free, all, err
}
