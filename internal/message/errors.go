package message

import (
	"errors"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/problem"
)

// Reasons why a change has no message. Append returns them inside a problem.Error.
var (
	// ErrTooBig reports a change whose row was not kept because it exceeded the size limit.
	ErrTooBig = errors.New("change is too big")
	// ErrNoRelation reports a row without the description of its table.
	ErrNoRelation = errors.New("change has no relation")
	// ErrDamaged reports a row that does not fit its table, or that ends early.
	ErrDamaged = errors.New("row is damaged")
	// ErrNotARow reports a change that is not about a row or table, such as a logical message.
	ErrNotARow = errors.New("change is not about a row")
)

// check tells whether the change can have a message at all.
func check(c *cdc.Change) error {
	switch c.Op {
	case cdc.OpInsert, cdc.OpUpdate, cdc.OpDelete, cdc.OpRead, cdc.OpTruncate:
	default:
		return problem.New("not_a_row", "the change at %s, index %d is not about a row", c.Position.LSN, c.Position.Index).Because(ErrNotARow)
	}
	if c.Relation == nil {
		return problem.New("relation_unknown", "the change at %s, index %d does not say of which table it is", c.Position.LSN, c.Position.Index).
			Because(ErrNoRelation)
	}
	if c.TooBig {
		return problem.New("too_big", "the %s in table %s.%s is too big: %d bytes", c.Op.Action(), c.Relation.Schema, c.Relation.Name, c.Size).
			WithDetail("its row was not kept; the change is at %s, index %d", c.Position.LSN, c.Position.Index).
			WithHint("read the row from the table by its key; raise max_change_bytes to keep such rows from now on").
			Because(ErrTooBig)
	}
	return nil
}

// damaged says how a row does not fit its table.
func damaged(c *cdc.Change, format string, args ...any) error {
	return problem.New("row_damaged", "the %s in table %s.%s cannot be read", c.Op.Action(), c.Relation.Schema, c.Relation.Name).
		WithDetail(format, args...).
		Because(ErrDamaged)
}
