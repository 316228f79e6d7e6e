package pgoutput

import "github.com/sequinstream/sequin/internal/cdc"

// Origin says that the transaction came from another server by replication.
type Origin struct {
	CommitLSN cdc.LSN // on the origin server
	Name      string
}

// ParseOrigin reads an Origin message.
func ParseOrigin(b []byte) (Origin, error) {
	r := open(b, KindOrigin)
	m := Origin{
		CommitLSN: r.lsn("the commit LSN is cut off"),
		Name:      r.text("the name has no end"),
	}
	return m, r.close()
}
