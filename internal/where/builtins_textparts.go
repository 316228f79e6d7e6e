package where

import (
	"math"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgvalue"
)

func textParts() map[string]builtin {
	return map[string]builtin{
		"text_substr":         {fnN: func(v []value) (value, error) { return substring(v[0].S, v[1].I, v[2].I, true, false) }},
		"text_substr_no_len":  {fn2: func(a, b value) (value, error) { return substring(a.S, b.I, 0, false, false) }},
		"bytea_substr":        {fnN: func(v []value) (value, error) { return substring(v[0].S, v[1].I, v[2].I, true, true) }},
		"bytea_substr_no_len": {fn2: func(a, b value) (value, error) { return substring(a.S, b.I, 0, false, true) }},
		"text_left":           {fn2: func(a, b value) (value, error) { return pgvalue.Text(left(a.S, b.I)), nil }},
		"text_right":          {fn2: func(a, b value) (value, error) { s, err := right(a.S, b.I); return pgvalue.Text(s), err }},
		"lpad":                {fnN: func(v []value) (value, error) { return pad(v[0].S, v[1].I, v[2].S, true) }},
		"rpad":                {fnN: func(v []value) (value, error) { return pad(v[0].S, v[1].I, v[2].S, false) }},
		"sql:lpad":            {fn2: func(a, b value) (value, error) { return pad(a.S, b.I, " ", true) }},
		"sql:rpad":            {fn2: func(a, b value) (value, error) { return pad(a.S, b.I, " ", false) }},
		"replace_text":        {fnN: replaceText, need: needsEquality},
		"split_part":          {fnN: splitPart, need: needsEquality},
		"split_text":          {fnN: splitText, need: needsEquality},
		"textpos":             {fn2: textPosition, need: needsEquality},
		"byteapos":            {fn2: func(a, b value) (value, error) { return pgvalue.Int(int64(strings.Index(a.S, b.S)) + 1), nil }},
		"text_starts_with":    {fn2: func(a, b value) (value, error) { return isBool(strings.HasPrefix(a.S, b.S)) }, need: needsEquality},
		"repeat":              {fn2: repeat},
		"translate":           {fnN: translate},
		"textoverlay":         {fnN: func(v []value) (value, error) { return overlay(v[0].S, v[1].S, v[2].I, v[3].I) }},
		"textoverlay_no_len":  {fnN: func(v []value) (value, error) { return overlay(v[0].S, v[1].S, v[2].I, chars(v[1].S)) }},
		"jsonb_typeof":        {fn1: jsonTypeOf(true)},
		"json_typeof":         {fn1: jsonTypeOf(false)},
	}
}

var errNegativeLength = &pgvalue.Error{Code: "22011", Message: "negative substring length not allowed"}

// substring counts from 1; what lies before the beginning counts towards the length.
func substring(s string, from, length int64, hasLength, bytes bool) (value, error) {
	start := max(from, 1)
	end := int64(-1)
	if hasLength {
		if length < 0 {
			return pgvalue.Null, errNegativeLength
		}
		end = from + length
		if end <= start {
			return pgvalue.Text(""), nil
		}
	}
	if bytes {
		n := int64(len(s))
		if start > n {
			return pgvalue.Text(""), nil
		}
		if end < 0 || end > n+1 {
			end = n + 1
		}
		return pgvalue.Text(s[start-1 : end-1]), nil
	}
	first, last := len(s), len(s)
	n := int64(1)
	for i := range s {
		if n == start {
			first = i
		}
		if n == end {
			last = i
			break
		}
		n++
	}
	return pgvalue.Text(s[min(first, last):last]), nil
}

func left(s string, n int64) string {
	if n < 0 {
		n = max(chars(s)+n, 0)
	}
	return firstChars(s, int(min(n, 1<<31)))
}

func right(s string, n int64) (string, error) {
	total := chars(s)
	skip := total - n
	if n == math.MinInt32 {
		return "", errUnsupported("right() of the smallest integer")
	}
	if n < 0 {
		skip = -n
	}
	skip = min(max(skip, 0), total)
	return s[len(firstChars(s, int(skip))):], nil
}

func pad(s string, n int64, fill string, before bool) (value, error) {
	n = max(n, 0)
	have := chars(s)
	if have >= n || fill == "" {
		return pgvalue.Text(firstChars(s, int(min(n, have)))), nil
	}
	if n > maxText/4 {
		return pgvalue.Null, errTooLong()
	}
	missing := int(n - have)
	filling := firstChars(strings.Repeat(fill, missing/int(chars(fill))+1), missing)
	if before {
		return pgvalue.Text(filling + s), nil
	}
	return pgvalue.Text(s + filling), nil
}

func replaceText(v []value) (value, error) {
	if v[1].S == "" {
		return v[0], nil
	}
	if strings.Count(v[0].S, v[1].S)*len(v[2].S)+len(v[0].S) > maxText {
		return pgvalue.Null, errTooLong()
	}
	return pgvalue.Text(strings.ReplaceAll(v[0].S, v[1].S, v[2].S)), nil
}

// splitPart counts from the end below zero, which came with 14.
func splitPart(v []value) (value, error) {
	n := v[2].I
	if n == 0 {
		return pgvalue.Null, &pgvalue.Error{Code: "22023", Message: "field position must not be zero"}
	}
	if v[0].S == "" {
		return pgvalue.Text(""), nil
	}
	parts := []string{v[0].S}
	if v[1].S != "" {
		parts = strings.Split(v[0].S, v[1].S)
	}
	if n < 0 {
		n += int64(len(parts)) + 1
	}
	if n < 1 || n > int64(len(parts)) {
		return pgvalue.Text(""), nil
	}
	return pgvalue.Text(parts[n-1]), nil
}

// splitText is split_part before 14.
func splitText(v []value) (value, error) {
	if v[2].I <= 0 {
		return pgvalue.Null, &pgvalue.Error{Code: "22023", Message: "field position must be greater than zero"}
	}
	return splitPart(v)
}

func textPosition(a, b value) (value, error) {
	i := strings.Index(a.S, b.S)
	if i < 0 {
		return pgvalue.Int(0), nil
	}
	return pgvalue.Int(chars(a.S[:i]) + 1), nil
}

func repeat(a, b value) (value, error) {
	n := max(b.I, 0)
	if int64(len(a.S))*n > maxText {
		return pgvalue.Null, errTooLong()
	}
	return pgvalue.Text(strings.Repeat(a.S, int(n))), nil
}

// translate drops the characters that have no partner.
func translate(v []value) (value, error) {
	from, to := []rune(v[1].S), []rune(v[2].S)
	var b strings.Builder
	for _, r := range v[0].S {
		at := -1
		for i, f := range from {
			if f == r {
				at = i
				break
			}
		}
		switch {
		case at < 0:
			b.WriteRune(r)
		case at < len(to):
			b.WriteRune(to[at])
		}
	}
	return pgvalue.Text(b.String()), nil
}

func overlay(s, placing string, from, length int64) (value, error) {
	if from <= 0 {
		return pgvalue.Null, errNegativeLength
	}
	after := from + length
	if after > math.MaxInt32 || after < math.MinInt32 {
		return pgvalue.Null, pgvalue.OutOfRange("integer")
	}
	head, err := substring(s, 1, from-1, true, false)
	if err != nil {
		return head, err
	}
	tail, err := substring(s, after, 0, false, false)
	if err != nil {
		return tail, err
	}
	return pgvalue.Text(head.S + placing + tail.S), nil
}
