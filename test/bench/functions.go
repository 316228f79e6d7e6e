package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sequinstream/sequin/internal/transform/wasm"
)

// shaping is one way to shape what a sink delivers.
type shaping struct {
	name     string
	function string // a YAML mapping; "" for none
	keys     string // more keys of the sink
	mark     string // what begins each body, for counting
}

const (
	fiveInJavaScript = `function transform(action, record, changes, metadata) { return {op: action, id: record.id, account: record.account_id, kind: record.kind, table: metadata.table_name} }`
	fiveInLua        = `function transform(action, record, changes, metadata) return {op = action, id = record.id, account = record.account_id, kind = record.kind, table = metadata.table_name} end`
	fiveInGo         = `package main

func Transform(action string, record, changes, metadata *Object) any {
	return NewObject("op", action, "id", record.Number("id"), "account", record.Number("account_id"), "kind", record.String("kind"), "table", metadata.String("table_name"))
}
`
)

// shapings are the ways that are compared; the first is without any.
func (b *bench) shapings(ctx context.Context) ([]shaping, error) {
	transform := func(language, code string) string {
		return fmt.Sprintf("{name: f, type: transform, language: %s, code: %s}", language, strconv.Quote(code))
	}
	module, err := b.module(ctx)
	if err != nil {
		return nil, err
	}
	return []shaping{
		{"nothing", "", "", `{"record":`},
		{"`where` that is true", "", "where: 'id > 0 and kind is not null', ", `{"record":`},
		{"path", "{name: f, type: path, path: record}", "transform: f, ", `{"id":`},
		{"JavaScript, five fields", transform("javascript", fiveInJavaScript), "transform: f, ", `{"op":`},
		{"Lua, five fields", transform("lua", fiveInLua), "transform: f, ", `"op":`},
		{"Go (WebAssembly), five fields", transform("go", module), "transform: f, ", `{"op":`},
		{"JavaScript filter that is true", "{name: f, type: filter, language: javascript, code: 'function filter(action, record) { return record.id > 0 }'}", "filter: f, ", `{"record":`},
	}, nil
}

// module builds the Go function.
func (b *bench) module(ctx context.Context) (string, error) {
	dir := filepath.Join(b.dir, b.unique("function"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	source, target := filepath.Join(dir, "f.go"), filepath.Join(dir, "f.wasm")
	if err := os.WriteFile(source, []byte(fiveInGo), 0o600); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, b.binary, "functions", "build", source, "-o", target).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the function in Go: %w\n%s", err, out)
	}
	code, err := os.ReadFile(target)
	if err != nil {
		return "", err
	}
	return wasm.Encode(code), nil
}

// shaped is what one round of a shaping came to.
type shaped struct {
	messages float64 // a second
	cpu      float64 // seconds a message, of Sequin and its workers
}

// functions measures what shaping costs: the same backlog to the same endpoint, with each function and without.
func (b *bench) functions(ctx context.Context) error {
	t := b.report.add("functions", "Functions: messages accepted by one endpoint, in batches of 100, 4 concurrent", 0, "Shaped by", "Messages/s", "Beside nothing",
		"CPU a message (µs), workers included", "Of these for the shaping (µs)", others)
	t.note("From a backlog, to a receiver on the same machine. Functions run in worker processes on the same two cores; what one costs a core is the last column: " +
		"20 µs are 50,000 messages a second and core.")
	all, err := b.shapings(ctx)
	if err != nil {
		return err
	}
	f, err := b.fill(ctx, b.scaled(million))
	if err != nil {
		return err
	}
	defer f.remove()
	rates, cpus, disturbed := make([]sample, len(all)), make([]sample, len(all)), make([]disturbance, len(all))
	for round := range b.opts.rounds {
		for i := range all {
			k := (i + round) % len(all)
			var found shaped
			d, err := b.measure(ctx, all[k].name, func(ctx context.Context) (what string, err error) {
				found, err = f.shaped(ctx, all[k])
				return number(found.messages, 0) + " messages/s", err
			})
			if err != nil {
				return err
			}
			rates[k], cpus[k] = append(rates[k], found.messages), append(cpus[k], found.cpu*1e6)
			disturbed[k].join(d)
		}
	}
	for k, s := range all {
		t.row(s.name, number(rates[k].median(), 0), ratios(rates[k], rates[0]).spread(2), number(cpus[k].median(), 1),
			number(max(0, cpus[k].median()-cpus[0].median()), 1), disturbed[k].String())
	}
	return f.end(ctx)
}

// shaped drains the backlog once.
func (f *filled) shaped(ctx context.Context, s shaping) (shaped, error) {
	found, err := f.counted(ctx, counting{
		send: func(ctx context.Context, url string) error { return f.sendShaped(ctx, s, url) }, in: func(body []byte) int { return bytes.Count(body, []byte(s.mark)) },
		cpu: func() (time.Duration, error) { return cpuOfFamily(f.pid()) },
	})
	return shaped{messages: found.messages, cpu: found.cpu / found.messages}, err
}

func (f *filled) sendShaped(ctx context.Context, s shaping, url string) error {
	sink := fmt.Sprintf("{name: %s, database: db, start: beginning, batch_size: 100, concurrency: 4, max_ack_pending: 100000, %sdestination: {type: webhook, http_endpoint: hook}}",
		f.b.unique("hook"), s.keys)
	if s.function != "" {
		f.config.functions = []string{s.function}
	}
	if err := f.with(url, sink); err != nil {
		return err
	}
	err := f.until(ctx)
	f.config.functions = nil
	return errors.Join(err, f.with(""))
}

// cpuOfFamily is the CPU time of a process and its children so far.
func cpuOfFamily(pid int) (time.Duration, error) {
	all, err := processes()
	var total time.Duration
	for _, p := range all {
		if descends(all, p.pid, pid) {
			total += p.own
		}
	}
	return total, err
}
