package server

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/backfills"
	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/changelog"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/backfill"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

// laneLog is the name of the log that keeps the rows which backfills have read for a sink.
func laneLog(sink string) string { return "lane-" + sink }

// laneOf is where a sink's consumer keeps the rows of backfills.
func (s *Server) laneOf(sink string) *consumer.Lane {
	return &consumer.Lane{
		Blocks: func(ctx context.Context) (engine.Log, error) { return s.engine.Log(ctx, laneLog(sink)) },
		Pages:  pageCodec{},
	}
}

// pageCodec keeps the rows of backfills.
type pageCodec struct{}

func (pageCodec) EncodePage(rows []cdc.Change) ([]byte, error) {
	return changelog.AppendReads(nil, rows)
}

func (pageCodec) DecodePage(b []byte, first uint64) ([]cdc.Change, error) {
	return changelog.DecodeReads(b, first)
}

// backfillTarget is a sink that runs, for its backfills.
func (s *Server) backfillTarget(id string) (backfills.Target, bool) {
	for _, d := range s.databases() {
		d.mu.Lock()
		live := d.live
		var run *sinkRun
		if live != nil {
			for _, r := range live.sinks {
				if r.id == id {
					run = r
				}
			}
		}
		res := d.res
		d.mu.Unlock()
		if run != nil {
			return d.targetOf(live, run, res), true
		}
	}
	return backfills.Target{}, false
}

func (d *database) targetOf(live *running, run *sinkRun, res resource.Database) backfills.Target {
	live.recallTransactions.Do(func() { live.recall(d) })
	c, _ := run.now()
	want := run.declared()
	return backfills.Target{
		Database: d.id, Consumer: c,
		Open: func(ctx context.Context, b *backfills.Backfill, blocks *backfill.Blocks) (*backfill.Reader, error) {
			source, err := Source(d.resource())
			if err != nil {
				return nil, err
			}
			spec := b.Spec(res.Publication.Name)
			spec.Blocks = blocks
			return backfill.New(ctx, source.Connect, spec)
		},
		LogEnd: func() (uint64, uint32) {
			end := live.log.End()
			return end.Seq, end.Position.Epoch
		},
		Watermark: func(ctx context.Context) (cdc.LSN, error) {
			mark, err := live.capture.Watermark(ctx, func(ctx context.Context, slot, publication, id string) error {
				return live.marker.emit(ctx, d.resource(), slot, publication, id)
			})
			return mark.Commit, err
		},
		Received:  live.capture.Received,
		Shareable: wantsEveryChange(want.sink),
		MaxRow:    int(res.MaxChangeBytes),
	}
}

// wantsEveryChange tells whether each insert, update and delete of a row reaches a sink.
func wantsEveryChange(sk resource.Sink) bool {
	have := map[resource.Action]bool{}
	for _, a := range sk.Actions {
		have[a] = true
	}
	return have[resource.ActionInsert] && have[resource.ActionUpdate] && have[resource.ActionDelete]
}

// recallEntries is how much of the log is looked at for transactions that committed before this process began.
const recallEntries = 50_000

// recall has the capture remember the transactions at the log's end: one of them may still wait for a synchronous standby.
func (r *running) recall(d *database) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	end := r.log.End().Seq
	at := max(r.log.FirstSeq(), 1)
	if end > recallEntries {
		at = max(at, end-recallEntries)
	}
	var xids []uint32
	for at <= end {
		s, err := r.log.Segment(ctx, at)
		if err != nil {
			d.logger.Warn("the log's end could not be read for transactions that a backfill may not see yet", "reason", err)
			break
		}
		for i := range s.Changes {
			if n := len(xids); n == 0 || xids[n-1] != s.Changes[i].XID {
				xids = append(xids, s.Changes[i].XID)
			}
		}
		at = s.Last + 1
	}
	r.capture.Remember(xids)
}

// marker writes watermarks, over a connection that is opened when the first is wanted and closed when none was for a while.
type marker struct {
	mu     sync.Mutex
	conn   *pgx.Conn
	source resource.Database
	idle   *time.Timer
}

// markerIdle is how long the connection is kept without use.
const markerIdle = 30 * time.Second

func (m *marker) emit(ctx context.Context, res resource.Database, slot, publication, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.idle != nil {
		m.idle.Stop()
	}
	if m.conn != nil && (m.conn.IsClosed() || !sameSource(m.source, res)) {
		m.close() //nolint:contextcheck // a farewell, whatever has become of the request
	}
	if m.conn == nil {
		source, err := Source(res)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		if m.conn, err = source.Connect(ctx); err != nil {
			m.conn = nil
			return err
		}
		m.source = res
	}
	m.idle = time.AfterFunc(markerIdle, m.end)
	return postgres.EmitWatermark(ctx, m.conn, slot, publication, id)
}

// end closes the connection.
func (m *marker) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.close()
}

// close is end with m.mu held.
func (m *marker) close() {
	if m.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = m.conn.Close(ctx) // a farewell
	m.conn = nil
}

// readFirst starts what a new sink is to read first. It comes before the sink is opened for the first time, and is repeated after a crash in
// between: the ids are the same.
func (s *Server) readFirst(ctx context.Context, db resource.Database, want declared) error {
	initial := want.sink.InitialBackfill
	for _, t := range initial.Tables {
		b := &backfills.Backfill{
			ID: backfills.InitialID(want.id, t.Table), Sink: want.id, Database: db.ID, Table: t.Table,
			Part: backfills.Part{SortColumn: t.SortColumn, From: t.Start},
		}
		if _, err := s.backfills.Create(ctx, b); err != nil && problem.Code(err) != "backfill_exists" {
			return err
		}
	}
	if initial.All {
		return s.backfills.ReadAll(ctx, want.id, db.ID)
	}
	return nil
}

// tablesOfSink are the tables of a sink's source that the publication has.
func (s *Server) tablesOfSink(ctx context.Context, id string) ([]resource.TableName, error) {
	for _, d := range s.databases() {
		wanted := d.declared()
		for name := range wanted {
			want := wanted[name]
			if want.id != id {
				continue
			}
			res := d.resource()
			return publishedTables(ctx, &res, &want.sink)
		}
	}
	return nil, backfills.ErrNoSink
}

func publishedTables(ctx context.Context, db *resource.Database, sink *resource.Sink) ([]resource.TableName, error) {
	source, err := Source(*db)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := source.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the answer is in
	all, err := backfill.Tables(ctx, conn, db.Publication.Name)
	if err != nil {
		return nil, err
	}
	var mine []resource.TableName
	for _, t := range all {
		if name := (resource.TableName{Schema: t.Schema, Name: t.Name}); sinkReads(sink, name) {
			mine = append(mine, name)
		}
	}
	return mine, nil
}
