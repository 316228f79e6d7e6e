//go:build !unix

package replication

import "net"

// bareSocket is for systems with descriptors; elsewhere every connection reads through net.Conn.
func bareSocket(net.Conn) (socket, error) { return nil, nil }
