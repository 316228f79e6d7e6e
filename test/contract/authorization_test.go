package contract_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Who may call what: every operation of the contract, as everybody there can be. What is expected follows from the contract's x-scope alone, so a
// new route cannot be forgotten.
func TestEveryRouteAsEverybody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.healthy()
	worker := r.admin("POST", "/api/api_keys", object{"name": "w2", "scopes": []string{"consume:another"}})
	require.Equal(t, http.StatusUnprocessableEntity, r.admin("POST", "/api/api_keys", object{"name": "w3", "scopes": []string{"consume:"}}).status)
	people := []struct {
		name   string
		token  func() string
		scopes []string // of the contract
	}{
		{"nobody", func() string { return "" }, nil},
		{"unknown", func() string { return "no-token-of-anybody" }, nil},
		{"reader", func() string { return readToken }, []string{"any", "read"}},
		{"worker", func() string { return consumeToken }, []string{"any", "consume"}},
		{"worker of another sink", func() string { return worker.text("token") }, []string{"any"}},
		{"administrator", func() string { return adminToken }, []string{"any", "read", "change", "administer", "consume"}},
		{"viewer", func() string { return r.signIn("viewer@example.com") }, []string{"any", "read"}},
		{"editor", func() string { return r.signIn("editor@example.com") }, []string{"any", "read", "change", "consume"}},
		{"owner", func() string { return r.signIn("owner@example.com") }, []string{"any", "read", "change", "administer", "consume"}},
		{"foreigner", func() string { return otherToken }, []string{"any", "read", "change", "administer", "consume"}},
		{"operator", nil, []string{"any", "read", "change", "administer", "consume", "local"}},
	}
	seen := 0
	for _, who := range people {
		token := ""
		if who.token != nil {
			token = who.token()
		}
		for _, op := range r.contract.operations {
			if op.id == "signOut" && who.token != nil { // it would end the session of what follows
				token = who.token()
			}
			var got reply
			path := harmless(op)
			if who.token == nil {
				got = r.operator(op.method, path, bodyOf(op), "X-Sequin-Account: acme")
			} else {
				got = r.as(token, op.method, path, bodyOf(op))
			}
			judge(t, op, who.name, slices.Contains(who.scopes, op.scope), token, got)
			if op.id == "signOut" && who.token != nil {
				token = who.token()
			}
			seen++
		}
	}
	require.Equal(t, len(people)*len(r.contract.operations), seen)
	require.Greater(t, len(r.contract.operations), 80)
}

// harmless fills in a path so that whoever is let in changes nothing: what is looked at is there, what would be changed is not.
func harmless(op *operation) string {
	name := "nobody"
	if op.method == http.MethodGet || op.scope == "consume" {
		name = "pull"
		for part, there := range map[string]string{"postgres_databases": "db", "/api/databases/": "db", "http_endpoints": "nobody", "functions": "nobody", "change_retentions": "nobody"} {
			if strings.Contains(op.path, part) {
				name = there
			}
		}
	}
	return strings.NewReplacer("{id_or_name}", name, "{id}", "0b8f3f0e-7f5c-4a56-9d6f-2f2a8a0f6c11", "{seq}", "1", "{seq_or_ack_id}", "1",
		"{number}", "99999", "{email}", "nobody@example.com", "{schema}", "public").Replace(op.path)
}

// bodyOf is a body that no operation accepts.
func bodyOf(op *operation) any {
	if op.method == http.MethodGet || op.method == http.MethodDelete {
		return nil
	}
	return object{}
}

// judge compares a reply with what the contract promises to somebody.
func judge(t *testing.T, op *operation, who string, allowed bool, token string, got reply) {
	t.Helper()
	where := fmt.Sprintf("%s as %s: %d %s", op.id, who, got.status, got.body)
	switch {
	case op.scope == "public":
		require.NotContains(t, []int{401, 403}, got.status, where)
	case op.scope == "local" && who != "operator":
		require.Equal(t, http.StatusNotFound, got.status, where)
	case token == "" && who != "operator":
		require.Equal(t, http.StatusUnauthorized, got.status, where)
	case who == "unknown":
		require.Contains(t, []int{401, 429}, got.status, where) // from the hundredth on
	case who == "foreigner" && strings.Contains(op.path, "{id_or_name}"):
		require.Equal(t, http.StatusNotFound, got.status, where)
	case allowed:
		require.NotContains(t, []int{401, 403}, got.status, where)
		require.Less(t, got.status, 500, where)
	default:
		require.Equal(t, http.StatusForbidden, got.status, where)
	}
}
