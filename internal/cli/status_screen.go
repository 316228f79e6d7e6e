package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// statusPaint is the colour of a status word.
func statusPaint(status string) paint {
	switch status {
	case "healthy", "active", "streaming":
		return green
	case "warning", "initializing", "paused", "disabled":
		return yellow
	case statusError:
		return red
	}
	return plain
}

// screenWriter collects a screen.
type screenWriter struct {
	app *app
	b   strings.Builder
	now time.Time
}

// renderStatus is the whole screen. rates is nil for a single look.
func (a *app) renderStatus(s *statusAnswer, rates map[string]float64, now time.Time) string {
	w := &screenWriter{app: a, now: now}
	w.heading(s)
	w.databases(s)
	w.sinks(s, rates)
	w.gaps(s.Gaps)
	if len(s.Problems) > 0 {
		w.b.WriteString("\n" + a.screen.paint(bold, "SERVER") + "\n")
		w.issues(s.Problems)
	}
	return w.b.String()
}

func (w *screenWriter) heading(s *statusAnswer) {
	accounts := fmt.Sprintf("%d accounts", s.Accounts)
	if s.Accounts == 1 {
		accounts = "1 account"
	}
	word := w.app.screen.paint(statusPaint(s.Status), strings.ToUpper(clean(s.Status, false)))
	fmt.Fprintf(&w.b, "%s  sequin %s, instance %s, %s\n", word, clean(s.Version, false), clean(s.Instance, false), accounts)
}

// rows writes a table with something below each row.
func (w *screenWriter) rows(t *table, below func(row int)) {
	var text strings.Builder
	if t.write(&text, w.app.screen) != nil { // cannot happen: a strings.Builder takes everything
		return
	}
	for i, line := range strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") {
		w.b.WriteString(line + "\n")
		if i > 0 {
			below(i - 1)
		}
	}
}

func (w *screenWriter) databases(s *statusAnswer) {
	if len(s.Databases) == 0 {
		w.b.WriteString("\nno database is declared: sequin databases create, or sequin config apply\n")
		return
	}
	w.b.WriteByte('\n')
	t := &table{head: []string{"DATABASE", "STATUS", "SLOT", "STATE", "WAL RETAINED", "BEHIND", "LOG", "REACHES BACK"}}
	for i := range s.Databases {
		d := &s.Databases[i]
		t.rows = append(t.rows, []cell{
			{text: d.Name},
			{d.Status, statusPaint(d.Status)},
			{text: d.Slot},
			{text: d.State},
			{text: optionalBytes(d.RetainedWAL)},
			{text: optionalBytes(d.Lag)},
			{d.Log.fill(), d.Log.paint()},
			{text: w.since(d.Log.Oldest)},
		})
	}
	w.rows(t, func(i int) { w.issues(s.Databases[i].Problems) })
}

func optionalBytes(n *int64) string {
	if n == nil {
		return "?"
	}
	return bytesText(*n)
}

// fill is how full the log is.
func (l *logStatus) fill() string {
	if l.Bytes == nil {
		return "?"
	}
	if l.MaxBytes <= 0 {
		return bytesText(*l.Bytes)
	}
	return fmt.Sprintf("%s of %s (%d%%)", bytesText(*l.Bytes), bytesText(l.MaxBytes), l.percent())
}

func (l *logStatus) percent() int64 {
	if l.Bytes == nil || l.MaxBytes <= 0 {
		return 0
	}
	return int64(float64(*l.Bytes) / float64(l.MaxBytes) * 100)
}

// paint follows the warnings of the budget, at 80 and 50 per cent.
func (l *logStatus) paint() paint {
	switch p := l.percent(); {
	case p >= 80:
		return red
	case p >= 50:
		return yellow
	}
	return plain
}

// since is how long ago something was.
func (w *screenWriter) since(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return ageText(w.now.Sub(t))
}

func (w *screenWriter) sinks(s *statusAnswer, rates map[string]float64) {
	if len(s.Sinks) == 0 {
		if len(s.Databases) > 0 {
			w.b.WriteString("\nno sink is declared: sequin sinks create, or sequin config apply\n")
		}
		return
	}
	w.b.WriteByte('\n')
	t := &table{head: []string{"SINK", "DATABASE", "TYPE", "STATUS", "HEALTH", "PENDING", "OLDEST", "IN FLIGHT", "RETRYING", "DEAD", "DELIVERED", "FAILED"}}
	if rates != nil {
		t.head = append(t.head, "RATE")
	}
	for i := range s.Sinks {
		k := &s.Sinks[i]
		row := []cell{
			{text: k.Name},
			{text: k.Database},
			{text: k.Type},
			{k.Status, statusPaint(k.Status)},
			{k.Health, statusPaint(k.Health)},
			{text: strconv.FormatInt(k.Pending, 10)},
			{text: k.oldest()},
			{text: strconv.FormatInt(k.InFlight, 10)},
			counted(k.BackingOff), counted(k.DeadLetters),
			{text: strconv.FormatInt(k.Delivered, 10)},
			{text: strconv.FormatInt(k.Failed, 10)},
		}
		if rates != nil {
			rate := "-"
			if r, ok := rates[k.ID+"/"+k.Name]; ok {
				rate = fmt.Sprintf("%.0f/s", r)
			}
			row = append(row, cell{text: rate})
		}
		t.rows = append(t.rows, row)
	}
	w.rows(t, func(i int) { w.issues(s.Sinks[i].Problems) })
}

func (k *sinkStatus) oldest() string {
	if k.OldestAge <= 0 {
		return "-"
	}
	return ageText(time.Duration(k.OldestAge) * time.Millisecond)
}

// counted is a number that should be 0.
func counted(n int64) cell {
	c := cell{text: strconv.FormatInt(n, 10)}
	if n > 0 {
		c.paint = yellow
	}
	return c
}

func (w *screenWriter) gaps(gaps []gapStatus) {
	if len(gaps) == 0 {
		return
	}
	w.b.WriteByte('\n')
	t := &table{head: []string{"GAP IN", "FROM", "TO", "SINCE", "CAUSE"}}
	for i := range gaps {
		g := &gaps[i]
		where := g.Database
		if g.Sink != "" {
			where = strings.TrimPrefix(where+" → "+g.Sink, " → ")
		}
		t.add(where, short(g.From), short(g.To), g.Since, g.Cause)
	}
	w.rows(t, func(int) {})
}

// issues writes each trouble with what is known and what to do, in whole lines: cut, a command would be of no use.
func (w *screenWriter) issues(all []issue) {
	s := w.app.screen
	for i := range all {
		x := &all[i]
		mark, color := "!", yellow
		if x.Severity == statusError {
			mark, color = "✗", red
		}
		line := clean(x.Message, false)
		if x.Since != nil {
			line += " (for " + w.since(*x.Since) + ")"
		}
		fmt.Fprintf(&w.b, "  %s %s  %s\n", s.paint(color, mark), line, s.paint(faint, "["+clean(x.Code, false)+"]"))
		for _, detail := range nonEmptyLines(x.Detail) {
			w.b.WriteString("    " + s.paint(faint, detail) + "\n")
		}
		for j, hint := range nonEmptyLines(x.Hint) {
			arrow := "→ "
			if j > 0 {
				arrow = "  "
			}
			w.b.WriteString("    " + arrow + hint + "\n")
		}
	}
}

func nonEmptyLines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(clean(text, true), "\n") {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
