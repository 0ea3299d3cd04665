//go:build !unix

package client

// notAdmitted says to whom the node belongs whose socket may not be used.
func notAdmitted(socket string) error { return notYours(socket) }
