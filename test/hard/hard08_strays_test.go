package hard_test

import (
	"encoding/binary"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Postgres 18 is known to send the abort of a stream that nobody asked for. It is passed over, in a transaction and between two, and so is a
// message of a kind that does not exist yet.
func TestHard08StrayStreamAbortsAreIgnored(t *testing.T) {
	t.Parallel()
	r := prepare(t, setup{ddl: "create table t (id int primary key)", database: plainly})
	var strays atomic.Int64
	between(t, r, func(kind byte, body []byte) []byte {
		message := streamed(kind, body)
		if message == nil {
			return nil
		}
		abort := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{'A'}, 731), 732)
		out := append(walData(body, abort), frame(kind, body)...)
		strays.Add(2)
		return append(out, walData(body, []byte{0xfe, 1, 2, 3})...)
	})
	r.start()
	r.exec("begin; insert into t values (1); savepoint s; insert into t values (2); rollback to s; insert into t values (3); commit")
	r.exec("insert into t values (4)")
	require.Equal(t, []string{`insert t {"id":1}`, `insert t {"id":3}`, `insert t {"id":4}`}, r.drained("pull"))
	r.confirmedAll()
	require.InDelta(t, float64(strays.Load()), r.metric("sequin_slot_unknown_messages_total"), 0, "each was counted")
	require.Zero(t, r.metric("sequin_slot_reconnects_total"))
}
