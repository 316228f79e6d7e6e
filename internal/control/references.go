package control

import (
	"fmt"

	"github.com/sequinstream/sequin/internal/resource"
)

// renames has references follow what was given another name.
func renames(was, next *resource.Set) {
	renamed := func(kind string) map[string]string {
		before := map[string]string{}
		for _, x := range list(was, kind) {
			before[x.meta.ID] = x.name
		}
		names := map[string]string{}
		for _, x := range list(next, kind) {
			if old, there := before[x.meta.ID]; there && old != x.name && find(next, kind, old) == nil {
				names[old] = x.name
			}
		}
		return names
	}
	follow := func(names map[string]string, at *string) {
		if name, ok := names[*at]; ok {
			*at = name
		}
	}
	databases, endpoints, functions := renamed(KindDatabase), renamed(KindEndpoint), renamed(KindFunction)
	for i := range next.Sinks {
		s := &next.Sinks[i]
		follow(databases, &s.Database)
		follow(endpoints, &s.Destination.Webhook.HTTPEndpoint)
		for _, name := range []*string{&s.Filter, &s.Transform, &s.Enrichment, &s.Routing} {
			follow(functions, name)
		}
	}
	for i := range next.Functions {
		follow(databases, &next.Functions[i].Query.Database)
	}
	for i := range next.ChangeRetentions {
		follow(databases, &next.ChangeRetentions[i].SourceDatabase)
		follow(databases, &next.ChangeRetentions[i].DestinationDatabase)
	}
}

// moved refuses to give a sink another database: its place in the changes of the one means nothing in those of another.
func moved(was, next *resource.Set) []resource.Mistake {
	home := func(set *resource.Set, name string) string {
		if db, ok := set.Database(name); ok {
			return db.ID
		}
		return ""
	}
	before := map[string]*resource.Sink{}
	for i := range was.Sinks {
		before[was.Sinks[i].ID] = &was.Sinks[i]
	}
	var mistakes []resource.Mistake
	for i := range next.Sinks {
		s := &next.Sinks[i]
		old, there := before[s.ID]
		if s.ID == "" || !there || home(next, s.Database) == "" || home(was, old.Database) == home(next, s.Database) {
			continue
		}
		mistakes = append(mistakes, resource.Mistake{
			Path: fmt.Sprintf("sinks[%d].database", i), Code: resource.CodeConflict,
			What: fmt.Sprintf("is %q, but the sink reads %q: its place in the changes of one database means nothing in those of another", s.Database, old.Database),
			Hint: "declare a sink under another name, or delete this one first",
		})
	}
	return mistakes
}
