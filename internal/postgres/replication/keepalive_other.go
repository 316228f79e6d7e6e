//go:build unix && !linux

package replication

import "golang.org/x/sys/unix"

// keepaliveOptions use the system's own intervals.
var keepaliveOptions = []socketOption{{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}}
