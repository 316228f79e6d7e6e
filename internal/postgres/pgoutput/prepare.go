package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// Prepare ends a transaction that was prepared for two-phase commit.
type Prepare struct {
	Flags       byte // none are defined
	PrepareLSN  cdc.LSN
	EndLSN      cdc.LSN
	PrepareTime cdc.Timestamp
	XID         uint32
	GID         string // the name given to PREPARE TRANSACTION
}

// ParsePrepare reads a Prepare message.
func ParsePrepare(b []byte) (Prepare, error) {
	r := open(b, KindPrepare)
	m := r.prepare()
	return m, r.close()
}

// prepare reads what Prepare and Stream Prepare have in common.
func (r *reader) prepare() Prepare {
	return Prepare{
		Flags:       r.uint8("the flags are cut off"),
		PrepareLSN:  r.lsn("the prepare LSN is cut off"),
		EndLSN:      r.lsn("the end LSN is cut off"),
		PrepareTime: r.timestamp("the prepare time is cut off"),
		XID:         r.uint32("the transaction id is cut off"),
		GID:         r.text("the global id has no end"),
	}
}
