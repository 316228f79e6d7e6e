package replication

import "golang.org/x/sys/unix"

// keepaliveOptions probe after 30 s of silence, every 10 s, and give up after 6: a dead peer is noticed within about 90 s.
var keepaliveOptions = []socketOption{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 10},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 6},
}
