package pgoutput_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

// parse reads a message of any known kind.
func parse(b []byte) (any, error) {
	switch pgoutput.Kind(b) {
	case pgoutput.KindBegin:
		return pgoutput.ParseBegin(b)
	case pgoutput.KindCommit:
		return pgoutput.ParseCommit(b)
	case pgoutput.KindOrigin:
		return pgoutput.ParseOrigin(b)
	case pgoutput.KindRelation:
		return pgoutput.ParseRelation(b)
	case pgoutput.KindType:
		return pgoutput.ParseType(b)
	case pgoutput.KindInsert:
		return pgoutput.ParseInsert(b)
	case pgoutput.KindUpdate:
		return pgoutput.ParseUpdate(b)
	case pgoutput.KindDelete:
		return pgoutput.ParseDelete(b)
	case pgoutput.KindTruncate:
		return pgoutput.ParseTruncate(b)
	case pgoutput.KindMessage:
		return pgoutput.ParseMessage(b)
	}
	return parseStreamed(b)
}

func parseStreamed(b []byte) (any, error) {
	switch pgoutput.Kind(b) {
	case pgoutput.KindStreamStart:
		return pgoutput.ParseStreamStart(b)
	case pgoutput.KindStreamStop:
		return struct{}{}, pgoutput.ParseStreamStop(b)
	case pgoutput.KindStreamCommit:
		return pgoutput.ParseStreamCommit(b)
	case pgoutput.KindStreamAbort:
		return pgoutput.ParseStreamAbort(b)
	case pgoutput.KindBeginPrepare:
		return pgoutput.ParseBeginPrepare(b)
	case pgoutput.KindPrepare:
		return pgoutput.ParsePrepare(b)
	case pgoutput.KindCommitPrepared:
		return pgoutput.ParseCommitPrepared(b)
	case pgoutput.KindRollbackPrepared:
		return pgoutput.ParseRollbackPrepared(b)
	case pgoutput.KindStreamPrepare:
		return pgoutput.ParseStreamPrepare(b)
	}
	return nil, errUnknownKind
}

var errUnknownKind = errors.New("unknown kind")

func TestParse(t *testing.T) {
	t.Parallel()
	at := cdc.Timestamp(unixTime)
	prepare := pgoutput.Prepare{PrepareLSN: 0x100, EndLSN: 0x130, PrepareTime: at, XID: 731, GID: "gid-1"}
	want := map[string]any{
		"begin":  pgoutput.Begin{FinalLSN: 0x16B374D848, CommitTime: at, XID: 731},
		"commit": pgoutput.Commit{CommitLSN: 0x100, EndLSN: 0x130, CommitTime: at},
		"origin": pgoutput.Origin{CommitLSN: 0x99, Name: "node_a"},
		"relation": pgoutput.Relation{OID: 16390, Schema: "public", Name: "orders", Identity: 'd', Columns: []pgoutput.RelationColumn{
			{Key: true, Name: "id", TypeOID: 20, TypeMod: -1},
			{Name: "total", TypeOID: 1700, TypeMod: 655366},
		}},
		"relation in pg_catalog without columns": pgoutput.Relation{
			OID: 1259, Schema: "pg_catalog", Name: "pg_class", Identity: 'n', Columns: []pgoutput.RelationColumn{},
		},
		"type":                   pgoutput.Type{OID: 16400, Schema: "public", Name: "mood"},
		"insert":                 pgoutput.Insert{RelationID: 16390, New: newRow},
		"insert without columns": pgoutput.Insert{RelationID: 16390, New: cdc.Tuple{0, 0}},
		"update":                 pgoutput.Update{RelationID: 16390, New: newRow},
		"update with old key":    pgoutput.Update{RelationID: 16390, OldKind: 'K', Old: oldKey, New: newRow},
		"update with old row":    pgoutput.Update{RelationID: 16390, OldKind: 'O', Old: oldRow, New: newRow},
		"delete with old key":    pgoutput.Delete{RelationID: 16390, OldKind: 'K', Old: oldKey},
		"delete with old row":    pgoutput.Delete{RelationID: 16390, OldKind: 'O', Old: oldRow},
		"message":                pgoutput.Message{Transactional: true, LSN: 0x77, Prefix: "app.audit", Content: []byte("hello")},
		"empty message":          pgoutput.Message{LSN: 0x77, Content: []byte{}},
		"stream start":           pgoutput.StreamStart{XID: 731, First: true},
		"stream stop":            struct{}{},
		"stream commit":          pgoutput.StreamCommit{XID: 731, CommitLSN: 0x100, EndLSN: 0x130, CommitTime: at},
		"stream abort":           pgoutput.StreamAbort{XID: 731, SubXID: 732},
		"stream abort with LSN":  pgoutput.StreamAbort{XID: 731, SubXID: 732, HasLSN: true, AbortLSN: 0x140, AbortTime: at},
		"begin prepare":          pgoutput.BeginPrepare{PrepareLSN: 0x100, EndLSN: 0x130, PrepareTime: at, XID: 731, GID: "gid-1"},
		"prepare":                prepare,
		"stream prepare":         prepare,
		"commit prepared":        pgoutput.CommitPrepared{CommitLSN: 0x100, EndLSN: 0x130, CommitTime: at, XID: 731, GID: "gid-1"},
		"rollback prepared": pgoutput.RollbackPrepared{
			PrepareEndLSN: 0x100, RollbackEndLSN: 0x130, PrepareTime: at, RollbackTime: at + 1, XID: 731, GID: "gid-1",
		},
	}
	for name, b := range samples {
		if name == "truncate" {
			continue // see TestParseTruncate
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parse(b)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(want[name], got))
		})
	}
}

func TestParseTruncate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		message          []byte
		relations        []uint32
		cascade, restart bool
	}{
		"both options":     {samples["truncate"], []uint32{16390, 16395}, true, true},
		"cascade":          {wire('T', uint32(1), byte(1), uint32(7)), []uint32{7}, true, false},
		"restart identity": {wire('T', uint32(1), byte(2), uint32(7)), []uint32{7}, false, true},
		"no tables":        {wire('T', uint32(0), byte(0)), nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := pgoutput.ParseTruncate(tc.message)
			require.NoError(t, err)
			require.Equal(t, len(tc.relations), m.Len())
			require.Equal(t, tc.relations, m.AppendRelationIDs(nil))
			require.Equal(t, tc.cascade, m.Cascade)
			require.Equal(t, tc.restart, m.RestartIdentity)
		})
	}
}

func TestParseRefusesEveryCut(t *testing.T) {
	t.Parallel()
	for name, b := range samples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n < len(b); n++ {
				if name == "stream abort with LSN" && n == len(samples["stream abort"]) {
					continue // the short form
				}
				_, err := parse(b[:n:n])
				var syntax *pgoutput.SyntaxError
				require.ErrorAs(t, err, &syntax, "cut to %d of %d bytes", n, len(b))
				require.Equal(t, b[0], syntax.Kind)
				require.LessOrEqual(t, syntax.Offset, n)
				require.NotEmpty(t, syntax.What)
			}
			_, err := parse(append(slices.Clip(b), 'x'))
			require.Error(t, err, "with a byte too many")
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		message []byte
		want    string
	}{
		"negative column count": {wire('I', uint32(1), 'N', uint16(0x8000)), "pgoutput insert message, byte 6: the column count is negative"},
		"unknown column kind":   {wire('I', uint32(1), 'N', uint16(1), 'x'), "pgoutput insert message, byte 8: a column has an unknown kind"},
		"negative length":       {wire('I', uint32(1), 'N', uint16(1), 't', ^uint32(0)), "pgoutput insert message, byte 8: a column's length is negative"},
		"length beyond the end": {wire('I', uint32(1), 'N', uint16(1), 't', uint32(2), byte('a')), "pgoutput insert message, byte 8: a column's value is cut off"},
		"fewer columns":         {wire('I', uint32(1), 'N', uint16(3), 'n', 'n'), "pgoutput insert message, byte 10: a column is missing"},
		"more columns":          {wire('I', uint32(1), 'N', uint16(1), 'n', 'n'), "pgoutput insert message, byte 9: bytes are left over"},
		"insert of an old row":  {wire('I', uint32(1), 'O', uint16(0)), "pgoutput insert message, byte 5: the new row does not begin with N"},
		"update without a new row": {
			wire('U', uint32(1), 'K', uint16(0)), "pgoutput update message, byte 8: the new row is missing",
		},
		"update with two old rows": {
			wire('U', uint32(1), 'K', uint16(0), 'O', uint16(0), 'N', uint16(0)), "pgoutput update message, byte 8: the new row does not begin with N",
		},
		"delete of a new row": {
			wire('D', uint32(1), 'N', uint16(0)), "pgoutput delete message, byte 5: the old row begins with neither K nor O",
		},
		"huge truncate":     {wire('T', ^uint32(0), byte(0), uint32(1)), "pgoutput truncate message, byte 6: a relation id is missing"},
		"huge relation":     {wire('R', uint32(1), "s", "t", 'd', uint16(0x7fff)), "pgoutput relation message, byte 12: a column is missing"},
		"negative relation": {wire('R', uint32(1), "s", "t", 'd', uint16(0xffff)), "pgoutput relation message, byte 12: the column count is negative"},
		"huge message":      {wire('M', byte(1), uint64(1), "p", ^uint32(0)), "pgoutput message message, byte 16: the content is cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(tc.message)
			require.EqualError(t, err, tc.want)
		})
	}
}

func TestParseRefusesAnotherKind(t *testing.T) {
	t.Parallel()
	_, err := pgoutput.ParseInsert(samples["update"])
	require.EqualError(t, err, "pgoutput insert message, byte 0: the message is of another kind")
	_, err = pgoutput.ParseUpdate(samples["commit prepared"])
	require.EqualError(t, err, "pgoutput update message, byte 0: the message is of another kind")
	_, err = pgoutput.ParseBegin(nil)
	require.EqualError(t, err, "pgoutput begin message, byte 0: the message is empty")
}

func TestKind(t *testing.T) {
	t.Parallel()
	require.Equal(t, byte(0), pgoutput.Kind(nil))
	require.Equal(t, pgoutput.KindInsert, pgoutput.Kind(samples["insert"]))
	require.Equal(t, "unknown", pgoutput.KindName('?'))
	names := map[string]bool{}
	for _, b := range samples {
		names[pgoutput.KindName(pgoutput.Kind(b))] = true
	}
	require.NotContains(t, names, "unknown")
	require.Len(t, names, 19)
}

func TestRowsAliasTheMessage(t *testing.T) {
	t.Parallel()
	b := append([]byte(nil), samples["update with old row"]...)
	m, err := pgoutput.ParseUpdate(b)
	require.NoError(t, err)
	clear(b[6:])
	require.Zero(t, m.Old[1])
	require.Zero(t, m.New[1])
	require.Len(t, m.Old, cap(m.Old), "appending to a row must not write into the message")
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	var err error
	fail := func(e error) {
		if e != nil {
			err = e
		}
	}
	allocs := testing.AllocsPerRun(100, func() {
		_, e := pgoutput.ParseBegin(samples["begin"])
		fail(e)
		_, e = pgoutput.ParseInsert(samples["insert"])
		fail(e)
		_, e = pgoutput.ParseUpdate(samples["update with old row"])
		fail(e)
		_, e = pgoutput.ParseDelete(samples["delete with old key"])
		fail(e)
		_, e = pgoutput.ParseTruncate(samples["truncate"])
		fail(e)
		_, e = pgoutput.ParseCommit(samples["commit"])
		fail(e)
	})
	require.NoError(t, err)
	require.Zero(t, allocs)
}
