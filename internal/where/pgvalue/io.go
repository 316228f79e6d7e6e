package pgvalue

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/where/pgcatalog"
)

// Reader is a type's input function.
type Reader func(text string) (Value, error)

// Writer is a type's output function.
type Writer func(v Value) string

// Comparer is a type's order, as a sort has it.
type Comparer func(a, b Value) int

func parseInt(text string, bits int, typ string) (Value, error) {
	if text != "" && len(text) < 10 { // most are short
		if n, ok := shortInt(text); ok && (bits != 16 || n >= -32768 && n <= 32767) {
			return Int(n), nil
		}
	}
	s := strings.Trim(text, " \t\n\r\f\v")
	if strings.ContainsAny(s, "_xXoObB") && s != "" && (s[0] == '0' || strings.Contains(s, "_") || len(s) > 1 && s[1] == '0') {
		return Null, unsupported("%s %q", typ, shorten(text))
	}
	n, err := strconv.ParseInt(s, 10, bits)
	if err != nil {
		if strings.Trim(strings.TrimLeft(s, "+-"), "0123456789") == "" && strings.Trim(s, "+-") != "" && len(s)-len(strings.TrimLeft(s, "+-")) < 2 {
			return Null, &Error{"22003", "value " + strconv.Quote(shorten(s)) + " is out of range for type " + typ}
		}
		return Null, invalid(typ, text)
	}
	return Int(n), nil
}

func shortInt(s string) (int64, bool) {
	i, negative := 0, false
	if s[0] == '-' {
		negative, i = true, 1
	}
	if i == len(s) {
		return 0, false
	}
	n := int64(0)
	for ; i < len(s); i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if negative {
		n = -n
	}
	return n, true
}

// ParseBool reads a boolean: t, f, and any beginning of true, false, yes, no, on, off, or 1 and 0.
func ParseBool(text string) (Value, error) {
	if text == "t" {
		return Bool(true), nil
	}
	if text == "f" {
		return Bool(false), nil
	}
	s := strings.ToLower(strings.Trim(text, " \t\n\r\f\v"))
	switch {
	case s == "":
	case begins(s, "true"), begins(s, "yes"), s == "on", s == "1":
		return Bool(true), nil
	case begins(s, "false"), begins(s, "no"), s == "off", s == "of", s == "0":
		return Bool(false), nil
	}
	return Null, invalid("boolean", text)
}

func begins(s, word string) bool { return strings.HasPrefix(word, s) }

func parseUUID(text string) (Value, error) {
	if canonicalUUID(text) {
		return Text(text), nil
	}
	s := strings.ToLower(text)
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		s = s[1 : len(s)-1]
	}
	digits := make([]byte, 0, 32)
	for i := 0; i < len(s); i++ {
		if s[i] == '-' && len(digits) > 0 && len(digits)%4 == 0 && len(digits) < 32 && s[i-1] != '-' {
			continue
		}
		digits = append(digits, s[i])
	}
	raw, err := hex.DecodeString(string(digits))
	if err != nil || len(raw) != 16 {
		return Null, invalid("uuid", text)
	}
	d := string(digits)
	return Text(d[:8] + "-" + d[8:12] + "-" + d[12:16] + "-" + d[16:20] + "-" + d[20:]), nil
}

func canonicalUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range 36 {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c < '0' || c > 'f' || c > '9' && c < 'a':
			return false
		}
	}
	return true
}

// parseBytea reads the hex form, and the old escape form.
func parseBytea(text string) (Value, error) {
	if strings.HasPrefix(text, `\x`) {
		digits := strings.NewReplacer(" ", "", "\n", "", "\t", "", "\r", "").Replace(text[2:])
		raw, err := hex.DecodeString(digits)
		if err != nil {
			return Null, &Error{"22023", "invalid hexadecimal data"}
		}
		return Text(string(raw)), nil
	}
	if !strings.Contains(text, `\`) {
		return Text(text), nil
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\':
			b.WriteByte(text[i])
		case strings.HasPrefix(text[i:], `\\`):
			b.WriteByte('\\')
			i++
		case i+3 < len(text):
			n, err := strconv.ParseUint(text[i+1:i+4], 8, 8)
			if err != nil {
				return Null, invalid("bytea", text)
			}
			b.WriteByte(byte(n))
			i += 3
		default:
			return Null, invalid("bytea", text)
		}
	}
	return Text(b.String()), nil
}

func parseBits(text string) (Value, error) {
	switch {
	case strings.HasPrefix(text, "b"), strings.HasPrefix(text, "B"):
		text = text[1:]
	case strings.HasPrefix(text, "x"), strings.HasPrefix(text, "X"):
		return HexBits(text[1:])
	}
	if strings.Trim(text, "01") != "" {
		return Null, &Error{"22P02", "invalid bit string " + strconv.Quote(shorten(text))}
	}
	return Text(text), nil
}

// HexBits reads the digits of X'…'.
func HexBits(digits string) (Value, error) {
	var b strings.Builder
	for i := range len(digits) {
		n, err := strconv.ParseUint(digits[i:i+1], 16, 8)
		if err != nil {
			return Null, &Error{"22P02", "invalid hexadecimal digit"}
		}
		s := strconv.FormatUint(n, 2)
		b.WriteString("0000"[len(s):] + s)
	}
	return Text(b.String()), nil
}

func readText(text string) (Value, error) { return Text(text), nil }

// ReaderOf returns a type's input function, nil if there is none here. Domains read as their base type.
func ReaderOf(t *pgcatalog.Type) Reader {
	t = t.BaseType()
	if t == nil {
		return nil
	}
	switch {
	case t.IsArray():
		elem := ReaderOf(t.Elem)
		if elem == nil {
			return nil
		}
		return func(s string) (Value, error) { return ParseArray(s, elem, t.Elem.Delim) }
	case t.Kind == 'e':
		return func(s string) (Value, error) { return parseLabel(t, s) }
	case t.Kind == 'r':
		return rangeReader(t)
	case t.Schema != "":
		return nil
	}
	return builtinReader(t.Name)
}

func parseLabel(t *pgcatalog.Type, s string) (Value, error) {
	for i, label := range t.Labels {
		if label == s {
			return Value{S: s, I: int64(i)}, nil
		}
	}
	return Null, &Error{"22P02", "invalid input value for enum " + t.Name + ": " + strconv.Quote(shorten(s))}
}

// columnLabel takes labels that were added later: their order is not known, what they equal is.
func columnLabel(t *pgcatalog.Type, s string) (Value, error) {
	if v, err := parseLabel(t, s); err == nil {
		return v, nil
	}
	return Value{S: s, I: -1}, nil
}

func builtinReader(name string) Reader {
	switch name {
	case "bool":
		return ParseBool
	case "int2":
		return func(s string) (Value, error) { return parseInt(s, 16, "smallint") }
	case "int4":
		return func(s string) (Value, error) { return parseInt(s, 32, "integer") }
	case "int8":
		return func(s string) (Value, error) { return parseInt(s, 64, "bigint") }
	case "oid":
		return parseOID
	case "numeric":
		return ParseNumeric
	case "float4":
		return func(s string) (Value, error) { return ParseFloat(s, 32) }
	case "float8":
		return func(s string) (Value, error) { return ParseFloat(s, 64) }
	case "text", "varchar", "bpchar", "name":
		return readText
	case "json":
		return func(s string) (Value, error) {
			_, err := ParseJSON(s, false)
			return Text(s), err
		}
	case "jsonb":
		return ParseJSONB
	case "uuid":
		return parseUUID
	case "bytea":
		return parseBytea
	case "bit", "varbit":
		return parseBits
	case "date":
		return ParseDate
	case "time":
		return func(s string) (Value, error) { return ParseTime(s, false) }
	case "timetz":
		return func(s string) (Value, error) { return ParseTime(s, true) }
	case "timestamp":
		return func(s string) (Value, error) { return ParseTimestamp(s, false) }
	case "timestamptz":
		return func(s string) (Value, error) { return ParseTimestamp(s, true) }
	case "interval":
		return func(s string) (Value, error) { return ParseInterval(s, "") }
	case "inet":
		return func(s string) (Value, error) { return ParseInet(s, false) }
	case "cidr":
		return func(s string) (Value, error) { return ParseInet(s, true) }
	case "macaddr":
		return parseMAC
	}
	return nil
}

func parseOID(s string) (Value, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return Null, unsupported("oid %q", shorten(s))
	}
	return Int(int64(n)), nil
}

func parseMAC(s string) (Value, error) {
	ok := len(s) == 17
	for i := 0; ok && i < len(s); i++ {
		if i%3 == 2 {
			ok = s[i] == ':'
		} else {
			ok = strings.IndexByte("0123456789abcdefABCDEF", s[i]) >= 0
		}
	}
	if !ok {
		return Null, unsupported("macaddr %q: write it as 08:00:2b:01:02:03", shorten(s))
	}
	return Text(strings.ToLower(s)), nil
}

// WriterOf returns a type's output function, nil if there is none here.
func WriterOf(t *pgcatalog.Type) Writer {
	t = t.BaseType()
	if t == nil {
		return nil
	}
	switch {
	case t.IsArray():
		elem := WriterOf(t.Elem)
		if elem == nil {
			return nil
		}
		return func(v Value) string { return FormatArray(v, elem, t.Elem.Delim) }
	case t.Kind == 'e':
		return func(v Value) string { return v.S }
	case t.Kind == 'r':
		return rangeWriter(t)
	case t.Schema != "":
		return nil
	}
	return builtinWriter(t.Name)
}

func builtinWriter(name string) Writer {
	switch name {
	case "bool":
		return func(v Value) string {
			if v.I != 0 {
				return "t"
			}
			return "f"
		}
	case "int2", "int4", "int8", "oid":
		return func(v Value) string { return strconv.FormatInt(v.I, 10) }
	case "numeric":
		return FormatNumeric
	case "float4":
		return func(v Value) string { return FormatFloat(v, 32) }
	case "float8":
		return func(v Value) string { return FormatFloat(v, 64) }
	case "text", "varchar", "bpchar", "name", "json", "jsonb", "uuid", "bit", "varbit", "macaddr":
		return func(v Value) string { return v.S }
	case "bytea":
		return func(v Value) string { return `\x` + hex.EncodeToString([]byte(v.S)) }
	case "date":
		return func(v Value) string { return FormatDate(v.I) }
	case "time":
		return func(v Value) string { return FormatTime(v, false) }
	case "timetz":
		return func(v Value) string { return FormatTime(v, true) }
	case "timestamp":
		return func(v Value) string { return FormatTimestamp(v.I, false) }
	case "timestamptz":
		return func(v Value) string { return FormatTimestamp(v.I, true) }
	case "interval":
		return FormatInterval
	case "inet", "cidr":
		return FormatInet
	}
	return nil
}

// ComparerOf returns the order of a type's default operator class, nil if there is none here. Texts are ordered by their bytes, which is the
// order of the collation "C".
func ComparerOf(t *pgcatalog.Type) Comparer {
	t = t.BaseType()
	if t == nil {
		return nil
	}
	switch {
	case t.IsArray():
		elem := ComparerOf(t.Elem)
		if elem == nil {
			return nil
		}
		return func(a, b Value) int { return CompareArrays(a, b, elem) }
	case t.Kind == 'e':
		return func(a, b Value) int { return compareInt(a.I, b.I) }
	case t.Kind == 'r':
		return rangeComparer(t)
	case t.Schema != "":
		return nil
	}
	switch t.Name {
	case "bool", "int2", "int4", "int8", "oid", "date", "time", "timestamp", "timestamptz":
		return func(a, b Value) int { return compareInt(a.I, b.I) }
	case "numeric":
		return CompareNumeric
	case "float4", "float8":
		return CompareFloat
	case "text", "varchar", "name", "uuid", "bytea", "bit", "varbit", "macaddr":
		return func(a, b Value) int { return strings.Compare(a.S, b.S) }
	case "bpchar":
		return func(a, b Value) int { return strings.Compare(strings.TrimRight(a.S, " "), strings.TrimRight(b.S, " ")) }
	case "timetz":
		return CompareTimeTZ
	case "interval":
		return CompareInterval
	case "jsonb":
		return CompareJSONB
	case "inet", "cidr":
		return CompareInet
	}
	return nil
}

// ColumnReader is ReaderOf for texts that the server itself printed, which need no check.
func ColumnReader(t *pgcatalog.Type) Reader {
	if base := t.BaseType(); base.Schema == "" && (base.Name == "json" || base.Name == "jsonb") {
		return readText
	}
	switch base := t.BaseType(); {
	case base.Kind == 'e':
		return func(s string) (Value, error) { return columnLabel(base, s) }
	case base.IsArray():
		elem := ColumnReader(base.Elem)
		if elem == nil {
			return nil
		}
		return func(s string) (Value, error) { return ParseArray(s, elem, base.Elem.Delim) }
	}
	return ReaderOf(t)
}
