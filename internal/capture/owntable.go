package capture

import (
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

// ownTable is the table that carries logical messages on 12 and 13. Its rows are messages of ours, not changes of the application: no consumer
// sees them.
type ownTable struct {
	id               uint32
	subject, content int // indexes of the columns
}

// note remembers the table when its relation comes by.
func (o *ownTable) note(m pgoutput.Relation) {
	if m.Schema+"."+m.Name != postgres.MessagesTable {
		return
	}
	*o = ownTable{id: m.OID, subject: -1, content: -1}
	for i, c := range m.Columns {
		switch c.Name {
		case "subject":
			o.subject = i
		case "content":
			o.content = i
		}
	}
}

// ownRow treats a row of the table like the logical message that it stands for; it takes its number in the transaction as any row does.
func (h *Handler) ownRow(row cdc.Tuple) error {
	if row == nil || h.own.subject < 0 || h.own.content < 0 {
		return h.logical("", nil)
	}
	subject, _ := row.Column(h.own.subject)
	content, _ := row.Column(h.own.content)
	h.ours(string(subject.Text), content.Text)
	return h.logical(string(subject.Text), content.Text)
}
