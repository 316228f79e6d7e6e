package elixir

import (
	"maps"
	"slices"
)

func sortedFields(t *typ) []string { return slices.Sorted(maps.Keys(t.fields)) }

// units are what times are counted in, as microseconds.
//
//nolint:gochecknoglobals // a table
var units = map[string]string{
	"second": "1000000", "millisecond": "1000", "microsecond": "1",
	"minute": "60000000", "hour": "3600000000", "day": "86400000000",
}

func (t *translator) timeFunction(key string) handler {
	switch key {
	case "DateTime.to_unix/2", "DateTime.diff/3", "NaiveDateTime.diff/3", "DateTime.add/2", "DateTime.add/3", "NaiveDateTime.add/2", "NaiveDateTime.add/3",
		"DateTime.truncate/2", "NaiveDateTime.truncate/2", "DateTime.from_unix!/1", "DateTime.from_unix!/2":
		return t.timeInUnits
	case "DateTime.from_iso8601/1", "NaiveDateTime.from_iso8601/1", "Date.from_iso8601/1":
		return t.parseTime
	}
	return nil
}

// timeInUnits translates what takes a unit such as :second.
func (t *translator) timeInUnits(n *node, s *scope) value {
	arity := map[string]int{"DateTime.to_unix": 1, "DateTime.truncate": 1, "NaiveDateTime.truncate": 1, "DateTime.from_unix!": 1}[n.text]
	if arity == 0 {
		arity = 2
	}
	unit := "second"
	if len(n.args) > arity {
		last := n.args[arity]
		if last.kind != nodeAtom || units[last.text] == "" {
			return t.refuse(last.at, n.text, "is converted with a unit that is written out", "use :second, :millisecond or :microsecond")
		}
		unit = last.text
	}
	first := t.expression(n.args[0], s)
	to, result := "toDateTime", dateTimeType
	if n.text[0] == 'N' {
		to, result = "naiveOf", naiveType
	}
	if n.text == "DateTime.from_unix!" {
		v := t.wanted('I', n.args[0], first, n.text)
		return value{"fromUnix(" + v.code + ", " + units[unit] + ")", strengthCall, result}
	}
	time := to + "(" + t.wanted('T', n.args[0], first, n.text).code + ")"
	switch n.text {
	case "DateTime.to_unix":
		return value{"toUnix(" + time + ", " + units[unit] + ")", strengthCall, integerType}
	case "DateTime.truncate", "NaiveDateTime.truncate":
		return value{"truncateTime(" + time + ", " + quote(unit) + ")", strengthCall, result}
	case "DateTime.diff", "NaiveDateTime.diff":
		other := t.wanted('T', n.args[1], t.expression(n.args[1], s), n.text)
		return value{"timeDiff(" + time + ", " + to + "(" + other.code + "), " + units[unit] + ")", strengthCall, integerType}
	}
	amount := t.wanted('I', n.args[1], t.expression(n.args[1], s), n.text)
	return value{"addTime(" + time + ", " + amount.code + ", " + units[unit] + ")", strengthCall, result}
}

// parseTime translates what gives {:ok, time} or {:error, reason}.
func (t *translator) parseTime(n *node, s *scope) value {
	v := t.wanted('S', n.args[0], t.expression(n.args[0], s), n.text)
	failed := tupleOf(atomOf("error"), atomType)
	switch n.text {
	case "DateTime.from_iso8601":
		return value{"parseDateTime(" + v.code + ")", strengthCall, join(tupleOf(atomOf("ok"), dateTimeType, integerType), failed)}
	case "NaiveDateTime.from_iso8601":
		return value{"parseTime(" + v.code + ", toNaive)", strengthCall, join(tupleOf(atomOf("ok"), naiveType), failed)}
	}
	return value{"parseTime(" + v.code + ", toDate)", strengthCall, join(tupleOf(atomOf("ok"), dateType), failed)}
}
