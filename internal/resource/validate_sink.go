package resource

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of a sink.
const (
	MaxBatchSize     = 1000
	MinAckWait       = 500 * time.Millisecond
	MaxAckWait       = 24 * time.Hour
	maxBatchTimeout  = 5 * time.Minute
	maxPending       = 1_000_000
	maxLongPolls     = 10_000
	maxConcurrency   = 1000
	maxEndpointPath  = 2000
	noLimit          = 1<<31 - 1
	pathLeaders      = "/?#"
	webhookKey       = ".destination.http_endpoint"
	webhookPathKey   = ".destination.http_endpoint_path"
	webhookBatchHint = "set batch_size: 1, or leave out batch: false to send {\"data\": [...]}"
)

func (c *checker) sink(at string, s *Sink) {
	c.name(at+".name", s.Name)
	if s.Database == "" {
		c.add(at+".database", CodeMissing, "is required")
	}
	oneOf(c, at+".status", s.Status, Statuses())
	c.source(at+".source", &s.Source)
	c.grouping(at, s)
	c.actions(at+".actions", s.Actions)
	c.condition(at+".where", s.Where)
	c.routes(at, s)
	c.attached(at, s)
	c.destination(at, s)
	c.between(at+".batch_size", s.BatchSize, 1, MaxBatchSize)
	c.millis(at+".batch_timeout_ms", s.BatchTimeout, time.Millisecond, maxBatchTimeout)
	c.millis(at+".ack_wait_ms", s.AckWait, MinAckWait, MaxAckWait)
	c.between(at+".max_ack_pending", s.MaxAckPending, 1, maxPending)
	c.between(at+".max_waiting", s.MaxWaiting, 1, maxLongPolls)
	c.between(at+".max_retry_count", s.MaxRetryCount, 0, noLimit)
	c.between(at+".concurrency", s.Concurrency, 0, maxConcurrency)
	oneOf(c, at+".timestamp_format", s.TimestampFormat, TimestampFormats())
	oneOf(c, at+".legacy_transform", s.LegacyTransform, LegacyTransforms())
	oneOf(c, at+".compatibility.unchanged_toast", s.UnchangedToast, UnchangedToasts())
	oneOf(c, at+".load_shedding_policy", s.LoadSheddingPolicy, LoadSheddingPolicies())
	oneOf(c, at+".start", s.Start, Starts())
	oneOf(c, at+".ack_commit", s.AckCommit, AckCommits())
	c.annotations(at+".annotations", s.Annotations)
}

func (c *checker) source(at string, s *Source) {
	if len(s.IncludeSchemas) > 0 && len(s.ExcludeSchemas) > 0 {
		c.add(at, CodeConflict, "has include_schemas and exclude_schemas; give one of them")
	}
	if len(s.IncludeTables) > 0 && len(s.ExcludeTables) > 0 {
		c.add(at, CodeConflict, "has include_tables and exclude_tables; give one of them")
	}
	c.schemas(at+".include_schemas", s.IncludeSchemas)
	c.schemas(at+".exclude_schemas", s.ExcludeSchemas)
	c.tableNames(at+".include_tables", s.IncludeTables)
	c.tableNames(at+".exclude_tables", s.ExcludeTables)
	for i, t := range s.IncludeTables {
		only := Source{IncludeSchemas: s.IncludeSchemas, ExcludeSchemas: s.ExcludeSchemas}
		if !IsPattern(t.Schema) && !only.Selects(t.Schema, "") {
			c.add(fmt.Sprintf("%s.include_tables[%d]", at, i), CodeConflict, "is %q, which the schemas of this source leave out", t)
		}
	}
}

func (c *checker) schemas(at string, names []string) {
	if names != nil && len(names) == 0 {
		c.add(at, CodeInvalid, "is an empty list; leave it out to select everything")
	}
	for i, name := range names {
		if name == "" {
			c.add(fmt.Sprintf("%s[%d]", at, i), CodeInvalid, "is empty")
		}
	}
}

func (c *checker) tableNames(at string, names []TableName) {
	if names != nil && len(names) == 0 {
		c.add(at, CodeInvalid, "is an empty list; leave it out to select everything")
	}
	for i, name := range names {
		c.tableName(fmt.Sprintf("%s[%d]", at, i), name)
	}
}

func (c *checker) tableName(at string, name TableName) {
	if name.Schema == "" || name.Name == "" {
		c.add(at, CodeInvalid, "must be schema.table, or table for one in schema public")
	}
}

func (c *checker) grouping(at string, s *Sink) {
	oneOf(c, at+".message_grouping", s.MessageGrouping, Groupings())
	seen := map[TableName]bool{}
	for i := range s.Tables {
		t := &s.Tables[i]
		path := fmt.Sprintf("%s.tables[%d]", at, i)
		c.tableName(path+".name", t.Name)
		if seen[t.Name] {
			c.add(path+".name", CodeDuplicate, "is %q, which is listed already", t.Name)
		}
		seen[t.Name] = true
		c.condition(path+".where", t.Where)
		if len(t.GroupColumns) > 0 && s.MessageGrouping != GroupByKey {
			c.add(path+".group_column_names", CodeConflict, "has no effect with message_grouping: %s", s.MessageGrouping).Hint = "leave out one of the two"
		}
		for j, column := range t.GroupColumns {
			if column == "" || slices.Contains(t.GroupColumns[:j], column) {
				c.add(fmt.Sprintf("%s.group_column_names[%d]", path, j), CodeInvalid, "is empty or listed twice")
			}
		}
	}
}

// MaxCondition is how many bytes a condition may have.
const MaxCondition = 10_000

// condition checks what can be told of a condition without its table.
func (c *checker) condition(at, text string) {
	switch {
	case len(text) > MaxCondition:
		c.add(at, CodeInvalid, "has %d bytes; at most %d are kept", len(text), MaxCondition)
	case !isText(text):
		c.add(at, CodeInvalid, notText)
	case text != "" && strings.TrimSpace(text) == "":
		c.add(at, CodeInvalid, "is blank; leave it out for no condition")
	}
}

const (
	maxRoutes    = 100
	maxRouteJSON = 64 << 10
)

func (c *checker) routes(at string, s *Sink) {
	if len(s.Routes) > maxRoutes {
		c.add(at+".route", CodeInvalid, "has %d entries; at most %d are kept", len(s.Routes), maxRoutes).Hint = "use a routing function"
	}
	if len(s.Routes) > 0 && s.Routing != "" {
		c.add(at+".route", CodeConflict, "and routing both say where messages go; give one of them")
	}
	if len(s.Routes) > 0 && s.Destination.Type == DestinationStream {
		c.add(at+".route", CodeConflict, "has no meaning for a stream, whose messages are pulled")
	}
	for i, r := range s.Routes {
		path := fmt.Sprintf("%s.route[%d]", at, i)
		c.condition(path+".where", r.Where)
		if r.Where == "" && i < len(s.Routes)-1 {
			c.add(path+".where", CodeMissing, "is required: only the last one may stand for all others")
		}
		var to map[string]json.RawMessage
		switch {
		case len(r.To) == 0:
			c.add(path+".to", CodeMissing, "is required")
		case len(r.To) > maxRouteJSON:
			c.add(path+".to", CodeInvalid, "has %d bytes; at most %d are kept", len(r.To), maxRouteJSON)
		case json.Unmarshal(r.To, &to) != nil || len(to) == 0:
			c.add(path+".to", CodeInvalid, "must be an object with at least one key")
		}
	}
}

// attached checks how functions are attached, without what they are.
func (c *checker) attached(at string, s *Sink) {
	if s.Routing != "" && s.Destination.Type == DestinationStream {
		c.add(at+".routing", CodeConflict, "has no meaning for a stream, whose messages are pulled")
	}
	if s.Enrichment != "" && (len(s.Source.IncludeTables) != 1 || s.Source.IncludeTables[0].IsPattern()) {
		c.add(at+".enrichment", CodeConflict, "needs a source with exactly one table in include_tables, whose keys the query is given")
	}
	if s.Transform != "" && s.LegacyTransform != LegacyTransformNone {
		c.add(at+".transform", CodeConflict, "and legacy_transform: %s both shape the message; give one of them", string(s.LegacyTransform))
	}
}

func (c *checker) actions(at string, actions []Action) {
	if len(actions) == 0 {
		c.add(at, CodeInvalid, "is empty: nothing would be delivered; accepted: %s", List(Actions()))
	}
	for i, a := range actions {
		path := fmt.Sprintf("%s[%d]", at, i)
		oneOf(c, path, a, Actions())
		if slices.Contains(actions[:i], a) {
			c.add(path, CodeDuplicate, "is %q, which is listed already", string(a))
		}
	}
}

func (c *checker) destination(at string, s *Sink) {
	switch s.Destination.Type {
	case "":
		c.add(at+".destination.type", CodeMissing, "is required; accepted: %s", List(DestinationTypes()))
	case DestinationStream:
	case DestinationWebhook:
		c.webhook(at, s)
	default:
		oneOf(c, at+".destination.type", s.Destination.Type, DestinationTypes())
	}
}

func (c *checker) webhook(at string, s *Sink) {
	w := &s.Destination.Webhook
	if w.HTTPEndpoint == "" {
		c.add(at+webhookKey, CodeMissing, "is required: the name of one of the http_endpoints")
	}
	if p := w.HTTPEndpointPath; p != "" {
		switch _, err := url.Parse(p); {
		case len(p) > maxEndpointPath:
			c.add(at+webhookPathKey, CodeInvalid, "is longer than %d characters", maxEndpointPath)
		case !strings.ContainsRune(pathLeaders, rune(p[0])):
			c.add(at+webhookPathKey, CodeInvalid, "is %q; it must begin with /", p)
		case err != nil || strings.HasPrefix(p, "//") || strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' }):
			c.add(at+webhookPathKey, CodeInvalid, "is %q, which is not a valid URL path", p)
		}
	}
	if !w.Batch && s.BatchSize != 1 {
		c.add(at+".batch_size", CodeConflict, "is %d, but with batch: false every request carries one message", s.BatchSize).Hint = webhookBatchHint
	}
}
