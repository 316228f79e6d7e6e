package cdc

import "slices"

// EventColumns are the columns by which a table of events is known: one whose rows are the changes of other tables. It may have more, among them
// transaction_annotations.
func EventColumns() []string {
	return []string{
		"id", "seq", "source_database_id", "source_table_oid", "source_table_schema", "source_table_name", "record_pk", "record", "changes", "action", "committed_at",
		"inserted_at",
	}
}

// EventGroup are the columns of a table of events that tell which row an event is about.
func EventGroup() []string { return []string{"source_database_id", "source_table_oid", "record_pk"} }

// HoldsEvents reports whether the relation is a table of events.
func (r *Relation) HoldsEvents() bool {
	return !slices.ContainsFunc(EventColumns(), func(name string) bool { return r.ColumnIndex(name) < 0 })
}
