package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/where"
)

// tableFacts knows what conditions must know of a database's tables and the change log does not hold: collations, the labels of enums, the parts
// of ranges. They are read from the database when they are first needed, and again for a table that has other columns than were known; they are
// kept in the state store, so that a start needs no database. Columns that a table has lost stay known, for the changes from before.
type tableFacts struct {
	state  engine.State
	prefix string
	logger *slog.Logger
	source func() resource.Database // to ask

	mu      sync.Mutex
	options *where.Options
	tables  map[uint32]*tableFact
	wanted  map[uint32]*cdc.Relation
	clock   uint64 // counts readings
	failure error  // why the last reading failed
	changed chan struct{}
	wake    chan struct{}
}

// tableFact is what is known of one table. It does not change.
type tableFact struct {
	Table where.Table
	Seen  [][]byte // relations that differ from the table, and that it has been read again for
	read  uint64   // when, by the clock; 0 for one from the store
}

// factsPrefix is where the facts of a database's tables are kept: one value for each table, by OID, and one for the database.
func factsPrefix(database string) string { return "tables/" + database + "/" }

const factsOptions = "options"

func newTableFacts(state engine.State, database string, logger *slog.Logger, source func() resource.Database) *tableFacts {
	return &tableFacts{
		state: state, prefix: factsPrefix(database), logger: logger, source: source, tables: map[uint32]*tableFact{}, wanted: map[uint32]*cdc.Relation{},
		changed: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// load reads what is kept.
func (f *tableFacts) load(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for entry, err := range f.state.List(ctx, f.prefix) {
		if err != nil {
			return fmt.Errorf("read what is known of tables: %w", err)
		}
		name := entry.Key[len(f.prefix):]
		if name == factsOptions {
			f.options = new(where.Options)
			err = json.Unmarshal(entry.Value, f.options)
		} else {
			fact := new(tableFact)
			oid, parsing := strconv.ParseUint(name, 10, 32)
			err = errors.Join(parsing, json.Unmarshal(entry.Value, fact))
			f.tables[uint32(oid)] = fact
		}
		if err != nil {
			return fmt.Errorf("read what is known of tables, %s: %w", entry.Key, err)
		}
	}
	return nil
}

// Changed is closed at the next reading.
func (f *tableFacts) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *tableFacts) now() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

// of is what is known of the table of a relation, no older than the clock's since if that is asked for. What is not known is read, and the error
// says that it is not known yet.
func (f *tableFacts) of(rel *cdc.Relation, since uint64) (*tableFact, where.Options, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fact := f.tables[rel.OID]
	if fact != nil && f.options != nil && fact.read >= since && fact.fits(rel) {
		return fact, *f.options, nil
	}
	if _, asked := f.wanted[rel.OID]; !asked {
		f.wanted[rel.OID] = rel
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	p := problem.New("table_facts_unknown", "what a condition must know of table %s.%s is not known yet", rel.Schema, rel.Name).
		WithHint("it is read from the database as soon as that can be reached; nothing is lost meanwhile")
	if f.failure != nil {
		p = p.WithDetail("%s", f.failure.Error())
	}
	return nil, where.Options{}, p
}

// fits reports whether nothing about the relation is news.
func (f *tableFact) fits(rel *cdc.Relation) bool {
	news := slices.ContainsFunc(rel.Columns, func(c cdc.Column) bool {
		return !slices.ContainsFunc(f.Table.Columns, func(known where.Column) bool { return known.Name == c.Name && known.TypeOID == c.TypeOID })
	})
	return !news || slices.ContainsFunc(f.Seen, func(s []byte) bool { return bytes.Equal(s, signature(rel)) })
}

// signature tells relations with different columns apart.
func signature(rel *cdc.Relation) []byte {
	var s []byte
	for i := range rel.Columns {
		s = strconv.AppendUint(append(append(s, rel.Columns[i].Name...), 0), uint64(rel.Columns[i].TypeOID), 10)
		s = append(s, ',')
	}
	return s
}

// firstFactsRetry and lastFactsRetry are the waits after readings that failed, and factsTime is how long one may take.
const (
	firstFactsRetry = time.Second
	lastFactsRetry  = 30 * time.Second
	factsTime       = 10 * time.Second
)

// run reads what is wanted, until ctx ends.
func (f *tableFacts) run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	wait := firstFactsRetry
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
			if wait > firstFactsRetry { // the database does not answer: in its time, with the others
				continue
			}
		case <-retry.C:
		}
		f.mu.Lock()
		wanted := make([]*cdc.Relation, 0, len(f.wanted))
		for _, rel := range f.wanted {
			wanted = append(wanted, rel)
		}
		f.mu.Unlock()
		if len(wanted) == 0 {
			continue
		}
		err := f.read(ctx, wanted)
		if err == nil || ctx.Err() != nil {
			wait = firstFactsRetry
			continue
		}
		f.logger.Warn("what conditions must know of tables could not be read; it is tried again", "reason", err, "after", wait)
		f.mu.Lock()
		f.failure = err
		f.mu.Unlock()
		retry.Reset(wait)
		wait = min(2*wait, lastFactsRetry)
	}
}

func (f *tableFacts) read(ctx context.Context, wanted []*cdc.Relation) error {
	ctx, cancel := context.WithTimeout(ctx, factsTime)
	defer cancel()
	source, err := Source(f.source())
	if err != nil {
		return err
	}
	conn, err := source.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the answer is in; a failed farewell is nothing
	options, err := catalog.WhereOptions(ctx, conn)
	if err != nil {
		return err
	}
	ops := []engine.Op{}
	value, err := json.Marshal(options)
	if err != nil {
		return fmt.Errorf("encode what is known of a database: %w", err)
	}
	ops = append(ops, engine.Put(f.prefix+factsOptions, value))
	facts := map[uint32]*tableFact{}
	for _, rel := range wanted {
		fact, err := f.readOne(ctx, conn, rel)
		if err != nil {
			return err
		}
		facts[rel.OID] = fact
		if value, err = json.Marshal(fact); err != nil {
			return fmt.Errorf("encode what is known of a table: %w", err)
		}
		ops = append(ops, engine.Put(f.prefix+strconv.FormatUint(uint64(rel.OID), 10), value))
	}
	if err := f.state.Apply(ctx, ops...); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock++
	f.options, f.failure = &options, nil
	for oid, fact := range facts {
		fact.read = f.clock
		f.tables[oid] = fact
		delete(f.wanted, oid)
	}
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

// readOne reads a table again. A table that is gone is known by its changes alone.
func (f *tableFacts) readOne(ctx context.Context, conn *pgx.Conn, rel *cdc.Relation) (*tableFact, error) {
	f.mu.Lock()
	old := f.tables[rel.OID]
	f.mu.Unlock()
	table, err := catalog.WhereTable(ctx, conn, rel.OID)
	if errors.Is(err, catalog.ErrGone) {
		table, err = where.Table{Schema: rel.Schema, Name: rel.Name, Identity: rel.Identity}, nil
		for _, i := range rel.IdentityKey {
			table.IdentityColumns = append(table.IdentityColumns, rel.Columns[i].Name)
		}
	}
	if err != nil {
		return nil, err
	}
	fact := &tableFact{Table: table}
	if old != nil {
		fact.remember(&old.Table)
		fact.Seen = old.Seen
	}
	fact.remember(tableOf(rel))
	if !fact.fits(rel) { // its columns were others once
		fact.Seen = append(slices.Clone(fact.Seen), signature(rel))
		if len(fact.Seen) > maxSeen {
			fact.Seen = fact.Seen[1:]
		}
	}
	return fact, nil
}

// maxSeen bounds the earlier forms of a table that are remembered.
const maxSeen = 16

// remember adds columns and types that are known from before and not there any more.
func (f *tableFact) remember(old *where.Table) {
	for _, c := range old.Columns {
		if !slices.ContainsFunc(f.Table.Columns, func(known where.Column) bool { return known.Name == c.Name }) {
			f.Table.Columns = append(f.Table.Columns, c)
		}
	}
	for _, t := range old.Types {
		if !slices.ContainsFunc(f.Table.Types, func(known where.UserType) bool { return known.OID == t.OID }) {
			f.Table.Types = append(f.Table.Types, t)
		}
	}
}

// lostCollation stands for that of a column which is gone: nothing that depends on it can be answered.
var lostCollation = where.Collation{Name: "of a column that is gone", Nondeterministic: true}

// tableOf is what a relation tells of its table.
func tableOf(rel *cdc.Relation) *where.Table {
	t := &where.Table{Schema: rel.Schema, Name: rel.Name}
	for i := range rel.Columns {
		t.Columns = append(t.Columns, where.Column{Name: rel.Columns[i].Name, TypeOID: rel.Columns[i].TypeOID, Collation: &lostCollation})
	}
	return t
}
