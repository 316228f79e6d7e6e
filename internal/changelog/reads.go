package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"

	"github.com/sequinstream/sequin/internal/cdc"
)

// readsVersion is the format of AppendReads.
const readsVersion = 1

// readTooBig marks a row whose data was not kept.
const readTooBig = 1

// AppendReads appends rows that one backfill read from one table in one page, with everything that decoding them will ever need. They share the
// relation, the LSN and epoch, the time and the backfill; their indexes follow one another.
func AppendReads(dst []byte, rows []cdc.Change) ([]byte, error) {
	if len(rows) == 0 {
		return nil, errors.New("a page of rows is empty")
	}
	head := &rows[0]
	body := appendString(nil, head.Prefix)
	for _, v := range [...]uint64{uint64(head.Position.LSN), uint64(head.Position.Index), uint64(head.Position.Epoch)} {
		body = binary.AppendUvarint(body, v)
	}
	body = binary.AppendVarint(body, int64(head.CommitTime))
	body = appendString(body, string(relationText(head.Relation)))
	body = binary.AppendUvarint(body, uint64(len(rows)))
	for i := range rows {
		c := &rows[i]
		flags := byte(0)
		if c.TooBig {
			flags |= readTooBig
		}
		body = append(body, flags)
		body = binary.AppendUvarint(body, uint64(max(c.Size, 0)))
		body = binary.AppendUvarint(body, uint64(len(c.New)))
		body = append(body, c.New...)
	}
	dst = append(dst, readsVersion)
	return append(dst, s2.Encode(nil, body)...), nil
}

// DecodeReads is the inverse of AppendReads. first becomes the number of the first row.
func DecodeReads(b []byte, first uint64) ([]cdc.Change, error) {
	if len(b) == 0 || b[0] != readsVersion {
		return nil, fmt.Errorf("%w: rows of a backfill in an unknown format", errDamaged)
	}
	if n, err := s2.DecodedLen(b[1:]); err != nil || n > maxRaw {
		return nil, fmt.Errorf("%w: rows of a backfill do not unpack", errDamaged)
	}
	body, err := s2.Decode(nil, b[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: rows of a backfill: %w", errDamaged, err)
	}
	c := cursor{b: body}
	backfill := string(c.bytes())
	position := cdc.Position{LSN: cdc.LSN(c.uvarint()), Index: c.uint32(), Epoch: c.uint32()}
	at := cdc.Timestamp(c.varint())
	text := c.bytes()
	if c.bad {
		return nil, fmt.Errorf("%w: rows of a backfill end early", errDamaged)
	}
	relation, err := decodeRelation(text)
	if err != nil {
		return nil, err
	}
	rows := make([]cdc.Change, c.count())
	for i := range rows {
		r := &rows[i]
		r.Seq, r.Position, r.Op, r.CommitTime, r.Relation, r.Prefix = first+uint64(i), position, cdc.OpRead, at, relation, backfill
		r.Position.Index += uint32(i)
		r.TooBig = c.byte()&readTooBig != 0
		r.Size = int(c.uvarint()) //nolint:gosec // written from an int
		r.New = nonEmpty(c.bytes())
	}
	if c.bad || len(c.b) > 0 {
		return nil, fmt.Errorf("%w: rows of a backfill do not decode", errDamaged)
	}
	return rows, nil
}
