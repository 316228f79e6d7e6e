// Package message turns a change into the JSON that consumers receive: record, changes, action and metadata. It is pure, it builds the text
// straight from the row's wire form, and it never refuses a value: one that does not read as its type becomes its Postgres text.
//
// A message has two parts. The first depends on the change and the format alone; it is built once and kept in the change (cdc.Change.Encoded),
// shared by all consumers. The second, the tail, depends on the consumer alone and is built once for each. Append joins them, so its cost after
// the first call is two copies. All functions are safe for concurrent use on the same change.
package message

import (
	"bytes"
	"encoding/binary"
	"encoding/json"

	"github.com/sequinstream/sequin/internal/cdc"
)

// Format is what a consumer may choose about values.
type Format struct {
	// UnixMicros turns timestamp and timestamptz values, in arrays too, into microseconds since the Unix epoch. A timestamp without zone is
	// taken as UTC. Values that are not ISO text in the default format stay text here too: infinities, BC, years above 9999.
	UnixMicros bool
	// ToastMarker puts the string "unchanged_toast" where an update left a TOAST value alone and the server did not send it. Otherwise the
	// column is left out of the record and named in metadata.unchanged_columns.
	ToastMarker bool

	documentsAsText bool // documents of json columns, but not of jsonb, as strings; never kept in a change
}

// variant is the format's slot in cdc.Change.Encoded.
func (f Format) variant() int {
	v := 0
	if f.UnixMicros {
		v |= 1
	}
	if f.ToastMarker {
		v |= 2
	}
	return v
}

// Flags is what one delivery may add to a message's metadata.
type Flags struct {
	Replay     bool   // "replay": true: may have been delivered before, and was asked for again
	Redriven   bool   // "redriven": true: taken out of the dead letters, out of order
	Enrichment []byte // "enrichment": a JSON object; nil for null
}

// recordStart is the length of what stands before the record.
const recordStart = len(`{"record":`)

// Append appends the whole message. An error is a *problem.Error and says that there is no message for this change, now or later: see
// ErrTooBig, ErrNoRelation, ErrDamaged and ErrNotARow. dst is then returned as it was. A nil tail gives null for all that it would tell.
func Append(dst []byte, c *cdc.Change, f Format, tail *Tail, flags Flags) ([]byte, error) {
	dst, err := appendHead(dst, c, f)
	if err != nil {
		return dst, err
	}
	if flags.Replay {
		dst = append(dst, `,"replay":true`...)
	}
	if flags.Redriven {
		dst = append(dst, `,"redriven":true`...)
	}
	if tail == nil {
		tail = emptyTail
	}
	dst = append(dst, tail.before...)
	if flags.Enrichment == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, flags.Enrichment...)
	}
	return append(dst, tail.after...), nil
}

// Complete reports whether a body is a whole message as Append builds them, and not what something made of one.
func Complete(body []byte) bool {
	if !bytes.HasPrefix(body, []byte(`{"record":`)) {
		return false
	}
	var m struct {
		Action   *string          `json:"action"`
		Metadata *json.RawMessage `json:"metadata"`
	}
	return json.Unmarshal(body, &m) == nil && m.Action != nil && m.Metadata != nil
}

// AppendKept appends a message that Append built earlier, marked as redriven. One of another form, such as a record alone, goes out as it is.
func AppendKept(dst, message []byte) []byte {
	const end = "}}" // of the metadata and of the message
	var m struct {
		Metadata *struct {
			Redriven bool `json:"redriven"`
		} `json:"metadata"`
	}
	if json.Unmarshal(message, &m) != nil || m.Metadata == nil || m.Metadata.Redriven || !bytes.HasPrefix(message, []byte(`{"record":`)) ||
		!bytes.HasSuffix(message, []byte(end)) {
		return append(dst, message...)
	}
	dst = append(dst, message[:len(message)-len(end)]...)
	dst = append(dst, `,"redriven":true`...)
	return append(dst, end...)
}

// AppendRecordOnly appends the record alone. Errors are those of Append.
func AppendRecordOnly(dst []byte, c *cdc.Change, f Format) ([]byte, error) {
	if cached := c.Encoded[f.variant()].Load(); cached != nil {
		head, recordEnd := splitEntry(*cached)
		return append(dst, head[recordStart:recordEnd]...), nil
	}
	start := len(dst)
	dst, recordEnd, err := buildHead(dst, c, f)
	if err != nil {
		return dst[:start], err
	}
	keep(c, f, dst[start:], recordEnd)
	n := copy(dst[start:], dst[start+recordStart:start+recordEnd])
	return dst[:start+n], nil
}

// appendHead appends the part before the tail, from the cache if it is there.
func appendHead(dst []byte, c *cdc.Change, f Format) ([]byte, error) {
	if cached := c.Encoded[f.variant()].Load(); cached != nil {
		head, _ := splitEntry(*cached)
		return append(dst, head...), nil
	}
	start := len(dst)
	dst, recordEnd, err := buildHead(dst, c, f)
	if err != nil {
		return dst[:start], err
	}
	keep(c, f, dst[start:], recordEnd)
	return dst, nil
}

// entryHeader is the length of what precedes the text in a cache entry: the offset in it where the record ends.
const entryHeader = 4

// keep caches a copy of the head that is just as large as it must be. Two goroutines may do so at once; theirs are equal.
func keep(c *cdc.Change, f Format, head []byte, recordEnd int) {
	entry := make([]byte, entryHeader+len(head))
	binary.BigEndian.PutUint32(entry, uint32(recordEnd)) //nolint:gosec // a change is far below 4 GiB
	copy(entry[entryHeader:], head)
	c.Encoded[f.variant()].Store(&entry)
}

func splitEntry(entry []byte) (head []byte, recordEnd int) {
	return entry[entryHeader:], int(binary.BigEndian.Uint32(entry))
}

// buildHead builds the part before the tail, and tells where in it the record ends.
func buildHead(dst []byte, c *cdc.Change, f Format) (out []byte, recordEnd int, err error) {
	if err := check(c); err != nil {
		return dst, 0, err
	}
	start := len(dst)
	dst = append(dst, `{"record":`...)
	dst, unknown, err := appendRecord(dst, c, f)
	if err != nil {
		return dst, 0, err
	}
	recordEnd = len(dst) - start
	dst = append(dst, `,"changes":`...)
	dst = appendChanges(dst, c, f)
	dst = append(dst, `,"action":"`...)
	dst = append(dst, c.Op.Action()...)
	dst = append(dst, `","metadata":`...)
	dst = appendMetadata(dst, c)
	if unknown && !f.ToastMarker {
		dst = appendUnchangedColumns(dst, c)
	}
	return dst, recordEnd, nil
}
