package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

// catalogReader joins relation messages with the catalog, over a connection of its own that it opens when the first one comes. The catalog is
// as of now, not as of the change; a table that is gone by now keeps the facts that were last seen.
type catalogReader struct {
	source  postgres.Config
	records records // its state may be nil: nothing is remembered then
	log     *slog.Logger
	version int
	conn    *pgx.Conn
}

// Catalog reads facts for a stream that remembers nothing.
type Catalog struct{ reader catalogReader }

// NewCatalog makes a Catalog; it connects when it is first asked.
func NewCatalog(source postgres.Config, logger *slog.Logger) *Catalog {
	return &Catalog{catalogReader{source: source, log: logger}}
}

// Relation returns the facts in force for a relation message.
func (c *Catalog) Relation(ctx context.Context, m pgoutput.Relation) (*cdc.Relation, error) {
	return c.reader.relation(ctx, m)
}

// Close ends the connection, also when ctx has ended.
func (c *Catalog) Close(ctx context.Context) { c.reader.close(ctx) }

// catalogTimeout bounds one look-up; a catalog that does not answer breaks the session, which starts again.
const catalogTimeout = 15 * time.Second

func (r *catalogReader) close(ctx context.Context) {
	if r.conn != nil {
		closeConn(ctx, r.conn)
	}
}

// relation returns the facts in force for a relation message.
func (r *catalogReader) relation(ctx context.Context, m pgoutput.Relation) (*cdc.Relation, error) {
	ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
	defer cancel()
	rel, err := r.read(ctx, m)
	switch {
	case errors.Is(err, catalog.ErrGone):
		return r.recall(ctx, m, rel)
	case err != nil:
		return nil, err
	}
	if r.records.state != nil {
		if err := r.records.putRelation(ctx, rel); err != nil {
			return nil, fmt.Errorf("remember the facts: %w", err)
		}
	}
	return rel, nil
}

// read asks the catalog, once more over a new connection if the old one was broken.
func (r *catalogReader) read(ctx context.Context, m pgoutput.Relation) (*cdc.Relation, error) {
	for attempt := 0; ; attempt++ {
		if r.conn == nil || r.conn.IsClosed() {
			conn, err := r.source.Connect(ctx)
			if err != nil {
				return nil, err
			}
			r.conn = conn
		}
		rel, err := catalog.Relation(ctx, r.conn, sent(m))
		if err != nil && r.conn.IsClosed() && attempt == 0 && ctx.Err() == nil {
			continue
		}
		return rel, err
	}
}

// sent is the relation message in the form that the catalog completes.
func sent(m pgoutput.Relation) cdc.Relation {
	rel := cdc.Relation{SourceID: m.OID, Schema: m.Schema, Name: m.Name, Identity: m.Identity, Columns: make([]cdc.Column, len(m.Columns))}
	for i, c := range m.Columns {
		rel.Columns[i] = cdc.Column{Name: c.Name, TypeOID: c.TypeOID, TypeMod: c.TypeMod}
		if c.Key {
			rel.IdentityKey = append(rel.IdentityKey, i)
		}
	}
	return rel
}

// recall completes a dropped table's relation message with what was last known of it. bare holds the facts of the message alone.
func (r *catalogReader) recall(ctx context.Context, m pgoutput.Relation, bare *cdc.Relation) (*cdc.Relation, error) {
	if r.records.state == nil {
		return bare, nil
	}
	old, err := r.records.relation(ctx, m.OID)
	if errors.Is(err, engine.ErrNotFound) {
		r.log.Warn("a table is gone from the catalog and was never seen before; its key is taken from the replica identity", "table", m.Schema+"."+m.Name)
		return bare, nil
	}
	if err != nil {
		return nil, err
	}
	bare.PrimaryKey = nil
	for i := range bare.Columns {
		at := old.ColumnIndex(bare.Columns[i].Name)
		if at < 0 || old.Columns[at].TypeOID != bare.Columns[i].TypeOID {
			continue
		}
		bare.Columns[i].AttNum, bare.Columns[i].Type = old.Columns[at].AttNum, old.Columns[at].Type
		if slices.Contains(old.PrimaryKey, at) {
			bare.PrimaryKey = append(bare.PrimaryKey, i)
		}
	}
	if old.PartitionName != "" {
		bare.PartitionSchema, bare.PartitionName = bare.Schema, bare.Name
	}
	bare.OID, bare.Schema, bare.Name = old.OID, old.Schema, old.Name
	return bare, nil
}
