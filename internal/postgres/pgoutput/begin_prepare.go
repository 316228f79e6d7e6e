package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// BeginPrepare starts a transaction that was prepared for two-phase commit.
type BeginPrepare struct {
	PrepareLSN  cdc.LSN
	EndLSN      cdc.LSN
	PrepareTime cdc.Timestamp
	XID         uint32
	GID         string // the name given to PREPARE TRANSACTION
}

// ParseBeginPrepare reads a Begin Prepare message.
func ParseBeginPrepare(b []byte) (BeginPrepare, error) {
	r := open(b, KindBeginPrepare)
	m := BeginPrepare{
		PrepareLSN:  r.lsn("the prepare LSN is cut off"),
		EndLSN:      r.lsn("the end LSN is cut off"),
		PrepareTime: r.timestamp("the prepare time is cut off"),
		XID:         r.uint32("the transaction id is cut off"),
		GID:         r.text("the global id has no end"),
	}
	return m, r.close()
}
