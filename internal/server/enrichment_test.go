package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/pgtest"
)

// enriched is a pull sink with an enrichment.
func enriched(sql string) string {
	return "  - {name: pull, database: db, source: {include_tables: [t]}, enrichment: names, destination: {type: sequin_stream}}\n" +
		"functions:\n  - {name: names, type: enrichment, timeout_ms: 2000, code: \"" + sql + "\"}\n"
}

const names = "select t.id, n.name from t join names n on n.id = t.id where t.id = any($1)"

func (r *rig) enrichment() string {
	r.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		status, body := r.post("/api/sequin_streams/pull/receive", map[string]any{"wait_for": 1000})
		require.Equal(r.t, http.StatusOK, status, body)
		var reply struct {
			Data []struct {
				AckID string `json:"ack_id"`
				Data  struct {
					Metadata struct{ Enrichment json.RawMessage }
				}
			}
		}
		require.NoError(r.t, json.Unmarshal([]byte(body), &reply), body)
		if len(reply.Data) == 1 {
			status, body = r.post("/api/sequin_streams/pull/ack", map[string]any{"ack_ids": []string{reply.Data[0].AckID}})
			require.Equal(r.t, http.StatusOK, status, body)
			return string(reply.Data[0].Data.Metadata.Enrichment)
		}
	}
	r.t.Fatal("no message")
	return ""
}

// What the query returns stands in the message. A query that fails holds its messages back, red, until it is mended; nothing is lost.
func TestEnrichment(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table+"; create table names (id int, name text); insert into names values (1, 'Ann')", enriched(names))
	r.begin()
	r.db.Exec(t, "insert into t values (1, 'x')")
	require.JSONEq(t, `{"id":1,"name":"Ann"}`, r.enrichment())
	r.db.Exec(t, "insert into t values (2, 'x')")
	require.JSONEq(t, `null`, r.enrichment(), "there is no row")

	r.db.Exec(t, "alter table names rename to gone; insert into t values (3, 'x')")
	r.eventually("it fails", func() bool {
		r.nothing("pull")
		return r.entity("pull").has("messages_retrying") || r.entity("pull").has("delivery_failing")
	})
	require.Contains(t, r.entity("pull").Problems[0].Detail, `relation "names" does not exist`)
	r.config.Sinks = enriched(strings.Replace(names, "names n", "gone n", 1))
	r.apply()
	require.JSONEq(t, `null`, r.enrichment())
	r.healthy()
}

// A query that cannot be used is refused when it is declared.
func TestEnrichmentIsCheckedWhenDeclared(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgtest.Shared(t), table, pull)
	r.begin()
	for sql, says := range map[string]string{
		"select nix from t where id = any($1)":           `column \"nix\" does not exist`,
		"select v from t where id = any($1)":             `does not return \"id\"`,
		"select id from t where id = any($1) and v = $2": "has 2 parameters",
		"select id from t where id = any($1":             "syntax error",
	} {
		wrong := r.config
		wrong.Sinks = enriched(sql)
		_, yaml, _ := strings.Cut(wrong.YAML(t), "databases:")
		status, body := r.post("/api/config/apply", map[string]any{"yaml": "databases:" + yaml})
		require.GreaterOrEqual(t, status, http.StatusBadRequest, body)
		require.Contains(t, body, says, sql)
	}
}
