package shape_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/message"
	"github.com/sequinstream/sequin/internal/shape"
)

func TestForms(t *testing.T) {
	t.Parallel()
	kept := &consumer.Delivery{Payload: []byte(`{"kept":true}`), Redriven: true}
	body, err := shape.Form{}.Encode([]byte("x"), kept)
	require.NoError(t, err)
	require.Equal(t, `x{"kept":true}`, string(body))

	kept.Payload = []byte(`{"record":{"a":1},"metadata":{"x":{}}}`)
	body, err = shape.Form{}.Encode(nil, kept)
	require.NoError(t, err)
	require.Equal(t, `{"record":{"a":1},"metadata":{"x":{},"redriven":true}}`, string(body))
	again, err := shape.Form{}.Encode(nil, &consumer.Delivery{Payload: body, Redriven: true})
	require.NoError(t, err)
	require.Equal(t, string(body), string(again))
	body, err = shape.Form{RecordOnly: true}.Encode(nil, kept)
	require.NoError(t, err)
	require.Equal(t, string(kept.Payload), string(body))

	_, err = shape.Form{}.Encode(nil, &consumer.Delivery{Redriven: true})
	require.ErrorContains(t, err, "no longer retained")

	relation := &cdc.Relation{OID: 1, Schema: "public", Name: "t", Columns: []cdc.Column{{Name: "id", AttNum: 1, Type: cdc.Type{Kind: cdc.KindInt}}}, PrimaryKey: []int{0}}
	change := &cdc.Change{Seq: 1, Op: cdc.OpInsert, Relation: relation, New: cdc.Tuple("\x00\x01t\x00\x00\x00\x017")}
	tail := message.NewTail(message.Database{ID: "d", Name: "db"}, message.Consumer{ID: "c", Name: "cons"})
	form := shape.Form{Tail: tail}
	body, err = form.Encode(nil, &consumer.Delivery{Change: change})
	require.NoError(t, err)
	require.Contains(t, string(body), `"record":{"id":7}`)
	require.NotContains(t, string(body), "redriven")
	body, err = form.Encode(nil, &consumer.Delivery{Change: change, Redriven: true, Payload: []byte("old")})
	require.NoError(t, err)
	require.Contains(t, string(body), `"redriven":true`)
	form.RecordOnly = true
	body, err = form.Encode(nil, &consumer.Delivery{Change: change})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":7}`, string(body))
}
