package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Tables that are read. Their first column is not called id, so that no reader takes their rows for changes that are measured.
const (
	narrowTable = `create table bench_narrow (k bigint primary key, account_id bigint not null, kind text not null, created timestamptz not null);
insert into bench_narrow select i, i %% 1000, 'event', now() from generate_series(1, %d) i; vacuum analyze bench_narrow`
	wideTable = `create table bench_wide (k bigint primary key, account_id bigint not null, kind text not null, created timestamptz not null, payload text not null, doc jsonb not null);
insert into bench_wide select i, i %% 1000, 'event', now(), repeat(md5(i::text), 20), jsonb_build_object('n', i, 'tags', array['a', 'b'], 'text', md5(i::text)) from generate_series(1, %d) i;
vacuum analyze bench_wide`
)

// backfills measures how fast tables are read, beside COPY of the same table, and what that costs the changes in between.
func (b *bench) backfills(ctx context.Context) error {
	rows := map[string]int{"bench_narrow": b.scaled(2 * million), "bench_wide": b.scaled(million / 2)}
	for sql, n := range map[string]int{narrowTable: rows["bench_narrow"], wideTable: rows["bench_wide"]} {
		for statement := range strings.SplitSeq(fmt.Sprintf(sql, n), ";") {
			if err := b.exec(ctx, statement); err != nil {
				return err
			}
		}
	}
	if err := b.readRates(ctx, rows); err != nil {
		return err
	}
	if err := b.readBeside(ctx); err != nil {
		return err
	}
	return b.exec(ctx, "drop table bench_narrow", "drop table bench_wide")
}

// readRates compares backfills with COPY.
func (b *bench) readRates(ctx context.Context, rows map[string]int) error {
	t := b.report.add("backfill", "Backfills: rows read, compared with the changes and kept, by one sink that wants none of them", 1, "Table", "By", "Rows/s", "Beside COPY", others)
	t.note("COPY is `COPY (SELECT * …) TO STDOUT` into nothing, over the same connection settings, in the same round. The sink's `where` is false, so that no consumer is measured.")
	for _, table := range []string{"bench_narrow", "bench_wide"} {
		names := []string{"COPY", "one reader", "two readers"}
		rates, disturbed := make([]sample, len(names)), make([]disturbance, len(names))
		for round := range b.opts.rounds {
			for i := range names {
				k := (i + round) % len(names)
				var rate float64
				d, err := b.measure(ctx, table+", "+names[k], func(ctx context.Context) (string, error) {
					took, err := b.readOnce(ctx, table, k)
					rate = float64(rows[table]) / took.Seconds()
					return number(rate, 0) + " rows/s", err
				})
				if err != nil {
					return err
				}
				rates[k] = append(rates[k], rate)
				disturbed[k].join(d)
			}
		}
		for k, name := range names {
			t.row(table, name, number(rates[k].median(), 0), ratios(rates[k], rates[0]).spread(2), disturbed[k].String())
		}
	}
	return nil
}

// readOnce reads a table by COPY, or by so many readers of a backfill.
func (b *bench) readOnce(ctx context.Context, table string, readers int) (time.Duration, error) {
	began := time.Now()
	if readers == 0 {
		_, err := b.conn.PgConn().CopyTo(ctx, io.Discard, "copy (select * from "+table+") to stdout")
		return time.Since(began), err
	}
	s, remove, err := b.reading(ctx, "{name: none, database: db, where: 'k < 0', destination: {type: sequin_stream}}", table)
	if err != nil {
		return 0, err
	}
	defer remove()
	began = time.Now()
	id, err := s.backfill(ctx, "none", fmt.Sprintf(`{"table": %q, "workers": %d}`, table, readers))
	if err != nil {
		return 0, err
	}
	err = s.completed(ctx, "none", id)
	return time.Since(began), err
}

// reading starts Sequin on a publication of one table.
func (b *bench) reading(ctx context.Context, sink, table string) (*sequin, func(), error) {
	slot := b.unique("read")
	if err := b.exec(ctx, "create publication "+publication+" for table "+table); err != nil {
		return nil, nil, err
	}
	if err := b.createSlot(ctx, slot); err != nil {
		return nil, nil, err
	}
	s, err := b.serve(ctx, config{slot: slot, publication: publication, sinks: []string{sink}})
	if err != nil {
		return nil, nil, err
	}
	remove := func() {
		s.remove()
		_ = b.dropSlot(ctx, slot) // the next round says so
		_ = b.exec(ctx, "drop publication "+publication)
	}
	if _, err := b.attached(ctx, slot, s.child); err != nil {
		remove()
		return nil, nil, err
	}
	return s, remove, nil
}

// backfill starts one and returns its id.
func (s *sequin) backfill(ctx context.Context, sink, body string) (string, error) {
	var made struct{ ID string }
	err := s.api(ctx, http.MethodPost, "/api/sinks/"+sink+"/backfills", body, &made)
	return made.ID, err
}

// completed waits until a backfill is over.
func (s *sequin) completed(ctx context.Context, sink, id string) error {
	for {
		var now struct {
			State string
			Error any
		}
		if err := s.api(ctx, http.MethodGet, "/api/sinks/"+sink+"/backfills/"+id, "", &now); err != nil {
			return err
		}
		switch now.State {
		case "completed":
			return nil
		case "active":
		default:
			return fmt.Errorf("the backfill is %s: %v", now.State, now.Error)
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// api calls a route of the management API.
func (s *sequin) api(ctx context.Context, method, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w: %s", path, statusError(resp.StatusCode), reply)
	}
	return json.Unmarshal(reply, into)
}

// readBeside measures the latency of changes while a table is read for the same sink, and without.
func (b *bench) readBeside(ctx context.Context) error {
	t := b.report.add("backfill-latency", "Latency of changes while a big table is read for the same sink", 1, "Way", "Backfill", "p50 (ms)", "p99 (ms)", "p99 to without", others)
	t.note("1,000 changes/s in transactions of one, from COMMIT to arrival, for 15 seconds. The rows of the table are delivered to the same readers all the while.")
	p := pace{rate: 1000, perTx: 1, connections: 4, lasting: b.lasting(15 * time.Second)}
	for _, w := range ways()[1:] {
		found, disturbed := make([][]delay, 2), make([]disturbance, 2)
		for round := range b.opts.rounds {
			for i := range found {
				k := (i + round) % len(found)
				b.refill = k == 1
				d, dist, err := b.delay(ctx, p, w)
				b.refill = false
				if err != nil {
					return err
				}
				found[k] = append(found[k], d)
				disturbed[k].join(dist)
			}
		}
		for k, name := range []string{"none", "running"} {
			var p50, p99, without sample
			for i, d := range found[k] {
				p50, p99, without = append(p50, millis(d.p50)), append(p99, millis(d.p99)), append(without, millis(found[0][i].p99))
			}
			t.row(w.name, name, number(p50.median(), 2), number(p99.median(), 2), ratios(p99, without).spread(2), disturbed[k].String())
		}
	}
	return nil
}

// refilling reads the narrow table for a sink again and again until ctx ends, if the measurement is about that.
func (b *bench) refilling(ctx context.Context, s *sequin, sink string) error {
	if !b.refill {
		return nil
	}
	for ctx.Err() == nil {
		id, err := s.backfill(ctx, sink, `{"table": "bench_narrow"}`)
		if err == nil {
			err = s.completed(ctx, sink, id)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}
