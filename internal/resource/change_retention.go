package resource

import "encoding/json"

// ChangeRetention keeps the changes of one table as rows of another table.
type ChangeRetention struct {
	Meta
	Name   string
	Status RetentionStatus

	SourceDatabase      string // by name
	SourceTable         TableName
	DestinationDatabase string // by name
	DestinationTable    TableName

	Actions []Action
	Filters []ColumnFilter
}

// RetentionStatus says whether a change retention runs.
type RetentionStatus string

// The statuses of a change retention.
const (
	RetentionActive   RetentionStatus = "active"
	RetentionDisabled RetentionStatus = "disabled"
)

// RetentionStatuses lists the statuses.
func RetentionStatuses() []RetentionStatus {
	return []RetentionStatus{RetentionActive, RetentionDisabled}
}

// ColumnFilter is a condition on one column.
type ColumnFilter struct {
	Column    string
	FieldPath string // within a json column: "type.name"
	FieldType string // string, cistring, number, boolean, datetime, list; "" to infer it
	Operator  string
	Value     json.RawMessage // "" for operators that take none
}
