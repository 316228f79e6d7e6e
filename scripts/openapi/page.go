package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const head = `<!-- Generated from openapi/openapi.yaml: make generate -->
# Management API

%s
The contract in a form for programs is ` + "`GET /api/openapi.json`" + ` (OpenAPI 3.1). What each error code means and what mends it: [errors](errors.md).

`

// scopes say what an operation takes.
var scopes = map[string]string{
	"public": "nobody is asked who they are", "any": "any token or session", "read": "scope `read`; any role", "change": "scope `admin`; roles editor, owner",
	"administer": "scope `admin`; role owner", "consume": "scope `consume:<sink>` or `admin`; roles editor, owner", "local": "over `admin.sock` only",
}

// page writes the reference page.
func (d *document) page() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, head, strings.TrimSpace(d.Info.Description)+"\n")
	for _, tag := range d.Tags {
		fmt.Fprintf(&b, "- [%s](#%s)\n", tag.Name, strings.ToLower(strings.ReplaceAll(tag.Name, " ", "-")))
	}
	for _, tag := range d.Tags {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", tag.Name, strings.TrimSpace(tag.Description))
		if err := d.operations(&b, tag.Name); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// operations writes those of a tag. PUT and PATCH are one thing.
func (d *document) operations(b *bytes.Buffer, tag string) error {
	for _, path := range d.Paths.keys {
		item := d.Paths.values[path]
		var shared []parameter
		if raw, ok := item.values["parameters"]; ok {
			if err := json.Unmarshal(raw, &shared); err != nil {
				return err
			}
		}
		for _, method := range item.keys {
			if method == "parameters" || method == "patch" && item.values["put"] != nil {
				continue
			}
			var op operation
			if err := json.Unmarshal(item.values[method], &op); err != nil {
				return fmt.Errorf("%s %s: %w", method, path, err)
			}
			if !slices.Contains(op.Tags, tag) {
				continue
			}
			shown := "`" + strings.ToUpper(method) + "`"
			if method == "put" {
				shown = "`PUT`, `PATCH`"
			}
			fmt.Fprintf(b, "\n### %s\n\n%s `%s` · %s\n", op.Summary, shown, path, scopes[op.Scope])
			if op.Description != "" {
				fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(op.Description))
			}
			d.parameters(b, append(shared, op.Parameters...))
			if op.RequestBody != nil {
				d.body(b, "Body", op.RequestBody.Content.JSON.Schema, true)
			}
			d.responses(b, &op)
		}
	}
	return nil
}

func (d *document) parameters(b *bytes.Buffer, all []parameter) {
	first := true
	for _, p := range all {
		if p = d.parameter(p); p.In == "path" {
			continue
		}
		if first {
			b.WriteString("\n| Parameter | |\n|---|---|\n")
			first = false
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", p.Name, cell(join(p.Description, d.bounds(p.Schema))))
	}
}

// body writes the keys of an object, and an example.
func (d *document) body(b *bytes.Buffer, title string, s *schema, keys bool) {
	s = d.schema(s)
	if s == nil {
		return
	}
	if s.Description != "" && keys {
		fmt.Fprintf(b, "\n%s: %s\n", title, s.Description)
	}
	if keys && len(s.Properties.keys) > 0 {
		fmt.Fprintf(b, "\n| %s | |\n|---|---|\n", title)
		d.keys(b, "", s)
	}
	if len(s.Examples) > 0 {
		fmt.Fprintf(b, "\n```json\n%s\n```\n", compact(s.Examples[0]))
	}
}

// keys writes a line for each key, those of objects within too.
func (d *document) keys(b *bytes.Buffer, prefix string, s *schema) {
	for _, key := range s.Properties.keys {
		raw := s.Properties.values[key]
		p := d.schema(raw)
		if p == nil {
			continue
		}
		text := join(p.Description, d.bounds(p))
		if slices.Contains(s.Required, key) {
			text = join("required", text)
		}
		fmt.Fprintf(b, "| `%s%s` | %s |\n", prefix, key, cell(text))
		inner, mark := p, "."
		for _, one := range p.AnyOf {
			if found := d.schema(one); len(found.Properties.keys) > 0 {
				inner = found
			}
		}
		if p.Items != nil {
			inner, mark = d.schema(p.Items), "[]."
		}
		if len(inner.Properties.keys) > 0 && strings.Count(prefix, ".") < 2 {
			d.keys(b, prefix+key+mark, inner)
		}
	}
}

// bounds are what a value may be, in words.
func (d *document) bounds(s *schema) string {
	if s = d.schema(s); s == nil {
		return ""
	}
	var parts []string
	if s.Items != nil {
		if items := d.schema(s.Items); len(items.Enum) > 0 {
			parts = append(parts, "list of "+words(items.Enum))
		}
	}
	switch {
	case len(s.Enum) > 0:
		parts = append(parts, words(s.Enum))
	case s.Minimum != nil && s.Maximum != nil:
		parts = append(parts, fmt.Sprintf("%.0f to %.0f", *s.Minimum, *s.Maximum))
	case s.Minimum != nil && *s.Minimum > 0:
		parts = append(parts, fmt.Sprintf("at least %.0f", *s.Minimum))
	}
	if s.Default != nil {
		text, err := json.Marshal(s.Default)
		if err == nil {
			parts = append(parts, "default `"+string(text)+"`")
		}
	}
	return strings.Join(parts, "; ")
}

func words(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprintf("`%v`", v)
		if v == nil {
			texts[i] = "null"
		}
	}
	return strings.Join(texts, ", ")
}

func (d *document) responses(b *bytes.Buffer, op *operation) {
	var errors []string
	for _, status := range op.Responses.keys {
		r := d.response(op.Responses.values[status])
		if status[0] != '2' {
			errors = append(errors, status)
			continue
		}
		fmt.Fprintf(b, "\nAnswers %s: %s.\n", status, strings.TrimSuffix(r.Description, "."))
		d.body(b, "Answer", r.Content.JSON.Schema, op.Tags[0] == "Status" || op.Tags[0] == "Messages")
	}
	slices.Sort(errors)
	fmt.Fprintf(b, "\nErrors: %s.\n", strings.Join(errors, ", "))
}

func join(parts ...string) string {
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	return strings.Join(parts, "; ")
}

func cell(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "|", "\\|") }

func compact(text json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	const wide = 160
	if b.Len() <= wide {
		return b.String()
	}
	b.Reset()
	_ = json.Indent(&b, text, "", "  ") // it was compacted before
	return b.String()
}
