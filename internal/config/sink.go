package config

import (
	"slices"

	"github.com/sequinstream/sequin/internal/resource"
)

func (d *decoder) sink(path string, n *node) resource.Sink {
	s := resource.NewSink()
	f := d.fields(path, n)
	f.text("name", &s.Name)
	f.text("database", &s.Database)
	choice(f, "status", &s.Status)
	f.source(&s.Source)
	f.grouping(&s)
	f.actions(&s)
	f.destination(&s.Destination)
	f.pace(&s)
	f.format(&s)
	choice(f, "start", &s.Start)
	f.sinkLater()
	f.ignore("id", "inserted_at", "updated_at", "account_id", "replication_slot_id", "sequence_id")
	f.retired("backfills are not part of a sink's declaration", "active_backfill", "active_backfills")
	f.retired("every sink delivers each change", "message_kind")
	f.retired("use start: now or start: beginning", "consumer_start")
	f.retired("memory is bounded for the server as a whole", "max_memory_mb")
	f.retired("groups are spread without partitions", "partition_count")
	f.close()
	return s
}

func (f *fields) sinkLater() {
	f.later("functions", "transform", "filter", "routing", "enrichment")
	f.later("filters", "where")
	f.later("backfills", "initial_backfill")
}

func (f *fields) pace(s *resource.Sink) {
	f.integer("batch_size", &s.BatchSize)
	f.millis("batch_timeout_ms", &s.BatchTimeout)
	f.millis("ack_wait_ms", &s.AckWait)
	f.integer("max_ack_pending", &s.MaxAckPending)
	f.integer("max_waiting", &s.MaxWaiting)
	f.integer("concurrency", &s.Concurrency)
	choice(f, "load_shedding_policy", &s.LoadSheddingPolicy)
	choice(f, "ack_commit", &s.AckCommit)
	f.retries(s)
}

// retries reads max_retry_count, which max_deliver is another name of. Absent means no limit; a limit of 0 attempts means nothing.
func (f *fields) retries(s *resource.Sink) {
	first := f.attempts("max_retry_count", &s.MaxRetryCount)
	var other int
	if !f.attempts("max_deliver", &other) {
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
	if !f.integer(key, dst) {
		return false
	}
	if *dst < 1 {
		n, _ := f.find(key)
		f.mistake(key, n, resource.CodeInvalid, "is %d; it must be at least 1, or left out for no limit", *dst)
	}
	return true
}

func (f *fields) format(s *resource.Sink) {
	choice(f, "timestamp_format", &s.TimestampFormat)
	choice(f, "legacy_transform", &s.LegacyTransform)
	if c, ok := f.section("compatibility"); ok {
		choice(c, "unchanged_toast", &s.UnchangedToast)
		c.close()
	}
	f.annotations(&s.Annotations)
}

// source reads the selection of tables, and the two keys that came before it.
func (f *fields) source(s *resource.Source) {
	sub, ok := f.section("source")
	if ok {
		sub.texts("include_schemas", &s.IncludeSchemas)
		sub.texts("exclude_schemas", &s.ExcludeSchemas)
		sub.tables("include_tables", &s.IncludeTables)
		sub.tables("exclude_tables", &s.ExcludeTables)
		sub.close()
	}
	var table, schema string
	if f.text("table", &table) {
		f.old("table", "include_tables", ok)
		s.IncludeTables = []resource.TableName{resource.ParseTableName(table)}
		f.alias("table", "source.include_tables[0]")
	}
	if f.text("schema", &schema) {
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

func (f *fields) grouping(s *resource.Sink) {
	if choice(f, "message_grouping", &s.MessageGrouping) {
		if v, ok := parseBool(string(s.MessageGrouping)); ok {
			s.MessageGrouping = resource.GroupNone
			if v {
				s.MessageGrouping = resource.GroupByKey
			}
		}
	}
	f.list("tables", func(path string, n *node) {
		t := f.d.fields(path, n)
		var name string
		var table resource.SinkTable
		if t.text("name", &name) {
			table.Name = resource.ParseTableName(name)
		} else {
			t.d.mistake(path+".name", n.at, resource.CodeMissing, "is required")
		}
		t.texts("group_column_names", &table.GroupColumns)
		t.close()
		s.Tables = append(s.Tables, table)
	})
}

func (f *fields) actions(s *resource.Sink) {
	var words []string
	if !f.texts("actions", &words) {
		return
	}
	s.Actions = make([]resource.Action, len(words))
	for i, w := range words {
		s.Actions[i] = resource.Action(w)
	}
}

// laterDestinations are known kinds that this version does not have.
var laterDestinations = []string{
	"kafka", "sqs", "sns", "kinesis", "s2", "rabbitmq", "redis", "redis_stream", "redis_string", "nats", "gcp_pubsub", "azure_event_hub",
	"typesense", "meilisearch", "elasticsearch", "benchmark", "postgres",
}

func (f *fields) destination(dst *resource.Destination) {
	sub, ok := f.section("destination")
	if !ok {
		return
	}
	choice(sub, "type", &dst.Type)
	n, _ := sub.find("type")
	switch {
	case slices.Contains(laterDestinations, string(dst.Type)):
		sub.mistake("type", n, resource.CodeUnavailable, "is %q, a destination that this version does not have", string(dst.Type)).
			Hint = "available: " + resource.List(resource.DestinationTypes())
		return
	case dst.Type == resource.DestinationWebhook:
		sub.text("http_endpoint", &dst.Webhook.HTTPEndpoint)
		sub.text("http_endpoint_path", &dst.Webhook.HTTPEndpointPath)
		sub.boolean("batch", &dst.Webhook.Batch)
		sub.later("webhooks by way of SQS", "via_sqs")
	case dst.Type == resource.DestinationStream:
	case dst.Type != "":
		m := sub.mistake("type", n, resource.CodeInvalid, "is %q; accepted: %s", string(dst.Type), resource.List(resource.DestinationTypes()))
		if s := suggest(string(dst.Type), []string{"webhook", "sequin_stream"}); s != "" {
			m.Hint = "did you mean " + s + "?"
		}
		return
	default:
		return // the validation asks for the type; without it the other keys mean nothing
	}
	sub.close()
}
