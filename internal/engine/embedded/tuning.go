package embedded

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// pebbleFormat is part of our format 1; Pebble migrates older stores when it is raised, and so must formatVersion be.
const pebbleFormat = pebble.FormatValueSeparation

// pebbleOptions are tuned for large blocks that arrive in order, are read a few times and are deleted from the front, beside small values
// that are overwritten often.
func (s *store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 s.guard,
		Logger:             pebbleLog{s},
		EventListener:      s.events(),
		FormatMajorVersion: pebbleFormat,

		MemTableSize:                uint64(s.e.opts.MemtableBytes), //nolint:gosec // positive: see withDefaults
		MemTableStopWritesThreshold: 2,
		CacheSize:                   s.e.opts.CacheBytes,
		MaxOpenFiles:                500,

		L0CompactionThreshold:     8,
		L0CompactionFileThreshold: 64,
		L0StopWritesThreshold:     64,
		LBaseMaxBytes:             64 << 20,

		BytesPerSync:        1 << 20,
		MaxManifestFileSize: 1 << 20,
		NumPrevManifest:     1,
	}
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = 16 << 20
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 4 << 10                                                               // of keys; see partSize for what large ones would cost
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression } // blocks come compressed
	}
	// Values of blocks go to files of their own when they leave memory, and compactions move only the keys: each block is written twice,
	// once to the WAL and once to stay.
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           4 << 10,
			MaxBlobReferenceDepth: 64,
			RewriteMinimumAge:     30 * time.Second,
			TargetGarbageRatio:    0.5,
		}
	}
	return o
}

func (s *store) events() *pebble.EventListener {
	log := s.e.opts.Logger
	return &pebble.EventListener{
		BackgroundError: func(err error) { log.Warn("storage background work", "error", err) },
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			log.Error("storage found damaged data", "file", i.Path, "error", i.Details)
		},
		FlushBegin: func(pebble.FlushInfo) { s.e.flushBegins() },
		FlushEnd: func(i pebble.FlushInfo) {
			s.flushed(i.Err)
			if i.Err == nil {
				s.e.flushEnds()
			}
		},
	}
}
