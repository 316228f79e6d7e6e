package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// cell is a text in a table.
type cell struct {
	text  string
	paint paint
}

// table is rows under a heading. On a terminal it fits the width, by cutting the widest columns.
type table struct {
	head []string
	rows [][]cell
}

const (
	columnGap   = 2
	minimumCell = 6
)

func (t *table) add(texts ...string) {
	row := make([]cell, len(texts))
	for i, text := range texts {
		row[i] = cell{text: text}
	}
	t.rows = append(t.rows, row)
}

func (t *table) write(w io.Writer, s screen) error {
	all := make([][]cell, 0, len(t.rows)+1)
	if len(t.head) > 0 {
		row := make([]cell, len(t.head))
		for i, h := range t.head {
			row[i] = cell{h, bold}
		}
		all = append(all, row)
	}
	for _, row := range t.rows {
		shown := make([]cell, len(row))
		for i, c := range row {
			shown[i] = cell{clean(c.text, false), c.paint}
		}
		all = append(all, shown)
	}
	widths := columnWidths(all)
	if s.width > 0 {
		shrink(widths, s.width)
	}
	var b strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, c := range row {
			text := cut(c.text, widths[i])
			line.WriteString(s.paint(c.paint, text))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-displayWidth(text)+columnGap))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func columnWidths(rows [][]cell) []int {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], displayWidth(c.text))
		}
	}
	return widths
}

// shrink takes from the widest column until the row fits, or nothing can be taken any more.
func shrink(widths []int, limit int) {
	for {
		total, widest := columnGap*(len(widths)-1), 0
		for i, w := range widths {
			total += w
			if w > widths[widest] {
				widest = i
			}
		}
		if total <= limit || len(widths) == 0 || widths[widest] <= minimumCell {
			return
		}
		widths[widest]--
	}
}

// cut shortens a text to a width.
func cut(text string, limit int) string {
	if displayWidth(text) <= limit {
		return text
	}
	used := 0
	for i, r := range text {
		used += runeWidth(r)
		if used > limit-1 {
			return text[:i] + "…"
		}
	}
	return text
}

func displayWidth(text string) int {
	total := 0
	for _, r := range text {
		total += runeWidth(r)
	}
	return total
}

// runeWidth is how many columns a terminal gives a character.
func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// clean shows characters that would steer the terminal, or turn the direction of what follows, as escapes: what a destination or a row says
// must not be able to.
func clean(text string, lines bool) string {
	steers := func(r rune) bool {
		return (!lines || r != '\n' && r != '\t') && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp))
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	if strings.IndexFunc(text, steers) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !steers(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
