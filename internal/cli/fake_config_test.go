package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

// documents are plan, apply and export: sections of the document become the objects of the routes.
func (f *fakeServer) documents() {
	f.on("POST /api/config/plan", func(_ *http.Request, body object) reply {
		changes, r, bad := f.plan(body)
		if bad {
			return r
		}
		actions := []object{}
		if len(changes) > 0 {
			actions = append(actions, object{"description": "Ensure publication `sequin_pub` exists"})
		}
		return ok(object{"changes": changes, "actions": actions, "warnings": []string{}, "revision": len(f.revisions)})
	})
	f.on("POST /api/config/apply", func(_ *http.Request, body object) reply {
		if n, there := body["expect_revision"]; there && fmt.Sprint(n) != strconv.Itoa(len(f.revisions)) {
			return no(http.StatusConflict, "revision_conflict", "something else was changed since revision %v", n)
		}
		changes, r, bad := f.plan(body)
		if bad {
			return r
		}
		for _, c := range changes {
			f.carry(c)
		}
		all := []object{}
		for _, route := range sections {
			all = append(all, f.tables[route.route]...)
		}
		answer := object{"resources": all, "revision": len(f.revisions), "changes": changes, "warnings": []string{}}
		if strings.Contains(fmt.Sprint(body["yaml"]), "api_tokens") {
			answer["tokens"] = []object{{"name": "ci", "token": "made-secret-0123456789"}}
		}
		return ok(answer)
	})
	f.on("GET /api/config/export", func(r *http.Request, _ object) reply {
		out := object{}
		for _, s := range sections {
			if list := f.tables[s.route]; len(list) > 0 {
				out[s.section] = hide(list, r.URL.Query().Get("show-sensitive") == "true")
			}
		}
		text, err := json.Marshal(out)
		if err != nil {
			return reply{http.StatusInternalServerError, object{"summary": err.Error()}}
		}
		yaml, err := config.YAMLFromJSON(text)
		if err != nil {
			return reply{http.StatusInternalServerError, object{"summary": err.Error()}}
		}
		return ok(object{"yaml": string(yaml)})
	})
}

var sections = []struct{ section, route, kind string }{
	{"databases", "postgres_databases", "database"},
	{"change_retentions", "change_retentions", "change_retention"},
	{"http_endpoints", "destinations/http_endpoints", "http_endpoint"},
	{"functions", "functions", "function"},
	{"sinks", "sinks", "sink"},
}

func hide(list []object, sensitive bool) []object {
	out := make([]object, len(list))
	for i, o := range list {
		out[i] = object{}
		for key, value := range o {
			switch text, isText := value.(string); {
			case key == "id":
			case key == "password" && isText && !sensitive:
				out[i][key] = resource.Mask(text)
			default:
				out[i][key] = value
			}
		}
	}
	return out
}

func (f *fakeServer) plan(body object) (changes []object, r reply, bad bool) {
	text, isText := body["yaml"].(string)
	if !isText {
		return nil, reply{http.StatusBadRequest, object{"errors": object{"detail": "Bad Request"}}}, true
	}
	converted, err := config.JSONFromYAML("request", []byte(text))
	var document map[string]json.RawMessage
	if err != nil || json.Unmarshal(converted, &document) != nil {
		return nil, no(http.StatusBadRequest, "invalid_yaml", "the document cannot be read"), true
	}
	changes = []object{}
	for _, s := range sections {
		named := map[any]bool{}
		var declared []object
		if raw := document[s.section]; raw != nil && json.Unmarshal(raw, &declared) != nil {
			return nil, no(http.StatusBadRequest, "invalid_yaml", "%s is not a list", s.section), true
		}
		for i, o := range declared {
			named[o["name"]] = true
			if _, unknown := o["colour"]; unknown {
				path := fmt.Sprintf("%s[%d].colour", s.section, i)
				r := invalid(path, "is not a known key")
				r.body.(object)["detail"] = "request:1:1: " + path + " is not a known key\n\tdid you mean colours?"
				return nil, r, true
			}
			changes = append(changes, f.compare(s.kind, s.route, o)...)
		}
		if body["prune"] == true {
			for _, o := range f.tables[s.route] {
				if !named[o["name"]] {
					changes = append(changes, object{"resource_type": s.kind, "action": "delete", "name": o["name"], "old": hide([]object{o}, false)[0], "new": nil, "changed": []string{}})
				}
			}
		}
	}
	return changes, reply{}, false
}

func (f *fakeServer) compare(kind, route string, o object) []object {
	i := find(f.tables[route], fmt.Sprint(o["name"]))
	if i < 0 {
		return []object{{"resource_type": kind, "action": "create", "name": o["name"], "old": nil, "new": hide([]object{o}, false)[0], "changed": []string{}, "whole": o}}
	}
	old := f.tables[route][i]
	var changed []string
	for key, value := range o {
		if fmt.Sprint(old[key]) != fmt.Sprint(value) {
			changed = append(changed, key)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	slices.Sort(changed)
	after := object{}
	merge(after, old)
	merge(after, o)
	return []object{{
		"resource_type": kind, "action": "update", "name": o["name"], "old": hide([]object{old}, false)[0], "new": hide([]object{after}, false)[0], "changed": changed, "whole": o,
	}}
}

func (f *fakeServer) carry(c object) {
	for _, s := range sections {
		if s.kind != c["resource_type"] {
			continue
		}
		i := find(f.tables[s.route], fmt.Sprint(c["name"]))
		switch c["action"] {
		case "create":
			created := object{"id": uuid.NewString()}
			merge(created, c["whole"].(object))
			f.tables[s.route] = append(f.tables[s.route], created)
		case "update":
			merge(f.tables[s.route][i], c["whole"].(object))
		case "delete":
			f.tables[s.route] = slices.Delete(f.tables[s.route], i, i+1)
		}
		f.revise(c["action"].(string), s.route, c)
	}
}
