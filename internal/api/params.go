package api

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// params are the parameters of a request: those of the body go before those of the query.
type params struct {
	body  map[string]json.RawMessage
	query url.Values
}

func parseParams(query string, body []byte) (params, error) {
	var p params
	if query != "" {
		values, err := url.ParseQuery(query)
		if err != nil {
			return p, plain(400, "malformed_query", "the query string cannot be read")
		}
		p.query = values
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return p, nil
	}
	if deeper(body, maxDepth) {
		return p, badRequest("body_too_deep", "the body nests more than %d levels deep", maxDepth)
	}
	if body[0] != '{' {
		if json.Valid(body) {
			return p, badRequest("body_not_an_object", "the body must be a JSON object")
		}
		return p, plain(400, "malformed_json", "the body is not valid JSON")
	}
	if err := json.Unmarshal(body, &p.body); err != nil {
		return p, plain(400, "malformed_json", "the body is not valid JSON").detail(err.Error())
	}
	return p, nil
}

// maxDepth is how deep objects and lists of a body may nest. Annotations, which may hold anything, stay far below it.
const maxDepth = 100

// deeper tells whether a JSON text nests deeper than most.
func deeper(text []byte, most int) bool {
	depth, quoted, escaped := 0, false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// value is a parameter as text. Anything but a text, a number, a truth value or null has no text.
type value struct {
	text   string
	shown  string // for messages
	scalar bool
}

// find returns a parameter; null counts as absent.
func (p *params) find(name string) (value, bool) {
	raw, ok := p.body[name]
	if !ok {
		texts, ok := p.query[name]
		if !ok {
			return value{}, false
		}
		text := texts[len(texts)-1]
		return value{text: text, shown: strconv.Quote(clip(text)), scalar: true}, true
	}
	switch raw[0] {
	case 'n':
		return value{}, false
	case '{':
		return value{shown: "an object"}, true
	case '[':
		return value{shown: "a list"}, true
	case '"':
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return value{shown: "a text that cannot be read"}, true
		}
		return value{text: text, shown: strconv.Quote(clip(text)), scalar: true}, true
	}
	return value{text: string(raw), shown: clip(string(raw)), scalar: true}, true
}

// has tells whether a parameter is there, whatever it says.
func (p *params) has(name string) bool {
	_, inBody := p.body[name]
	_, inQuery := p.query[name]
	return inBody || inQuery
}

func clip(text string) string {
	const most = 40
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// integer reads a whole number, or a text that is one.
func (p *params) integer(name string, low, high int) (n int, found bool, err error) {
	v, ok := p.find(name)
	if !ok {
		return 0, false, nil
	}
	n, convErr := strconv.Atoi(v.text)
	if !v.scalar || convErr != nil || n < low || n > high {
		return 0, true, badParameter(name, "is %s; it must be a whole number from %d to %d", v.shown, low, high)
	}
	return n, true, nil
}

// boolean reads true or false, also as text or as 1 and 0.
func (p *params) boolean(name string) (bool, error) {
	v, ok := p.find(name)
	if !ok {
		return false, nil
	}
	switch v.text {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, badParameter(name, "is %s; it must be true or false", v.shown)
}

var durationUnits = []struct {
	suffix string
	unit   time.Duration
}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"", time.Millisecond}}

// duration reads milliseconds, as a number or a text, or a text with one of the units ms, s and m. Absent is 0.
func (p *params) duration(name string, low, high time.Duration) (time.Duration, error) {
	v, ok := p.find(name)
	if !ok {
		return 0, nil
	}
	bad := badParameter(name, "is %s; it must be from %d to %d milliseconds, as a number or as a text such as \"500ms\", \"60s\" or \"5m\"",
		v.shown, low.Milliseconds(), high.Milliseconds())
	for _, u := range durationUnits {
		digits, ok := strings.CutSuffix(v.text, u.suffix)
		if !ok {
			continue
		}
		n, convErr := strconv.ParseUint(digits, 10, 31) // no sign, and no overflow below
		d := time.Duration(n) * u.unit
		if !v.scalar || convErr != nil || d < low || d > high {
			return 0, bad
		}
		return d, nil
	}
	return 0, bad
}

// texts reads a list of texts: from the body, or from the query as name[]=a&name[]=b.
func (p *params) texts(name string) (list []string, found bool, err error) {
	if raw, ok := p.body[name]; ok {
		if raw[0] == 'n' {
			return nil, false, nil
		}
		if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
			return nil, true, badParameter(name, "must be a list of texts")
		}
		return list, true, nil
	}
	if list, ok := p.query[name+"[]"]; ok {
		return list, true, nil
	}
	if _, ok := p.query[name]; ok {
		return nil, true, badParameter(name, "must be a list: send it in the body, or as %s[]=… in the query", name)
	}
	return nil, false, nil
}
