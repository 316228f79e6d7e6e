package message

import (
	"bytes"
	"math"
	"strconv"
)

// appendInterval appends an interval in IntervalStyle postgres, "1 year 2 mons -3 days +04:05:06.789", as its three independent parts. Those
// of PostgreSQL 17 may be infinite; that and other styles are for the caller to write as text.
func appendInterval(dst, text []byte) ([]byte, bool) {
	var months, days, micros int64
	for rest := text; ; {
		word, after, more := bytes.Cut(rest, []byte{' '})
		if bytes.IndexByte(word, ':') >= 0 {
			var ok bool
			if micros, ok = parseClock(word); !ok || more {
				return dst, false
			}
			break
		}
		n, ok := parseCount(word)
		if !ok || !more {
			return dst, false
		}
		unit, next, another := bytes.Cut(after, []byte{' '})
		switch string(unit) {
		case "year", "years":
			months += 12 * n
		case "mon", "mons":
			months += n
		case "day", "days":
			days += n
		default:
			return dst, false
		}
		if !another {
			break
		}
		rest = next
	}
	dst = append(dst, `{"months":`...)
	dst = strconv.AppendInt(dst, months, 10)
	dst = append(dst, `,"days":`...)
	dst = strconv.AppendInt(dst, days, 10)
	dst = append(dst, `,"microseconds":`...)
	dst = strconv.AppendInt(dst, micros, 10)
	return append(dst, '}'), true
}

// parseCount reads a number of years, months or days with an optional sign. All of them fit 32 bits.
func parseCount(b []byte) (n int64, ok bool) {
	b, negative := cutSign(b)
	if len(b) == 0 || len(b) > 10 || digits(b) != len(b) {
		return 0, false
	}
	for _, c := range b {
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

func cutSign(b []byte) (rest []byte, negative bool) {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		return b[1:], b[0] == '-'
	}
	return b, false
}

// parseClock reads "-04:05:06.789", with two or more digits for the hours, which apply to all of it, as does the sign.
func parseClock(b []byte) (micros int64, ok bool) {
	b, negative := cutSign(b)
	n := digits(b)
	if n < 2 || n > 10 || len(b) < n+6 || b[n] != ':' || digits(b[n+1:]) != 2 || b[n+3] != ':' || digits(b[n+4:n+6]) != 2 {
		return 0, false
	}
	hours, _ := parseCount(b[:n])
	seconds := uint64(hours)*3600 + uint64(two(b[n+1:]))*60 + uint64(two(b[n+4:])) //nolint:gosec // hours is not negative
	fraction, rest, ok := parseFraction(b[n+6:])
	if !ok || len(rest) > 0 {
		return 0, false
	}
	total := seconds*microsPerSecond + uint64(fraction) //nolint:gosec // at most 3.6e19 with ten digits of hours: checked next
	switch {
	case seconds > math.MaxInt64/microsPerSecond+1 || total > 1<<63 || total == 1<<63 && !negative:
		return 0, false
	case negative:
		return int64(-total), true //nolint:gosec // -(1<<63) is the least int64
	}
	return int64(total), true //nolint:gosec // checked above
}
