package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// arrangement is what else happens with the writers' rows.
type arrangement struct {
	name  string
	setUp []string
	start func(b *bench, ctx context.Context) (*companion, error)
}

// companion is a program that follows the writers; the zero value is none.
type companion struct {
	slot   string
	client *child
	stop   func()
}

// burden is one round of one arrangement.
type burden struct {
	p50, p99  time.Duration
	walsender time.Duration // CPU
	rate      float64
}

func arrangements() []arrangement {
	const trigger = "create trigger bench_cost after insert on bench_cost for each row execute function bench_cost()"
	return []arrangement{
		{name: "nothing", start: (*bench).nothing},
		{name: "Sequin, capture alone", start: (*bench).captureBeside},
		{name: "Sequin, delivering webhooks", start: (*bench).deliverBeside},
		{name: "pg_recvlogical", start: (*bench).receiveBeside},
		{
			name: "outbox table, by trigger", start: (*bench).nothing,
			setUp: []string{
				"create table bench_outbox (id bigint generated always as identity primary key, record jsonb not null, at timestamptz not null default now())",
				"create function bench_cost() returns trigger language plpgsql as $$ begin insert into bench_outbox (record) values (to_jsonb(new)); return new; end $$",
				trigger,
			},
		},
		{
			name: "NOTIFY, by trigger, one listener", start: (*bench).listenBeside,
			setUp: []string{
				"create function bench_cost() returns trigger language plpgsql as $$ begin perform pg_notify('bench', to_jsonb(new)::text); return new; end $$",
				trigger,
			},
		},
	}
}

// cost measures what capture costs the database: the time of small transactions with and without it, beside what people use in its place.
func (b *bench) cost(ctx context.Context) error {
	p := pace{rate: 2000, perTx: 1, connections: 16, lasting: b.lasting(15 * time.Second)}
	t := b.report.add("cost", "Cost to the database", 1, "Beside the writers", "p50 (ms)", "p99 (ms)", "p50 to nothing's", "p99 to nothing's",
		"Walsender CPU (s a million)", "Transactions/s", others)
	t.note("%d connections commit %s single-row inserts a second in all; p50 and p99 are of one insert with its commit, synchronous, with fsync on. "+
		"Ratios are taken round by round. Goals: Sequin's p50 at most 1.05 times, p99 at most 1.2 times that of nothing.", p.connections, number(float64(p.rate), 0))
	all := arrangements()
	found, disturbed := make([][]burden, len(all)), make([]disturbance, len(all))
	for round := range b.opts.rounds {
		for i := range all {
			k := (i + round) % len(all)
			var one burden
			d, err := b.measure(ctx, all[k].name, func(ctx context.Context) (what string, err error) {
				one, err = b.burden(ctx, p, all[k])
				return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", millis(one.p50), millis(one.p99)), err
			})
			if err != nil {
				return err
			}
			found[k] = append(found[k], one)
			disturbed[k].join(d)
		}
	}
	for k, a := range all {
		burdenRow(t, a.name, found[k], found[0], disturbed[k])
	}
	return nil
}

func burdenRow(t *table, name string, found, reference []burden, disturbed disturbance) {
	column := func(all []burden, value func(burden) float64) sample {
		var s sample
		for _, one := range all {
			s = append(s, value(one))
		}
		return s
	}
	p50 := func(o burden) float64 { return millis(o.p50) }
	p99 := func(o burden) float64 { return millis(o.p99) }
	sender := number(column(found, func(o burden) float64 { return o.walsender.Seconds() }).median(), 1)
	if found[0].walsender == 0 {
		sender = "-"
	}
	t.row(name, number(column(found, p50).median(), 2), number(column(found, p99).median(), 2),
		ratios(column(found, p50), column(reference, p50)).spread(2), ratios(column(found, p99), column(reference, p99)).spread(2),
		sender, number(column(found, func(o burden) float64 { return o.rate }).median(), 0), disturbed.String())
}

// burden runs one arrangement on a new table.
func (b *bench) burden(ctx context.Context, p pace, a arrangement) (burden, error) {
	var found burden
	setUp := append([]string{
		"create table bench_cost (id bigint generated always as identity primary key, account_id bigint not null, payload text not null, at timestamptz not null default now())",
		"create publication " + publication + " for table bench_cost",
	}, a.setUp...)
	if err := b.exec(ctx, append(setUp, "checkpoint")...); err != nil {
		return found, err
	}
	c, err := a.start(b, ctx)
	if err != nil {
		return found, err
	}
	if found, err = b.accompanied(ctx, p, c); err != nil {
		return found, err
	}
	return found, b.exec(ctx, "drop publication "+publication, "drop table bench_cost", "drop function if exists bench_cost", "drop table if exists bench_outbox")
}

// accompanied lets the writers write while the companion follows, and ends it.
func (b *bench) accompanied(ctx context.Context, p pace, c *companion) (burden, error) {
	if c.stop != nil {
		defer c.stop()
	}
	if c.slot == "" {
		return b.commits(ctx, p)
	}
	w, err := b.attached(ctx, c.slot, c.client)
	if err != nil {
		return burden{}, err
	}
	found, err := b.commits(ctx, p)
	if err != nil {
		return found, err
	}
	if err := sleep(ctx, 300*time.Millisecond); err != nil { // for the last changes
		return found, err
	}
	w.look()
	found.walsender = time.Duration(float64(w.cpu) * million / float64(p.changes()))
	if err := c.client.alive(); err != nil {
		return found, err
	}
	c.stop()
	return found, b.dropSlot(ctx, c.slot)
}

func (b *bench) nothing(context.Context) (*companion, error) { return &companion{}, nil }

func (b *bench) captureBeside(ctx context.Context) (*companion, error) {
	return b.sequinBeside(ctx, config{sinks: []string{pullSink("pull")}}, func() {})
}

func (b *bench) deliverBeside(ctx context.Context) (*companion, error) {
	hook, err := listen(func(time.Time, []byte) {})
	if err != nil {
		return nil, err
	}
	return b.sequinBeside(ctx, config{
		endpoints: []string{"{name: hook, url: " + hook.url + "}"},
		sinks:     []string{"{name: hook, database: db, start: beginning, batch_size: 100, destination: {type: webhook, http_endpoint: hook}}"},
	}, hook.close)
}

func (b *bench) sequinBeside(ctx context.Context, c config, stop func()) (*companion, error) {
	c.slot, c.publication = b.unique("live"), publication
	if err := b.createSlot(ctx, c.slot); err != nil {
		return nil, err
	}
	s, err := b.serve(ctx, c)
	if err != nil {
		stop()
		return nil, err
	}
	return &companion{slot: c.slot, client: s.child, stop: func() { s.remove(); stop() }}, nil
}

func (b *bench) receiveBeside(ctx context.Context) (*companion, error) {
	slot := b.unique("live")
	if err := b.createSlot(ctx, slot); err != nil {
		return nil, err
	}
	client, err := b.receive(slot, publication, "", false, nil)
	if err != nil {
		return nil, err
	}
	return &companion{slot: slot, client: client, stop: client.kill}, nil
}

// listenBeside reads notifications as they come.
func (b *bench) listenBeside(ctx context.Context) (*companion, error) {
	conn, err := pgx.Connect(ctx, b.pg.SocketURL(database))
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "listen bench"); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	listening, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := conn.WaitForNotification(listening); err != nil {
				return
			}
		}
	}()
	return &companion{stop: func() {
		cancel()
		<-done
		_ = conn.Close(context.WithoutCancel(ctx)) // a farewell
	}}, nil
}

// commits lets the writers write and returns how long their transactions took.
func (b *bench) commits(ctx context.Context, p pace) (burden, error) {
	const sql = "insert into bench_cost (account_id, payload) select n, md5(n::text) || md5((n + 1)::text) || md5((n + 2)::text) from (values ($1::bigint)) v (n)"
	took := make([][]time.Duration, p.connections)
	each, begun := p.each(), time.Now()
	err := b.paced(ctx, p, func(ctx context.Context, conn *pgx.Conn, worker, i int) error {
		if i >= each {
			return errEnough
		}
		at := time.Now()
		if _, err := conn.Exec(ctx, sql, int64(i)); err != nil {
			return err
		}
		took[worker] = append(took[worker], time.Since(at))
		return nil
	})
	elapsed := time.Since(begun)
	var all []time.Duration
	for _, one := range took {
		all = append(all, one[len(one)/10:]...) // without the start
	}
	slices.Sort(all)
	return burden{p50: quantile(all, 0.5), p99: quantile(all, 0.99), rate: float64(p.changes()) / elapsed.Seconds()}, err
}
