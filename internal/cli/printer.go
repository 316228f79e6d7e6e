package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/publication"
)

// printer writes changes as lines of JSON. It takes the place of a change log behind a capture.Handler, and is used by its one goroutine.
type printer struct {
	out    *bufio.Writer
	opts   tailOptions
	tail   *message.Tail
	tables map[uint32]bool // what is printed; nil: all
	stop   func(error)
	buf    []byte
	line   []byte
	err    error // of the output
	shown  int

	streaming   bool // has begun once
	relations   map[uint32]*cdc.Relation
	position    cdc.Position
	xid         uint32
	commit      cdc.Timestamp
	annotations []byte
	done        atomic.Uint64 // LSN up to which everything is printed
}

func newPrinter(out *bufio.Writer, source postgres.Config, o tailOptions) *printer {
	host := ""
	if len(source.Hosts) > 0 {
		host = source.Hosts[0].Name
	}
	empty := json.RawMessage("{}")
	return &printer{
		out: out, opts: o, relations: map[uint32]*cdc.Relation{}, stop: func(error) {},
		tail: message.NewTail(message.Database{Name: source.Database, Annotations: empty, Database: source.Database, Hostname: host},
			message.Consumer{Name: "tail", Annotations: empty}),
	}
}

// only restricts the output to the named tables and their partitions.
func (p *printer) only(ctx context.Context, conn *pgx.Conn, names []publication.Name) error {
	schemas, tables := make([]string, 0, len(names)), make([]string, 0, len(names))
	for _, n := range names {
		schemas, tables = append(schemas, n.Schema), append(tables, n.Table)
	}
	rows, err := conn.Query(ctx, `
		with named as (
			select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where (n.nspname, c.relname) in (select * from unnest($1::text[], $2::text[])))
		select oid from named union select t.relid::oid from named, pg_partition_tree(named.oid) t`, schemas, tables)
	if err != nil {
		return fmt.Errorf("look for partitions: %w", err)
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return fmt.Errorf("look for partitions: %w", err)
	}
	p.tables = map[uint32]bool{}
	for _, oid := range oids {
		p.tables[oid] = true
	}
	return nil
}

// wanted reports whether a table is printed. A publication may send a partition's changes as its own or as those of the partitioned table.
func (p *printer) wanted(rel *cdc.Relation) bool {
	return rel != nil && (p.tables == nil || p.tables[rel.OID] || p.tables[rel.SourceID])
}

// begin tells the position of a new stream, and that changes are missing if it is not the first.
func (p *printer) begin(from cdc.LSN) {
	if p.streaming {
		p.gap(from)
	}
	p.streaming = true
	p.done.Store(uint64(from))
}

func (p *printer) confirmed() cdc.LSN { return cdc.LSN(p.done.Load()) }

// Relation puts a description in force.
func (p *printer) Relation(rel *cdc.Relation) { p.relations[rel.SourceID] = rel }

// Begin starts a transaction; none is skipped.
func (p *printer) Begin(xid uint32, final cdc.LSN, commit cdc.Timestamp) bool {
	p.position, p.xid, p.commit, p.annotations = cdc.Position{LSN: final}, xid, commit, nil
	return false
}

// Change prints one row.
func (p *printer) Change(op cdc.Op, sourceID uint32, oldKind byte, old, row cdc.Tuple) error {
	return p.print(&cdc.Change{Op: op, Relation: p.relations[sourceID], OldKind: oldKind, Old: old, New: row})
}

// TooBig says in a line that a change was too big to print.
func (p *printer) TooBig(op cdc.Op, sourceID uint32, size int) error {
	rel := p.relations[sourceID]
	p.position.Index++
	if p.full() || !p.wanted(rel) {
		return nil
	}
	return p.json(map[string]any{"too_big": map[string]any{"table": rel.Schema + "." + rel.Name, "action": op.Action(), "bytes": size}})
}

// Truncate prints a message for each table.
func (p *printer) Truncate(sourceIDs []uint32, _, _ bool) error {
	for _, id := range sourceIDs {
		if err := p.print(&cdc.Change{Op: cdc.OpTruncate, Relation: p.relations[id], TruncateN: len(sourceIDs)}); err != nil {
			return err
		}
		p.position.Index--
	}
	p.position.Index++
	return nil
}

// Message takes a logical message's place in the transaction; annotations apply to what follows.
func (p *printer) Message(prefix string, content []byte) error {
	p.position.Index++
	switch prefix {
	case "sequin:transaction_annotations.set":
		if p.annotations = nil; message.Valid(content) {
			p.annotations = append([]byte(nil), content...)
		}
	case "sequin:transaction_annotations.clear":
		p.annotations = nil
	}
	return nil
}

// Commit makes what was printed confirmable once it is out.
func (p *printer) Commit(end cdc.LSN) error {
	p.done.Store(uint64(end))
	return nil
}

// Mark moves the confirmed position over WAL that holds nothing for us.
func (p *printer) Mark(lsn cdc.LSN) { p.done.Store(uint64(lsn)) }

// Flush writes the lines out; the input is drained.
func (p *printer) Flush() {
	if err := p.flush(); err != nil {
		p.stop(err)
	}
}

// Abort forgets nothing: what was printed was committed.
func (p *printer) Abort() {}

// Interrupt has nothing to interrupt: no call waits for room.
func (p *printer) Interrupt(error) {}

// flush writes the lines out, and returns the first error that writing met.
func (p *printer) flush() error {
	if p.err == nil {
		p.err = p.out.Flush()
	}
	return p.err
}

// print writes one change, unless its table was not asked for or the limit is reached.
func (p *printer) print(c *cdc.Change) error {
	c.Position, c.XID, c.CommitTime, c.Annotations = p.position, p.xid, p.commit, p.annotations
	p.position.Index++
	if p.full() || !p.wanted(c.Relation) {
		return nil
	}
	var err error
	if p.opts.recordOnly {
		p.buf, err = message.AppendRecordOnly(p.buf[:0], c, message.Format{})
	} else {
		p.buf, err = message.Append(p.buf[:0], c, message.Format{}, p.tail, message.Flags{})
	}
	if err != nil {
		return p.json(map[string]any{"error": map[string]any{"table": c.Relation.Schema + "." + c.Relation.Name, "reason": err.Error()}})
	}
	p.line = append(message.Compact(p.line[:0], p.buf), '\n')
	p.shown++
	if err := p.write(p.line); err != nil {
		return err
	}
	if p.full() {
		p.Flush()
		p.stop(errLimit)
	}
	return nil
}

func (p *printer) full() bool { return p.opts.limit > 0 && p.shown >= p.opts.limit }

func (p *printer) write(line []byte) error {
	if p.err == nil {
		_, p.err = p.out.Write(line)
	}
	if p.err != nil {
		return fmt.Errorf("write a line: %w", p.err)
	}
	return nil
}

func (p *printer) json(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	return p.write(append(line, '\n'))
}

// gap says that changes between what was printed and from are missing.
func (p *printer) gap(from cdc.LSN) {
	err := p.json(map[string]any{"gap": map[string]any{
		"from_lsn": p.confirmed().String(), "to_lsn": from.String(), "at": time.Now().UTC().Format(time.RFC3339Nano),
		"reason": "the connection was lost; changes committed in between are not shown",
	}})
	if err == nil {
		p.Flush()
	}
}
