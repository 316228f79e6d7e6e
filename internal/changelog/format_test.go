package changelog

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/engine"
)

var update = flag.Bool("update", false, "rewrite the golden files; only for a new format version")

// sealAll runs the appender over everything that was handed over, without goroutines and at a fixed time.
func sealAll(l *Log, tail chain) []engine.Block {
	a := &appender{l: l, tail: tail}
	var out []engine.Block
	for _, it := range l.queue.take(nil) {
		if it.block != nil {
			_, data := a.seal(it.block, 0, 1_750_000_000_000_000)
			out = append(out, engine.Block{First: it.block.first, Data: bytes.Clone(data)})
		}
	}
	return out
}

func bare(blockBytes int) *Log {
	l := &Log{
		blockBytes: blockBytes, maxChange: DefaultMaxChangeBytes, queue: newQueue(64<<20, blockBytes), cache: newCache(1 << 20),
	}
	l.end.Store(&End{})
	return l
}

// goldenBlocks holds every kind of frame and header.
func goldenBlocks(t *testing.T) []engine.Block {
	t.Helper()
	l := bare(600)
	w := l.Writer(0)
	orders := &cdc.Relation{
		OID: 16384, SourceID: 16390, Schema: "public", Name: "orders", Identity: 'i', PrimaryKey: []int{0}, IdentityKey: []int{0, 1},
		Columns: []cdc.Column{
			{Name: "id", AttNum: 1, TypeOID: 20, TypeMod: -1, Type: cdc.Type{Kind: cdc.KindInt, Name: "int8"}},
			{Name: "note", AttNum: 3, TypeOID: 1043, TypeMod: 259, Type: cdc.Type{Kind: cdc.KindText, Name: "varchar"}},
			{Name: "prices", AttNum: 4, TypeOID: 1231, TypeMod: -1, Type: cdc.Type{
				Kind: cdc.KindArray, Delim: ',', Name: "_numeric", Elem: &cdc.Type{Kind: cdc.KindNumeric, Name: "numeric"},
			}},
		},
	}
	logs := &cdc.Relation{OID: 16400, SourceID: 16400, Schema: "app", Name: "logs", Identity: 'f'}
	w.Relation(orders)
	w.Relation(logs)
	row, key := cdctest.Tuple("1", "täxt", "{1.0,NULL}"), cdctest.Tuple("1", nil, cdctest.Unchanged)
	steps := func(final cdc.LSN, n int) {
		require.False(t, w.Begin(700, final, 1_740_000_000_000_000+cdc.Timestamp(final)))
		for range n {
			require.NoError(t, w.Change(cdc.OpInsert, 16390, 0, nil, row))
			require.NoError(t, w.Change(cdc.OpUpdate, 16390, 0, nil, row))
			require.NoError(t, w.Message("sequin:transaction_annotations.set", []byte(`{"user":"ann"}`)))
			require.NoError(t, w.Change(cdc.OpUpdate, 16390, 'K', key, row))
			require.NoError(t, w.Change(cdc.OpUpdate, 16390, 'O', row, row))
			require.NoError(t, w.Change(cdc.OpDelete, 16390, 'K', key, nil))
			require.NoError(t, w.Message("app", []byte{0, 1, 2}))
			require.NoError(t, w.Change(cdc.OpDelete, 16390, 'O', row, nil))
			require.NoError(t, w.Truncate([]uint32{16390, 16400}, true, false))
			require.NoError(t, w.TooBig(cdc.OpUpdate, 16400, 1<<33))
			require.NoError(t, w.TooBig(cdc.OpMessage, 0, 1<<31))
			require.NoError(t, w.Message("sequin:transaction_annotations.clear", nil))
		}
		require.NoError(t, w.Commit(final+48))
	}
	steps(0x16_B374D848, 1)
	steps(0x16_B374E000, 8)
	w.Mark(0x16_B3750000)
	w.Flush()
	blocks := sealAll(l, chain{sum: 0xabad1dea, offset: 1234})
	lost := header{flags: flagLost | flagCommit, first: 1000, last: 2000, committed: 2000}
	data := make([]byte, headerSize)
	lost.put(data)
	return append(blocks, engine.Block{First: 1000, Data: data})
}

// The golden files are blocks as version 1 wrote them. They must decode for ever; -update is for a new version beside them.
func TestGoldenBlocksOfVersion1Decode(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("testdata", "golden-v1")
	if *update {
		require.NoError(t, os.MkdirAll(dir, 0o750))
		for i, b := range goldenBlocks(t) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.block", i)), b.Data, 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.txt", i)), []byte(describe(t, b.Data)), 0o600))
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.block"))
	require.NoError(t, err)
	require.Greater(t, len(files), 3)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		want, err := os.ReadFile(strings.TrimSuffix(file, ".block") + ".txt")
		require.NoError(t, err)
		require.Equal(t, string(want), describe(t, data), file)
	}
}

// describe tells everything that a block says.
func describe(t *testing.T, data []byte) string {
	t.Helper()
	h, err := parseHeader(data)
	require.NoError(t, err)
	h, err = parseBlock(engine.Block{First: h.first, Data: data})
	require.NoError(t, err)
	var b strings.Builder
	sum := h
	sum.sum, sum.prev, sum.bodySum, sum.storedSize, sum.offset, sum.codec = 0, 0, 0, 0, 0, 0 // these depend on the compressor
	fmt.Fprintf(&b, "%+v\n", sum)
	if h.lost() {
		return b.String()
	}
	raw, err := unpack(&h, data)
	require.NoError(t, err)
	seg, err := decode(&h, raw, &interned{})
	require.NoError(t, err)
	for i := range seg.Changes {
		c := &seg.Changes[i]
		fmt.Fprintf(&b, "%d %s/%d %s old=%c too_big=%t xid=%d commit=%d annotations=%s prefix=%q content=%x size=%d truncated=%d\n",
			c.Seq, c.Position.LSN, c.Position.Index, c.Op.Action(), max(c.OldKind, '-'), c.TooBig, c.XID, c.CommitTime, c.Annotations, c.Prefix,
			c.Content, c.Size, c.TruncateN)
		fmt.Fprintf(&b, "  old %s\n  new %s\n", hex.EncodeToString(c.Old), hex.EncodeToString(c.New))
		if c.Relation != nil {
			fmt.Fprintf(&b, "  relation %s\n", hex.EncodeToString(relationText(c.Relation)))
		}
	}
	return b.String()
}

// What is written today is what version 1 is.
func TestTheWriterStillWritesVersion1(t *testing.T) {
	t.Parallel()
	for i, b := range goldenBlocks(t) {
		want, err := os.ReadFile(filepath.Join("testdata", "golden-v1", fmt.Sprintf("%02d.txt", i)))
		require.NoError(t, err)
		require.Equal(t, string(want), describe(t, b.Data))
	}
}

func TestRelationsRoundTrip(t *testing.T) {
	t.Parallel()
	deep := cdc.Type{Kind: cdc.KindText, Name: "x"}
	for range maxTypeDepth {
		inner := deep
		deep = cdc.Type{Kind: cdc.KindArray, Delim: ';', Name: "_x", Elem: &inner}
	}
	for _, r := range []*cdc.Relation{
		{},
		{OID: 1<<32 - 1, SourceID: 7, Schema: "s", Name: "ñ\"", Identity: 'n'},
		{OID: 1, SourceID: 2, Schema: "s", Name: "t", PartitionSchema: "p", PartitionName: "q", Identity: 'f'},
		{Columns: []cdc.Column{{Name: "a", AttNum: -7, TypeOID: 1 << 31, TypeMod: -1 << 31, Type: deep}, {}}, IdentityKey: []int{1, 0}},
	} {
		text := relationText(r)
		got, err := decodeRelation(text)
		require.NoError(t, err)
		require.Equal(t, r, got)
		for n := range text {
			_, err := decodeRelation(text[:n])
			require.ErrorIs(t, err, engine.ErrCorrupt)
		}
	}
}

// FuzzBlock hands the decoder whatever it likes, with the checksums made right: damage that they do not catch must end in an error and not in
// a panic or in memory out of proportion.
func FuzzBlock(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden-v1", "*.block"))
	if err != nil || len(files) == 0 {
		f.Fatal("no golden blocks", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		h, err := parseHeader(data)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := unpack(&h, data)
		if err == nil {
			f.Add(data[:headerSize], raw, false)
		}
		f.Add(data[:headerSize], data[headerSize:], true)
	}
	f.Fuzz(func(t *testing.T, head, body []byte, stored bool) {
		if len(head) < headerSize {
			return
		}
		if n, err := s2.DecodedLen(body); stored && (err != nil || n > 1<<20) {
			return
		}
		data := append(bytes.Clone(head[:headerSize]), body...)
		repair(data, !stored)
		h, err := parseHeader(data)
		if err != nil {
			return
		}
		h, err = parseBlock(engine.Block{First: h.first, Data: data})
		require.NoError(t, err, "the checksums were made right")
		if h.lost() {
			return
		}
		raw, err := unpack(&h, data)
		if err != nil {
			require.ErrorIs(t, err, engine.ErrCorrupt)
			return
		}
		seg, err := decode(&h, raw, &interned{})
		if err != nil {
			require.ErrorIs(t, err, engine.ErrCorrupt)
			return
		}
		require.Len(t, seg.Changes, int(h.entries()))
		for i := range seg.Changes {
			c := &seg.Changes[i]
			for w := c.New.Columns(); ; {
				if _, ok := w.Next(); !ok {
					break
				}
			}
			require.True(t, c.Relation != nil || c.Op == cdc.OpMessage)
		}
	})
}

// repair sets sizes and checksums to what the bytes are.
func repair(data []byte, plain bool) {
	body := data[headerSize:]
	copy(data, magic)
	le := func(at int, v uint32) {
		data[at], data[at+1], data[at+2], data[at+3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	}
	data[4], data[5] = Version, 0
	le(124, uint32(len(body)))
	if plain {
		le(120, uint32(len(body)))
		data[134] = codecPlain
	}
	le(12, crc32.Checksum(body, castagnoli))
	le(8, headerSum(data))
}
