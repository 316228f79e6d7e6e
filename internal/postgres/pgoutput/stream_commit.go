package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// StreamCommit commits a transaction that was sent in blocks.
type StreamCommit struct {
	XID        uint32
	Flags      byte // none are defined
	CommitLSN  cdc.LSN
	EndLSN     cdc.LSN
	CommitTime cdc.Timestamp
}

// ParseStreamCommit reads a Stream Commit message.
func ParseStreamCommit(b []byte) (StreamCommit, error) {
	r := open(b, KindStreamCommit)
	m := StreamCommit{
		XID:        r.uint32("the transaction id is cut off"),
		Flags:      r.uint8("the flags are cut off"),
		CommitLSN:  r.lsn("the commit LSN is cut off"),
		EndLSN:     r.lsn("the end LSN is cut off"),
		CommitTime: r.timestamp("the commit time is cut off"),
	}
	return m, r.close()
}
