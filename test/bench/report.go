package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// report is what a run found.
type report struct {
	machine  string
	sections []*table
}

// table is one section: what was measured, and the values.
type table struct {
	name    string // of its markers in a page
	title   string // for the terminal
	columns []string
	left    int // how many of the columns are words
	rows    [][]string
	notes   []string
}

// add starts a table whose first columns are words, as many as left says.
func (r *report) add(name, title string, left int, columns ...string) *table {
	t := &table{name: name, title: title, columns: columns, left: left}
	r.sections = append(r.sections, t)
	return t
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// explainMarks adds the note on disturbed rows if there are any.
func (t *table) explainMarks() {
	for _, row := range t.rows {
		if slices.ContainsFunc(row, func(cell string) bool { return strings.Contains(cell, disturbedMark) }) {
			t.note("%s disturbed by other processes in spite of all repetitions: not a measurement.", disturbedMark)
			return
		}
	}
}

// text renders the table for a terminal.
func (t *table) text() string {
	widths := make([]int, len(t.columns))
	for _, row := range append([][]string{t.columns}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	b.WriteString(t.title + "\n")
	line := func(cells []string) {
		for i, cell := range cells {
			if i < t.left {
				b.WriteString(cell + pad(cell, widths[i]) + "  ")
				continue
			}
			b.WriteString(pad(cell, widths[i]) + cell + "  ")
		}
		b.WriteByte('\n')
	}
	line(t.columns)
	for _, row := range t.rows {
		line(row)
	}
	for _, n := range t.notes {
		b.WriteString(n + "\n")
	}
	return b.String()
}

func pad(cell string, width int) string {
	return strings.Repeat(" ", width-utf8.RuneCountInString(cell))
}

// markdown renders the table for a page.
func (t *table) markdown() string {
	var b strings.Builder
	b.WriteString("| " + strings.Join(t.columns, " | ") + " |\n|" + strings.Repeat("---|", t.left) + strings.Repeat("---:|", len(t.columns)-t.left) + "\n")
	for _, row := range t.rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	for _, n := range t.notes {
		b.WriteString("\n" + n + "\n")
	}
	return b.String()
}

func begin(name string) string { return "<!-- bench " + name + " -->\n" }

func end(name string) string { return "<!-- end bench " + name + " -->\n" }

// replace puts text between the markers of that name, or at the end of the page when it has none.
func replace(page, name, text string) (string, error) {
	section := begin(name) + "\n" + strings.TrimSpace(text) + "\n\n" + end(name)
	before, rest, found := strings.Cut(page, begin(name))
	if !found {
		return page + "\n" + section, nil
	}
	_, after, found := strings.Cut(rest, end(name))
	if !found {
		return "", fmt.Errorf("the page has %q, and no %q after it", strings.TrimSpace(begin(name)), strings.TrimSpace(end(name)))
	}
	return before + section + after, nil
}

// replaceIn puts the machine and every table of this run into a page, and leaves the tables of other runs as they are.
func (r *report) replaceIn(path string) error {
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	page := string(content)
	for _, t := range r.sections {
		if page, err = replace(page, t.name, r.machine+"\n\n"+t.markdown()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return os.WriteFile(path, []byte(page), 0o644)
}
