package resource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The operators of a column filter, as they are kept.
const (
	OpEqual        = "="
	OpNotEqual     = "!="
	OpGreater      = ">"
	OpLess         = "<"
	OpGreaterEqual = ">="
	OpLessEqual    = "<="
	OpIn           = "in"
	OpNotIn        = "not in"
	OpIsNull       = "is null"
	OpIsNotNull    = "is not null"
)

// FilterOperators lists the operators.
func FilterOperators() []string {
	return []string{OpEqual, OpNotEqual, OpGreater, OpLess, OpGreaterEqual, OpLessEqual, OpIn, OpNotIn, OpIsNull, OpIsNotNull}
}

// FieldTypes lists the types that a column filter may compare as.
func FieldTypes() []string {
	return []string{"string", "cistring", "number", "boolean", "datetime", "list"}
}

// ParseOperator reads an operator as people write it: in any case, with underscores, and by its other names.
func ParseOperator(text string) string {
	word := strings.Join(strings.Fields(strings.ToLower(strings.ReplaceAll(text, "_", " "))), " ")
	switch word {
	case "==":
		return OpEqual
	case "not null":
		return OpIsNotNull
	}
	return word
}

// TakesNoValue reports whether the operator compares with nothing.
func TakesNoValue(operator string) bool { return operator == OpIsNull || operator == OpIsNotNull }

// TakesList reports whether the operator compares with a list.
func TakesList(operator string) bool { return operator == OpIn || operator == OpNotIn }

func (c *checker) retentionActions(at string, actions []Action) {
	accepted := []Action{ActionInsert, ActionUpdate, ActionDelete}
	if len(actions) == 0 {
		c.add(at, CodeInvalid, "is empty: nothing would be kept; accepted: %s", List(accepted))
	}
	for i, a := range actions {
		path := fmt.Sprintf("%s[%d]", at, i)
		oneOf(c, path, a, accepted)
		if slices.Contains(actions[:i], a) {
			c.add(path, CodeDuplicate, "is %q, which is listed already", string(a))
		}
	}
}

func (c *checker) columnFilter(at string, f *ColumnFilter) {
	if f.Column == "" {
		c.add(at+".column_name", CodeMissing, "is required")
	}
	if f.FieldPath != "" && slices.Contains(strings.Split(f.FieldPath, "."), "") {
		c.add(at+".field_path", CodeInvalid, "is %q; it must be names with dots between them, for example type.name", f.FieldPath)
	}
	if f.FieldType != "" {
		oneOf(c, at+".field_type", f.FieldType, FieldTypes())
	}
	switch {
	case f.Operator == "":
		c.add(at+".operator", CodeMissing, "is required; accepted: %s", List(FilterOperators()))
	case !slices.Contains(FilterOperators(), f.Operator):
		oneOf(c, at+".operator", f.Operator, FilterOperators())
	case TakesNoValue(f.Operator):
		if len(f.Value) > 0 {
			c.add(at+".comparison_value", CodeConflict, "has no meaning with the operator %s", f.Operator)
		}
	default:
		c.comparison(at, f)
	}
}

func (c *checker) comparison(at string, f *ColumnFilter) {
	path := at + ".comparison_value"
	if f.FieldType == "list" && !TakesList(f.Operator) {
		c.add(at+".field_type", CodeConflict, "is list, which goes with the operators in and not in")
	}
	if len(f.Value) == 0 {
		c.add(path, CodeMissing, "is required with the operator %s", f.Operator)
		return
	}
	var value any
	if json.Unmarshal(f.Value, &value) != nil {
		c.add(path, CodeInvalid, "is not a value")
		return
	}
	items, isList := value.([]any)
	switch {
	case TakesList(f.Operator) != isList:
		c.add(path, CodeInvalid, "must be %s with the operator %s", map[bool]string{true: "a list", false: "one value"}[TakesList(f.Operator)], f.Operator)
		return
	case isList && len(items) == 0:
		c.add(path, CodeInvalid, "is an empty list, which nothing is in")
		return
	case !isList:
		items = []any{value}
	}
	for _, item := range items {
		if expected := unfit(item, f.FieldType); expected != "" {
			c.add(path, CodeInvalid, "does not fit: expected %s", expected)
			return
		}
	}
	if f.FieldType == "boolean" && f.Operator != OpEqual && f.Operator != OpNotEqual {
		c.add(at+".operator", CodeConflict, "is %s; booleans are compared with = and !=", f.Operator)
	}
}

// unfit returns what a value of the type should look like, or "" when it does.
func unfit(value any, fieldType string) string {
	text, isText := value.(string)
	_, isNumber := value.(float64)
	_, isBool := value.(bool)
	if !isText && !isNumber && !isBool {
		return "a text, a number, true or false"
	}
	switch fieldType {
	case "number":
		if _, err := strconv.ParseFloat(strings.TrimSpace(text), 64); !isNumber && (isBool || err != nil) {
			return "a number"
		}
	case "boolean":
		if !isBool && text != "true" && text != "false" {
			return "true or false"
		}
	case "datetime":
		if !isText || !isTime(text) {
			return "a date and time, for example 2026-01-31T09:30:00Z"
		}
	}
	return ""
}

func isTime(text string) bool {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", time.DateOnly} {
		if _, err := time.Parse(layout, text); err == nil {
			return true
		}
	}
	return false
}
