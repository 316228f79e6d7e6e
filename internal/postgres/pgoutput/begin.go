package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// Begin starts a transaction.
type Begin struct {
	FinalLSN   cdc.LSN // of the commit record: the transaction's identity
	CommitTime cdc.Timestamp
	XID        uint32
}

// ParseBegin reads a Begin message.
func ParseBegin(b []byte) (Begin, error) {
	r := open(b, KindBegin)
	m := Begin{
		FinalLSN:   r.lsn("the final LSN is cut off"),
		CommitTime: r.timestamp("the commit time is cut off"),
		XID:        r.uint32("the transaction id is cut off"),
	}
	return m, r.close()
}
