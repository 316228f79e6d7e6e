package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/archtest"
)

const root = "../.."

func TestImportsKeepToTheOrderOfPackages(t *testing.T) {
	t.Parallel()
	packages := list(t)
	require.Greater(t, len(packages), 10, "the graph was read")
	for _, broken := range archtest.Check(packages) {
		t.Error(broken)
	}
}

func list(t *testing.T) []archtest.Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &stderr)
	var packages []archtest.Package
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p archtest.Package
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}

func TestEveryRuleIsNamedWhenItIsBroken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ from, to, rule string }{
		"downwards":           {"internal/changelog", archtest.Module + "/internal/cdc", ""},
		"several down":        {"internal/server", archtest.Module + "/internal/problem", ""},
		"own family":          {"internal/postgres/slot", archtest.Module + "/internal/postgres/catalog", ""},
		"upwards":             {"internal/cdc", archtest.Module + "/internal/filter", "imports point downwards"},
		"neighbour":           {"internal/postgres", archtest.Module + "/internal/changelog", "neighbours do not know each other"},
		"lowest neighbour":    {"internal/cdc", archtest.Module + "/internal/resource", "neighbours do not know each other"},
		"another sink":        {"internal/sink/kafka", archtest.Module + "/internal/sink/webhook", "one sink does not know another"},
		"what sinks share":    {"internal/sink/kafka", archtest.Module + "/internal/sink/circuit", ""},
		"the list of sinks":   {"internal/sink/all", archtest.Module + "/internal/sink/webhook", ""},
		"test support":        {"internal/cli", archtest.Module + "/internal/pgtest", "for tests, the demonstration"},
		"support in support":  {"internal/pgtest", archtest.Module + "/internal/postgres/throwaway", ""},
		"support in a script": {"scripts/postgres", archtest.Module + "/internal/postgres/throwaway", ""},
		"a script":            {"cmd/sequin", archtest.Module + "/test/demo", "no part of the product"},
		"a new package":       {"internal/util", "fmt", "has no place"},
		"into a new package":  {"internal/cli", archtest.Module + "/internal/util", "has no place"},
		"owned":               {"internal/server", "github.com/spf13/cobra", "only internal/cli may"},
		"owned, below":        {"internal/consumer", "github.com/jackc/pgx/v5/pgconn", "only internal/postgres"},
		"the owner":           {"internal/engine/embedded", "github.com/cockroachdb/pebble/v2/vfs", ""},
		"a test library":      {"internal/consumer", "github.com/stretchr/testify/require", "for tests"},
		"a like-named module": {"internal/consumer", "testing2", ""},
		"another module":      {"../elsewhere", "fmt", "has no place"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := archtest.Check([]archtest.Package{{ImportPath: archtest.Module + "/" + test.from, Imports: []string{test.to}}})
			if test.rule == "" {
				require.Empty(t, broken)
				return
			}
			require.Len(t, broken, 1)
			require.Contains(t, broken[0], test.rule)
		})
	}
}

func TestFilesHoldOneSubject(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			hidden := path != root && strings.HasPrefix(entry.Name(), ".")
			if hidden || entry.Name() == "node_modules" || entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		generated := bytes.HasPrefix(content, []byte("// Code generated ")) || bytes.Contains(content, []byte("\n// Code generated "))
		if lines := bytes.Count(content, []byte("\n")); lines > archtest.MaxLines && !generated {
			t.Errorf("%s has %d lines; more than %d usually hold two subjects", path, lines, archtest.MaxLines)
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 50, "the files were read")
}
