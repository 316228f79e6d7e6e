package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/sequinstream/sequin/internal/config"
)

// answer prints what a server said: as it is in JSON or YAML, or by the command's own table.
func (a *app) answer(body []byte, human func() error) error {
	switch a.output {
	case formatJSON:
		var b bytes.Buffer
		if err := json.Indent(&b, bytes.TrimSpace(body), "", "  "); err != nil {
			return noAnswer("JSON")
		}
		b.WriteByte('\n')
		return a.write(b.String())
	case formatYAML:
		out, err := config.YAMLFromJSON(body)
		if err != nil {
			return err
		}
		return a.write(string(out))
	default:
		return human()
	}
}

func (a *app) printTable(t *table) error {
	var b strings.Builder
	if err := t.write(&b, a.screen); err != nil {
		return err
	}
	return a.write(b.String())
}

// column is one column of a list: where its value stands in each object.
type column struct {
	head string
	path string
}

// listTable makes a table of objects.
func listTable(columns []column, objects []any) *table {
	t := &table{}
	for _, c := range columns {
		t.head = append(t.head, c.head)
	}
	for _, o := range objects {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = short(at(o, c.path))
		}
		t.add(row...)
	}
	return t
}

// at finds a value by its dotted path; several paths apart by | are tried in turn.
func at(value any, path string) any {
	for one := range strings.SplitSeq(path, "|") {
		if v := atOne(value, one); v != nil {
			return v
		}
	}
	return nil
}

func atOne(value any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// short is a value in one cell: nothing for null, and JSON for what has parts.
func short(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case []any:
		texts := make([]string, len(v))
		for i, item := range v {
			switch item.(type) {
			case map[string]any, []any:
				return compactJSON(v)
			}
			texts[i] = short(item)
		}
		return strings.Join(texts, ", ")
	default:
		return compactJSON(v)
	}
}

func compactJSON(value any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil { // cannot happen: it was JSON
		return ""
	}
	return strings.TrimSpace(b.String())
}

// property is one value of an object, with its dotted path.
type property struct {
	path  string
	value any // a scalar, or a list or mapping that is shown whole
}

// properties flattens an object in the order of its keys: mappings are followed; lists of scalars stay whole.
func properties(body []byte) ([]property, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var all []property
	err := readProperties(d, "", 0, &all)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read an object: %w", err)
	}
	return all, nil
}

const maxPropertyDepth = 64

func readProperties(d *json.Decoder, path string, depth int, all *[]property) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	delim, compound := token.(json.Delim)
	switch {
	case !compound:
		*all = append(*all, property{path, token})
		return nil
	case depth > maxPropertyDepth:
		return errors.New("it is nested too deeply")
	case delim == '[':
		return readList(d, path, depth, all)
	}
	if !d.More() {
		*all = append(*all, property{path, map[string]any{}})
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		sub := fmt.Sprint(key)
		if path != "" {
			sub = path + "." + sub
		}
		if err := readProperties(d, sub, depth+1, all); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func readList(d *json.Decoder, path string, depth int, all *[]property) error {
	items := []property{}
	plain := true
	count := 0
	for ; d.More(); count++ {
		before := len(items)
		sub := fmt.Sprintf("%s[%d]", path, count)
		if err := readProperties(d, sub, depth+1, &items); err != nil {
			return err
		}
		plain = plain && len(items) == before+1 && items[before].path == sub
	}
	if plain {
		values := make([]any, count)
		for i := range items {
			values[i] = items[i].value
		}
		*all = append(*all, property{path, values})
	} else {
		*all = append(*all, items...)
	}
	_, err := d.Token()
	return err
}

// showObject prints an object with one property a line.
func (a *app) showObject(body []byte) error {
	all, err := properties(body)
	if err != nil {
		return noAnswer("object")
	}
	t := table{}
	for _, p := range all {
		t.add(p.path, short(p.value))
	}
	return a.printTable(&t)
}

// data is the list of an answer {"data": […], "next": …}.
type data struct {
	Data []any `json:"data"`
	Next any   `json:"next"`
}

func readData(body []byte) (data, error) {
	var d data
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&d); err != nil || d.Data == nil {
		return d, noAnswer("list")
	}
	return d, nil
}

// list prints a list, and how to get the rest of it.
func (a *app) list(body []byte, columns []column, empty, more string) error {
	return a.answer(body, func() error {
		d, err := readData(body)
		if err != nil {
			return err
		}
		if len(d.Data) == 0 {
			a.note("%s", empty)
			return nil
		}
		if err := a.printTable(listTable(columns, d.Data)); err != nil {
			return err
		}
		if d.Next != nil && more != "" {
			a.note("there is more: %s %s", more, short(d.Next))
		}
		return nil
	})
}
