//go:build unix && !linux

package replication

import "time"

func sleep(d time.Duration) { time.Sleep(d) }
