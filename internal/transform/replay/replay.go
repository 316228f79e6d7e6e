// Package replay gives functions a clock and a dice that depend on nothing but the change: so a message that is delivered again, on another
// machine or next year, gets the same result.
package replay

import (
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/sequinstream/sequin/internal/transform/jsontext"
)

// Clock is the time at which the change was committed, and 1970 when the metadata does not tell.
func Clock(metadata []byte) time.Time {
	at, err := time.Parse(time.RFC3339Nano, jsontext.Field(metadata, "commit_timestamp"))
	if err != nil {
		return time.Unix(0, 0).UTC()
	}
	return at.UTC()
}

// Random is seeded by the idempotency key, and so the same for every delivery of a change.
func Random(metadata []byte) *rand.Rand {
	return Seeded(jsontext.Field(metadata, "idempotency_key"))
}

// Seeded is seeded by a text.
func Seeded(text string) *rand.Rand {
	one, two := fnv.New64(), fnv.New64a()
	_, _ = one.Write([]byte(text)) // a hash never fails
	_, _ = two.Write([]byte(text))
	return rand.New(rand.NewPCG(one.Sum64(), two.Sum64())) //nolint:gosec // has to be repeatable, not secret
}
