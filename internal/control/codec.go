package control

import (
	"fmt"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/store"
)

// objectKey is a resource's place among the stored objects.
type objectKey struct{ kind, id string }

func (k objectKey) context() string { return "declared/" + k.kind + "/" + k.id }

// encode makes the objects of a revision: what changed is sealed anew, the rest refers to the revision that wrote it.
func (p *Plane) encode(next *resource.Set, was *version, changes []Change) ([]store.Object, error) {
	changed := map[objectKey]bool{}
	for i := range changes {
		changed[objectKey{changes[i].Kind, changes[i].ID}] = true
	}
	var objects []store.Object
	for _, kind := range Kinds() {
		for _, item := range list(next, kind) {
			key := objectKey{kind, item.meta.ID}
			o := store.Object{Kind: kind, ID: item.meta.ID, Name: item.name, InsertedAt: item.meta.InsertedAt, UpdatedAt: item.meta.UpdatedAt}
			if old, there := was.objects[key]; there && !changed[key] {
				o.Written = old.Written
				objects = append(objects, o)
				continue
			}
			plain, err := config.Encode(kind, item.value)
			if err != nil {
				return nil, fmt.Errorf("encode %s %q: %w", kind, item.name, err)
			}
			o.Data = p.vault.Seal(plain, key.context())
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// decode makes a set of a revision's objects.
func (p *Plane) decode(record store.AccountRecord, revision store.Revision, objects []store.Object) (*version, error) {
	v := &version{
		set:      &resource.Set{Account: resource.Account{ID: record.ID, Name: record.Name}},
		revision: revision, objects: make(map[objectKey]store.Object, len(objects)),
	}
	for i := range objects {
		o := objects[i]
		key := objectKey{o.Kind, o.ID}
		plain, err := p.vault.Unseal(o.Data, key.context())
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", o.Kind, o.Name, err)
		}
		if err := add(v.set, &o, plain); err != nil {
			return nil, fmt.Errorf("%s %q: %w", o.Kind, o.Name, err)
		}
		o.Data = nil
		v.objects[key] = o
	}
	return v, nil
}

// add decodes one object into a set.
func add(set *resource.Set, o *store.Object, plain []byte) error {
	meta := resource.Meta{ID: o.ID, InsertedAt: o.InsertedAt, UpdatedAt: o.UpdatedAt}
	switch o.Kind {
	case KindDatabase:
		x, err := config.DecodeDatabase(plain)
		x.Meta = meta
		set.Databases = append(set.Databases, x)
		return err
	case KindChangeRetention:
		x, err := config.DecodeChangeRetention(plain)
		x.Meta = meta
		set.ChangeRetentions = append(set.ChangeRetentions, x)
		return err
	case KindEndpoint:
		x, err := config.DecodeEndpoint(plain)
		x.Meta = meta
		set.HTTPEndpoints = append(set.HTTPEndpoints, x)
		return err
	case KindFunction:
		x, err := config.DecodeFunction(plain)
		x.Meta = meta
		set.Functions = append(set.Functions, x)
		return err
	case KindSink:
		x, err := config.DecodeSink(plain)
		x.Meta = meta
		set.Sinks = append(set.Sinks, x)
		return err
	}
	return problem.New("declaration_of_newer_release", "this release does not know resources of the kind %q", o.Kind).
		WithHint("run the release that wrote this data directory, or a newer one")
}
