package control

import (
	"cmp"
	"fmt"

	"github.com/sequinstream/sequin/internal/resource"
)

// outside tells whether somebody is not the operator of this machine, who alone decides which of its files are read, which of its programs are
// run, and who is shown what comes of it.
func (a Actor) outside() bool { return a.Kind != ByLocal && a.Kind != ByFile }

// localOnly finds what somebody from outside would change and may not: in the databases, also by restoring an earlier revision, and in the
// standbys that enrichments ask with the password of a database.
func localOnly(was, next *resource.Set, actor Actor) (found []resource.Mistake) {
	if !actor.outside() {
		return nil
	}
	for i := range next.Databases {
		d := &next.Databases[i]
		for _, m := range d.LocalOnly(databaseByID(was, d.ID)) {
			m.Path = fmt.Sprintf("databases[%d].%s", i, m.Path)
			found = append(found, m)
		}
	}
	before := replicas(was)
	for r, i := range replicas(next) {
		if d := databaseByID(next, r.database); d != nil && d.PasswordIsLocal() {
			if _, asked := before[r]; !asked {
				found = append(found, undeclaredStandby(fmt.Sprintf("functions[%d]", i), d.Name))
			}
		}
	}
	return found
}

func databaseByID(set *resource.Set, id string) *resource.Database {
	for i := range set.Databases {
		if set.Databases[i].ID == id {
			return &set.Databases[i]
		}
	}
	return nil
}

// replica is a standby that is asked in the name of a database.
type replica struct {
	database, host string
	port           int
}

// StandbyAllowed refuses to have a standby that is not declared asked in the name of a database whose password comes from this machine: a function
// that is only tried is anybody's word.
func StandbyAllowed(set *resource.Set, asked *resource.Database, f *resource.Function) error {
	if f.Query.ReplicaHost == "" || !asked.PasswordIsLocal() {
		return nil
	}
	if _, declared := replicas(set)[replica{asked.ID, asked.Hostname, asked.Port}]; declared {
		return nil
	}
	return &resource.InvalidError{Mistakes: []resource.Mistake{undeclaredStandby("function", asked.Name)}}
}

func undeclaredStandby(at, database string) resource.Mistake {
	return resource.Mistake{
		Path: at + ".replica.hostname", Code: resource.CodeLocal,
		What: fmt.Sprintf("may not be chosen from outside for database %q, whose password comes from a file or a program of the server's machine: another server would be shown it", database),
		Hint: "declare it in the file that the server starts with, or through the unix socket in its data directory",
	}
}

// replicas are those of a set, with the place of a function that names each.
func replicas(set *resource.Set) map[replica]int {
	all := map[replica]int{}
	for i := range set.Functions {
		f := &set.Functions[i]
		if f.Type != resource.FunctionEnrichment || f.Query.ReplicaHost == "" {
			continue
		}
		names := []string{f.Query.Database}
		for j := range set.Sinks {
			if set.Sinks[j].Enrichment == f.Name {
				names = append(names, cmp.Or(f.Query.Database, set.Sinks[j].Database))
			}
		}
		for _, name := range names {
			if d, ok := set.Database(name); ok {
				all[replica{d.ID, f.Query.ReplicaHost, cmp.Or(f.Query.ReplicaPort, d.Port)}] = i
			}
		}
	}
	return all
}
