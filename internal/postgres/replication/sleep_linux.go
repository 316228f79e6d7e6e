package replication

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep is exact where time.Sleep would round up to a millisecond: an idle runtime waits in epoll, which counts in milliseconds.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil) // a signal may end it early
}
