package auth_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/auth"
	"github.com/sequinstream/sequin/internal/problem"
	"github.com/sequinstream/sequin/internal/resource"
)

func tokens() *auth.Tokens {
	return auth.NewTokens(auth.FromResources("acme", []resource.APIToken{
		{Name: "admin", Token: "s3cret-admin", Scopes: []resource.Scope{resource.ScopeAdmin}},
		{Name: "worker", Token: "s3cret-worker", Scopes: []resource.Scope{resource.ConsumeScope("orders")}},
		{Name: "viewer", Token: "s3cret-viewer", Scopes: []resource.Scope{resource.ScopeRead}},
	}))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		values []string
		token  string
		code   string
	}{
		{"good", []string{"Bearer s3cret-admin"}, "admin", ""},
		{"last of the list", []string{"Bearer s3cret-viewer"}, "viewer", ""},
		{"scheme in lower case", []string{"bearer s3cret-worker"}, "worker", ""},
		{"surrounding spaces", []string{"Bearer   s3cret-worker "}, "worker", ""},
		{"missing", nil, "", auth.CodeMissing},
		{"duplicated", []string{"Bearer s3cret-admin", "Bearer s3cret-admin"}, "", auth.CodeDuplicated},
		{"basic", []string{"Basic czNjcmV0"}, "", auth.CodeNotBearer},
		{"the token alone", []string{"s3cret-admin"}, "", auth.CodeNotBearer},
		{"no token", []string{"Bearer "}, "", auth.CodeNotBearer},
		{"empty", []string{""}, "", auth.CodeNotBearer},
		{"unknown", []string{"Bearer s3cret-admi"}, "", auth.CodeUnknownToken},
		{"two tokens in one", []string{"Bearer s3cret-admin s3cret-admin"}, "", auth.CodeUnknownToken},
	}
	texts := map[string]string{}
	for _, tt := range tests {
		id, err := tokens().Check(http.Header{"Authorization": tt.values})
		require.Equal(t, tt.code, problem.Code(err), tt.name)
		require.Equal(t, tt.token, id.Token, tt.name)
		if err != nil {
			require.NotContains(t, err.Error(), "s3cret")
			texts[err.Error()] = tt.code
		}
	}
	require.Len(t, texts, 4, "each way to be wrong has words of its own")
}

func TestScopes(t *testing.T) {
	t.Parallel()
	allowed := func(token string) []bool {
		id, err := tokens().Check(http.Header{"Authorization": {"Bearer " + token}})
		require.NoError(t, err)
		return []bool{id.MayConsume("orders") == nil, id.MayConsume("other") == nil, id.MayRead() == nil, id.MayChange() == nil}
	}
	require.Equal(t, []bool{true, true, true, true}, allowed("s3cret-admin"))
	require.Equal(t, []bool{true, false, false, false}, allowed("s3cret-worker"))
	require.Equal(t, []bool{false, false, true, false}, allowed("s3cret-viewer"))
	require.Equal(t, auth.CodeScope, problem.Code(auth.Identity{}.MayChange()))
}

func TestReplace(t *testing.T) {
	t.Parallel()
	k := tokens()
	require.False(t, k.Empty())
	k.Replace(nil)
	require.True(t, k.Empty())
	_, err := k.Check(http.Header{"Authorization": {"Bearer s3cret-admin"}})
	require.Equal(t, auth.CodeUnknownToken, problem.Code(err))
}
