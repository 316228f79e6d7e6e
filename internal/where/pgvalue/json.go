package pgvalue

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON is a parsed document. Kind is n null, t true, f false, # number, " string, [ array, { object.
type JSON struct {
	Kind   byte
	Text   string // of a string, decoded
	Number Value
	Items  []*JSON
	Keys   []string // of an object, sorted as jsonb sorts them; Items are their values
}

const maxJSONDepth = 6000

type jsonParser struct {
	s      string
	i      int
	depth  int
	binary bool // keep one of each key, in jsonb's order
}

func badJSON(s string) error {
	return &Error{"22P02", "invalid input syntax for type json: " + strconv.Quote(shorten(s))}
}

// ParseJSON parses a document; sorted brings objects into jsonb's form.
func ParseJSON(s string, sorted bool) (*JSON, error) {
	p := jsonParser{s: s, binary: sorted}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	p.blank()
	if p.i != len(s) {
		return nil, badJSON(s)
	}
	return v, nil
}

// ParseJSONB reads a jsonb. Texts that a server printed stay as they are.
func ParseJSONB(s string) (Value, error) {
	v, err := ParseJSON(s, true)
	if err != nil {
		return Null, err
	}
	return Text(v.String()), nil
}

func (p *jsonParser) blank() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\t' || p.s[p.i] == '\n' || p.s[p.i] == '\r') {
		p.i++
	}
}

func (p *jsonParser) value() (*JSON, error) {
	p.blank()
	if p.i >= len(p.s) {
		return nil, badJSON(p.s)
	}
	switch c := p.s[p.i]; c {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		text, err := p.text()
		return &JSON{Kind: '"', Text: text}, err
	case 't', 'f', 'n':
		word := map[byte]string{'t': "true", 'f': "false", 'n': "null"}[c]
		if !strings.HasPrefix(p.s[p.i:], word) {
			return nil, badJSON(p.s)
		}
		p.i += len(word)
		return &JSON{Kind: c}, nil
	}
	return p.number()
}

func (p *jsonParser) number() (*JSON, error) {
	end, ok := numberEnd(p.s, p.i)
	if !ok {
		return nil, badJSON(p.s)
	}
	text := p.s[p.i:end]
	p.i = end
	n, err := ParseNumeric(text)
	return &JSON{Kind: '#', Number: n, Text: text}, err
}

// numberEnd checks a number by JSON's grammar.
func numberEnd(s string, i int) (end int, ok bool) {
	digits := func() bool {
		start := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return i, false
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return i, false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return i, false
		}
	}
	if i < len(s) && (s[i] == '.' || s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z') {
		return i, false
	}
	return i, true
}

func (p *jsonParser) enter() error {
	p.depth++
	if p.depth > maxJSONDepth {
		return unsupported("json nested deeper than %d levels", maxJSONDepth)
	}
	return nil
}

func (p *jsonParser) array() (*JSON, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	v := &JSON{Kind: '['}
	p.i++
	p.blank()
	if p.i < len(p.s) && p.s[p.i] == ']' {
		p.i++
		p.depth--
		return v, nil
	}
	for {
		item, err := p.value()
		if err != nil {
			return nil, err
		}
		v.Items = append(v.Items, item)
		more, err := p.more(']')
		if err != nil {
			return nil, err
		}
		if !more {
			p.depth--
			return v, nil
		}
	}
}

// more reads a comma, or the closing bracket.
func (p *jsonParser) more(end byte) (bool, error) {
	p.blank()
	if p.i >= len(p.s) || p.s[p.i] != ',' && p.s[p.i] != end {
		return false, badJSON(p.s)
	}
	p.i++
	return p.s[p.i-1] == ',', nil
}

func (p *jsonParser) object() (*JSON, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	v := &JSON{Kind: '{'}
	p.i++
	p.blank()
	if p.i < len(p.s) && p.s[p.i] == '}' {
		p.i++
		p.depth--
		return v, nil
	}
	for {
		p.blank()
		if p.i >= len(p.s) || p.s[p.i] != '"' {
			return nil, badJSON(p.s)
		}
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		p.blank()
		if p.i >= len(p.s) || p.s[p.i] != ':' {
			return nil, badJSON(p.s)
		}
		p.i++
		item, err := p.value()
		if err != nil {
			return nil, err
		}
		v.Keys, v.Items = append(v.Keys, key), append(v.Items, item)
		more, err := p.more('}')
		if err != nil {
			return nil, err
		}
		if !more {
			p.depth--
			if p.binary {
				v.normalise()
			}
			return v, nil
		}
	}
}

// lessKey is the order of keys in jsonb: the shorter first, then by bytes.
func lessKey(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// normalise sorts the keys; of equal ones the last wins.
func (v *JSON) normalise() {
	order := make([]int, len(v.Keys))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return lessKey(v.Keys[order[a]], v.Keys[order[b]]) })
	keys, items := make([]string, 0, len(order)), make([]*JSON, 0, len(order))
	for _, i := range order {
		if n := len(keys); n > 0 && keys[n-1] == v.Keys[i] {
			items[n-1] = v.Items[i]
			continue
		}
		keys, items = append(keys, v.Keys[i]), append(items, v.Items[i])
	}
	v.Keys, v.Items = keys, items
}

// text reads a string.
func (p *jsonParser) text() (string, error) {
	start := p.i + 1
	end := start
	for end < len(p.s) && p.s[end] != '"' && p.s[end] != '\\' && p.s[end] >= 0x20 {
		end++
	}
	if end < len(p.s) && p.s[end] == '"' {
		p.i = end + 1
		return p.s[start:end], nil
	}
	var b strings.Builder
	b.WriteString(p.s[start:end])
	for p.i = end; p.i < len(p.s); {
		c := p.s[p.i]
		switch {
		case c == '"':
			p.i++
			return b.String(), nil
		case c < 0x20:
			return "", badJSON(p.s)
		case c != '\\':
			b.WriteByte(c)
			p.i++
		default:
			if err := p.escape(&b); err != nil {
				return "", err
			}
		}
	}
	return "", badJSON(p.s)
}

// errJSONEscape is about escapes that json keeps unread, and jsonb refuses.
var errJSONEscape = unsupported("json with an escape that stands for no character")

func (p *jsonParser) escape(b *strings.Builder) error {
	p.i++
	if p.i >= len(p.s) {
		return badJSON(p.s)
	}
	c := p.s[p.i]
	p.i++
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		b.WriteByte("\"\\/\b\f\n\r\t"[i])
		return nil
	}
	if c != 'u' {
		return badJSON(p.s)
	}
	r, ok := p.hex()
	if !ok {
		return badJSON(p.s)
	}
	if r == 0 && !p.binary {
		return errJSONEscape
	}
	if r == 0 {
		return &Error{"22P05", `unsupported Unicode escape sequence: \u0000 cannot be converted to text`}
	}
	if utf16.IsSurrogate(r) {
		bad := badJSON(p.s)
		if !p.binary {
			bad = errJSONEscape
		}
		if !strings.HasPrefix(p.s[p.i:], `\u`) {
			return bad
		}
		p.i += 2
		low, ok := p.hex()
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return bad
		}
	}
	b.WriteRune(r)
	return nil
}

func (p *jsonParser) hex() (rune, bool) {
	if p.i+4 > len(p.s) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.s[p.i:p.i+4], 16, 16)
	p.i += 4
	return rune(n), err == nil
}

// String prints as jsonb does.
func (v *JSON) String() string { return string(v.append(nil)) }

func (v *JSON) append(b []byte) []byte {
	switch v.Kind {
	case 'n':
		return append(b, "null"...)
	case 't':
		return append(b, "true"...)
	case 'f':
		return append(b, "false"...)
	case '#':
		return append(b, FormatNumeric(v.Number)...)
	case '"':
		return AppendJSONString(b, v.Text)
	case '[':
		b = append(b, '[')
		for i, item := range v.Items {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = item.append(b)
		}
		return append(b, ']')
	}
	b = append(b, '{')
	for i, item := range v.Items {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = AppendJSONString(b, v.Keys[i])
		b = append(b, ": "...)
		b = item.append(b)
	}
	return append(b, '}')
}

// AppendJSONString quotes as Postgres does.
func AppendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c < 0x20:
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// AsText is what ->> gives: the text of a string, the JSON of everything else; ok is false for null.
func (v *JSON) AsText() (text string, ok bool) {
	switch v.Kind {
	case 'n':
		return "", false
	case '"':
		return v.Text, true
	}
	return v.String(), true
}

// Field is the value of a key, nil if there is none.
func (v *JSON) Field(key string) *JSON {
	if v.Kind != '{' {
		return nil
	}
	for i, have := range slices.Backward(v.Keys) {
		if have == key {
			return v.Items[i]
		}
	}
	return nil
}

// Element is an element of an array, counted from the end below 0; nil outside.
func (v *JSON) Element(i int64) *JSON {
	if v.Kind != '[' {
		return nil
	}
	if i < 0 {
		i += int64(len(v.Items))
	}
	if i < 0 || i >= int64(len(v.Items)) {
		return nil
	}
	return v.Items[i]
}
