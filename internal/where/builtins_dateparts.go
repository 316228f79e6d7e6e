package where

import (
	"math/big"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

// fieldNames are the spellings of fields that EXTRACT and date_trunc know.
var fieldNames = map[string]string{
	"year": "year", "years": "year", "y": "year", "yr": "year", "yrs": "year", "month": "month", "months": "month", "mon": "month", "mons": "month",
	"day": "day", "days": "day", "d": "day", "hour": "hour", "hours": "hour", "h": "hour", "hr": "hour", "hrs": "hour",
	"minute": "minute", "minutes": "minute", "m": "minute", "min": "minute", "mins": "minute",
	"second": "second", "seconds": "second", "s": "second", "sec": "second", "secs": "second",
	"millisecond": "milliseconds", "milliseconds": "milliseconds", "ms": "milliseconds", "msec": "milliseconds",
	"microsecond": "microseconds", "microseconds": "microseconds", "us": "microseconds", "usec": "microseconds",
	"decade": "decade", "decades": "decade", "century": "century", "centuries": "century", "quarter": "quarter", "week": "week", "weeks": "week",
	"millennium": "millennium", "dow": "dow", "isodow": "isodow", "doy": "doy", "epoch": "epoch", "isoyear": "isoyear",
}

// parts are the fields of a value: a number and its digits behind the point.
type fieldValue struct {
	number *big.Int
	scale  int
}

func whole1(n int64) (fieldValue, bool) { return fieldValue{big.NewInt(n), 0}, true }

func decade(y int) int64 {
	if y >= 0 {
		return int64(y / 10)
	}
	return -int64((8 - (y - 1)) / 10)
}

// spanOf is century (100) or millennium (1000).
func spanOf(y, size int) int64 {
	if y > 0 {
		return int64((y + size - 1) / size)
	}
	return -int64((size - 1 - (y - 1)) / size)
}

func dayOfWeek(day int64) int64 {
	d := (day + 6) % 7
	if d < 0 {
		d += 7
	}
	return d // 2000-01-01 was a Saturday
}

// isoWeek is the week and its year, by ISO 8601.
func isoWeek(day int64) (year int, week int64) {
	monday := day - (dayOfWeek(day)+6)%7
	y, _, _ := pgvalue.Civil(monday + 3)
	first := pgvalue.DateOf(y, 1, 4)
	first -= (dayOfWeek(first) + 6) % 7
	return y, (monday-first)/7 + 1
}

func beforeChrist(y int) int64 {
	if y > 0 {
		return int64(y)
	}
	return int64(y) - 1
}

func dateField(field string, b broken) (fieldValue, bool) {
	switch field {
	case "year":
		return whole1(beforeChrist(b.y))
	case "month":
		return whole1(int64(b.m))
	case "day":
		return whole1(int64(b.d))
	case "quarter":
		return whole1(int64(b.m-1)/3 + 1)
	case "decade":
		return whole1(decade(b.y))
	case "century":
		return whole1(spanOf(b.y, 100))
	case "millennium":
		return whole1(spanOf(b.y, 1000))
	case "dow":
		return whole1(dayOfWeek(b.day))
	case "isodow":
		return whole1((dayOfWeek(b.day)+6)%7 + 1)
	case "doy":
		return whole1(b.day - pgvalue.DateOf(b.y, 1, 1) + 1)
	case "week":
		_, w := isoWeek(b.day)
		return whole1(w)
	case "isoyear":
		y, _ := isoWeek(b.day)
		return whole1(beforeChrist(y))
	}
	return fieldValue{}, false
}

func clockField(field string, micros int64) (fieldValue, bool) {
	inMinute := micros % pgvalue.Minute
	switch field {
	case "hour":
		return whole1(micros / pgvalue.Hour)
	case "minute":
		return whole1(micros / pgvalue.Minute % 60)
	case "second":
		return fieldValue{big.NewInt(inMinute), 6}, true
	case "milliseconds":
		return fieldValue{big.NewInt(inMinute), 3}, true
	case "microseconds":
		return whole1(inMinute)
	}
	return fieldValue{}, false
}

func timestampField(field string, v value) (fieldValue, bool) {
	if field == "epoch" {
		n := new(big.Int).Add(big.NewInt(v.I), new(big.Int).Mul(big.NewInt(946684800), big.NewInt(pgvalue.Second)))
		return fieldValue{n, 6}, true
	}
	b := breakDown(v.I)
	if f, ok := clockField(field, b.micros); ok {
		return f, true
	}
	return dateField(field, b)
}

func dayField(field string, v value) (fieldValue, bool) {
	if field == "epoch" {
		return whole1((v.I + 10957) * 86400)
	}
	b := broken{day: v.I}
	b.y, b.m, b.d = pgvalue.Civil(v.I)
	return dateField(field, b)
}

func timeField(field string, v value) (fieldValue, bool) {
	if field == "epoch" {
		return fieldValue{big.NewInt(v.I), 6}, true
	}
	return clockField(field, v.I)
}

func intervalField(field string, v value) (fieldValue, bool) {
	months := int64(v.Months())
	switch field {
	case "year":
		return whole1(months / 12)
	case "month":
		return whole1(months % 12)
	case "day":
		return whole1(int64(v.Days()))
	case "quarter":
		if months < 0 {
			return fieldValue{}, false // differs between versions
		}
		return whole1(months%12/3 + 1)
	case "decade":
		return whole1(months / 12 / 10)
	case "century":
		return whole1(months / 12 / 100)
	case "millennium":
		return whole1(months / 12 / 1000)
	case "epoch":
		// a year is 365.25 days, a month of the rest 30
		n := big.NewInt(months / 12 * (36525 * 864))
		n.Add(n, big.NewInt(months%12*30*86400))
		n.Add(n, big.NewInt(int64(v.Days())*86400))
		n.Mul(n, big.NewInt(pgvalue.Second))
		return fieldValue{n.Add(n, big.NewInt(v.I)), 6}, true
	}
	return clockField(field, v.I)
}

// extraction makes EXTRACT (numeric) or date_part (double precision). Infinite values have no certain fields.
func extraction(f func(string, value) (fieldValue, bool), infinite func(value) bool, numeric bool) builtin {
	return builtin{build: func(g *building) error {
		arg := g.args[0]
		if !arg.constant {
			return refuse(arg.pos, "write the field as a literal", "the field must be a constant")
		}
		field, known := fieldNames[strings.ToLower(arg.val.S)]
		if !known && !arg.val.Null {
			return refuse(arg.pos, "use year, month, day, hour, minute, second, epoch, dow, doy, week, quarter …", "the field %q is not supported", arg.val.S)
		}
		if _, ok := f(field, value{}); !ok && !arg.val.Null {
			return refuse(arg.pos, "", "unit %q not supported for type %s", arg.val.S, g.args[1].typ.Display())
		}
		viaTimestamp := g.call.Source == "sql:date_part"
		g.result.fn2 = func(_, v value) (value, error) {
			if infinite(v) {
				return pgvalue.Null, errUnsupported("fields of infinite values")
			}
			if viaTimestamp {
				if _, err := pgvalue.DateToTimestamp(v.I); err != nil {
					return pgvalue.Null, err
				}
			}
			r, ok := f(field, v)
			if !ok {
				return pgvalue.Null, errUnsupported("field %s of that value", field)
			}
			if numeric {
				return pgvalue.NumericOf(r.number, r.scale), nil
			}
			return pgvalue.Float(asFloat(g.call.Source, field, v, r)), nil
		}
		return nil
	}}
}

// asFloat adds up in the order in which the server does, so that the same is lost.
func asFloat(source, field string, v value, r fieldValue) float64 {
	switch {
	case field == "epoch" && source == "interval_part":
		months := int64(v.Months())
		f := float64(v.I) / 1e6
		f += float64(365.25 * 86400 * float64(months/12))
		f += float64(30 * 86400 * float64(months%12))
		return f + float64(86400*float64(v.Days()))
	case r.scale == 0:
		return float64(r.number.Int64())
	case field == "epoch" && r.number.IsInt64():
		return float64(r.number.Int64()) / 1e6
	case field == "second":
		n := r.number.Int64()
		return float64(n/pgvalue.Second) + float64(n%pgvalue.Second)/1e6
	case field == "milliseconds":
		n := r.number.Int64()
		return float64(float64(n/pgvalue.Second)*1000) + float64(n%pgvalue.Second)/1000
	}
	f, _ := new(big.Rat).SetFrac(r.number, big.NewInt(pgvalue.Second)).Float64()
	return f
}

func dateParts() map[string]builtin {
	all := map[string]builtin{}
	never := func(value) bool { return false }
	ts := func(v value) bool { return infiniteTS(v.I) }
	day := func(v value) bool { return infiniteDate(v.I) }
	span := func(v value) bool { return pgvalue.InfiniteInterval(v) != 0 }
	for name, x := range map[string]struct {
		f        func(string, value) (fieldValue, bool)
		infinite func(value) bool
	}{"timestamp": {timestampField, ts}, "timestamptz": {timestampField, ts}, "time": {timeField, never}, "interval": {intervalField, span}} {
		all[name+"_part"] = extraction(x.f, x.infinite, false)
		all["extract_"+name] = extraction(x.f, x.infinite, true)
	}
	all["extract_date"] = extraction(dayField, day, true)
	// date_part(text, date) is done by the server through timestamp, which knows hours too
	all["sql:date_part"] = extraction(func(field string, v value) (fieldValue, bool) {
		if f, ok := dayField(field, v); ok {
			return f, true
		}
		return clockField(field, 0)
	}, day, false)
	all["timestamp_trunc"] = builtin{build: buildTrunc}
	all["timestamptz_trunc"] = builtin{build: buildTrunc}
	return all
}

// buildTrunc is date_trunc; with a time zone it is that of the session, UTC.
func buildTrunc(g *building) error {
	arg := g.args[0]
	if !arg.constant {
		return refuse(arg.pos, "write the field as a literal", "the field must be a constant")
	}
	field, known := fieldNames[strings.ToLower(arg.val.S)]
	if known {
		_, known = truncate(0, field)
	}
	if !known && !arg.val.Null {
		return refuse(arg.pos, "use year, quarter, month, week, day, hour, minute, second …", "the field %q is not supported", arg.val.S)
	}
	g.result.fn2 = func(_, v value) (value, error) {
		if infiniteTS(v.I) {
			return v, nil
		}
		ts, _ := truncate(v.I, field)
		if !pgvalue.CheckTimestamp(ts) {
			return pgvalue.Null, pgvalue.ErrTimestampRange
		}
		return pgvalue.Int(ts), nil
	}
	return nil
}

func truncate(ts int64, field string) (int64, bool) {
	b := breakDown(ts)
	month := func(y, m int) int64 { return pgvalue.DateOf(y, m, 1) * pgvalue.Day }
	floor := func(unit int64) int64 { return ts - b.micros%unit }
	switch field {
	case "microseconds":
		return ts, true
	case "milliseconds":
		return floor(1000), true
	case "second":
		return floor(pgvalue.Second), true
	case "minute":
		return floor(pgvalue.Minute), true
	case "hour":
		return floor(pgvalue.Hour), true
	case "day":
		return b.day * pgvalue.Day, true
	case "week":
		return (b.day - (dayOfWeek(b.day)+6)%7) * pgvalue.Day, true
	case "month":
		return month(b.y, b.m), true
	case "quarter":
		return month(b.y, (b.m-1)/3*3+1), true
	case "year":
		return month(b.y, 1), true
	case "decade":
		if b.y > 0 {
			return month(b.y/10*10, 1), true
		}
		return month(-((8-(b.y-1))/10)*10, 1), true
	case "century":
		return month(spanStart(b.y, 100), 1), true
	case "millennium":
		return month(spanStart(b.y, 1000), 1), true
	}
	return 0, false
}

func spanStart(y, size int) int {
	if y > 0 {
		return (y+size-1)/size*size - size + 1
	}
	return -((size-1-(y-1))/size)*size + 1
}
