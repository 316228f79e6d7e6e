package ledger_test

import (
	"fmt"
	"strings"
)

// sinkSpec is a consumer of a rig: what is declared, and what follows from it.
type sinkSpec struct {
	name      string
	pull      bool
	workers   int    // of a pull sink; requests at a time of a webhook
	batch     int    // messages in a request; 1 for unbatched
	each      bool   // ack_commit: each
	truncates bool   // asks for them
	noBulk    bool   // leaves out the table with the many rows
	loose     bool   // groups the table without a key by a column
	byTable   bool   // message_grouping: table
	sameGroup bool   // pulls several messages of a group at once
	start     string // "" for now
}

// usualSinks are those of most tests.
func usualSinks() []sinkSpec {
	return []sinkSpec{
		{name: "queue", pull: true, workers: 4, truncates: true, loose: true},
		{name: "each", workers: 3, batch: 1, each: true, noBulk: true},
		{name: "single", workers: 8, batch: 1},
		{name: "batch", workers: 4, batch: 20, truncates: true, loose: true},
	}
}

func (s sinkSpec) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - name: %s\n    database: db\n", s.name)
	switch {
	case s.pull:
		b.WriteString("    destination: {type: sequin_stream}\n    ack_wait_ms: 2000\n    max_waiting: 100\n")
	default:
		fmt.Fprintf(&b, "    destination: {type: webhook, http_endpoint: %s, batch: %t}\n    batch_size: %d\n    concurrency: %d\n    ack_wait_ms: 6000\n",
			s.name, s.batch > 1, s.batch, s.workers)
	}
	if s.each {
		b.WriteString("    ack_commit: each\n")
	}
	if s.truncates {
		b.WriteString("    actions: [insert, update, delete, truncate]\n")
	}
	if s.noBulk {
		b.WriteString("    source: {exclude_tables: [bulk]}\n")
	}
	if s.loose {
		b.WriteString("    tables: [{name: loose, group_column_names: [id]}]\n")
	}
	if s.byTable {
		b.WriteString("    message_grouping: table\n")
	}
	if s.start != "" {
		fmt.Fprintf(&b, "    start: %s\n", s.start)
	}
	return b.String()
}

// wants reports whether the sink asked for a change.
func (s sinkSpec) wants(c *change) bool {
	return (s.truncates || c.op != "truncate") && (!s.noBulk || c.table.name != "bulk")
}

// groups are the groups of a change within its table; every is true for what is in all of them.
func (s sinkSpec) groups(c *change) (names []string, every bool) {
	switch {
	case s.byTable:
		return []string{"the table"}, false
	case c.op == "truncate":
		return nil, true
	case c.table.loose && !s.loose:
		return nil, false
	}
	return c.groups, false
}

// predecessors are for each change those that must be done before it: the last of each of its groups.
func (s sinkSpec) predecessors(b *book) map[*change][]*change {
	type state struct {
		fence       *change            // the last one that was in all groups
		last        map[string]*change // since then
		independent []*change          // in no group, since then
	}
	states := map[string]*state{}
	out := map[*change][]*change{}
	for _, c := range b.changes {
		if !s.wants(c) {
			continue
		}
		t := states[c.table.name]
		if t == nil {
			t = &state{last: map[string]*change{}}
			states[c.table.name] = t
		}
		names, every := s.groups(c)
		switch {
		case every:
			out[c] = append(out[c], t.independent...)
			for _, p := range t.last {
				out[c] = append(out[c], p)
			}
			t.fence, t.independent = c, nil
			clear(t.last)
		case len(names) == 0:
			t.independent = append(t.independent, c)
			if t.fence != nil {
				out[c] = append(out[c], t.fence)
			}
		}
		for _, name := range names {
			if p := t.last[name]; p != nil {
				out[c] = append(out[c], p)
			} else if t.fence != nil {
				out[c] = append(out[c], t.fence)
			}
			t.last[name] = c
		}
	}
	return out
}
