package sandbox_test

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/transform/language"
	"github.com/sequinstream/sequin/internal/transform/sandbox"
)

// What the way to a worker and back costs: a function that returns messages of 500 bytes.
func BenchmarkOverhead(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		b.Run("batch="+strconv.Itoa(size), func(b *testing.B) {
			p := newPool(b, sandbox.Options{Workers: 1})
			f := sandbox.NewFunction("copy", language.Source{Name: "f", Entry: language.Transform})
			message := bytes.Repeat([]byte("x"), 500)
			var batch sandbox.Batch
			for range size {
				batch.Add(message)
			}
			require.NoError(b, p.Run(b.Context(), f, &batch))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Run(b.Context(), f, &batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
