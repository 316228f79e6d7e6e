package control

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

// The kinds of resource that a revision holds, as in plans.
const (
	KindDatabase        = "database"
	KindChangeRetention = "change_retention"
	KindEndpoint        = "http_endpoint"
	KindFunction        = "function"
	KindSink            = "sink"
)

// Kinds lists the kinds in the order in which they are applied.
func Kinds() []string {
	return []string{KindDatabase, KindChangeRetention, KindEndpoint, KindFunction, KindSink}
}

// What can happen to a resource.
const (
	ActionCreate = "create"
	ActionUpdate = "update"
	ActionDelete = "delete"
)

// Change is what a change does to one resource.
type Change struct {
	Kind, ID, Name, Action string
	Changed                []string // keys of an update, as in the YAML form

	old, new any
}

// Old and New are the resource's external forms before and after, with secrets masked; nil where there is none.
func (c *Change) Old() json.RawMessage { return form(c.old, false) }

// New is the form after.
func (c *Change) New() json.RawMessage { return form(c.new, false) }

// item is one resource of a set.
type item struct {
	name  string
	meta  *resource.Meta
	value any // pointer into the set
}

// list returns the resources of a kind.
func list(set *resource.Set, kind string) []item {
	switch kind {
	case KindDatabase:
		return items(set.Databases, func(x *resource.Database) (string, *resource.Meta) { return x.Name, &x.Meta })
	case KindChangeRetention:
		return items(set.ChangeRetentions, func(x *resource.ChangeRetention) (string, *resource.Meta) { return x.Name, &x.Meta })
	case KindEndpoint:
		return items(set.HTTPEndpoints, func(x *resource.HTTPEndpoint) (string, *resource.Meta) { return x.Name, &x.Meta })
	case KindFunction:
		return items(set.Functions, func(x *resource.Function) (string, *resource.Meta) { return x.Name, &x.Meta })
	case KindSink:
		return items(set.Sinks, func(x *resource.Sink) (string, *resource.Meta) { return x.Name, &x.Meta })
	}
	return nil
}

func items[T any](all []T, of func(*T) (string, *resource.Meta)) []item {
	out := make([]item, len(all))
	for i := range all {
		name, meta := of(&all[i])
		out[i] = item{name, meta, &all[i]}
	}
	return out
}

func find(set *resource.Set, kind, name string) any {
	for _, x := range list(set, kind) {
		if x.name == name {
			return x.value
		}
	}
	return nil
}

func metaOf(set *resource.Set, kind, name string) *resource.Meta {
	for _, x := range list(set, kind) {
		if x.name == name {
			return x.meta
		}
	}
	return &resource.Meta{}
}

// compare tells what became of each resource: creations, deletions, updates, each in the order of kinds. A resource that kept its id and has
// another name was updated; one that came back under an id that is not in use was created.
func compare(was, next *resource.Set) []Change {
	var created, deleted, updated []Change
	for _, kind := range Kinds() {
		before := map[string]item{}
		for _, x := range list(was, kind) {
			before[x.meta.ID] = x
		}
		for _, x := range list(next, kind) {
			old, there := before[x.meta.ID]
			if !there || x.meta.ID == "" {
				created = append(created, Change{Kind: kind, ID: x.meta.ID, Name: x.name, Action: ActionCreate, new: x.value})
				continue
			}
			delete(before, x.meta.ID)
			if keys := changedKeys(old.value, x.value); len(keys) > 0 {
				updated = append(updated, Change{Kind: kind, ID: x.meta.ID, Name: x.name, Action: ActionUpdate, Changed: keys, old: old.value, new: x.value})
			}
		}
		for _, x := range list(was, kind) {
			if _, gone := before[x.meta.ID]; gone {
				deleted = append(deleted, Change{Kind: kind, ID: x.meta.ID, Name: x.name, Action: ActionDelete, old: x.value})
			}
		}
	}
	return slices.Concat(created, deleted, updated)
}

// changedKeys names the top-level keys whose values differ. The forms with secrets are compared, so that a new password with the mask of the old
// one counts.
func changedKeys(old, now any) []string {
	before, after := form(old, true), form(now, true)
	if bytes.Equal(before, after) {
		return nil
	}
	var x, y map[string]json.RawMessage
	if json.Unmarshal(before, &x) != nil || json.Unmarshal(after, &y) != nil {
		return []string{"?"} // cannot happen: we wrote them
	}
	var keys []string
	for key, value := range y {
		if old, there := x[key]; !there || !bytes.Equal(old, value) {
			keys = append(keys, key)
		}
	}
	for key := range x {
		if _, there := y[key]; !there {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}

// form is the external form of a resource, or nil.
func form(value any, inClear bool) json.RawMessage {
	o := config.FormOptions{Clear: inClear}
	switch x := value.(type) {
	case *resource.Database:
		return config.FormDatabase(x, o)
	case *resource.ChangeRetention:
		return config.FormChangeRetention(x, o)
	case *resource.HTTPEndpoint:
		return config.FormEndpoint(x, o)
	case *resource.Function:
		return config.FormFunction(x, o)
	case *resource.Sink:
		return config.FormSink(x, o)
	}
	return nil
}
