package config

import (
	"slices"

	"github.com/sequinstream/sequin/internal/resource"
)

func (d *decoder) sink(path string, n *node, stored *resource.Sink) resource.Sink {
	def := resource.NewSink()
	s := def
	f := d.fields(path, n)
	if stored != nil {
		s, f.updating = *stored, true
	}
	f.name("name", &s.Name)
	f.sinkDatabase(&s)
	choice(f, "status", &s.Status, def.Status, resource.Statuses())
	f.source(&s.Source)
	f.grouping(&s, &def)
	words(f, "actions", &s.Actions, def.Actions, resource.Actions())
	f.destination(&s.Destination)
	f.pace(&s, &def)
	f.format(&s, &def)
	choice(f, "start", &s.Start, def.Start, resource.Starts())
	f.shaping(&s)
	f.initialBackfill(&s)
	f.ignore("id", "inserted_at", "updated_at", "account_id", "replication_slot_id", "sequence_id", "health")
	f.retired("backfills are not part of a sink's declaration", "active_backfill", "active_backfills")
	f.retired("every sink delivers each change", "message_kind")
	f.retired("use start: now or start: beginning", "consumer_start")
	f.retired("memory is bounded for the server as a whole", "max_memory_mb")
	f.retired("groups are spread without partitions", "partition_count")
	f.close()
	return s
}

// sinkDatabase reads which database the sink is of. That is decided once: a position in one log means nothing in another.
func (f *fields) sinkDatabase(s *resource.Sink) {
	if !f.updating {
		f.text("database", &s.Database, "")
		return
	}
	other := s.Database
	f.text("database", &other, s.Database)
	if other != s.Database {
		n, _ := f.find("database")
		if !f.d.body {
			f.mistake("database", n, resource.CodeFixed, "cannot become %q: the sink's place in the changes of %q means nothing in those of another database", other, s.Database).
				Hint = "declare a sink under another name, and delete this one"
			return
		}
		f.d.warn(f.at("database"), n.at, "is ignored: a sink stays with its database, which is %s", s.Database)
	}
}

func (f *fields) pace(s, def *resource.Sink) {
	f.exact("batch_size", &s.BatchSize, def.BatchSize)
	f.millis("batch_timeout_ms", &s.BatchTimeout, def.BatchTimeout)
	f.millis("ack_wait_ms", &s.AckWait, def.AckWait)
	f.integer("max_ack_pending", &s.MaxAckPending, def.MaxAckPending)
	f.integer("max_waiting", &s.MaxWaiting, def.MaxWaiting)
	f.integer("concurrency", &s.Concurrency, def.Concurrency)
	choice(f, "load_shedding_policy", &s.LoadSheddingPolicy, def.LoadSheddingPolicy, resource.LoadSheddingPolicies())
	choice(f, "ack_commit", &s.AckCommit, def.AckCommit, resource.AckCommits())
	f.retries(s)
}

// retries reads max_retry_count, which max_deliver is another name of. Null means no limit; a limit of 0 attempts means nothing.
func (f *fields) retries(s *resource.Sink) {
	first := f.attempts("max_retry_count", &s.MaxRetryCount)
	other := s.MaxRetryCount
	if !f.attempts("max_deliver", &other) {
		if f.cleared("max_deliver") && !first {
			s.MaxRetryCount = 0
		}
		return
	}
	if first && other != s.MaxRetryCount {
		n, _ := f.find("max_deliver")
		f.mistake("max_deliver", n, resource.CodeConflict, "is another name of max_retry_count, which is %d; give one of them", s.MaxRetryCount)
		return
	}
	s.MaxRetryCount = other
	f.alias("max_deliver", "max_retry_count")
}

func (f *fields) attempts(key string, dst *int) bool {
	if !f.exact(key, dst, 0) {
		return false
	}
	if *dst < 1 {
		n, _ := f.find(key)
		f.mistake(key, n, resource.CodeInvalid, "is %d; it must be at least 1, or left out for no limit", *dst)
	}
	return true
}

func (f *fields) format(s, def *resource.Sink) {
	choice(f, "timestamp_format", &s.TimestampFormat, def.TimestampFormat, resource.TimestampFormats())
	choice(f, "legacy_transform", &s.LegacyTransform, def.LegacyTransform, resource.LegacyTransforms())
	if c, ok := f.section("compatibility"); ok {
		choice(c, "unchanged_toast", &s.UnchangedToast, def.UnchangedToast, resource.UnchangedToasts())
		c.close()
	} else if f.cleared("compatibility") {
		s.UnchangedToast = def.UnchangedToast
	}
	f.annotations(&s.Annotations)
}

// source reads the selection of tables, and the two keys that came before it. A selection that is given takes the place of the stored one;
// null leaves it.
func (f *fields) source(s *resource.Source) {
	sub, ok := f.section("source")
	if ok {
		*s = resource.Source{}
		sub.texts("include_schemas", &s.IncludeSchemas, nil)
		sub.texts("exclude_schemas", &s.ExcludeSchemas, nil)
		sub.tables("include_tables", &s.IncludeTables)
		sub.tables("exclude_tables", &s.ExcludeTables)
		sub.close()
	}
	var table, schema string
	hasTable := f.text("table", &table, "")
	hasSchema := f.text("schema", &schema, "")
	if (hasTable || hasSchema) && !ok {
		*s = resource.Source{}
	}
	if hasTable {
		f.old("table", "include_tables", ok)
		s.IncludeTables = []resource.TableName{resource.ParseTableName(table)}
		f.alias("table", "source.include_tables[0]")
	}
	if hasSchema {
		f.old("schema", "include_schemas", ok)
		s.IncludeSchemas = []string{schema}
		f.alias("schema", "source.include_schemas[0]")
	}
}

func (f *fields) old(key, now string, both bool) {
	if n, ok := f.find(key); ok && both {
		f.mistake(key, n, resource.CodeConflict, "is the old form of source.%s; give one of them", now)
	}
}

func (f *fields) grouping(s, def *resource.Sink) {
	if choice(f, "message_grouping", &s.MessageGrouping, def.MessageGrouping, resource.Groupings()) {
		if v, ok := parseBool(string(s.MessageGrouping)); ok {
			s.MessageGrouping = resource.GroupNone
			if v {
				s.MessageGrouping = resource.GroupByKey
			}
		}
	}
	var tables []resource.SinkTable
	if f.list("tables", func(path string, n *node) {
		t := f.d.fields(path, n)
		var name string
		var table resource.SinkTable
		t.name("name", &name)
		if name != "" {
			table.Name = resource.ParseTableName(name)
		} else if !t.describing() {
			t.d.mistake(path+".name", n.at, resource.CodeMissing, "is required")
		}
		if t.texts("group_column_names", &table.GroupColumns, nil); len(table.GroupColumns) == 0 {
			table.GroupColumns = nil
		}
		t.condition("where", &table.Where)
		t.close()
		tables = append(tables, table)
	}) {
		s.Tables = tables
	}
}

// laterDestinations are known kinds that this version does not have.
var laterDestinations = []string{
	"kafka", "sqs", "sns", "kinesis", "s2", "rabbitmq", "redis", "redis_stream", "redis_string", "nats", "gcp_pubsub", "azure_event_hub",
	"typesense", "meilisearch", "elasticsearch", "benchmark", "postgres",
}

// destination reads where the messages go, on top of what is stored as long as the type stays.
func (f *fields) destination(dst *resource.Destination) {
	if f.describing() {
		f.describeDestinations()
		return
	}
	sub, ok := f.section("destination")
	if !ok {
		return
	}
	before := dst.Type
	choice(sub, "type", &dst.Type, before, resource.DestinationTypes())
	if dst.Type != before {
		dst.Webhook = resource.NewSink().Destination.Webhook
	}
	sub.destinationKeys(dst)
}

// describeDestinations asks the questions of every type of destination.
func (f *fields) describeDestinations() {
	all := &shape{kind: shapeEither}
	for _, t := range resource.DestinationTypes() {
		one := &shape{kind: shapeObject}
		sub := &fields{d: f.d, path: f.at("destination"), n: &node{kind: mapping}, shape: one}
		sub.ask("type", &shape{kind: shapeWord, words: []string{string(t)}})
		sub.destinationKeys(&resource.Destination{Type: t, Webhook: resource.NewSink().Destination.Webhook})
		all.either = append(all.either, one)
	}
	f.ask("destination", all)
}

func (f *fields) destinationKeys(dst *resource.Destination) {
	n, _ := f.find("type")
	switch {
	case slices.Contains(laterDestinations, string(dst.Type)):
		f.mistake("type", n, resource.CodeUnavailable, "is %q, a destination that this version does not have", string(dst.Type)).
			Hint = "available: " + resource.List(resource.DestinationTypes())
		return
	case dst.Type == resource.DestinationWebhook:
		f.text("http_endpoint", &dst.Webhook.HTTPEndpoint, "")
		f.text("http_endpoint_path", &dst.Webhook.HTTPEndpointPath, "")
		f.boolean("batch", &dst.Webhook.Batch, true)
		f.later("webhooks by way of SQS", "via_sqs")
	case dst.Type == resource.DestinationStream:
	case dst.Type != "":
		m := f.mistake("type", n, resource.CodeInvalid, "is %q; accepted: %s", string(dst.Type), resource.List(resource.DestinationTypes()))
		if s := suggest(string(dst.Type), []string{"webhook", "sequin_stream"}); s != "" {
			m.Hint = "did you mean " + s + "?"
		}
		return
	default:
		return // the validation asks for the type; without it the other keys mean nothing
	}
	f.close()
}
