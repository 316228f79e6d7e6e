package changelog

import (
	"encoding/binary"
	"fmt"

	"github.com/sequinstream/sequin/internal/cdc"
)

// singleVersion is the format of AppendChange.
const singleVersion = 1

// Flags of a single change: which of its parts are there at all.
const (
	singleTooBig = 1 << iota
	singleRelation
	singleOld
	singleNew
	singleAnnotations
)

// AppendChange appends a change with everything that decoding it will ever need, for whoever keeps it outside the log.
func AppendChange(b []byte, c *cdc.Change) []byte {
	flags := byte(0)
	set := func(flag byte, there bool) {
		if there {
			flags |= flag
		}
	}
	set(singleTooBig, c.TooBig)
	set(singleRelation, c.Relation != nil)
	set(singleOld, c.Old != nil)
	set(singleNew, c.New != nil)
	set(singleAnnotations, c.Annotations != nil)
	b = append(b, singleVersion, flags, byte(c.Op), c.OldKind)
	for _, v := range [...]uint64{
		c.Seq, uint64(c.Position.LSN), uint64(c.Position.Index), uint64(c.Position.Epoch), uint64(c.XID),
		uint64(c.Size), uint64(c.TruncateN), //nolint:gosec // a size and a count
	} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendVarint(b, int64(c.CommitTime))
	if c.Relation != nil {
		b = appendString(b, string(relationText(c.Relation)))
	}
	for _, part := range [...][]byte{c.Old, c.New, c.Annotations, c.Content} {
		b = appendString(b, string(part))
	}
	return appendString(b, c.Prefix)
}

// DecodeChange is the inverse of AppendChange, into an empty change, which aliases b.
func DecodeChange(b []byte, change *cdc.Change) error {
	c := cursor{b: b}
	if v := c.byte(); v != singleVersion {
		return fmt.Errorf("%w: a single change of format %d, this version knows %d", errDamaged, v, singleVersion)
	}
	flags := c.byte()
	change.TooBig = flags&singleTooBig != 0
	change.Op, change.OldKind = cdc.Op(c.byte()), c.byte()
	change.Seq = c.uvarint()
	change.Position = cdc.Position{LSN: cdc.LSN(c.uvarint()), Index: c.uint32(), Epoch: c.uint32()}
	change.XID = c.uint32()
	change.Size, change.TruncateN = int(c.uvarint()), int(c.uint32()) //nolint:gosec // written from ints
	change.CommitTime = cdc.Timestamp(c.varint())
	if flags&singleRelation != 0 {
		text := c.bytes()
		if c.bad {
			return fmt.Errorf("%w: a single change ends early", errDamaged)
		}
		var err error
		if change.Relation, err = decodeRelation(text); err != nil {
			return err
		}
	}
	part := func(flag byte) []byte {
		if v := c.bytes(); flags&flag != 0 {
			return v
		}
		return nil
	}
	change.Old, change.New, change.Annotations = part(singleOld), part(singleNew), part(singleAnnotations)
	change.Content, change.Prefix = nonEmpty(c.bytes()), string(c.bytes())
	if c.bad || len(c.b) > 0 {
		return fmt.Errorf("%w: a single change does not decode", errDamaged)
	}
	return nil
}
