package resource

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Bounds of functions, in bytes.
const (
	maxPath        = 2000
	maxCode        = 10_000  // of the original's languages
	maxScript      = 100_000 // of the others
	maxModule      = 1 << 20 // of Go, which comes as a compiled module in base64
	maxDescription = 10_000
)

// reservedNames would switch a function off where one is named.
var reservedNames = []string{"none", "null", "nil"}

// pathRoots are the parts of a message that a path begins with.
var pathRoots = []string{"record", "changes", "action", "metadata"}

// routingSinks are the types of sink that a routing function can be for.
var routingSinks = []string{
	"webhook", "redis_string", "redis_stream", "nats", "kafka", "gcp_pubsub", "azure_event_hub", "sns", "kinesis", "typesense", "meilisearch",
	"elasticsearch", "s2", "rabbitmq", "sqs",
}

// RoutingSinks lists the types of sink that a routing function can be for.
func RoutingSinks() []string { return slices.Clone(routingSinks) }

func (c *checker) function(at string, f *Function) {
	c.name(at+".name", f.Name)
	if slices.Contains(reservedNames, strings.ToLower(f.Name)) {
		c.add(at+".name", CodeInvalid, "is %q, which stands for no function at all", f.Name)
	}
	if len(f.Description) > maxDescription {
		c.add(at+".description", CodeInvalid, "is longer than %d bytes", maxDescription)
	}
	if f.Type == "" {
		c.add(at+".type", CodeMissing, "is required; accepted: %s", List(FunctionTypes()))
		return
	}
	if !slices.Contains(FunctionTypes(), f.Type) {
		oneOf(c, at+".type", f.Type, FunctionTypes())
		return
	}
	c.routing(at, f)
	if f.Type == FunctionPath {
		c.pathFunction(at, f)
		return
	}
	if f.Path != "" {
		c.add(at+".path", CodeConflict, "belongs to functions of the type path; this one is of the type %s", f.Type)
	}
	c.code(at, f)
	c.query(at, f)
}

// query checks how an enrichment is run.
func (c *checker) query(at string, f *Function) {
	q := &f.Query
	if f.Type != FunctionEnrichment {
		if *q != (Query{}) {
			c.add(at+".database", CodeConflict, "and replica, timeout_ms, max_rows and cache_ttl_ms belong to functions of the type enrichment; this one is of the type %s", f.Type)
		}
		return
	}
	if q.Timeout != 0 {
		c.millis(at+".timeout_ms", q.Timeout, minQueryTimeout, maxQueryTimeout)
	}
	c.between(at+".max_rows", q.MaxRows, 0, maxMaxRows)
	c.millis(at+".cache_ttl_ms", q.CacheFor, 0, maxCacheFor)
	if q.ReplicaHost == "" && q.ReplicaPort != 0 {
		c.add(at+".replica.hostname", CodeMissing, "is required")
	}
	if strings.ContainsAny(q.ReplicaHost, " \t\r\n@?#") || strings.Contains(q.ReplicaHost, "://") {
		c.add(at+".replica.hostname", CodeInvalid, "is not a host name")
	}
	c.between(at+".replica.port", q.ReplicaPort, 0, 65535)
}

func (c *checker) routing(at string, f *Function) {
	switch {
	case f.Type != FunctionRouting:
		if f.SinkType != "" {
			c.add(at+".sink_type", CodeConflict, "belongs to functions of the type routing; this one is of the type %s", f.Type)
		}
	case f.SinkType == "":
		c.add(at+".sink_type", CodeMissing, "is required; accepted: %s", List(routingSinks))
	default:
		oneOf(c, at+".sink_type", f.SinkType, routingSinks)
	}
}

func (c *checker) pathFunction(at string, f *Function) {
	if f.Code != "" {
		c.add(at+".code", CodeConflict, "has no meaning for a function of the type path")
	}
	if f.Language != "" {
		c.add(at+".language", CodeConflict, "has no meaning for a function of the type path")
	}
	segments := strings.Split(f.Path, ".")
	switch {
	case f.Path == "":
		c.add(at+".path", CodeMissing, "is required, for example record.id")
	case len(f.Path) > maxPath:
		c.add(at+".path", CodeInvalid, "is longer than %d characters", maxPath)
	case !slices.Contains(pathRoots, segments[0]):
		c.add(at+".path", CodeInvalid, "is %q; it must begin with one of %s", f.Path, List(pathRoots))
	case slices.Contains(segments, "") || strings.ContainsFunc(f.Path, unicode.IsControl):
		c.add(at+".path", CodeInvalid, "is %q; it must be names with dots between them, for example record.id", f.Path)
	}
}

// originals finds the beginning of a function in the original's language.
var originals = regexp.MustCompile(`(?m)^[ \t]*def[ \t]+(transform|filter|route)\b`)

// LanguageOf tells which language a function's code is in, if that is beyond doubt, or "".
func LanguageOf(kind FunctionType, code string) Language {
	switch {
	case kind == FunctionEnrichment:
		return LanguageSQL
	case kind != FunctionPath && originals.MatchString(code):
		return LanguageElixir
	}
	return ""
}

func (c *checker) code(at string, f *Function) {
	if strings.TrimSpace(f.Code) == "" {
		c.add(at+".code", CodeMissing, "is required")
		return
	}
	scripts := []Language{LanguageElixir, LanguageLua, LanguageJavaScript, LanguageGo}
	limit := maxCode
	switch {
	case f.Type == FunctionEnrichment && f.Language != LanguageSQL:
		c.add(at+".language", CodeInvalid, "is %q; an enrichment is a query, in sql", string(f.Language))
	case f.Type == FunctionEnrichment:
		if !strings.Contains(f.Code, "$1") {
			c.add(at+".code", CodeInvalid, "has no $1, which stands for the keys of the batch's messages").Hint = "for example SELECT id, x FROM t WHERE id = ANY($1)"
		}
	case f.Language == "":
		c.add(at+".language", CodeMissing, "is required, since it does not show in the code; accepted: %s", List(scripts))
	case !slices.Contains(scripts, f.Language):
		oneOf(c, at+".language", f.Language, scripts)
	case f.Language == LanguageGo:
		limit = maxModule
	case f.Language != LanguageElixir:
		limit = maxScript
	}
	if len(f.Code) > limit {
		c.add(at+".code", CodeInvalid, "has %d bytes; at most %d are kept", len(f.Code), limit)
	}
	if !isText(f.Code) {
		c.add(at+".code", CodeInvalid, notText)
	}
}

func (c *checker) changeRetention(at string, r *ChangeRetention) {
	c.name(at+".name", r.Name)
	oneOf(c, at+".status", r.Status, RetentionStatuses())
	for _, required := range []struct{ key, value string }{
		{"source_database", r.SourceDatabase},
		{"source_table_schema", r.SourceTable.Schema},
		{"source_table_name", r.SourceTable.Name},
		{"destination_database", r.DestinationDatabase},
		{"destination_table_schema", r.DestinationTable.Schema},
		{"destination_table_name", r.DestinationTable.Name},
	} {
		switch {
		case required.value == "":
			c.add(at+"."+required.key, CodeMissing, "is required")
		case !isText(required.value):
			c.add(at+"."+required.key, CodeInvalid, notText)
		case required.key == "source_table_name" && strings.Contains(required.value, "*"):
			c.add(at+"."+required.key, CodeInvalid, "is %q; a change retention is for one table, so declare one for each", required.value)
		}
	}
	if r.SourceDatabase == r.DestinationDatabase && r.SourceTable == r.DestinationTable && r.SourceTable.Name != "" {
		c.add(at+".destination_table_name", CodeConflict, "is the source table itself: each row written there would be a change to keep")
	}
	c.retentionActions(at+".actions", r.Actions)
	for i := range r.Filters {
		c.columnFilter(fmt.Sprintf("%s.filters[%d]", at, i), &r.Filters[i])
	}
}
