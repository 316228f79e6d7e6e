package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sequinstream/sequin/internal/engine"
)

// commit writes the successor of base. The order of the writes carries the promise:
//
//  1. the index entry of base, so that base is found when it is not the head any more;
//  2. the objects, what is told of the revision and the manifest, under a name of their own;
//  3. the head, by compare-and-set.
//
// A crash before 3 leaves records that no head names. Those are dead once another commit of the same number has won, and only then: until the
// head moves, a write that was reported as failed may still make it.
func (h history) commit(ctx context.Context, base uint64, rev Revision, objects []Object) (Revision, error) {
	at, revision, err := h.head(ctx)
	if err != nil {
		return Revision{}, err
	}
	if at.Number != base {
		return Revision{}, fmt.Errorf("commit on revision %d, the head is %d: %w", base, at.Number, ErrConflict)
	}
	next := place{Number: base + 1, Commit: newCommitName()}
	rev.Number = next.Number
	if rev.At.IsZero() {
		rev.At = time.Now()
	}
	rev.At = rev.At.UTC().Round(0) // as it is read back
	ops, err := h.commitOps(ctx, at, next, rev, objects)
	if errors.Is(err, errMissing) {
		err = h.outrun(ctx, at, err)
	}
	if err != nil {
		return Revision{}, err
	}
	if err := apply(ctx, h.state, ops); err != nil {
		return Revision{}, fmt.Errorf("write revision %d: %w", next.Number, err)
	}
	if err := h.moveHead(ctx, revision, next); err != nil {
		return Revision{}, err
	}
	_ = h.sweep(ctx, next) // what stays now is removed with the revision
	return rev, nil
}

// moveHead is the moment at which the commit takes effect.
func (h history) moveHead(ctx context.Context, revision uint64, next place) error {
	value, err := encodeHead(next)
	if err != nil {
		return fmt.Errorf("encode the head: %w", err)
	}
	_, err = h.state.CompareAndSet(ctx, h.headKey(), revision, value)
	switch {
	case errors.Is(err, engine.ErrConflict):
		_ = h.state.DeletePrefix(ctx, h.commitPrefix(next)) // it has lost for good; what stays is removed with the winner
		return fmt.Errorf("commit of revision %d: %w", next.Number, ErrConflict)
	case err != nil:
		return fmt.Errorf("move the head to revision %d: %w", next.Number, err)
	}
	return nil
}

// outrun says why base's manifest could not be read: another commit won meanwhile and base was pruned, or the data is damaged.
func (h history) outrun(ctx context.Context, base place, cause error) error {
	now, _, err := h.head(ctx)
	switch {
	case err != nil:
		return err
	case now != base:
		return fmt.Errorf("commit on revision %d, the head is %d: %w", base.Number, now.Number, ErrConflict)
	}
	return fmt.Errorf("%w: revision %d: %w", engine.ErrCorrupt, base.Number, cause)
}

// newCommitName is a name that no commit has had.
func newCommitName() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// commitOps are the writes before the head moves.
func (h history) commitOps(ctx context.Context, base, next place, rev Revision, objects []Object) ([]engine.Op, error) {
	m, ops, err := h.nextManifest(ctx, base, next, objects)
	if err != nil {
		return nil, err
	}
	if base.Number > 0 {
		ops = append([]engine.Op{engine.Put(h.indexKey(base.Number), []byte(base.Commit))}, ops...)
	}
	for _, b := range []struct {
		name string
		v    any
	}{{revisionBlob, revisionRecord(rev)}, {manifestBlob, m}} {
		blob, err := blobOps(h.commitPrefix(next)+b.name, b.v)
		if err != nil {
			return nil, err
		}
		ops = append(ops, blob...)
	}
	return ops, nil
}

// nextManifest lists the objects, and writes those that have data. An object may only be taken over from the base: what base refers to cannot be
// pruned before the head moves, and then this commit fails. So each object is referred to by an unbroken run of revisions, which prune relies on.
func (h history) nextManifest(ctx context.Context, base, next place, objects []Object) (*manifest, []engine.Op, error) {
	m := &manifest{Number: next.Number, Commits: map[uint64]string{}, Objects: make([]entry, 0, len(objects))}
	var ops []engine.Op
	var old *manifest
	var known map[identity]entry
	seen := make(map[identity]bool, len(objects))
	for i := range objects {
		o := &objects[i]
		e := entry{Kind: o.Kind, ID: o.ID, Name: o.Name, InsertedAt: o.InsertedAt.UTC(), UpdatedAt: o.UpdatedAt.UTC(), Written: o.Written}
		if err := checkObject(o, seen); err != nil {
			return nil, nil, err
		}
		if o.Data != nil {
			e.Written, m.Commits[next.Number] = next.Number, next.Commit
			ops = append(ops, engine.Put(h.object(next, e), o.Data))
			m.Objects = append(m.Objects, e)
			continue
		}
		if old == nil && base.Number > 0 {
			var err error
			if old, err = h.manifest(ctx, base); err != nil {
				return nil, nil, err
			}
			known = old.byIdentity()
		}
		if was, there := known[identity{o.Kind, o.ID}]; !there || was.Written != o.Written {
			return nil, nil, fmt.Errorf("%s %q as revision %d wrote it is not in revision %d: %w", o.Kind, o.Name, o.Written, base.Number, ErrNotFound)
		}
		m.Commits[e.Written] = old.Commits[e.Written]
		m.Objects = append(m.Objects, e)
	}
	return m, ops, nil
}

func checkObject(o *Object, seen map[identity]bool) error {
	if err := errors.Join(checkPart("kind", o.Kind), checkPart("id", o.ID)); err != nil {
		return err
	}
	this := identity{o.Kind, o.ID}
	if seen[this] {
		return fmt.Errorf("%s %q is there twice", o.Kind, o.ID)
	}
	seen[this] = true
	if o.Data == nil && o.Written == 0 {
		return fmt.Errorf("%s %q has no data and was never written", o.Kind, o.Name)
	}
	return nil
}
