package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// StreamAbort rolls back a transaction that was sent in blocks, or one of its subtransactions. PostgreSQL 18 also sends it for transactions
// of which nothing was sent, to clients that never asked for streaming: then there is nothing to undo.
type StreamAbort struct {
	XID       uint32
	SubXID    uint32        // the same as XID when the whole transaction was rolled back
	HasLSN    bool          // AbortLSN and AbortTime were sent: with streaming "parallel" only
	AbortLSN  cdc.LSN       // 0 unless HasLSN
	AbortTime cdc.Timestamp // 0 unless HasLSN
}

// ParseStreamAbort reads a Stream Abort message in either of its two lengths.
func ParseStreamAbort(b []byte) (StreamAbort, error) {
	r := open(b, KindStreamAbort)
	m := StreamAbort{
		XID:    r.uint32("the transaction id is cut off"),
		SubXID: r.uint32("the subtransaction id is cut off"),
	}
	if !r.failed() && r.left() > 0 {
		m.HasLSN = true
		m.AbortLSN = r.lsn("the abort LSN is cut off")
		m.AbortTime = r.timestamp("the abort time is cut off")
	}
	return m, r.close()
}
