package postgres_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
	"github.com/sequinstream/sequin/internal/postgres"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
	"github.com/sequinstream/sequin/internal/problem"
)

// TestHeartbeatComesBackThroughTheSlot in the way of the server's version.
func TestHeartbeatComesBackThroughTheSlot(t *testing.T) {
	t.Parallel()
	db := pgtest.Shared(t).Database(t)
	db.Exec(t, `create publication pub`)
	conn := connect(t, config(t, db.URL))
	table := db.Server.Version(t) < 140000
	options := `, 'messages', 'true'`
	if table {
		options = ""
		for _, hint := range []string{"create table public.sequin_logical_messages", "alter publication"} {
			_, err := postgres.EmitHeartbeat(t.Context(), conn, "s", "pub")
			require.ErrorIs(t, err, postgres.ErrNoMessagesTable)
			p, _ := problem.As(err)
			require.Contains(t, p.Hint, hint)
			if hint != "alter publication" {
				db.Exec(t, postgres.MessagesTableSQL)
			}
		}
		db.Exec(t, `alter publication pub add table public.sequin_logical_messages`)
	}
	slotName := db.Slot(t)
	db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, slotName)
	for range 2 {
		h, err := postgres.EmitHeartbeat(t.Context(), conn, slotName, "pub")
		require.NoError(t, err)
		require.Equal(t, "1.0", h.Version)
		require.WithinDuration(t, time.Now(), h.EmittedAt, time.Minute)

		rows, err := conn.Query(t.Context(), `select data from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'pub'`+options+`)`, slotName)
		require.NoError(t, err)
		messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		require.NoError(t, err)
		all := bytes.Join(messages, nil)
		require.Contains(t, string(all), postgres.HeartbeatPrefix)
		require.Contains(t, string(all), h.ID.String())
		if !table {
			i := slices.IndexFunc(messages, func(m []byte) bool { return pgoutput.Kind(m) == pgoutput.KindMessage })
			m, err := pgoutput.ParseMessage(messages[i])
			require.NoError(t, err)
			require.True(t, m.Transactional)
			back, err := postgres.ParseHeartbeat(m.Content)
			require.NoError(t, err)
			require.Equal(t, h, back)
		}
	}
	_, err := postgres.ParseHeartbeat([]byte("{"))
	require.Error(t, err)
}
