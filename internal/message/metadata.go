package message

import (
	"encoding/base64"
	"encoding/json"
	"strconv"

	"github.com/sequinstream/sequin/internal/cdc"
)

// appendMetadata appends the part of the metadata that belongs to the change, without the closing brace.
func appendMetadata(dst []byte, c *cdc.Change) []byte {
	dst = append(dst, `{"table_schema":`...)
	dst = appendName(dst, c.Relation.Schema)
	dst = append(dst, `,"table_name":`...)
	dst = appendName(dst, c.Relation.Name)
	dst = append(dst, `,"commit_timestamp":"`...)
	dst = appendInstant(dst, int64(c.CommitTime))
	dst = append(dst, `","commit_lsn":`...)
	dst = strconv.AppendUint(dst, uint64(c.Position.LSN), 10)
	dst = append(dst, `,"commit_idx":`...)
	dst = strconv.AppendUint(dst, uint64(c.Position.Index), 10)
	dst = append(dst, `,"transaction_annotations":`...)
	dst = appendAnnotations(dst, c.Annotations)
	dst = append(dst, `,"idempotency_key":"`...)
	var key [64]byte // two numbers, an epoch and a table at their longest
	dst = base64.StdEncoding.AppendEncode(dst, c.AppendKey(key[:0]))
	dst = append(dst, `","record_pks":`...)
	dst = appendKeys(dst, c)
	if c.Op == cdc.OpTruncate && c.Relation.PartitionName != "" {
		dst = append(dst, `,"partition_schema":`...)
		dst = appendName(dst, c.Relation.PartitionSchema)
		dst = append(dst, `,"partition_name":`...)
		dst = appendName(dst, c.Relation.PartitionName)
	}
	return dst
}

// appendAnnotations appends the annotations verbatim; none, and what is not JSON, is null.
func appendAnnotations(dst, annotations []byte) []byte {
	if len(annotations) == 0 {
		return append(dst, "null"...)
	}
	dst, ok := appendJSON(dst, annotations)
	if !ok {
		return append(dst, "null"...)
	}
	return dst
}

// Database is what messages tell about the source.
type Database struct {
	ID, Name    string // Sequin's
	Annotations json.RawMessage
	Database    string // the Postgres database
	Hostname    string
}

// Consumer is what messages tell about who receives them.
type Consumer struct {
	ID, Name    string
	Annotations json.RawMessage
}

// Tail is the end of every message to one consumer. It does not change after NewTail.
type Tail struct {
	before, after []byte // the enrichment
}

// emptyTail ends a message that has no consumer.
var emptyTail = &Tail{before: []byte(`,"database_name":null,"enrichment":`), after: []byte(`,"consumer":null,"database":null}}`)}

// NewTail builds the end of the messages to a consumer. Annotations that are missing or not JSON are {}.
func NewTail(db Database, c Consumer) *Tail {
	dst := append([]byte(nil), `,"database_name":`...)
	dst = appendName(dst, db.Name)
	dst = append(dst, `,"enrichment":`...)
	split := len(dst)
	dst = append(dst, `,"consumer":{"id":`...)
	dst = appendName(dst, c.ID)
	dst = append(dst, `,"name":`...)
	dst = appendName(dst, c.Name)
	dst = append(dst, `,"annotations":`...)
	dst = appendObject(dst, c.Annotations)
	dst = append(dst, `},"database":{"id":`...)
	dst = appendName(dst, db.ID)
	dst = append(dst, `,"name":`...)
	dst = appendName(dst, db.Name)
	dst = append(dst, `,"annotations":`...)
	dst = appendObject(dst, db.Annotations)
	dst = append(dst, `,"database":`...)
	dst = appendName(dst, db.Database)
	dst = append(dst, `,"hostname":`...)
	dst = appendName(dst, db.Hostname)
	dst = append(dst, "}}}"...)
	return &Tail{before: dst[:split:split], after: dst[split:]}
}

func appendObject(dst []byte, annotations json.RawMessage) []byte {
	dst, ok := appendJSON(dst, annotations)
	if !ok {
		return append(dst, "{}"...)
	}
	return dst
}
