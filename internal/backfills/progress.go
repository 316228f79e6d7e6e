package backfills

import (
	"encoding/json"
	"fmt"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
)

// progress is how far a backfill has read.
type progress struct {
	Ranges  []span `json:"ranges"`
	Read    int64  `json:"read"`
	Offered int64  `json:"offered"`
	Bytes   int64  `json:"bytes"`
}

// span is what one reader reads.
type span struct {
	Blocks *backfill.Blocks `json:"blocks,omitempty"`
	Cursor backfill.Cursor  `json:"cursor"`
	Done   bool             `json:"done,omitempty"`
}

func (p progress) encode() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		return nil // numbers and texts: it cannot fail
	}
	return b
}

func decodeProgress(b []byte) (progress, error) {
	var p progress
	if len(b) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("decode the progress of a backfill: %w", err)
	}
	return p, nil
}

// with is the progress with one more page of a span.
func (p progress) with(i int, page *backfill.Page, o consumer.Offered) progress {
	p.Ranges = append([]span(nil), p.Ranges...)
	p.Ranges[i].Cursor, p.Ranges[i].Done = page.Next, page.Done
	p.Read += int64(len(page.Rows))
	p.Offered += int64(o.Rows)
	p.Bytes += int64(page.Bytes)
	return p
}
