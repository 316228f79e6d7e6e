package message

import (
	"bytes"

	"github.com/sequinstream/sequin/internal/cdc"
)

// maxArrayDepth is the most dimensions that a Postgres array can have.
const maxArrayDepth = 6

// appendArray appends an array as array_out prints it, "[0:1]={1,NULL}" or "{{\"a b\"},{c}}", as nested JSON arrays. Bounds are dropped.
func appendArray(dst []byte, t *cdc.Type, text []byte, f Format) ([]byte, bool) {
	rest, ok := cutBounds(text)
	if !ok || len(rest) == 0 || rest[0] != '{' {
		return dst, false
	}
	delim := t.Delim
	if delim == 0 {
		delim = ','
	}
	depth, opened, value := 0, false, true // opened: just after a brace; value: an element or a brace may begin
	for len(rest) > 0 {
		switch c := rest[0]; {
		case c == '{' && value:
			if depth++; depth > maxArrayDepth {
				return dst, false
			}
			dst, rest = append(dst, '['), rest[1:]
			opened = true
		case c == '}' && (opened || !value):
			dst, rest = append(dst, ']'), rest[1:]
			if depth--; depth == 0 {
				return dst, len(rest) == 0
			}
			opened, value = false, false
		case c == delim && !value:
			dst, rest = append(dst, ','), rest[1:]
			opened, value = false, true
		case value:
			if dst, rest, ok = appendElement(dst, t.Elem, rest, delim, f); !ok {
				return dst, false
			}
			opened, value = false, false
		default:
			return dst, false
		}
	}
	return dst, false
}

// cutBounds removes the bounds that stand before an array whose subscripts do not start at 1: "[0:2][-1:1]=".
func cutBounds(b []byte) (rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '[' {
		return b, true
	}
	bounds, rest, ok := bytes.Cut(b, []byte{'='})
	if !ok {
		return b, false
	}
	for _, c := range bounds {
		switch c {
		case '[', ']', ':', '-', '+':
		default:
			if c < '0' || c > '9' {
				return b, false
			}
		}
	}
	return rest, true
}

// appendElement appends the element that b begins with and returns what follows it.
func appendElement(dst []byte, t *cdc.Type, b []byte, delim byte, f Format) (out, rest []byte, ok bool) {
	if b[0] == '"' {
		return appendQuoted(dst, t, b[1:], f)
	}
	n := 0
	for ; n < len(b) && b[n] != delim && b[n] != '}'; n++ {
		if b[n] == '{' || b[n] == '"' || b[n] == '\\' {
			return dst, b, false
		}
	}
	switch {
	case n == 0:
		return dst, b, false
	case string(b[:n]) == "NULL": // text that reads NULL is quoted
		dst = append(dst, "null"...)
	default:
		dst = AppendValue(dst, t, b[:n], f)
	}
	return dst, b[n:], true
}

// appendQuoted appends a quoted element, given what follows the opening quote. Text with escapes is unescaped at the end of dst, encoded behind
// that, and moved into place: so it needs no buffer of its own.
func appendQuoted(dst []byte, t *cdc.Type, b []byte, f Format) (out, rest []byte, ok bool) {
	n := bytes.IndexByte(b, '"')
	if n < 0 {
		return dst, b, false
	}
	if bytes.IndexByte(b[:n], '\\') < 0 {
		return AppendValue(dst, t, b[:n], f), b[n+1:], true
	}
	start := len(dst)
	for {
		n := bytes.IndexAny(b, `"\`)
		if n < 0 {
			return dst[:start], b, false
		}
		dst = append(dst, b[:n]...)
		if b[n] == '"' {
			b = b[n+1:]
			break
		}
		if n+1 == len(b) {
			return dst[:start], b, false
		}
		dst = append(dst, b[n+1])
		b = b[n+2:]
	}
	text := dst[start:]
	dst = AppendValue(dst, t, text, f)
	return append(dst[:start], dst[start+len(text):]...), b, true
}
