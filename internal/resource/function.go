package resource

import "time"

// Function is a piece of code or a path that shapes messages: a sink names it.
type Function struct {
	Meta
	Name        string
	Description string
	Type        FunctionType
	Language    Language // of Code
	SinkType    string   // routing: the type of sink that it routes for
	Path        string   // path: "record.id"
	Code        string   // the others
	Query       Query    // enrichment
}

// Query is how an enrichment's query is run.
type Query struct {
	Database    string        // by name; "" for the sink's own
	ReplicaHost string        // of a standby to ask instead, "" for none
	ReplicaPort int           // 0: as the database's
	Timeout     time.Duration // 0: 5 s
	MaxRows     int           // of one batch; 0: 10,000
	CacheFor    time.Duration // how old an answer may be; 0 asks for each batch
}

// Bounds of a query.
const (
	minQueryTimeout = 10 * time.Millisecond
	maxQueryTimeout = 5 * time.Minute
	maxMaxRows      = 1_000_000
	maxCacheFor     = 24 * time.Hour
)

// FunctionType is what a function does with a message.
type FunctionType string

// The types of function.
const (
	FunctionPath       FunctionType = "path"       // takes a part of the message
	FunctionTransform  FunctionType = "transform"  // makes another message of it
	FunctionFilter     FunctionType = "filter"     // says whether it is wanted
	FunctionRouting    FunctionType = "routing"    // says where it goes
	FunctionEnrichment FunctionType = "enrichment" // adds what a SQL query returns
)

// FunctionTypes lists the types.
func FunctionTypes() []FunctionType {
	return []FunctionType{FunctionPath, FunctionTransform, FunctionFilter, FunctionRouting, FunctionEnrichment}
}

// Language is what a function is written in.
type Language string

// The languages. Path functions have none, enrichments are SQL.
const (
	LanguageElixir     Language = "elixir" // the original's; kept as it is
	LanguageLua        Language = "lua"
	LanguageJavaScript Language = "javascript"
	LanguageGo         Language = "go"
	LanguageSQL        Language = "sql"
)

// Languages lists the languages.
func Languages() []Language {
	return []Language{LanguageElixir, LanguageLua, LanguageJavaScript, LanguageGo, LanguageSQL}
}
