package contract_test

import (
	"bytes"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/openapi"
)

// contract is openapi.json, ready to hold replies against.
type contract struct {
	doc        object
	operations []*operation

	mu       sync.Mutex // the compiler is not safe for concurrent use
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

// operation is one method of one path.
type operation struct {
	method, path string
	id, scope    string
	pattern      *regexp.Regexp
	parameters   []object
	body         object // its schema
	responses    object
	pointer      string
}

const contractURL = "https://sequin.invalid/openapi.json"

var loaded = sync.OnceValues(readContract)

func loadContract(t testing.TB) *contract {
	t.Helper()
	c, err := loaded()
	require.NoError(t, err)
	return c
}

func readContract() (*contract, error) {
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(openapi.JSON))
	if err != nil {
		return nil, err
	}
	c := &contract{doc: raw.(object), compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	for path, item := range c.doc["paths"].(object) {
		shared, _ := item.(object)["parameters"].([]any)
		for method, raw := range item.(object) {
			if method != "parameters" {
				c.operations = append(c.operations, c.operation(method, path, raw.(object), shared))
			}
		}
	}
	slices.SortFunc(c.operations, func(a, b *operation) int { // literal paths before those with parameters
		if n := strings.Count(a.path, "{") - strings.Count(b.path, "{"); n != 0 {
			return n
		}
		return strings.Compare(a.path+a.method, b.path+b.method)
	})
	strict(c.doc["components"].(object)["schemas"])
	strict(c.doc["paths"])
	c.compiler.AssertFormat()
	return c, c.compiler.AddResource(contractURL, c.doc)
}

func (c *contract) operation(method, path string, o object, shared []any) *operation {
	op := &operation{
		method: strings.ToUpper(method), path: path, id: o["operationId"].(string), scope: o["x-scope"].(string), responses: o["responses"].(object),
		pattern: regexp.MustCompile("^" + regexp.MustCompile(`\\\{[a-z_]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "([^/]+)") + "$"),
		pointer: "/paths/" + escape(path) + "/" + method + "/responses/",
	}
	own, _ := o["parameters"].([]any)
	for _, p := range append(slices.Clone(shared), own...) {
		op.parameters = append(op.parameters, c.resolve(p.(object)))
	}
	if body, ok := o["requestBody"].(object); ok {
		op.body = body["content"].(object)["application/json"].(object)["schema"].(object)
	}
	return op
}

func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

// resolve follows references within the document.
func (c *contract) resolve(o object) object {
	for {
		ref, ok := o["$ref"].(string)
		if !ok {
			return o
		}
		var v any = c.doc
		for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			v = v.(object)[part]
		}
		o = v.(object)
	}
}

// strict lets no object have keys that the contract does not name: clients must put up with more keys, we say which there are.
func strict(v any) {
	switch x := v.(type) {
	case object:
		for _, below := range x {
			strict(below)
		}
		if _, has := x["properties"].(object); has && x["additionalProperties"] == nil && x["type"] != nil {
			x["additionalProperties"] = false
		}
	case []any:
		for _, item := range x {
			strict(item)
		}
	}
}

// find is the operation of a request, or nil.
func (c *contract) find(method, path string) *operation {
	for _, op := range c.operations {
		if op.method == method && op.pattern.MatchString(path) {
			return op
		}
	}
	return nil
}

// schema compiles the schema at a place of the document.
func (c *contract) schema(t testing.TB, pointer string) *jsonschema.Schema {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.compiled[pointer]; s != nil {
		return s
	}
	s, err := c.compiler.Compile(contractURL + "#" + pointer)
	require.NoError(t, err, pointer)
	c.compiled[pointer] = s
	return s
}

// holds checks a reply: its operation has that status, and the body has the form that the contract gives it.
// It returns the operation, if the request was for one.
func (c *contract) holds(t testing.TB, r *http.Request, got reply) *operation {
	t.Helper()
	path := strings.TrimSuffix(strings.Replace(strings.ReplaceAll(r.URL.EscapedPath(), "//", "/"), "/api/api/", "/api/", 1), "/")
	if strings.Contains(path, "..") { // nothing is there
		require.Equal(t, http.StatusNotFound, got.status, got.request)
		return nil
	}
	op := c.find(r.Method, path)
	if op == nil || op.scope == "local" && r.URL.Host != socketHost {
		require.Equal(t, http.StatusNotFound, got.status, "%s is not in the contract: %s", got.request, got.body)
		return nil
	}
	status := http.StatusText(got.status)
	require.NotEmpty(t, status)
	code := itoa(got.status)
	found, ok := op.responses[code].(object)
	if !ok {
		t.Fatalf("%s answered %d, which the contract of %s does not have: %s", got.request, got.status, op.id, got.body)
	}
	pointer := op.pointer + code
	if ref, ok := found["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(got.body))
	require.NoError(t, err, "%s: %s", got.request, got.body)
	if err := c.schema(t, pointer+"/content/application~1json/schema").Validate(v); err != nil {
		t.Fatalf("%s: the reply is not as the contract says: %v\n%s", got.request, err, got.body)
	}
	return op
}

// answers are the statuses that operations have answered.
type answers struct {
	mu  sync.Mutex
	all map[string]map[int]bool
}

func (a *answers) note(id string, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all[id] == nil {
		a.all[id] = map[int]bool{}
	}
	a.all[id][status] = true
}

// succeeded tells whether an operation has answered with success.
func (a *answers) succeeded(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[id][200] || a.all[id][201]
}

func itoa(n int) string { return encode(n) }

// The document has the form of OpenAPI 3.1, and its examples are what it says they are.
func TestContractIsValid(t *testing.T) {
	t.Parallel()
	c := loadContract(t)
	schemas := c.doc["components"].(object)["schemas"].(object)
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		examples, _ := schemas[name].(object)["examples"].([]any)
		for _, example := range examples {
			if err := c.schema(t, "/components/schemas/"+name).Validate(example); err != nil {
				t.Errorf("an example of %s is none: %v", name, err)
			}
		}
	}
	ids := map[string]bool{}
	for _, op := range c.operations {
		require.False(t, ids[op.id], "two operations are called %s", op.id)
		ids[op.id] = true
		if op.body != nil {
			require.NotEmpty(t, c.resolve(op.body)["examples"], "%s: the body has no example", op.id)
		}
		for status, raw := range op.responses {
			schema := c.resolve(raw.(object))["content"].(object)["application/json"].(object)["schema"].(object)
			require.NotEmpty(t, c.resolve(schema)["examples"], "%s: the reply %s has no example", op.id, status)
		}
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openapi.JSON))
	require.NoError(t, err)
	c.isWellFormed(t)
	noKeywordIsNull(t, "", doc)
	used := string(openapi.JSON)
	for _, kind := range []string{"schemas", "responses", "parameters"} {
		for name := range c.doc["components"].(object)[kind].(object) {
			require.Contains(t, used, `"#/components/`+kind+`/`+name+`"`, "nothing refers to it")
		}
	}
}

// isWellFormed checks what OpenAPI 3.1 asks of a document and JSON Schema does not.
func (c *contract) isWellFormed(t *testing.T) {
	t.Helper()
	version, _ := c.doc["openapi"].(string)
	require.True(t, strings.HasPrefix(version, "3.1."), version)
	info := c.doc["info"].(object)
	require.NotEmpty(t, info["title"])
	require.NotEmpty(t, info["version"])
	methods := []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}
	known := append([]string{"parameters", "summary", "description", "servers"}, methods...)
	for path, raw := range c.doc["paths"].(object) {
		require.True(t, strings.HasPrefix(path, "/"), path)
		entry := raw.(object)
		shared, _ := entry["parameters"].([]any)
		for key, below := range entry {
			require.Contains(t, known, key, path)
			if !slices.Contains(methods, key) {
				continue
			}
			op := below.(object)
			require.NotEmpty(t, op["operationId"], "%s %s", key, path)
			require.NotEmpty(t, op["responses"], "%s %s", key, path)
			for status, response := range op["responses"].(object) {
				require.NotEmpty(t, c.resolve(response.(object))["description"], "%s %s: %s", key, path, status)
			}
			own, _ := op["parameters"].([]any)
			c.parametersFit(t, key+" "+path, append(slices.Clone(shared), own...))
		}
	}
}

// parametersFit checks that each part of a path is described, and that each parameter has what it needs.
func (c *contract) parametersFit(t *testing.T, where string, parameters []any) {
	t.Helper()
	described := map[string]bool{}
	for _, raw := range parameters {
		p := c.resolve(raw.(object))
		name, _ := p["name"].(string)
		require.NotEmpty(t, name, where)
		require.Contains(t, []string{"query", "header", "path", "cookie"}, p["in"], "%s: %s", where, name)
		require.NotNil(t, p["schema"], "%s: %s", where, name)
		if p["in"] == "path" {
			require.Equal(t, true, p["required"], "%s: %s", where, name)
			require.Contains(t, where, "{"+name+"}")
			described[name] = true
		}
	}
	for rest := where; strings.Contains(rest, "{"); {
		_, after, _ := strings.Cut(rest, "{")
		name, left, _ := strings.Cut(after, "}")
		require.True(t, described[name], "%s: nothing describes %s", where, name)
		rest = left
	}
}

// noKeywordIsNull finds texts that fell apart at a comma: YAML makes keys of what comes after it.
func noKeywordIsNull(t *testing.T, path string, v any) {
	t.Helper()
	switch x := v.(type) {
	case object:
		for key, below := range x {
			if key == "examples" || key == "example" || key == "default" {
				continue
			}
			require.NotNil(t, below, "%s.%s", path, key)
			noKeywordIsNull(t, path+"."+key, below)
		}
	case []any:
		for _, item := range x {
			noKeywordIsNull(t, path, item)
		}
	}
}
