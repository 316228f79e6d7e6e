package capture

import (
	"slices"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/eventtable"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

// ownTables are the table that carries logical messages on 12 and 13, and the tables in which change retentions keep their positions. Their rows
// are ours, not changes of the application: no consumer sees them.
type ownTables struct {
	messages         uint32
	subject, content int      // indexes of the columns of messages
	positions        []uint32 // one for each schema with a table of events
}

// has reports whether a table is one of them.
func (o *ownTables) has(id uint32) bool {
	return id != 0 && (id == o.messages || slices.Contains(o.positions, id))
}

// note remembers a table of ours when its relation comes by.
func (o *ownTables) note(m pgoutput.Relation) {
	switch {
	case m.Name == eventtable.PositionTable:
		if !slices.Contains(o.positions, m.OID) {
			o.positions = append(o.positions, m.OID)
		}
		return
	case m.Schema+"."+m.Name != postgres.MessagesTable:
		return
	}
	o.messages, o.subject, o.content = m.OID, -1, -1
	for i, c := range m.Columns {
		switch c.Name {
		case "subject":
			o.subject = i
		case "content":
			o.content = i
		}
	}
}

// ownRow treats a row of a table of ours like the logical message that it stands for; it takes its number in the transaction as any row does.
func (h *Handler) ownRow(id uint32, row cdc.Tuple) error {
	if id != h.own.messages || row == nil || h.own.subject < 0 || h.own.content < 0 {
		return h.logical("", nil)
	}
	subject, _ := row.Column(h.own.subject)
	content, _ := row.Column(h.own.content)
	h.ours(string(subject.Text), content.Text)
	return h.logical(string(subject.Text), content.Text)
}
