package resource

import (
	"fmt"
	"strings"
)

// place is a table of a server, whatever the names of the database here are.
type place struct {
	host     string
	port     int
	database string
	table    TableName
}

// retentionLoops finds change retentions that would keep what they, or each other, write: each row would be a change to keep, for ever.
func (c *checker) retentionLoops(s, stored *Set) {
	database := func(name string) (*Database, bool) {
		if d, ok := s.Database(name); ok {
			return d, true
		}
		return stored.Database(name)
	}
	at := func(name string, table TableName) (place, bool) {
		d, ok := database(name)
		if !ok || table.Name == "" {
			return place{}, false
		}
		return place{strings.ToLower(d.Hostname), d.Port, d.Database, table}, true
	}
	writes := map[place][]place{} // from a source table to what is written of it
	add := func(r *ChangeRetention) {
		from, known := at(r.SourceDatabase, r.SourceTable)
		if to, ok := at(r.DestinationDatabase, r.DestinationTable); known && ok {
			writes[from] = append(writes[from], to)
		}
	}
	for i := range stored.ChangeRetentions {
		if _, again := s.ChangeRetention(stored.ChangeRetentions[i].Name); !again {
			add(&stored.ChangeRetentions[i])
		}
	}
	for i := range s.ChangeRetentions {
		add(&s.ChangeRetentions[i])
	}
	for i := range s.ChangeRetentions {
		r := &s.ChangeRetentions[i]
		if r.SourceDatabase == r.DestinationDatabase && r.SourceTable == r.DestinationTable {
			continue // that was said
		}
		from, known := at(r.SourceDatabase, r.SourceTable)
		to, ok := at(r.DestinationDatabase, r.DestinationTable)
		if known && ok && leads(writes, to, from, map[place]bool{}) {
			c.add(fmt.Sprintf("change_retentions[%d].destination_table_name", i), CodeConflict,
				"leads back to the source table %s: each row written there would be a change to keep", r.SourceTable)
		}
	}
}

// leads reports whether what is written to one table comes to another.
func leads(writes map[place][]place, from, to place, seen map[place]bool) bool {
	if from == to {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	for _, next := range writes[from] {
		if leads(writes, next, to, seen) {
			return true
		}
	}
	return false
}
