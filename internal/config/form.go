package config

import (
	"cmp"

	"github.com/sequinstream/sequin/internal/resource"
)

// FormOptions says how a resource is shown.
type FormOptions struct {
	Clear bool // secrets in clear; else masked
	API   bool // the API's object, with the id and every key; else that of documents and plans, without what is as it is by default
	ID    bool // documents and plans: begin with the id all the same
}

func (o FormOptions) begin(id string) *object {
	b := newObject(o)
	if o.API || o.ID && id != "" {
		b.string("id", id)
	}
	return b
}

// Settings of the original's connection pool, which are shown and mean nothing here.
const (
	QueueInterval = 1000
	QueueTarget   = 50
)

// FormDatabase writes a database as a JSON object.
func FormDatabase(d *resource.Database, o FormOptions) []byte {
	b := o.begin(d.ID)
	b.string("name", d.Name)
	if o.API {
		b.string("hostname", d.Hostname)
		b.integer("port", int64(d.Port))
		b.string("database", d.Database)
		b.string("username", d.Username)
		b.secret("password", d.Password)
		b.boolean("ssl", d.SSLMode.Required())
		b.boolean("ipv6", d.IPv6)
		b.boolean("use_local_tunnel", false)
		b.integer("pool_size", int64(d.PoolSize))
		b.integer("queue_interval", QueueInterval)
		b.integer("queue_target", QueueTarget)
		slot := newObject(o)
		slot.string("id", d.SlotID())
		slot.string("publication_name", d.Publication.Name)
		slot.string("slot_name", d.Slot.Name)
		slot.string("status", "active")
		list(b, "replication_slots", [][]byte{slot.bytes()}, func(text []byte) []byte { return text })
	} else {
		b.string("username", d.Username)
		b.secret("password", d.Password)
		b.string("hostname", d.Hostname)
		b.string("database", d.Database)
	}
	b.slot(d)
	if !o.API {
		b.integer("port", int64(d.Port))
		b.integer("pool_size", int64(d.PoolSize))
		b.boolean("ssl", d.SSLMode.Required())
		b.boolean("ipv6", d.IPv6)
		b.boolean("use_local_tunnel", false)
	}
	b.databaseMore(d)
	return b.bytes()
}

func (b *object) slot(d *resource.Database) {
	slot := newObject(b.o)
	slot.string("name", d.Slot.Name)
	if b.o.API || d.Slot.CreateIfNotExists {
		slot.boolean("create_if_not_exists", d.Slot.CreateIfNotExists)
	}
	b.raw("slot", slot.bytes())
	publication := newObject(b.o)
	publication.string("name", d.Publication.Name)
	if b.o.API || d.Publication.CreateIfNotExists {
		publication.boolean("create_if_not_exists", d.Publication.CreateIfNotExists)
	}
	if d.Publication.InitSQL != "" {
		publication.string("init_sql", d.Publication.InitSQL)
	}
	b.raw("publication", publication.bytes())
}

// databaseMore writes the keys that the original does not have: all of them for the API, elsewhere those that differ from the default.
func (b *object) databaseMore(d *resource.Database) {
	def := resource.NewDatabase()
	all := b.o.API
	if implied := map[bool]resource.SSLMode{true: resource.SSLRequire, false: resource.SSLDisable}; all || d.SSLMode != implied[d.SSLMode.Required()] {
		b.string("sslmode", string(d.SSLMode))
	}
	b.unless(all, "sslrootcert", d.SSLRootCert)
	b.unless(all, "sslcert", d.SSLCert)
	key := d.SSLKey
	if resource.IsPEM(key) { // a path is no secret, the key is
		key = b.shown(resource.Secret(key))
	}
	b.unless(all, "sslkey", key)
	b.unless(all, "password_file", d.PasswordFile)
	if d.PasswordCommand != nil {
		texts(b, "password_command", d.PasswordCommand)
	} else if all {
		b.null("password_command")
	}
	if all || len(d.Annotations) > 0 {
		b.any("annotations", d.Annotations)
	}
	if all || d.AwaitDatabase != def.AwaitDatabase {
		await := newObject(b.o)
		await.millis("timeout_ms", d.AwaitDatabase.Timeout)
		await.millis("interval_ms", d.AwaitDatabase.Interval)
		b.raw("await_database", await.bytes())
	}
	if all || d.Retention != def.Retention {
		kept := newObject(b.o)
		kept.string("max_age", FormatDuration(d.Retention.MaxAge))
		kept.string("max_size", FormatSize(d.Retention.MaxSize))
		b.raw("retention", kept.bytes())
	}
	b.size(all, "max_disk", d.MaxDisk, def.MaxDisk)
	b.size(all, "wal_budget", d.WALBudget, def.WALBudget)
	if all || d.OnWALBudget != def.OnWALBudget {
		b.string("on_wal_budget", string(d.OnWALBudget))
	}
	b.size(all, "max_change_bytes", d.MaxChangeBytes, def.MaxChangeBytes)
	if all || d.HeartbeatInterval != def.HeartbeatInterval {
		b.string("heartbeat_interval", FormatDuration(d.HeartbeatInterval))
	}
}

// unless leaves out an empty text where only what is set is shown.
func (b *object) unless(all bool, key, value string) {
	if all || value != "" {
		b.name(key, value)
	}
}

// size writes a number of bytes; 0, which stands for a choice of the server, as null.
func (b *object) size(all bool, key string, v, def int64) {
	switch {
	case !all && v == def:
	case v == 0:
		b.null(key)
	default:
		b.string(key, FormatSize(v))
	}
}

// FormEndpoint writes an HTTP endpoint as a JSON object.
func FormEndpoint(e *resource.HTTPEndpoint, o FormOptions) []byte {
	b := o.begin(e.ID)
	b.string("name", e.Name)
	b.string("url", withoutDefaultPort(e.URL))
	pairs(b, "headers", e.Headers, func(s string) string { return s })
	pairs(b, "encrypted_headers", e.EncryptedHeaders, b.shown)
	if o.API || len(e.SigningSecrets) > 0 {
		list(b, "signing_secrets", e.SigningSecrets, func(s resource.Secret) []byte { return quoteJSON(nil, b.shown(s)) })
	}
	return b.bytes()
}

// FormFunction writes a function as a JSON object.
func FormFunction(f *resource.Function, o FormOptions) []byte {
	b := o.begin(f.ID)
	b.string("name", f.Name)
	b.unless(o.API, "description", f.Description)
	b.string("type", string(f.Type))
	b.unless(o.API, "language", string(f.Language))
	b.unless(o.API, "sink_type", f.SinkType)
	b.unless(o.API, "path", f.Path)
	b.unless(o.API, "code", f.Code)
	b.query(f)
	b.times(f.Meta)
	return b.bytes()
}

// query writes how an enrichment is run: everything for the API, elsewhere what differs from the default.
func (b *object) query(f *resource.Function) {
	if f.Type != resource.FunctionEnrichment {
		return
	}
	q, all := &f.Query, b.o.API
	b.unless(all, "database", q.Database)
	if q.ReplicaHost != "" {
		replica := newObject(b.o)
		replica.string("hostname", q.ReplicaHost)
		if q.ReplicaPort != 0 {
			replica.integer("port", int64(q.ReplicaPort))
		}
		b.raw("replica", replica.bytes())
	} else if all {
		b.null("replica")
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"timeout_ms", int(q.Timeout.Milliseconds())}, {"max_rows", q.MaxRows}, {"cache_ttl_ms", int(q.CacheFor.Milliseconds())}} {
		if all || n.value != 0 {
			b.count(n.key, n.value)
		}
	}
}

func (b *object) times(m resource.Meta) {
	if b.o.API {
		b.time("inserted_at", m.InsertedAt)
		b.time("updated_at", m.UpdatedAt)
	}
}

// FormChangeRetention writes a change retention as a JSON object.
func FormChangeRetention(r *resource.ChangeRetention, o FormOptions) []byte {
	b := o.begin(r.ID)
	b.string("name", r.Name)
	b.string("status", string(r.Status))
	b.string("source_database", r.SourceDatabase)
	b.string("source_table_schema", r.SourceTable.Schema)
	b.string("source_table_name", r.SourceTable.Name)
	b.string("destination_database", r.DestinationDatabase)
	b.string("destination_table_schema", r.DestinationTable.Schema)
	b.string("destination_table_name", r.DestinationTable.Name)
	texts(b, "actions", r.Actions)
	list(b, "filters", r.Filters, func(c resource.ColumnFilter) []byte {
		f := newObject(o)
		f.string("column_name", c.Column)
		f.unless(false, "field_path", c.FieldPath)
		f.unless(false, "field_type", c.FieldType)
		f.string("operator", c.Operator)
		if len(c.Value) > 0 {
			f.any("comparison_value", c.Value)
		}
		return f.bytes()
	})
	b.times(r.Meta)
	return b.bytes()
}

// FormSink writes a sink as a JSON object. What is known only while it runs, its health and its backfills, is for the caller to add.
func FormSink(s *resource.Sink, o FormOptions) []byte {
	b := o.begin(s.ID)
	b.string("name", s.Name)
	b.string("database", s.Database)
	b.string("status", string(s.Status))
	texts(b, "actions", s.Actions)
	b.raw("source", formSource(&s.Source, o))
	list(b, "tables", s.Tables, func(t resource.SinkTable) []byte {
		table := newObject(o)
		table.string("name", t.Name.String())
		if o.API || t.GroupColumns != nil {
			texts(table, "group_column_names", t.GroupColumns)
		}
		table.unless(false, "where", t.Where)
		return table.bytes()
	})
	b.raw("destination", formDestination(&s.Destination, o))
	for _, f := range []struct{ key, name string }{{"filter", s.Filter}, {"transform", s.Transform}, {"routing", s.Routing}, {"enrichment", s.Enrichment}} {
		b.string(f.key, cmp.Or(f.name, "none"))
	}
	b.unless(false, "where", s.Where)
	if len(s.Routes) > 0 {
		list(b, "route", s.Routes, func(r resource.Route) []byte {
			route := newObject(o)
			route.unless(false, "where", r.Where)
			route.any("to", r.To)
			return route.bytes()
		})
	}
	b.integer("batch_size", int64(s.BatchSize))
	b.string("timestamp_format", string(s.TimestampFormat))
	if s.MessageGrouping == resource.GroupByTable {
		b.string("message_grouping", string(s.MessageGrouping))
	} else {
		b.boolean("message_grouping", s.MessageGrouping == resource.GroupByKey)
	}
	b.count("max_retry_count", s.MaxRetryCount)
	b.string("load_shedding_policy", string(s.LoadSheddingPolicy))
	b.any("annotations", s.Annotations)
	b.sinkMore(s)
	return b.bytes()
}

// count writes a number; 0, which stands for no number at all, as null.
func (b *object) count(key string, v int) {
	if v == 0 {
		b.null(key)
		return
	}
	b.integer(key, int64(v))
}

// sinkMore writes the keys that the original does not have: all of them for the API, elsewhere those that differ from the default.
func (b *object) sinkMore(s *resource.Sink) {
	def := resource.NewSink()
	all := b.o.API
	write := func(differs bool, add func()) {
		if all || differs {
			add()
		}
	}
	write(s.BatchTimeout != def.BatchTimeout, func() { b.millis("batch_timeout_ms", s.BatchTimeout) })
	write(s.AckWait != def.AckWait, func() { b.millis("ack_wait_ms", s.AckWait) })
	write(s.MaxAckPending != def.MaxAckPending, func() { b.integer("max_ack_pending", int64(s.MaxAckPending)) })
	write(s.MaxWaiting != def.MaxWaiting, func() { b.integer("max_waiting", int64(s.MaxWaiting)) })
	write(s.Concurrency != def.Concurrency, func() { b.count("concurrency", s.Concurrency) })
	write(s.AckCommit != def.AckCommit, func() { b.string("ack_commit", string(s.AckCommit)) })
	write(s.Start != def.Start, func() { b.string("start", string(s.Start)) })
	b.initialBackfill(s.InitialBackfill)
	write(s.LegacyTransform != def.LegacyTransform, func() { b.string("legacy_transform", string(s.LegacyTransform)) })
	write(s.UnchangedToast != def.UnchangedToast, func() {
		compatibility := newObject(b.o)
		compatibility.string("unchanged_toast", string(s.UnchangedToast))
		b.raw("compatibility", compatibility.bytes())
	})
}

// initialBackfill writes what a new sink reads first; nothing if it reads nothing.
func (b *object) initialBackfill(i resource.InitialBackfill) {
	switch {
	case i.All:
		b.boolean("initial_backfill", true)
	case len(i.Tables) > 0:
		list(b, "initial_backfill", i.Tables, func(t resource.InitialTable) []byte {
			table := newObject(b.o)
			table.string("table", t.Table.String())
			if t.SortColumn != "" {
				table.string("type", string(resource.BackfillPartial))
				table.string("sort_column", t.SortColumn)
				table.string("start_position", t.Start)
			}
			return table.bytes()
		})
	}
}

// formSource has all four keys for the API, and those that select something elsewhere.
func formSource(s *resource.Source, o FormOptions) []byte {
	b := newObject(o)
	for _, schemas := range []struct {
		key   string
		names []string
	}{{"include_schemas", s.IncludeSchemas}, {"exclude_schemas", s.ExcludeSchemas}} {
		if schemas.names != nil {
			texts(b, schemas.key, schemas.names)
		} else if o.API {
			b.null(schemas.key)
		}
	}
	for _, tables := range []struct {
		key   string
		names []resource.TableName
	}{{"include_tables", s.IncludeTables}, {"exclude_tables", s.ExcludeTables}} {
		if tables.names != nil {
			b.tables(tables.key, tables.names)
		} else if o.API {
			b.null(tables.key)
		}
	}
	return b.bytes()
}

func formDestination(d *resource.Destination, o FormOptions) []byte {
	b := newObject(o)
	b.string("type", string(d.Type))
	if d.Type == resource.DestinationWebhook {
		b.string("http_endpoint", d.Webhook.HTTPEndpoint)
		b.name("http_endpoint_path", d.Webhook.HTTPEndpointPath)
		b.boolean("batch", d.Webhook.Batch)
	}
	return b.bytes()
}
