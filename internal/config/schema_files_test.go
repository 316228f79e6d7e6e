package config_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sequinstream/sequin/internal/config"
)

// compiled is the schema as a validator that is not ours understands it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4) // the schema names its own
	require.NoError(t, c.AddResource("sequin.json", doc))
	s, err := c.Compile("sequin.json")
	require.NoError(t, err)
	require.Equal(t, 2020, s.DraftVersion)
	return s
}

// instance reads YAML as an editor does.
func instance(t *testing.T, data []byte) (any, bool) {
	t.Helper()
	var v any
	if yaml.Unmarshal(data, &v) != nil {
		return nil, false
	}
	text, err := json.Marshal(v)
	if err != nil { // .inf
		return nil, false
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	return doc, true
}

func TestSchemaAcceptsWhatIsGood(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	files, err := filepath.Glob("testdata/good/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		doc, ok := instance(t, data)
		require.True(t, ok, file)
		require.NoError(t, schema.Validate(doc), file)
	}
	for seed := range uint64(60) {
		text, err := config.Export(newGenerator(seed).set(), true)
		require.NoError(t, err)
		doc, ok := instance(t, text)
		require.True(t, ok)
		require.NoError(t, schema.Validate(doc), "%s", text)
	}
}

// onlyTheDecoder knows what is wrong with these: variables, and documents one after the other.
var onlyTheDecoder = []string{"interpolation.yaml", "documents.yaml"}

func TestSchemaRefusesWhatIsBad(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	files, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	refused := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		doc, ok := instance(t, data)
		if !ok { // no YAML, or none that JSON can express
			continue
		}
		if slices.Contains(onlyTheDecoder, filepath.Base(file)) {
			require.NoError(t, schema.Validate(doc), "%s need not be an exception", file)
			continue
		}
		require.Error(t, schema.Validate(doc), file)
		refused++
	}
	require.GreaterOrEqual(t, refused, 3)
	for _, bad := range []string{
		"sinks: [{}]", "sinks: [{name: null}]", "sinks: [null]", "sinks: {}", "databases: [{name: a, port: 54x}]", "databases: [{name: a, port: 1.5}]",
		"databases: [{name: a, ssl: yes}]", "databases: [{name: a, ipv6: 2}]", "databases: [{name: a, max_disk: huge}]", "databases: [{name: a, heartbeat_interval: soon}]",
		"databases: [{name: a, sslmode: verify}]", "databases: [{name: a, slot: {nmae: x}}]", "databases: [{name: a, password: [x]}]", "databases: [{name: a, password: {path: x}}]",
		"databases: [{name: a, password_command: pw}]", "databases: [{name: a, primary: {hostname: x}}]", "databases: [{name: a, annotations: []}]",
		"sinks: [{name: a, destination: {type: kafka}}]", "sinks: [{name: a, destination: {type: sequin_stream, batch: true}}]", "sinks: [{name: a, route: {to: x}}]",
		"sinks: [{name: a, message_grouping: sometimes}]", "sinks: [{name: a, initial_backfill: sometimes}]", "sinks: [{name: a, actions: [read]}]",
		"http_endpoints: [{name: a, path: /x}]", "http_endpoints: [{name: a, headers: x}]", "http_endpoints: [{name: a, headers: [{key: a}]}]",
		"functions: [{name: a, type: lambda}]", "functions: [{name: a, function: {kind: x}}]", "change_retentions: [{name: a, filters: [{operator: like}]}]", "7",
	} {
		doc, ok := instance(t, []byte(bad))
		require.True(t, ok, bad)
		require.Error(t, schema.Validate(doc), bad)
	}
}

// Every document in the documentation is one that the schema and the decoder take.
func TestDocumentsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	schema := compiled(t)
	blocks := regexp.MustCompile("(?ms)^( *)```ya?ml\n(.*?)\n *```")
	found := 0
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range blocks.FindAllStringSubmatch(string(text), -1) {
			block := strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n")
			doc, ok := instance(t, []byte(block))
			require.True(t, ok, "%s\n%s", path, block)
			if _, isDocument := doc.(map[string]any); isDocument {
				require.NoError(t, schema.Validate(doc), "%s\n%s", path, block)
				found++
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, found, 3)
}
