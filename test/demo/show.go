package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// printer writes whole lines; both consumers share it.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// Write takes the progress of a download.
func (p *printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.Write(b)
}

// message is what is shown of a message.
type message struct {
	Record   json.RawMessage `json:"record"`
	Changes  json.RawMessage `json:"changes"`
	Action   string          `json:"action"`
	Metadata struct {
		Table     string    `json:"table_name"`
		Committed time.Time `json:"commit_timestamp"`
		Keys      []string  `json:"record_pks"`
	} `json:"metadata"`
}

// delivered prints a message that a consumer was handed: which consumer, what happened to which row, and how long after the commit.
func (p *printer) delivered(consumer string, raw []byte) error {
	now := time.Now()
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	line, err := describe(consumer, &m, now)
	if err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	p.say("%s", line)
	return nil
}

func describe(consumer string, m *message, now time.Time) (string, error) {
	record, err := fields(m.Record)
	if err != nil {
		return "", err
	}
	old, err := fields(m.Changes)
	if err != nil {
		return "", err
	}
	row := m.Metadata.Table + " " + strings.Join(m.Metadata.Keys, ",")
	after := float64(now.Sub(m.Metadata.Committed).Microseconds()) / 1000
	return fmt.Sprintf("  %-7s  %-6s  %-10s  %7.1f ms  %s", consumer, m.Action, row, after, what(m.Action, record, old)), nil
}

// what tells an update by what changed, the others by the row without its key.
func what(action string, record, old []field) string {
	now := map[string]string{}
	for _, f := range record {
		now[f.name] = f.value
	}
	var parts []string
	if action == "update" {
		for _, f := range old {
			parts = append(parts, f.name+": "+f.value+" → "+now[f.name])
		}
		return strings.Join(parts, ", ")
	}
	for _, f := range record {
		if f.name != "id" {
			parts = append(parts, f.name+": "+f.value)
		}
	}
	return strings.Join(parts, ", ")
}

// field is one member of a JSON object, a text without its quotes.
type field struct{ name, value string }

// fields reads an object in its own order; null has none.
func fields(raw json.RawMessage) ([]field, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	start, err := d.Token()
	if err != nil || start == nil {
		return nil, err
	}
	if start != json.Delim('{') {
		return nil, fmt.Errorf("%s is not an object", raw)
	}
	var all []field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		all = append(all, field{fmt.Sprint(name), text})
	}
	return all, nil
}

// invite says what is to be seen, and what to try.
func (d *demo) invite() {
	url := d.pg.URL("postgres")
	psql, curl := "", ""
	if !found("psql") {
		psql = "   (psql is not installed; on Debian: sudo apt-get install postgresql-client)"
	}
	if !found("curl") {
		curl = "   (curl is not installed; on Debian: sudo apt-get install curl)"
	}
	d.out.say(`
Sequin streams table "orders" to three consumers: %q receives by HTTP long polls, %q is called,
and %q waits for you. API %s, metrics %s.

Try, in another terminal:

  # insert a row yourself (or press Enter here)%s
  psql '%s' -c "insert into orders (customer, item) values ('me', 'a piano')"

  # receive what waits for %q; it comes back after a while, until you acknowledge it%s
  curl -s -H 'Authorization: Bearer %s' '%s/api/sequin_streams/%s/receive?batch_size=100'

  # follow a database without any configuration
  %s tail '%s'

Ctrl-C ends it all and leaves nothing behind. Each line below is one message delivered, with the time since its commit:
`, pulled, pushed, yours, d.api, d.metrics, psql, url, yours, curl, d.token, d.api, yours, d.program(), url)
}
