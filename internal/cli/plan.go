package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// plan is what an apply would do, or how two revisions differ.
type plan struct {
	changes  []change
	actions  []string
	warnings []string
	revision json.Number // that it was made against; "" from servers without revisions
}

// change is one resource that changes. Servers of the original name neither the resource nor the keys, and list what does not change as well.
type change struct {
	Kind     string          `json:"resource_type"`
	Action   string          `json:"action"`
	Name     string          `json:"name"`
	Old, New json.RawMessage `json:"-"`
	Changed  []string        `json:"changed"`
}

func readPlan(body []byte) (*plan, error) {
	var answer struct {
		Changes []struct {
			change
			Old json.RawMessage `json:"old"`
			New json.RawMessage `json:"new"`
		} `json:"changes"`
		Actions []struct {
			Description string `json:"description"`
		} `json:"actions"`
		Warnings []any       `json:"warnings"`
		Revision json.Number `json:"revision"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil || answer.Changes == nil {
		return nil, noAnswer("changes")
	}
	p := &plan{revision: answer.Revision}
	for i := range answer.Changes {
		c := &answer.Changes[i]
		c.change.Old, c.change.New = notNull(c.Old), notNull(c.New)
		if c.Name == "" {
			c.Name = nameOf(c.New, c.Old)
		}
		if c.Action == "update" && len(c.Changed) == 0 && len(diffProperties(c.Old, c.New)) == 0 {
			continue
		}
		p.changes = append(p.changes, c.change)
	}
	for _, a := range answer.Actions {
		p.actions = append(p.actions, a.Description)
	}
	for _, w := range answer.Warnings {
		p.warnings = append(p.warnings, warningText(w))
	}
	return p, nil
}

func notNull(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

func warningText(w any) string {
	if text := short(at(w, "message|summary")); text != "" {
		return strings.TrimSpace(short(at(w, "path")) + " " + text)
	}
	return short(w)
}

func nameOf(objects ...json.RawMessage) string {
	for _, o := range objects {
		var named struct {
			Name  string `json:"name"`
			Email string `json:"email"`
		}
		if len(o) > 0 && json.Unmarshal(o, &named) == nil && named.Name+named.Email != "" {
			return named.Name + named.Email
		}
	}
	return ""
}

// counts are the numbers of the last line.
func (p *plan) counts() (add, modify, destroy int) {
	for i := range p.changes {
		switch p.changes[i].Action {
		case "create":
			add++
		case "delete":
			destroy++
		default:
			modify++
		}
	}
	return add, modify, destroy
}

func sign(action string) string {
	switch action {
	case "create":
		return "+"
	case "delete":
		return "-"
	default:
		return "~"
	}
}

func signPaint(sign string) paint {
	switch sign {
	case "+":
		return green
	case "-":
		return red
	default:
		return yellow
	}
}

// render is the whole plan as text.
func (a *app) renderPlan(p *plan) string {
	var b strings.Builder
	if len(p.changes) == 0 {
		b.WriteString("No changes: what is declared is what runs.\n")
	} else {
		b.WriteString("Sequin will make these changes:\n\n")
		b.WriteString(a.renderChanges(p))
	}
	if len(p.actions) > 0 {
		b.WriteString("Beside that it will:\n\n")
		for _, action := range p.actions {
			fmt.Fprintf(&b, "  * %s\n", clean(action, false))
		}
		b.WriteByte('\n')
	}
	add, modify, destroy := p.counts()
	fmt.Fprintf(&b, "Plan: %d to add, %d to change, %d to destroy.\n", add, modify, destroy)
	return b.String()
}

// renderChanges is each change with its sign and its fields.
func (a *app) renderChanges(p *plan) string {
	var b strings.Builder
	for i := range p.changes {
		c := &p.changes[i]
		s := sign(c.Action)
		fmt.Fprintf(&b, "%s %s %s\n", a.screen.paint(signPaint(s), s), clean(c.Kind, false), a.screen.paint(bold, clean(c.Name, false)))
		for _, line := range c.lines() {
			b.WriteString("    ")
			if line.sign != "" {
				b.WriteString(a.screen.paint(signPaint(line.sign), line.sign) + " ")
			}
			b.WriteString(clean(line.text, false))
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// planLine is one line of a change.
type planLine struct{ sign, text string }

func (c *change) lines() []planLine {
	if c.Action != "create" && c.Action != "delete" {
		return c.updateLines()
	}
	whole := c.New
	if c.Action == "delete" {
		whole = c.Old
	}
	all, err := properties(whole)
	if err != nil {
		return nil
	}
	var lines []planLine
	for _, p := range all {
		if p.path == "name" || p.value == nil || p.path == "id" {
			continue
		}
		lines = append(lines, valueLines("", p.path, p.value)...)
	}
	return lines
}

func (c *change) updateLines() []planLine {
	var lines []planLine
	shown := map[string]bool{}
	for _, d := range diffProperties(c.Old, c.New) {
		top, _, _ := strings.Cut(d.path, ".")
		top, _, _ = strings.Cut(top, "[")
		shown[top], shown[d.path] = true, true
		switch {
		case d.old == nil:
			lines = append(lines, valueLines("+", d.path, d.new.value)...)
		case d.new == nil:
			lines = append(lines, valueLines("-", d.path, d.old.value)...)
		default:
			lines = append(lines, changedLines(d.path, d.old.value, d.new.value)...)
		}
	}
	for _, key := range c.Changed { // two secrets can look the same behind their masks
		top, _, _ := strings.Cut(key, ".")
		if !shown[key] && !shown[top] {
			lines = append(lines, planLine{"~", key + ": (changed; its value is not shown)"})
		}
	}
	return lines
}

// valueLines shows a value on its own; one of several lines as a block.
func valueLines(sign, path string, value any) []planLine {
	text, ok := value.(string)
	if !ok || !strings.Contains(strings.TrimSuffix(text, "\n"), "\n") {
		return []planLine{{sign, path + ": " + shownValue(value)}}
	}
	lines := []planLine{{sign, path + ":"}}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		lines = append(lines, planLine{sign, "  " + line})
	}
	return lines
}

// changedLines shows both values; of texts with several lines those between the first and the last that differ.
func changedLines(path string, from, to any) []planLine {
	before, one := from.(string)
	after, other := to.(string)
	if !one || !other || !strings.Contains(before+after, "\n") {
		return []planLine{{"~", fmt.Sprintf("%s: %s → %s", path, shownValue(from), shownValue(to))}}
	}
	b, n := strings.Split(before, "\n"), strings.Split(after, "\n")
	start := 0
	for start < len(b) && start < len(n) && b[start] == n[start] {
		start++
	}
	end := 0
	for end < len(b)-start && end < len(n)-start && b[len(b)-1-end] == n[len(n)-1-end] {
		end++
	}
	lines := []planLine{{"~", fmt.Sprintf("%s: from line %d on", path, start+1)}}
	for _, line := range b[start : len(b)-end] {
		lines = append(lines, planLine{"-", "  " + line})
	}
	for _, line := range n[start : len(n)-end] {
		lines = append(lines, planLine{"+", "  " + line})
	}
	return lines
}

func shownValue(value any) string {
	if value == nil {
		return "null"
	}
	return compactJSON(value)
}

// difference is a property that is not the same in two objects; nil where it is absent.
type difference struct {
	path     string
	old, new *property
}

func diffProperties(before, after json.RawMessage) []difference {
	a, b := propertiesOf(before), propertiesOf(after)
	var all []difference
	for i := range a {
		j := slices.IndexFunc(b, func(p property) bool { return p.path == a[i].path })
		switch {
		case j < 0:
			all = append(all, difference{path: a[i].path, old: &a[i]})
		case compactJSON(a[i].value) != compactJSON(b[j].value):
			all = append(all, difference{a[i].path, &a[i], &b[j]})
		}
	}
	for i := range b {
		if !slices.ContainsFunc(a, func(p property) bool { return p.path == b[i].path }) {
			all = append(all, difference{path: b[i].path, new: &b[i]})
		}
	}
	return all
}

func propertiesOf(raw json.RawMessage) []property {
	if len(raw) == 0 {
		return nil
	}
	all, err := properties(raw)
	if err != nil {
		return nil
	}
	return all
}
