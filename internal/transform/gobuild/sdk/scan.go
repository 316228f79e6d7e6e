package sdk

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// What comes from the outside is JSON that the server wrote or checked. So the scanner finds where values begin and end, and need not judge them;
// whatever the bytes are, it does not leave them.

// space skips white space.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index behind a string that begins at i.
func skipString(b []byte, i int) int {
	for i++; ; {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		i += n + 1
		backslashes := 0
		for j := i - 2; j >= 0 && b[j] == '\\'; j-- {
			backslashes++
		}
		if backslashes%2 == 0 {
			return i
		}
	}
}

// skip returns the index behind a value that begins at i.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return len(b)
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return i
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}

// each goes through the fields of an object that begins at i, with the places of the key's text and of the value. It reports whether it came to
// the end.
func each(b []byte, i int, field func(key, keyEnd, from, to int) bool) bool {
	i = space(b, i) + 1 // the brace
	for {
		i = space(b, i)
		if i >= len(b) || b[i] != '"' {
			return i < len(b) && b[i] == '}'
		}
		key := i + 1
		i = skipString(b, i)
		keyEnd := i - 1
		i = space(b, i)
		if i < len(b) && b[i] == ':' {
			i = space(b, i+1)
		}
		end := skip(b, i)
		if end <= i || keyEnd < key {
			return false
		}
		if !field(key, keyEnd, i, end) {
			return false
		}
		i = space(b, end)
		if i >= len(b) || b[i] != ',' {
			return i < len(b) && b[i] == '}'
		}
		i++
	}
}

// scanObject finds the fields of an object.
func scanObject(b []byte) []field {
	fields := newFields(16)
	each(b, 0, func(key, keyEnd, from, to int) bool {
		fields = append(fields, field{key: unquote(b[key-1 : keyEnd+1]), raw: b[from:to:to]})
		return true
	})
	return fields
}

// scanArray finds the values of an array.
func scanArray(b []byte) []any {
	values := []any{}
	i := space(b, 0) + 1
	for {
		i = space(b, i)
		if i >= len(b) || b[i] == ']' {
			return values
		}
		end := skip(b, i)
		if end <= i {
			return values
		}
		values = append(values, value(b[i:end:end]))
		i = space(b, end)
		if i >= len(b) || b[i] != ',' {
			return values
		}
		i++
	}
}

// value makes a value of its JSON: an object without looking into it.
func value(b []byte) any {
	switch b[0] {
	case '{':
		o := newObject()
		o.raw = b
		return o
	case '[':
		return scanArray(b)
	case '"':
		return unquote(b)
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	}
	return Number(text(b))
}

// unquote returns the text of a string. Without escapes it is a view.
func unquote(b []byte) string {
	if len(b) < 2 {
		return ""
	}
	b = b[1 : len(b)-1]
	next := bytes.IndexByte(b, '\\')
	if next < 0 {
		return text(b)
	}
	out := make([]byte, 0, len(b))
	for next >= 0 && next+1 < len(b) {
		out = append(out, b[:next]...)
		n := 2
		switch c := b[next+1]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			var r rune
			r, n = escape(b[next:])
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
		b = b[next+n:]
		next = bytes.IndexByte(b, '\\')
	}
	return text(append(out, b...))
}

// escape reads \uXXXX, or two of them that are one character.
func escape(b []byte) (r rune, n int) {
	r, ok := hex4(b)
	if !ok {
		return utf8.RuneError, min(6, len(b))
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if low, ok := hex4(b[6:]); ok {
		if r := utf16.DecodeRune(r, low); r != utf8.RuneError {
			return r, 12
		}
	}
	return utf8.RuneError, 6
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(text(b[2:6]), 16, 16)
	return rune(n), err == nil
}

// isNumber reports whether a text is a number as JSON writes it.
func isNumber(s string) bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(s) && s[i]-'0' <= 9 {
			i++
		}
		return i > from
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	leading := i
	if !digits() || s[leading] == '0' && i > leading+1 {
		return false
	}
	if i < len(s) && s[i] == '.' {
		if i++; !digits() {
			return false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(s)
}
