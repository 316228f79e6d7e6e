package backfill

import (
	"fmt"
	"strings"
)

// Cursor is where to read on. The zero value is the beginning. It is kept as JSON.
type Cursor struct {
	After []string `json:"after,omitempty"` // the last row's values of what is read along
	Nulls bool     `json:"nulls,omitempty"` // among the rows whose sort column is null
	Key   int      `json:"key,omitempty"`   // by a list of keys: the next of them
	Leaf  uint32   `json:"leaf,omitempty"`  // the partition, or by blocks the table

	// By blocks: behind this row of this block, in this file, up to the block that was the end when the reading began.
	Block int64  `json:"block,omitempty"`
	Row   int    `json:"row,omitempty"`
	File  uint32 `json:"file,omitempty"`
	End   int64  `json:"end,omitempty"`
	Until int64  `json:"-"` // of one page
}

// String is the cursor as people read it.
func (c Cursor) String() string {
	switch {
	case len(c.After) > 0:
		return strings.Join(c.After, ":")
	case c.File != 0:
		return fmt.Sprintf("block %d", c.Block)
	case c.Key > 0:
		return fmt.Sprintf("key %d of the list", c.Key)
	}
	return ""
}
