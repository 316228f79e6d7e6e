// Package archtest holds the rules of who may import whom, and how long a file may be. Its tests read the real import graph and name the rule
// that was broken. A new package below internal/ first gets a place here.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path that the names of our own packages start with.
const Module = "github.com/sequinstream/sequin"

// MaxLines is the length of a file past which it certainly holds two subjects.
const MaxLines = 600

// Package is what the rules look at: an import path, and the imports of its files, tests aside.
type Package struct {
	ImportPath string
	Imports    []string
}

// levels lists the families of packages below internal/, and the contract beside it, top first. A package imports only from levels below its own and from its own family:
// "postgres" stands for postgres/slot too.
var levels = [][]string{
	{"cli"},
	{"server"},
	{"api", "reconcile", "delivery", "capture", "backfills"},
	{"control", "shape"},
	{"store", "vault", "consumer", "changelog", "postgres", "sink", "health", "metrics", "auth", "config", "client"},
	{"engine", "filter", "where", "transform", "route", "message", "backoff"},
	{"cdc", "resource"},
	{"problem", "openapi"},
}

// support lists what only tests, the demonstration and benchmarks may import.
var support = []string{
	"internal/archtest", "internal/pgtest", "internal/postgres/throwaway", "internal/cdc/cdctest", "internal/engine/enginetest",
	"internal/engine/embedded/powerloss", "internal/sink/sinktest",
}

// programs lists the directories outside internal/ that hold no part of the product.
var programs = []string{"scripts", "test"}

// sinkParts are the packages below sink that are not sinks: what several sinks need, and the list of them all.
var sinkParts = []string{"all", "circuit", "egress", "sinktest"}

// owners tells which families may import an outside package. Whoever else needs it asks its owner.
var owners = map[string][]string{
	"github.com/cockroachdb/pebble/v2":    {"internal/engine/embedded"},
	"github.com/dlclark/regexp2/v2":       {"internal/transform/javascript"}, // for its limit of time; goja brings it
	"github.com/dop251/goja":              {"internal/transform/javascript"},
	"github.com/jackc/pgx/v5":             {"internal/postgres", "internal/capture", "internal/cli", "internal/server"}, // cli: tail streams without a server; server: introduces them
	"github.com/prometheus/client_golang": {"internal/metrics"},
	"github.com/spf13/cobra":              {"internal/cli"},
	"github.com/yuin/gopher-lua":          {"internal/transform/lua"},
	"go.yaml.in/yaml/v3":                  {"internal/config"},
	"golang.org/x/crypto":                 {"internal/auth"},
	"golang.org/x/term":                   {"internal/cli"},
	"github.com/tetratelabs/wazero":       {"internal/transform/wasm"},
	"os/signal":                           {"cmd", "internal/transform/sandbox"}, // sandbox: a worker is a process of its own
	"github.com/rogpeppe/go-internal":     {},
	"github.com/stretchr/testify":         {},
	"go.uber.org/goleak":                  {},
	"github.com/google/go-cmp":            {},
	"testing":                             {},

	"github.com/santhosh-tekuri/jsonschema/v6": {},
}

// Check returns a sentence for every broken rule.
func Check(packages []Package) []string {
	var broken []string
	for _, p := range packages {
		from, ours := within(p.ImportPath)
		if !ours {
			continue
		}
		if _, err := level(from); err != nil {
			broken = append(broken, err.Error())
			continue
		}
		for _, imported := range p.Imports {
			if rule := forbids(from, imported); rule != "" {
				broken = append(broken, fmt.Sprintf("%s imports %s: %s", from, strings.TrimPrefix(imported, Module+"/"), rule))
			}
		}
	}
	return broken
}

// within cuts the module from an import path.
func within(path string) (string, bool) {
	return strings.CutPrefix(path, Module+"/")
}

// in reports whether a package belongs to one of the families.
func in(families []string, path string) bool {
	return slices.ContainsFunc(families, func(family string) bool { return path == family || strings.HasPrefix(path, family+"/") })
}

// level is the place of a package: 0 for the commands, which stand above all, then the index in levels plus one. What is there for tests stands
// above all too.
func level(path string) (int, error) {
	if in([]string{"cmd"}, path) || in(programs, path) || in(support, path) {
		return 0, nil
	}
	for i, families := range levels {
		if in(families, strings.TrimPrefix(path, "internal/")) {
			return i + 1, nil
		}
	}
	return 0, fmt.Errorf("%s has no place in the order of packages: give it one in internal/archtest", path)
}

// forbids returns the rule that an import breaks, or "".
func forbids(from, imported string) string {
	exempt := in(support, from) || in(programs, from)
	to, ours := within(imported)
	if !ours {
		for outside, allowed := range owners {
			if in([]string{outside}, imported) && !exempt && !in(allowed, from) {
				if len(allowed) == 0 {
					return "that is for tests"
				}
				return "only " + strings.Join(allowed, ", ") + " may"
			}
		}
		return ""
	}
	if in(support, to) && !exempt {
		return "that is for tests, the demonstration and benchmarks"
	}
	if in(programs, to) && !in(programs, from) {
		return "that is no part of the product"
	}
	if rule := forbidsSink(from, to); rule != "" {
		return rule
	}
	return forbidsLevel(from, to)
}

func forbidsLevel(from, to string) string {
	upper, err := level(from)
	if err != nil {
		return err.Error()
	}
	lower, err := level(to)
	if err != nil {
		return err.Error()
	}
	switch {
	case upper == 0 || lower > upper:
		return ""
	case lower < upper:
		return "imports point downwards, from cmd to cdc"
	case family(from) == family(to):
		return ""
	default:
		return "neighbours do not know each other; whoever is above introduces them"
	}
}

// forbidsSink keeps one sink from knowing another.
func forbidsSink(from, to string) string {
	one, other := sinkName(from), sinkName(to)
	if one == "" || other == "" || one == other || slices.Contains(sinkParts, one) || slices.Contains(sinkParts, other) {
		return ""
	}
	return "one sink does not know another"
}

func sinkName(path string) string {
	rest, below := strings.CutPrefix(path, "internal/sink/")
	if !below {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func family(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "internal/"), "/")
	return name
}
