package pgoutput_test

import (
	"strings"
	"testing"

	"github.com/sequinstream/sequin/internal/cdc/cdctest"
	"github.com/sequinstream/sequin/internal/postgres/pgoutput"
)

func BenchmarkParseInsert(b *testing.B) {
	row := []byte(cdctest.Tuple("1234567", "2025-07-01 10:11:12.345678+00", "199.99", nil, strings.Repeat("x", 80), "t"))
	m := wire('I', uint32(16390), 'N', row)
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pgoutput.ParseInsert(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseUpdateFull(b *testing.B) {
	row := []byte(cdctest.Tuple("1234567", "2025-07-01 10:11:12.345678+00", "199.99", nil, strings.Repeat("x", 80), "t"))
	m := wire('U', uint32(16390), 'O', row, 'N', row)
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pgoutput.ParseUpdate(m); err != nil {
			b.Fatal(err)
		}
	}
}
