package resource

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Sink is one consumer of a database's changes: what it wants, in which form, and where it goes.
type Sink struct {
	Meta
	Name     string
	Database string // by name
	Status   Status

	Source  Source
	Tables  []SinkTable
	Actions []Action
	Where   string // a condition in SQL on the changes of every table; "" for none

	Filter     string // functions by name, "" for none
	Transform  string // of the type transform or path
	Enrichment string
	Routing    string
	Routes     []Route // instead of a routing function

	Destination Destination

	BatchSize       int
	BatchTimeout    time.Duration // how long a batch may wait to fill once it has a message
	TimestampFormat TimestampFormat
	LegacyTransform LegacyTransform
	UnchangedToast  UnchangedToast
	MessageGrouping Grouping
	Annotations     json.RawMessage // an object

	AckWait            time.Duration // request timeout of a webhook, lease of a received message
	MaxRetryCount      int           // attempts before a message becomes a dead letter; 0: no limit
	MaxAckPending      int           // messages out at once
	MaxWaiting         int           // long polls at once
	LoadSheddingPolicy LoadSheddingPolicy
	Start              Start
	InitialBackfill    InitialBackfill
	AckCommit          AckCommit
	Concurrency        int // requests at once; 0: chosen by the size of the machine
}

// Source selects tables. The zero value selects everything that the publication sends. In each name an asterisk stands for any characters, also
// none: order_*, tenant_*.orders.
type Source struct {
	IncludeSchemas []string
	ExcludeSchemas []string
	IncludeTables  []TableName
	ExcludeTables  []TableName
}

// Selects reports whether changes of the table are wanted.
func (s *Source) Selects(schema, table string) bool {
	schemas := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return MatchName(p, schema) })
	}
	tables := func(patterns []TableName) bool {
		return slices.ContainsFunc(patterns, func(p TableName) bool { return p.Matches(schema, table) })
	}
	switch {
	case len(s.IncludeSchemas) > 0 && !schemas(s.IncludeSchemas), schemas(s.ExcludeSchemas):
		return false
	case len(s.IncludeTables) > 0 && !tables(s.IncludeTables):
		return false
	}
	return !tables(s.ExcludeTables)
}

// IsPattern reports whether a name of a schema or table stands for several.
func IsPattern(name string) bool { return strings.Contains(name, "*") }

// MatchName reports whether a name is meant by a pattern, in which an asterisk stands for any characters.
func MatchName(pattern, name string) bool {
	first, rest, several := strings.Cut(pattern, "*")
	if !several {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part) // the first place leaves the most for what follows
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], more
	}
}

// TableName is a table with its schema.
type TableName struct {
	Schema string
	Name   string
}

// ParseTableName splits "schema.table" at the first dot; "table" alone is in schema public.
func ParseTableName(text string) TableName {
	if schema, name, ok := strings.Cut(text, "."); ok {
		return TableName{Schema: schema, Name: name}
	}
	return TableName{Schema: "public", Name: text}
}

// IsPattern reports whether the name stands for several tables.
func (t TableName) IsPattern() bool { return IsPattern(t.Schema) || IsPattern(t.Name) }

// Matches reports whether a table is meant by the name, which may be a pattern.
func (t TableName) Matches(schema, table string) bool {
	return MatchName(t.Schema, schema) && MatchName(t.Name, table)
}

func (t TableName) String() string { return t.Schema + "." + t.Name }

// SinkTable says how the changes of one table differ from the others: how they are grouped, and a further condition that they must meet. It does
// not select the table.
type SinkTable struct {
	Name         TableName
	GroupColumns []string
	Where        string // with the sink's: both must hold
}

// Route sends the messages whose condition holds to another place of the destination. The first that fits counts.
type Route struct {
	Where string          // a condition in SQL; "" for all others, in the last one
	To    json.RawMessage // an object: what a routing function could return
}

// Conditions are those that changes of the table must meet, all of them.
func (s *Sink) Conditions(table TableName) []string {
	var all []string
	if s.Where != "" {
		all = append(all, s.Where)
	}
	for i := range s.Tables {
		if t := &s.Tables[i]; t.Name == table && t.Where != "" {
			all = append(all, t.Where)
		}
	}
	return all
}

// Conditional reports whether the sink has a condition in SQL anywhere.
func (s *Sink) Conditional() bool {
	return s.Where != "" || slices.ContainsFunc(s.Tables, func(t SinkTable) bool { return t.Where != "" })
}

// Functions are the names of the functions that the sink uses.
func (s *Sink) Functions() []string {
	return slices.DeleteFunc([]string{s.Enrichment, s.Filter, s.Transform, s.Routing}, func(name string) bool { return name == "" })
}

// GroupColumns are the columns chosen to group the table's messages, or nil for the default.
func (s *Sink) GroupColumns(schema, table string) []string {
	for i := range s.Tables {
		if t := &s.Tables[i]; t.Name.Schema == schema && t.Name.Name == table {
			return t.GroupColumns
		}
	}
	return nil
}

// Wants reports whether the sink asked for the action.
func (s *Sink) Wants(a Action) bool { return slices.Contains(s.Actions, a) }

// Destination is where a sink's messages go. Type says which of the others is in use.
type Destination struct {
	Type    DestinationType
	Webhook Webhook
}

// DestinationType names a kind of destination.
type DestinationType string

// The kinds of destination.
const (
	DestinationWebhook DestinationType = "webhook"
	DestinationStream  DestinationType = "sequin_stream" // pulled over HTTP
)

// DestinationTypes lists the kinds.
func DestinationTypes() []DestinationType {
	return []DestinationType{DestinationWebhook, DestinationStream}
}

// Webhook posts messages to an endpoint.
type Webhook struct {
	HTTPEndpoint     string // by name
	HTTPEndpointPath string // appended to the endpoint's URL
	Batch            bool   // {"data": [...]} instead of one bare message
}

// Status says whether a sink keeps and delivers messages.
type Status string

// The statuses of a sink.
const (
	StatusActive   Status = "active"   // keeps and delivers
	StatusPaused   Status = "paused"   // keeps, does not deliver
	StatusDisabled Status = "disabled" // neither
)

// Statuses lists the statuses.
func Statuses() []Status { return []Status{StatusActive, StatusPaused, StatusDisabled} }

// Action is a kind of change, as in a message.
type Action string

// The actions a sink can ask for.
const (
	ActionInsert   Action = "insert"
	ActionUpdate   Action = "update"
	ActionDelete   Action = "delete"
	ActionTruncate Action = "truncate"
)

// Actions lists the actions.
func Actions() []Action { return []Action{ActionInsert, ActionUpdate, ActionDelete, ActionTruncate} }

// TimestampFormat is how timestamps are written in record and changes.
type TimestampFormat string

// The formats of timestamps.
const (
	TimestampISO8601   TimestampFormat = "iso8601"
	TimestampUnixMicro TimestampFormat = "unix_microsecond"
)

// TimestampFormats lists the formats.
func TimestampFormats() []TimestampFormat {
	return []TimestampFormat{TimestampISO8601, TimestampUnixMicro}
}

// LegacyTransform is the built-in transform of old sinks.
type LegacyTransform string

// The built-in transforms.
const (
	LegacyTransformNone       LegacyTransform = "none"
	LegacyTransformRecordOnly LegacyTransform = "record_only" // the record alone
)

// LegacyTransforms lists the built-in transforms.
func LegacyTransforms() []LegacyTransform {
	return []LegacyTransform{LegacyTransformNone, LegacyTransformRecordOnly}
}

// UnchangedToast is what stands for a TOAST value that an update did not touch and Postgres did not send.
type UnchangedToast string

// The ways to say that a value is unknown.
const (
	UnchangedToastOmit   UnchangedToast = "omit"   // left out of the record and named in metadata.unchanged_columns
	UnchangedToastMarker UnchangedToast = "marker" // a marker text in place of the value
)

// UnchangedToasts lists the ways.
func UnchangedToasts() []UnchangedToast {
	return []UnchangedToast{UnchangedToastOmit, UnchangedToastMarker}
}

// Grouping is what keeps messages in order among each other.
type Grouping string

// The groupings.
const (
	GroupByKey   Grouping = "true"  // the primary key, or the chosen columns
	GroupNone    Grouping = "false" // no order
	GroupByTable Grouping = "table" // the whole table is one group
)

// Groupings lists the groupings.
func Groupings() []Grouping { return []Grouping{GroupByKey, GroupNone, GroupByTable} }

// LoadSheddingPolicy is what happens to a sink's backlog when the disk budget is spent.
type LoadSheddingPolicy string

// The load-shedding policies.
const (
	PauseOnFull   LoadSheddingPolicy = "pause_on_full"   // capture waits
	DiscardOnFull LoadSheddingPolicy = "discard_on_full" // the oldest messages become a recorded gap
)

// LoadSheddingPolicies lists the policies.
func LoadSheddingPolicies() []LoadSheddingPolicy {
	return []LoadSheddingPolicy{PauseOnFull, DiscardOnFull}
}

// InitialBackfill says which tables a new sink reads first: all of its source, some, or none.
type InitialBackfill struct {
	All    bool
	Tables []InitialTable
}

// InitialTable is a table that a new sink reads first: as a whole, or along a column from a value on.
type InitialTable struct {
	Table      TableName
	SortColumn string
	Start      string
}

// BackfillType says how much of a table is read.
type BackfillType string

// The types of an initial backfill.
const (
	BackfillFull    BackfillType = "full"
	BackfillPartial BackfillType = "partial"
)

// BackfillTypes lists the types.
func BackfillTypes() []BackfillType { return []BackfillType{BackfillFull, BackfillPartial} }

// Start is where a new sink begins.
type Start string

// The start positions.
const (
	StartNow       Start = "now"       // the server's WAL position at creation
	StartBeginning Start = "beginning" // the oldest change that the log retains
)

// Starts lists the start positions.
func Starts() []Start { return []Start{StartNow, StartBeginning} }

// AckCommit says when a push acknowledgement becomes durable.
type AckCommit string

// The acknowledgement windows.
const (
	AckCommitWindow AckCommit = "window" // within 10 ms or 1,000 messages
	AckCommitEach   AckCommit = "each"   // before the next batch
)

// AckCommits lists the windows.
func AckCommits() []AckCommit { return []AckCommit{AckCommitWindow, AckCommitEach} }

// Defaults of a sink.
const (
	DefaultBatchSize     = 1
	DefaultBatchTimeout  = 5 * time.Millisecond
	DefaultAckWait       = 30 * time.Second
	DefaultMaxAckPending = 10_000
	DefaultMaxWaiting    = 20
)

// NewSink returns a sink with every default in place.
func NewSink() Sink {
	return Sink{
		Status:             StatusActive,
		Actions:            []Action{ActionInsert, ActionUpdate, ActionDelete},
		Destination:        Destination{Webhook: Webhook{Batch: true}},
		BatchSize:          DefaultBatchSize,
		BatchTimeout:       DefaultBatchTimeout,
		TimestampFormat:    TimestampISO8601,
		LegacyTransform:    LegacyTransformNone,
		UnchangedToast:     UnchangedToastOmit,
		MessageGrouping:    GroupByKey,
		AckWait:            DefaultAckWait,
		MaxAckPending:      DefaultMaxAckPending,
		MaxWaiting:         DefaultMaxWaiting,
		LoadSheddingPolicy: PauseOnFull,
		Start:              StartNow,
		AckCommit:          AckCommitWindow,
	}
}
