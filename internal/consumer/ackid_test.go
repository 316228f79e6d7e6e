package consumer_test

import (
	"math"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
)

func TestAckIDIsAVersion4UUID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for seq := range uint64(1000) {
		for generation := range uint32(3) {
			id := consumer.AckID{Consumer: 77, Generation: generation, Seq: seq}
			u, err := uuid.Parse(id.String())
			require.NoError(t, err)
			require.EqualValues(t, 4, u.Version())
			require.Equal(t, uuid.RFC4122, u.Variant())
			require.Equal(t, u.String(), id.String())
			require.False(t, seen[id.String()])
			seen[id.String()] = true
		}
	}
}

func TestParseAckIDRefusesWhatIsNoUUID(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "x", "3c2f0c1e8f0b4d0e9a530a7f1f0b9e55", "{3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e55}", "3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e5g",
		"3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e555", "3c2f0c1e_8f0b-4d0e-9a53-0a7f1f0b9e55",
	} {
		_, err := consumer.ParseAckID(s)
		require.Error(t, err, s)
	}
}

func TestParseAckIDOfAnotherVersionIsNobodys(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"00000000-0000-0000-0000-000000000000", "3c2f0c1e-8f0b-1d0e-9a53-0a7f1f0b9e55", "3c2f0c1e-8f0b-4d0e-1a53-0a7f1f0b9e55"} {
		id, err := consumer.ParseAckID(s)
		require.NoError(t, err)
		require.Zero(t, id)
	}
}

func FuzzAckIDRoundTrip(f *testing.F) {
	f.Add(uint64(0), uint32(0), uint64(0))
	f.Add(uint64(math.MaxUint64), uint32(math.MaxUint32), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, tag uint64, generation uint32, seq uint64) {
		want := consumer.AckID{Consumer: tag & (1<<40 - 1), Generation: generation & (1<<24 - 1), Seq: seq & (1<<58 - 1)}
		got, err := consumer.ParseAckID(want.String())
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func FuzzParseAckID(f *testing.F) {
	f.Add("3c2f0c1e-8f0b-4d0e-9a53-0a7f1f0b9e55")
	f.Add("3C2F0C1E-8F0B-4D0E-9A53-0A7F1F0B9E55")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := consumer.ParseAckID(s)
		u, uerr := uuid.Parse(s)
		if err != nil {
			return
		}
		require.NoError(t, uerr, "what we accept is a UUID")
		if u.Version() == 4 && u.Variant() == uuid.RFC4122 {
			require.Equal(t, u.String(), id.String(), "every version 4 UUID stands for exactly one id")
		}
	})
}
