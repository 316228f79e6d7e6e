package api

import (
	"strings"

	"github.com/sequinstream/sequin/internal/control"
)

// Routes lists every route as "METHOD /path scope"; local says that it is served to the operator of this machine only.
func Routes() (all []string, local map[string]bool) {
	a := &API{control: new(control.Plane), sinks: noSinks{}}
	local = map[string]bool{}
	for _, e := range append(a.routes(), a.adminRoutes()...) {
		line := strings.Join([]string{e.method, e.pattern, string(e.access)}, " ")
		all = append(all, line)
		local[line] = strings.HasPrefix(e.pattern, "/api/admin/")
	}
	return all, local
}

type noSinks struct{ Sinks }

// Nest is how the messages of mistakes are nested.
func Nest(fields map[string][]string) any { return nest(fields) }

// Declaration is the body that a request declares, with what its query adds.
func Declaration(query, body string) (string, error) {
	p, err := parseParams(query, []byte(body))
	if err != nil {
		return "", err
	}
	r := &request{params: p, raw: []byte(body)}
	return string(r.declaration()), nil
}
