package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// RollbackPrepared rolls back a prepared transaction.
type RollbackPrepared struct {
	Flags          byte    // none are defined
	PrepareEndLSN  cdc.LSN // end of the prepared transaction
	RollbackEndLSN cdc.LSN // end of the rollback
	PrepareTime    cdc.Timestamp
	RollbackTime   cdc.Timestamp
	XID            uint32
	GID            string // the name given to PREPARE TRANSACTION
}

// ParseRollbackPrepared reads a Rollback Prepared message.
func ParseRollbackPrepared(b []byte) (RollbackPrepared, error) {
	r := open(b, KindRollbackPrepared)
	m := RollbackPrepared{
		Flags:          r.uint8("the flags are cut off"),
		PrepareEndLSN:  r.lsn("the prepare's end LSN is cut off"),
		RollbackEndLSN: r.lsn("the rollback's end LSN is cut off"),
		PrepareTime:    r.timestamp("the prepare time is cut off"),
		RollbackTime:   r.timestamp("the rollback time is cut off"),
		XID:            r.uint32("the transaction id is cut off"),
		GID:            r.text("the global id has no end"),
	}
	return m, r.close()
}
