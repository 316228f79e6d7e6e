package api

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/control"
)

// Names of the parameter that asks for secrets in clear; the export has always spelt it with a hyphen.
const (
	showSensitive       = "show_sensitive"
	showSensitiveHyphen = "show-sensitive"
)

// clear tells whether secrets are asked for in clear, which takes more than seeing what is declared. Who has seen them is in the audit log.
func (r *request) clear() (bool, error) {
	shown, err := r.params.boolean(showSensitive)
	if err == nil && !shown {
		shown, err = r.params.boolean(showSensitiveHyphen)
	}
	if err != nil || !shown {
		return false, err
	}
	return true, r.identity.MayAdminister()
}

// actor is who the request comes from, for revisions and the audit log.
func (r *request) actor() control.Actor {
	return actorOf(r.identity, r.RemoteAddr, r.id)
}

func actorOf(id auth.Identity, address, requestID string) control.Actor {
	actor := control.Actor{Kind: control.ByToken, Name: id.Token, Address: address, RequestID: requestID}
	switch {
	case id.Local:
		actor.Kind, actor.Name, actor.Address = control.ByLocal, "", "admin.sock"
	case id.User != "":
		actor.Kind = control.ByUser
	}
	return actor
}

// declaration is the body as a JSON object. Parameters of the query count as its keys, as in the original; those in the body go first.
func (r *request) declaration() []byte {
	extra := queryObject(r.params.query, []string{showSensitive, showSensitiveHyphen})
	if len(extra) == 0 {
		if len(bytes.TrimSpace(r.raw)) == 0 {
			return []byte("{}")
		}
		return r.raw
	}
	for key, value := range r.params.body {
		extra[key] = value
	}
	body, err := json.Marshal(extra)
	if err != nil {
		return r.raw // cannot happen: texts, and what was decoded from JSON
	}
	return body
}

// maxNesting is how deep a name of the query may reach.
const maxNesting = 8

// queryObject turns a query into an object: a=b, a[]=b for lists, a[b]=c for objects within.
func queryObject(query url.Values, without []string) map[string]any {
	object := map[string]any{}
	for name, values := range query {
		first, rest, _ := strings.Cut(name, "[")
		if len(values) == 0 || first == "" || slices.Contains(without, first) || strings.Count(name, "[") > maxNesting {
			continue
		}
		object[first] = place(object[first], rest, values)
	}
	return object
}

// place puts values at what is left of a name: "" for the thing itself, "]" for a list, "b]" or "b][c]" for what is within.
func place(there any, rest string, values []string) any {
	switch rest {
	case "":
		return values[len(values)-1]
	case "]":
		return values
	}
	key, below, closed := strings.Cut(rest, "]")
	if !closed {
		return values[len(values)-1]
	}
	object, ok := there.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	object[key] = place(object[key], strings.TrimPrefix(below, "["), values)
	return object
}

// withKeys puts more keys at the end of a JSON object.
func withKeys(object []byte, more ...member) []byte {
	for _, m := range more {
		if value, err := json.Marshal(m.value); err == nil { // what is given here can be encoded
			object = config.AppendKey(object, m.key, value)
		}
	}
	return object
}

// member is one key of an object.
type member struct {
	key   string
	value any
}
