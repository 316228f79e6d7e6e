package where

import (
	"math"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

func infiniteTS(ts int64) bool { return ts == pgvalue.TimestampInf || ts == pgvalue.TimestampMinusInf }

func infiniteDate(d int64) bool {
	return d == pgvalue.DateInf || d == pgvalue.DateMinusInf
}

func datePlus(d, n int64) (value, error) {
	if infiniteDate(d) {
		return pgvalue.Int(d), nil
	}
	if r := d + n; pgvalue.CheckDate(r) {
		return pgvalue.Int(r), nil
	}
	return pgvalue.Null, pgvalue.ErrDateRange
}

func timestampPlus(ts, span value, sign int64) (value, error) {
	return pgvalue.AddInterval(ts.I, span, sign)
}

func datePlusInterval(d, span value, sign int64) (value, error) {
	ts, err := pgvalue.DateToTimestamp(d.I)
	if err != nil {
		return ts, err
	}
	return pgvalue.AddInterval(ts.I, span, sign)
}

// timePlus wraps around midnight.
func timePlus(t, span value, sign int64) (value, error) {
	if pgvalue.InfiniteInterval(span) != 0 {
		return pgvalue.Null, errUnsupported("arithmetic with an infinite interval")
	}
	_, micros := pgvalue.Split(t.I + sign*(span.I%pgvalue.Day))
	t.I = micros
	return t, nil
}

func swap(f func(a, b value) (value, error)) func(a, b value) (value, error) {
	return func(a, b value) (value, error) { return f(b, a) }
}

func signed(f func(a, b value, sign int64) (value, error), sign int64) func(a, b value) (value, error) {
	return func(a, b value) (value, error) { return f(a, b, sign) }
}

func datetimes() map[string]builtin {
	all := map[string]builtin{
		"date_pli":                    {fn2: func(a, b value) (value, error) { return datePlus(a.I, b.I) }},
		"date_mii":                    {fn2: func(a, b value) (value, error) { return datePlus(a.I, -b.I) }},
		"sql:integer_pl_date":         {fn2: func(a, b value) (value, error) { return datePlus(b.I, a.I) }},
		"date_mi":                     {fn2: dateMinus},
		"date_pl_interval":            {fn2: signed(datePlusInterval, 1)},
		"date_mi_interval":            {fn2: signed(datePlusInterval, -1)},
		"sql:interval_pl_date":        {fn2: swap(signed(datePlusInterval, 1))},
		"timestamp_pl_interval":       {fn2: signed(timestampPlus, 1)},
		"timestamp_mi_interval":       {fn2: signed(timestampPlus, -1)},
		"timestamptz_pl_interval":     {fn2: signed(timestampPlus, 1)},
		"timestamptz_mi_interval":     {fn2: signed(timestampPlus, -1)},
		"sql:interval_pl_timestamp":   {fn2: swap(signed(timestampPlus, 1))},
		"sql:interval_pl_timestamptz": {fn2: swap(signed(timestampPlus, 1))},
		"timestamp_mi":                {fn2: timestampMinus},
		"time_pl_interval":            {fn2: signed(timePlus, 1)},
		"time_mi_interval":            {fn2: signed(timePlus, -1)},
		"timetz_pl_interval":          {fn2: signed(timePlus, 1)},
		"timetz_mi_interval":          {fn2: signed(timePlus, -1)},
		"sql:interval_pl_time":        {fn2: swap(signed(timePlus, 1))},
		"sql:interval_pl_timetz":      {fn2: swap(signed(timePlus, 1))},
		"time_mi_time":                {fn2: func(a, b value) (value, error) { return pgvalue.Interval(0, 0, a.I-b.I), nil }},
		"datetime_timestamp":          {fn2: dateAndTime},
		"sql:timedate_pl":             {fn2: swap(dateAndTime)},
		"interval_pl":                 {fn2: func(a, b value) (value, error) { return pgvalue.SumIntervals(a, b, 1) }},
		"interval_mi":                 {fn2: func(a, b value) (value, error) { return pgvalue.SumIntervals(a, b, -1) }},
		"interval_um":                 {fn1: func(a value) (value, error) { return pgvalue.SumIntervals(value{}, a, -1) }},
		"date_timestamp":              {fn1: func(a value) (value, error) { return pgvalue.DateToTimestamp(a.I) }},
		"date_timestamptz":            {fn1: func(a value) (value, error) { return pgvalue.DateToTimestamp(a.I) }},
		"timestamp_date":              {fn1: func(a value) (value, error) { return pgvalue.TimestampToDate(a.I), nil }},
		"timestamptz_date":            {fn1: func(a value) (value, error) { return pgvalue.TimestampToDate(a.I), nil }},
		"timestamp_timestamptz":       {fn1: same},
		"timestamptz_timestamp":       {fn1: same},
		"timestamp_time":              {fn1: timeOfDay},
		"timestamptz_time":            {fn1: timeOfDay},
		"timestamptz_timetz":          {fn1: timeOfDay},
		"time_timetz":                 {fn1: same},
		"timetz_time":                 {fn1: func(a value) (value, error) { return pgvalue.Int(a.I), nil }},
		"time_interval":               {fn1: func(a value) (value, error) { return pgvalue.Interval(0, 0, a.I), nil }},
		"interval_time":               {fn1: intervalToTime},
		"make_date":                   {fnN: makeDate},
		"date_finite":                 {fn1: func(a value) (value, error) { return isBool(!infiniteDate(a.I)) }},
		"timestamp_finite":            {fn1: func(a value) (value, error) { return isBool(!infiniteTS(a.I)) }},
		"interval_finite":             {fn1: func(a value) (value, error) { return isBool(pgvalue.InfiniteInterval(a) == 0) }},
		"timestamp_age":               {fn2: age},
		"timestamptz_age":             {fn2: age},
		"interval_justify_days":       {fn1: justifyDays},
		"interval_justify_hours":      {fn1: justifyHours},
		"float8_timestamptz":          {fn1: epochToTimestamp},
	}
	return all
}

func dateMinus(a, b value) (value, error) {
	if infiniteDate(a.I) || infiniteDate(b.I) {
		return pgvalue.Null, &pgvalue.Error{Code: "22008", Message: "cannot subtract infinite dates"}
	}
	return pgvalue.Int(a.I - b.I), nil
}

func timestampMinus(a, b value) (value, error) {
	if infiniteTS(a.I) || infiniteTS(b.I) {
		return pgvalue.Null, errUnsupported("the difference of infinite timestamps")
	}
	d := a.I - b.I
	if (b.I < 0 && d < a.I) || (b.I > 0 && d > a.I) {
		return pgvalue.Null, pgvalue.ErrIntervalRange
	}
	return justifyHours(pgvalue.Interval(0, 0, d))
}

func justifyHours(v value) (value, error) {
	if pgvalue.InfiniteInterval(v) != 0 {
		return v, nil
	}
	whole := v.I / pgvalue.Day
	rest := v.I % pgvalue.Day
	days := int64(v.Days()) + whole
	if days != int64(int32(days)) { //nolint:gosec // that is the check
		return pgvalue.Null, pgvalue.ErrIntervalRange
	}
	switch {
	case days > 0 && rest < 0:
		rest += pgvalue.Day
		days--
	case days < 0 && rest > 0:
		rest -= pgvalue.Day
		days++
	}
	return pgvalue.Interval(v.Months(), int32(days), rest), nil //nolint:gosec // checked
}

func justifyDays(v value) (value, error) {
	if pgvalue.InfiniteInterval(v) != 0 {
		return v, nil
	}
	months := int64(v.Months()) + int64(v.Days()/30)
	days := v.Days() % 30
	if months != int64(int32(months)) { //nolint:gosec // that is the check
		return pgvalue.Null, pgvalue.ErrIntervalRange
	}
	switch {
	case months > 0 && days < 0:
		days += 30
		months--
	case months < 0 && days > 0:
		days -= 30
		months++
	}
	return pgvalue.Interval(int32(months), days, v.I), nil //nolint:gosec // checked
}

func dateAndTime(d, t value) (value, error) {
	ts, err := pgvalue.DateToTimestamp(d.I)
	if err != nil || infiniteTS(ts.I) {
		return ts, err
	}
	if !pgvalue.CheckTimestamp(ts.I + t.I) {
		return pgvalue.Null, pgvalue.ErrTimestampRange
	}
	return pgvalue.Int(ts.I + t.I), nil
}

func timeOfDay(a value) (value, error) {
	if infiniteTS(a.I) {
		return pgvalue.Null, nil
	}
	_, micros := pgvalue.Split(a.I)
	return pgvalue.Int(micros), nil
}

func intervalToTime(a value) (value, error) {
	if pgvalue.InfiniteInterval(a) != 0 {
		return pgvalue.Null, &pgvalue.Error{Code: "22008", Message: "cannot convert infinite interval to time"}
	}
	_, micros := pgvalue.Split(a.I)
	return pgvalue.Int(micros), nil
}

func makeDate(v []value) (value, error) {
	y, m, d := v[0].I, v[1].I, v[2].I
	bad := &pgvalue.Error{Code: "22008", Message: "date field value out of range"}
	if y < 0 {
		return pgvalue.Null, errUnsupported("make_date with a year before Christ")
	}
	if y == 0 || y > 5_874_897 || m < 1 || m > 12 || d < 1 || d > 31 {
		return pgvalue.Null, bad
	}
	day := pgvalue.DateOf(int(y), int(m), int(d))
	if yy, mm, dd := pgvalue.Civil(day); int64(yy) != y || int64(mm) != m || int64(dd) != d {
		return pgvalue.Null, bad
	}
	return pgvalue.Int(day), nil
}

// epochToTimestamp is to_timestamp(double precision).
func epochToTimestamp(a value) (value, error) {
	f := a.Float()
	switch {
	case math.IsNaN(f):
		return pgvalue.Null, &pgvalue.Error{Code: "22008", Message: "timestamp cannot be NaN"}
	case math.IsInf(f, 1):
		return pgvalue.Int(pgvalue.TimestampInf), nil
	case math.IsInf(f, -1):
		return pgvalue.Int(pgvalue.TimestampMinusInf), nil
	case math.Abs(f) > 9e12:
		return pgvalue.Null, pgvalue.ErrTimestampRange
	}
	ts := math.RoundToEven((f - 946684800) * 1e6)
	if ts > 9.2e18 || ts < -2.2e17 || !pgvalue.CheckTimestamp(int64(ts)) {
		return pgvalue.Null, pgvalue.ErrTimestampRange
	}
	return pgvalue.Int(int64(ts)), nil
}

type broken struct {
	y, m, d   int
	h, min, s int64
	fraction  int64
	micros    int64
	day       int64
}

func breakDown(ts int64) broken {
	day, micros := pgvalue.Split(ts)
	b := broken{day: day, micros: micros}
	b.y, b.m, b.d = pgvalue.Civil(day)
	b.h, b.min, b.s, b.fraction = micros/pgvalue.Hour, micros/pgvalue.Minute%60, micros/pgvalue.Second%60, micros%pgvalue.Second
	return b
}

// age subtracts field by field, borrowing days from the months of the earlier argument.
func age(a, b value) (value, error) {
	if infiniteTS(a.I) || infiniteTS(b.I) {
		return pgvalue.Null, errUnsupported("the age of infinite timestamps")
	}
	negative := a.I < b.I
	x, y := breakDown(a.I), breakDown(b.I)
	years, months, days := int64(x.y-y.y), int64(x.m-y.m), int64(x.d-y.d)
	micros := x.micros - y.micros
	if negative {
		years, months, days, micros = -years, -months, -days, -micros
	}
	if micros < 0 {
		micros += pgvalue.Day
		days--
	}
	for days < 0 {
		from := y
		if negative {
			from = x
		}
		days += int64(monthDays(from.y, from.m))
		months--
	}
	for months < 0 {
		months += 12
		years--
	}
	total := years*12 + months
	if negative {
		total, days, micros = -total, -days, -micros
	}
	return pgvalue.Interval(int32(total), int32(days), micros), nil //nolint:gosec // of two dates in range
}

func monthDays(y, m int) int {
	next := pgvalue.DateOf(y, m+1, 1)
	if m == 12 {
		next = pgvalue.DateOf(y+1, 1, 1)
	}
	return int(next - pgvalue.DateOf(y, m, 1))
}

func zones() map[string]builtin {
	toWall := builtin{fn2: func(zone, ts value) (value, error) { return pgvalue.InZone(ts.I, zone.S, true) }}
	toInstant := builtin{fn2: func(zone, ts value) (value, error) { return pgvalue.InZone(ts.I, zone.S, false) }}
	shift := func(sign int64) builtin {
		return builtin{fn2: func(zone, ts value) (value, error) {
			if infiniteTS(ts.I) {
				return ts, nil
			}
			if zone.Months() != 0 || zone.Days() != 0 {
				return pgvalue.Null, &pgvalue.Error{Code: "22023", Message: "interval time zone must not include months or days"}
			}
			out := ts.I + sign*(zone.I/pgvalue.Second)*pgvalue.Second
			if !pgvalue.CheckTimestamp(out) {
				return pgvalue.Null, pgvalue.ErrTimestampRange
			}
			return pgvalue.Int(out), nil
		}}
	}
	return map[string]builtin{
		"timestamptz_zone": {build: constantZone(toWall)}, "timestamp_zone": {build: constantZone(toInstant)},
		"timestamptz_izone": shift(1), "timestamp_izone": shift(-1),
	}
}

// constantZone checks the zone when the condition is saved, if it is a literal.
func constantZone(b builtin) func(*building) error {
	return func(g *building) error {
		if zone := g.args[0]; zone.constant && !zone.val.Null {
			if _, err := pgvalue.Zone(zone.val.S); err != nil {
				return refuse(zone.pos, "use a name such as Europe/Berlin, or UTC", "%s", strings.TrimSuffix(err.Error(), ": "+pgvalue.ErrUnsupported.Error()))
			}
		}
		g.result.fn2 = b.fn2
		return nil
	}
}
