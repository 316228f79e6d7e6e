package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sequinstream/sequin/internal/engine"
)

// entry is an object in a manifest: everything but its data.
type entry struct {
	Kind       string    `json:"kind"`
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	InsertedAt time.Time `json:"inserted_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	Written    uint64    `json:"written"` // the revision whose commit holds the data
}

// manifest lists the objects of a revision.
type manifest struct {
	Number  uint64            `json:"number"`
	Commits map[uint64]string `json:"commits"` // by number: those that the entries were written by
	Objects []entry           `json:"objects"`
}

// place is the commit that holds an entry's data.
func (m *manifest) place(e entry) place {
	return place{Number: e.Written, Commit: m.Commits[e.Written]}
}

// identity tells objects of one revision apart.
type identity struct{ kind, id string }

// byIdentity finds entries.
func (m *manifest) byIdentity() map[identity]entry {
	all := make(map[identity]entry, len(m.Objects))
	for _, e := range m.Objects {
		all[identity{e.Kind, e.ID}] = e
	}
	return all
}

// A commit holds two blobs beside its objects: what is told of the revision, and its manifest.
const (
	revisionBlob = "revision/"
	manifestBlob = "manifest/"
)

func (h history) manifest(ctx context.Context, at place) (*manifest, error) {
	m := &manifest{}
	if err := h.blob(ctx, h.commitPrefix(at)+manifestBlob, m); err != nil {
		return nil, err
	}
	if m.Number != at.Number {
		return nil, fmt.Errorf("%w: the manifest of revision %d says that it is of %d", engine.ErrCorrupt, at.Number, m.Number)
	}
	return m, nil
}

func (h history) revision(ctx context.Context, at place) (Revision, error) {
	var record revisionRecord
	if err := h.blob(ctx, h.commitPrefix(at)+revisionBlob, &record); err != nil {
		return Revision{}, err
	}
	return Revision(record), nil
}

// chunkBytes is the size of the values that a blob is cut into.
const chunkBytes = 4 << 10

// blobOps writes v as JSON, in chunks. The first one begins with the length of the whole, which tells a blob that is not all there.
func blobOps(prefix string, v any) ([]engine.Op, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", prefix, err)
	}
	data := append(binary.AppendUvarint(nil, uint64(len(text))), text...)
	var ops []engine.Op
	for i := 0; len(data) > 0; i++ {
		n := min(len(data), chunkBytes)
		ops = append(ops, engine.Put(fmt.Sprintf("%s%08x", prefix, i), data[:n:n]))
		data = data[n:]
	}
	return ops, nil
}

// blob reads what blobOps wrote. errMissing says that it is not there, or not all of it.
func (h history) blob(ctx context.Context, prefix string, v any) error {
	var data []byte
	next := 0
	for entry, err := range h.state.List(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("read %s: %w", prefix, err)
		}
		if entry.Key != fmt.Sprintf("%s%08x", prefix, next) {
			return fmt.Errorf("%w: %s%08x", errMissing, prefix, next)
		}
		data = append(data, entry.Value...)
		next++
	}
	size, n := binary.Uvarint(data)
	if n <= 0 || size != uint64(len(data[n:])) {
		return fmt.Errorf("%w: %s is incomplete", errMissing, prefix)
	}
	if err := json.Unmarshal(data[n:], v); err != nil {
		return fmt.Errorf("%w: %s: %w", engine.ErrCorrupt, prefix, err)
	}
	return nil
}
