// Package path takes a part of a message by the names of the objects that it is in: record.id, metadata.consumer.name. It reads the message's
// JSON without decoding it: the part is delivered as it stands there, to the last digit. A Path is immutable and safe for concurrent use.
package path

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/transform/language"
)

// Path names a part of a message.
type Path struct {
	text  string
	steps []string
}

// New reads a path: names with dots between them.
func New(text string) (*Path, error) {
	steps := strings.Split(text, ".")
	if slices.Contains(steps, "") {
		return nil, fmt.Errorf("path %q has an empty name", text)
	}
	return &Path{text: text, steps: steps}, nil
}

// String is the path as it was written.
func (p *Path) String() string { return p.text }

var null = []byte("null")

// Of is the part of a message, which must be valid JSON; it shares its memory. A name that is missing, and one below null or a list, is null.
// One below any other value is an error, which a *language.Error tells.
func (p *Path) Of(message []byte) ([]byte, error) {
	at := message
	for i, step := range p.steps {
		switch at[0] {
		case '{':
		case '[', 'n':
			return null, nil
		default:
			e := language.Errorf(language.KindRuntime, "path %s: %s is no object, and has no %q", p.text, strings.Join(p.steps[:i], "."), step)
			return nil, e.With(string(at))
		}
		var err error
		if at, err = member(at, step, i < unique); err != nil {
			return nil, fmt.Errorf("path %s: %w", p.text, err)
		}
	}
	return at, nil
}

// unique is how many levels of a message have each key once: its own keys, and those of record, changes and metadata. Below may be a json column
// that says a key twice.
const unique = 2

var errMalformed = errors.New("the message is not valid JSON")

// member is the value under a key of an object; null if there is none. Of two with the same key the last counts, unless the first is known to be
// the only one.
func member(object []byte, key string, only bool) ([]byte, error) {
	found := null
	i := space(object, 1)
	for i < len(object) && object[i] != '}' {
		name, end := text(object, i)
		if end < 0 {
			return nil, errMalformed
		}
		i = space(object, end)
		if i >= len(object) || object[i] != ':' {
			return nil, errMalformed
		}
		i = space(object, i+1)
		end = skip(object, i)
		if end < 0 {
			return nil, errMalformed
		}
		if same(name, key) {
			found = object[i:end:end]
			if only {
				return found, nil
			}
		}
		if i = space(object, end); i < len(object) && object[i] == ',' {
			i = space(object, i+1)
		}
	}
	return found, nil
}

// same compares what stands between the quotes of a JSON string with a key.
func same(quoted []byte, key string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted) == key
	}
	var plain string
	whole := append(append([]byte{'"'}, quoted...), '"')
	return json.Unmarshal(whole, &plain) == nil && plain == key
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// text is what stands between the quotes of the string at i, and where it ends; -1 if there is none.
func text(b []byte, i int) (inside []byte, end int) {
	if i >= len(b) || b[i] != '"' {
		return nil, -1
	}
	for j := i + 1; ; {
		n := bytes.IndexByte(b[j:], '"')
		if n < 0 {
			return nil, -1
		}
		j += n
		escapes := 0
		for b[j-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return b[i+1 : j], j + 1
		}
		j++
	}
}

// skip is where the value at i ends; -1 if it does not.
func skip(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			_, end := text(b, i)
			if end < 0 {
				return -1
			}
			i = end
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\n', '\t', '\r':
			i++
			continue
		default:
			for i++; i < len(b) && b[i] > ' ' && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] != ':'; {
				i++
			}
		}
		if depth <= 0 {
			return i
		}
	}
	return -1
}
