package api_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/api"
	"github.com/sequinstream/sequin/openapi"
)

// Every route is in the contract, everything in the contract is a route, and both say the same of who may call it.
func TestRoutesAndContractAgree(t *testing.T) {
	t.Parallel()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(openapi.JSON, &doc))
	var documented []string
	for path, item := range doc.Paths {
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			var op struct {
				Scope string `json:"x-scope"`
			}
			require.NoError(t, json.Unmarshal(raw, &op))
			documented = append(documented, strings.Join([]string{strings.ToUpper(method), path, op.Scope}, " "))
		}
	}
	served, local := api.Routes()
	for _, line := range served {
		require.Equal(t, strings.HasSuffix(line, " local"), local[line], line)
	}
	slices.Sort(served)
	slices.Sort(documented)
	require.Equal(t, documented, served)
}
