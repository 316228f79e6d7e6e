package config_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
)

// generator makes random valid sets: the same ones for the same seed.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 42))} } //nolint:gosec // it need not be unguessable

// pieces are what texts are made of: what YAML, JSON, shells and templates care about.
var pieces = []string{
	"a", "Z", "0", "7", " ", "  ", "$", "$$", "$HOME", "${HOME}", "${X:-y}", "${", "}", "{{", "\"", "'", "`", "\\", "\\n", "/", ":", ": ", "#", " #", "-", "- ", "--- ",
	"?", "!", "!!str ", "&a", "*a", "|", ">", "%", "@", ",", "[", "]", "{", "<<", "<b>", "~", "null", "true", "yes", "NO", "1e3", "0x1F", "1_000", ".5", "1.0", "12:30:45",
	"2026-01-31", "=", "é", "ü", "日本", "😀", "\u00a0", "\u2028", "\ufeff", "\ufffd", "\u0085", "\u007f", "*****", "sha256sum:",
}

var controls = []string{"\n", "\n\n", "\t", "\r\n", "\x01", "\x1b"}

// text is any text at all, as long as it is a text.
func (g generator) text(more ...string) string {
	var b strings.Builder
	all := append(append([]string{}, pieces...), more...)
	for range g.IntN(9) {
		b.WriteString(all[g.IntN(len(all))])
	}
	return b.String()
}

func (g generator) filled(more ...string) string {
	for {
		if s := g.text(more...); strings.TrimSpace(s) != "" {
			return s
		}
	}
}

func pick[T any](g generator, values ...T) T { return values[g.IntN(len(values))] }

func some[T any](g generator, values []T) []T {
	var out []T
	for _, v := range values {
		if g.IntN(2) == 0 {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return values[:1]
	}
	return out
}

func (g generator) flip() bool { return g.IntN(2) == 0 }

func (g generator) names(prefix string) []string {
	var names []string
	for i := range g.IntN(3) {
		names = append(names, fmt.Sprintf("%s%s%d", pick(g, "", "x.", "Y-"), prefix, i))
	}
	return names
}

func (g generator) value(depth int) any {
	switch g.IntN(8 + min(depth, 1)) {
	case 0:
		m := map[string]any{}
		for range g.IntN(4) {
			m[pick(g, "a", "code", "<<", "1", "yes", g.text(controls...), strings.Repeat("k", g.IntN(1200)))] = g.value(depth + 1)
		}
		return m
	case 1:
		var l []any
		for range g.IntN(4) {
			l = append(l, g.value(depth+1))
		}
		return l
	case 2:
		return json.Number(pick(g, "0", "-1", "1.50", "1e-7", "12345678901234567890", "-3.25E+2", "0.1"))
	case 3:
		return g.flip()
	case 4:
		return nil
	default:
		return g.text(append([]string{"\x00"}, controls...)...)
	}
}

func (g generator) annotations() json.RawMessage {
	m := map[string]any{}
	for range g.IntN(4) {
		m[g.text(controls...)] = g.value(0)
	}
	if len(m) == 0 {
		return nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		panic(err)
	}
	text := strings.TrimSpace(b.String())
	if len(text) > 8192 {
		return nil
	}
	return json.RawMessage(text)
}

func (g generator) set() *resource.Set {
	s := &resource.Set{Account: resource.Account{Name: resource.DefaultAccount}}
	for i, name := range g.names("db") {
		s.Databases = append(s.Databases, g.database(name, i))
	}
	for _, name := range g.names("hook") {
		s.HTTPEndpoints = append(s.HTTPEndpoints, g.endpoint(name))
	}
	for _, name := range g.names("fn") {
		s.Functions = append(s.Functions, g.function(name))
	}
	if len(s.Databases) == 0 {
		return s
	}
	for _, name := range g.names("audit") {
		s.ChangeRetentions = append(s.ChangeRetentions, g.retention(name, s))
	}
	for _, name := range g.names("sink") {
		s.Sinks = append(s.Sinks, g.sink(name, s))
	}
	return s
}

func (g generator) meta() resource.Meta {
	b := make([]byte, 16)
	for i := range b {
		b[i] = byte(g.IntN(256)) //nolint:gosec // below 256
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	at := time.Date(2026, 1, 1, 0, 0, g.IntN(1e6), 0, time.UTC)
	return resource.Meta{ID: fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), InsertedAt: at, UpdatedAt: at.Add(time.Hour)}
}

func (g generator) database(name string, i int) resource.Database {
	d := resource.NewDatabase()
	d.Meta, d.Name = g.meta(), name
	d.Hostname, d.Port = pick(g, "localhost", "10.0.0.1", "/run/postgresql", "::1", "db.internal"), 1+g.IntN(65535)
	d.Database, d.Username, d.Password = g.filled(controls...), g.filled(controls...), resource.Secret(g.text(controls...))
	d.IPv6, d.PoolSize = g.flip(), 1+g.IntN(1000)
	switch g.IntN(3) {
	case 0:
		d.PasswordFile = "/run/secrets/" + g.filled()
	case 1:
		d.PasswordCommand = []string{"/bin/" + g.filled(), g.text(controls...)}
	}
	d.SSLMode = pick(g, resource.SSLModes()...)
	if g.flip() {
		d.SSLRootCert, d.SSLCert, d.SSLKey = g.filled(), g.filled(), g.filled()
	}
	d.Slot = resource.Slot{Name: fmt.Sprintf("slot_%d", i), CreateIfNotExists: g.flip()}
	d.Publication = resource.Publication{Name: pick(g, "pub", "Pub Lication", "1"), CreateIfNotExists: g.flip()}
	if d.Publication.CreateIfNotExists && g.flip() {
		d.Publication.InitSQL = fmt.Sprintf("create publication %q for table %s", d.Publication.Name, g.text(controls...))
	}
	d.Annotations = g.annotations()
	if g.flip() {
		d.AwaitDatabase = resource.Await{Timeout: time.Duration(g.IntN(3_600_000)) * time.Millisecond, Interval: time.Duration(10+g.IntN(10_000)) * time.Millisecond}
		d.Retention = resource.Retention{MaxAge: time.Duration(g.Int64N(1e16)), MaxSize: resource.MinRetentionSize + g.Int64N(1<<40)}
	}
	d.MaxDisk = pick(g, 0, d.Retention.MaxSize, d.Retention.MaxSize+g.Int64N(1<<50))
	d.WALBudget = pick(g, 0, g.Int64N(1<<50))
	d.OnWALBudget = pick(g, resource.OnWALBudgets()...)
	d.MaxChangeBytes = pick(g, d.MaxChangeBytes, 64<<10+g.Int64N(1<<20))
	d.HeartbeatInterval = pick(g, 0, d.HeartbeatInterval, time.Second+time.Duration(g.Int64N(int64(time.Minute))))
	return d
}

func (g generator) endpoint(name string) resource.HTTPEndpoint {
	e := resource.HTTPEndpoint{
		Meta: g.meta(), Name: name, URL: pick(g, "https://h/", "http://h:8080/x?a=$b&c=${d}#f", "https://[::1]:8443", "http://h:443/"),
		Headers: map[string]string{}, EncryptedHeaders: map[string]resource.Secret{},
	}
	for range g.IntN(3) {
		e.Headers[pick(g, "X-A", "$x", "no", "1", "~")] = g.header()
		e.EncryptedHeaders[pick(g, "Authorization", "$X", "Y")] = resource.Secret(g.header())
	}
	for range g.IntN(3) {
		key := make([]byte, 24)
		for i := range key {
			key[i] = byte(g.IntN(256)) //nolint:gosec // below 256
		}
		e.SigningSecrets = append(e.SigningSecrets, resource.Secret("whsec_"+base64.StdEncoding.EncodeToString(key)))
	}
	return e
}

// header is a text without control characters.
func (g generator) header() string { return strings.ReplaceAll(g.text("\t"), "\u007f", "") }

func (g generator) function(name string) resource.Function {
	f := resource.Function{Meta: g.meta(), Name: name, Description: g.text(controls...), Type: pick(g, resource.FunctionTypes()...)}
	switch f.Type {
	case resource.FunctionPath:
		f.Path = pick(g, "record", "record.id", "changes.a b.${c}", "metadata.é")
		return f
	case resource.FunctionEnrichment:
		f.Language, f.Code = resource.LanguageSQL, "SELECT $1"+g.text(controls...)
		return f
	case resource.FunctionRouting:
		f.SinkType = pick(g, resource.RoutingSinks()...)
	default:
	}
	f.Language = pick(g, resource.LanguageElixir, resource.LanguageLua, resource.LanguageJavaScript, resource.LanguageGo)
	f.Code = pick(g, "def transform(a, b, c, d) do\n  $HOME\nend\n", "\n", "  ", "") + g.filled(controls...) + pick(g, "", "\n", "\n\n", " ")
	return f
}

func (g generator) retention(name string, s *resource.Set) resource.ChangeRetention {
	r := resource.ChangeRetention{
		Meta: g.meta(), Name: name, Status: pick(g, resource.RetentionStatuses()...),
		SourceDatabase: pick(g, s.Databases...).Name, SourceTable: resource.TableName{Schema: g.filled(), Name: strings.ReplaceAll(g.filled(), "*", "+")},
		DestinationDatabase: pick(g, s.Databases...).Name, DestinationTable: resource.TableName{Schema: g.filled(), Name: "to" + g.filled()},
		Actions: some(g, []resource.Action{resource.ActionInsert, resource.ActionUpdate, resource.ActionDelete}),
	}
	for range g.IntN(3) {
		f := resource.ColumnFilter{Column: g.filled(), Operator: pick(g, resource.FilterOperators()...), FieldPath: pick(g, "", "a.b c.${d}")}
		switch {
		case resource.TakesNoValue(f.Operator):
		case resource.TakesList(f.Operator):
			f.Value = quoted([]any{g.text(controls...), 7, "7", true})
			f.FieldType = pick(g, "", "list", "string")
		default:
			f.Value = quoted(pick[any](g, g.text(controls...), 1.5, "1.5", true, "true"))
		}
		r.Filters = append(r.Filters, f)
	}
	return r
}

func quoted(v any) json.RawMessage {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return json.RawMessage(strings.TrimSuffix(b.String(), "\n"))
}

func (g generator) tables() []resource.TableName {
	var names []resource.TableName
	for i := range 1 + g.IntN(2) {
		names = append(names, resource.TableName{Schema: strings.ReplaceAll("s"+g.text(), ".", ""), Name: fmt.Sprintf("t%d.%s", i, g.text(controls...))})
	}
	return names
}

func (g generator) sink(name string, s *resource.Set) resource.Sink {
	k := resource.NewSink()
	k.Meta, k.Name, k.Database, k.Status = g.meta(), name, pick(g, s.Databases...).Name, pick(g, resource.Statuses()...)
	switch g.IntN(4) {
	case 0:
		k.Source.IncludeSchemas = []string{"a" + g.text(controls...)}
	case 1:
		k.Source.ExcludeSchemas = []string{g.filled(controls...)}
	case 2:
		k.Source.IncludeTables = g.tables()
	case 3:
		k.Source.ExcludeTables = g.tables()
	}
	k.MessageGrouping = pick(g, resource.Groupings()...)
	if g.flip() {
		for _, t := range g.tables() {
			table := resource.SinkTable{Name: t}
			if k.MessageGrouping == resource.GroupByKey && g.flip() {
				table.GroupColumns = []string{g.filled(controls...), "b" + g.text() + "b"}
			}
			k.Tables = append(k.Tables, table)
		}
	}
	k.Actions = some(g, resource.Actions())
	k.Destination.Type, k.BatchSize = resource.DestinationStream, 1+g.IntN(1000)
	if len(s.HTTPEndpoints) > 0 && g.flip() {
		k.Destination = resource.Destination{Type: resource.DestinationWebhook, Webhook: resource.Webhook{
			HTTPEndpoint: pick(g, s.HTTPEndpoints...).Name, HTTPEndpointPath: pick(g, "", "/a/b?c=$d", "?x=${Y}", "#z"), Batch: g.flip(),
		}}
		if !k.Destination.Webhook.Batch {
			k.BatchSize = 1
		}
	}
	k.TimestampFormat, k.LegacyTransform = pick(g, resource.TimestampFormats()...), pick(g, resource.LegacyTransforms()...)
	k.UnchangedToast, k.Annotations = pick(g, resource.UnchangedToasts()...), g.annotations()
	k.LoadSheddingPolicy, k.Start, k.AckCommit = pick(g, resource.LoadSheddingPolicies()...), pick(g, resource.Starts()...), pick(g, resource.AckCommits()...)
	k.MaxRetryCount, k.Concurrency = pick(g, 0, 1+g.IntN(1e6)), pick(g, 0, 1+g.IntN(1000))
	if g.flip() {
		k.BatchTimeout, k.AckWait = time.Duration(1+g.IntN(300_000))*time.Millisecond, time.Duration(500+g.IntN(86_000_000))*time.Millisecond
		k.MaxAckPending, k.MaxWaiting = 1+g.IntN(1_000_000), 1+g.IntN(10_000)
	}
	return k
}

// bare is the set without what only storage knows.
func bare(s *resource.Set) *resource.Set {
	c := &resource.Set{Account: s.Account}
	c.Databases = append(c.Databases, s.Databases...)
	c.ChangeRetentions = append(c.ChangeRetentions, s.ChangeRetentions...)
	c.HTTPEndpoints = append(c.HTTPEndpoints, s.HTTPEndpoints...)
	c.Functions = append(c.Functions, s.Functions...)
	c.Sinks = append(c.Sinks, s.Sinks...)
	for i := range c.Databases {
		c.Databases[i].Meta = resource.Meta{}
	}
	for i := range c.ChangeRetentions {
		c.ChangeRetentions[i].Meta = resource.Meta{}
	}
	for i := range c.HTTPEndpoints {
		c.HTTPEndpoints[i].Meta = resource.Meta{}
	}
	for i := range c.Functions {
		c.Functions[i].Meta = resource.Meta{}
	}
	for i := range c.Sinks {
		c.Sinks[i].Meta = resource.Meta{}
	}
	return c
}

var noVariables config.LookupEnv = func(string) (string, bool) { return "filled in by mistake", true }
