package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// CommitPrepared commits a prepared transaction.
type CommitPrepared struct {
	Flags      byte // none are defined
	CommitLSN  cdc.LSN
	EndLSN     cdc.LSN
	CommitTime cdc.Timestamp
	XID        uint32
	GID        string // the name given to PREPARE TRANSACTION
}

// ParseCommitPrepared reads a Commit Prepared message.
func ParseCommitPrepared(b []byte) (CommitPrepared, error) {
	r := open(b, KindCommitPrepared)
	m := CommitPrepared{
		Flags:      r.uint8("the flags are cut off"),
		CommitLSN:  r.lsn("the commit LSN is cut off"),
		EndLSN:     r.lsn("the end LSN is cut off"),
		CommitTime: r.timestamp("the commit time is cut off"),
		XID:        r.uint32("the transaction id is cut off"),
		GID:        r.text("the global id has no end"),
	}
	return m, r.close()
}
