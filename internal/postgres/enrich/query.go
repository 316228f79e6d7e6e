package enrich

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/postgres/catalog"
)

// row is one row of an answer.
type row struct {
	key    string
	object []byte
}

// prepared is the query as a connection knows it, for keys of some types.
type prepared struct {
	name    string
	columns []cdc.Column // of the answer
	names   [][]byte     // of these, as JSON with the colon
}

// query asks a on a connection.
func (q *Query) query(ctx context.Context, c *connection, a *ask) ([]row, error) {
	p, err := q.prepare(ctx, c, &a.key)
	if err != nil {
		return nil, err
	}
	where, err := q.keyColumns(p, &a.key)
	if err != nil {
		return nil, err
	}
	params := make([][]byte, len(a.params))
	for i, values := range a.params {
		params[i] = appendArray(nil, values)
	}
	reader := c.conn.PgConn().ExecPrepared(ctx, p.name, params, nil, nil)
	var rows []row
	for reader.NextRow() {
		if len(rows) == q.o.MaxRows {
			_, _ = reader.Close() // reads the rest
			return nil, q.problem("the query returns more than %d rows", q.o.MaxRows).WithHint("add a condition on the keys, or raise max_rows of the function")
		}
		rows = append(rows, q.row(reader, p, where))
	}
	if _, err := reader.Close(); err != nil {
		return nil, err
	}
	return rows, nil
}

// keyColumns finds the key in the answer.
func (q *Query) keyColumns(p *prepared, k *key) ([]int, error) {
	where := make([]int, len(k.names))
	for i, name := range k.names {
		where[i] = slices.IndexFunc(p.columns, func(c cdc.Column) bool { return c.Name == name })
		if where[i] < 0 {
			return nil, q.problem("the query does not return %q, a column of the primary key", name).WithHint("add it to the columns that the query selects, under this name")
		}
	}
	return where, nil
}

func (q *Query) row(reader *pgconn.ResultReader, p *prepared, where []int) row {
	values := reader.Values()
	var key []byte
	for _, i := range where {
		key = appendPart(key, values[i])
	}
	object := []byte{'{'}
	for i, value := range values {
		if i > 0 {
			object = append(object, ',')
		}
		object = append(object, p.names[i]...)
		if value == nil {
			object = append(object, "null"...)
			continue
		}
		object = message.AppendValue(object, &p.columns[i].Type, value, q.o.Format)
	}
	return row{string(key), append(object, '}')}
}

// prepare has the connection know the query, with the arrays of the key's types as its parameters.
func (q *Query) prepare(ctx context.Context, c *connection, k *key) (*prepared, error) {
	id := fmt.Sprint(k.types)
	if p := c.prepared[id]; p != nil {
		return p, nil
	}
	oids := make([]uint32, len(k.types))
	for i, oid := range k.types {
		if err := c.conn.QueryRow(ctx, "select typarray from pg_type where oid = $1", oid).Scan(&oids[i]); err != nil {
			oids[i] = 0 // another database may not have the type: its own rules apply
		}
	}
	c.names++ // one that failed may be there all the same
	name := fmt.Sprintf("sequin_enrich_%d", c.names)
	described, err := c.conn.PgConn().Prepare(ctx, name, q.o.SQL, oids)
	if err != nil {
		return nil, err
	}
	if n := len(described.ParamOIDs); n != len(k.types) {
		return nil, q.problem("the query has %d parameters, and the primary key %d columns (%v)", n, len(k.names), k.names).
			WithHint("$1 is the array of the values of the first column by name, $2 of the second, and so on")
	}
	p := &prepared{name: name}
	for _, f := range described.Fields {
		p.columns = append(p.columns, cdc.Column{Name: f.Name, TypeOID: f.DataTypeOID, TypeMod: f.TypeModifier})
		quoted, err := json.Marshal(f.Name)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		p.names = append(p.names, append(quoted, ':'))
	}
	if err := catalog.FillTypes(ctx, c.conn, p.columns); err != nil {
		return nil, err
	}
	c.prepared[id] = p
	return p, nil
}

// appendArray appends the text of a one-dimensional array (PostgreSQL manual, "Array Input and Output Syntax").
func appendArray(dst []byte, values [][]byte) []byte {
	dst = append(dst, '{')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		for len(v) > 0 {
			n := bytes.IndexAny(v, `"\`)
			if n < 0 {
				dst = append(dst, v...)
				break
			}
			dst = append(append(dst, v[:n]...), '\\', v[n])
			v = v[n+1:]
		}
		dst = append(dst, '"')
	}
	return append(dst, '}')
}
