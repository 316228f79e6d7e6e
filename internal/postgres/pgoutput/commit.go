package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// Commit ends a transaction.
type Commit struct {
	Flags      byte    // none are defined
	CommitLSN  cdc.LSN // of the commit record: Begin's FinalLSN
	EndLSN     cdc.LSN // where the next record starts: what may be confirmed once the transaction is safe
	CommitTime cdc.Timestamp
}

// ParseCommit reads a Commit message.
func ParseCommit(b []byte) (Commit, error) {
	r := open(b, KindCommit)
	m := Commit{
		Flags:      r.uint8("the flags are cut off"),
		CommitLSN:  r.lsn("the commit LSN is cut off"),
		EndLSN:     r.lsn("the end LSN is cut off"),
		CommitTime: r.timestamp("the commit time is cut off"),
	}
	return m, r.close()
}
