package config

import (
	"encoding/json"
	"time"

	"github.com/sequinstream/sequin/internal/resource"
)

type storedSink struct {
	Name               string            `json:"name"`
	Database           string            `json:"database"`
	Status             string            `json:"status"`
	Source             storedSource      `json:"source"`
	Tables             []storedSinkTable `json:"tables"`
	Actions            []string          `json:"actions"`
	Destination        storedDestination `json:"destination"`
	BatchSize          int               `json:"batch_size"`
	BatchTimeout       time.Duration     `json:"batch_timeout"`
	TimestampFormat    string            `json:"timestamp_format"`
	LegacyTransform    string            `json:"legacy_transform"`
	UnchangedToast     string            `json:"unchanged_toast"`
	MessageGrouping    string            `json:"message_grouping"`
	Annotations        json.RawMessage   `json:"annotations"`
	AckWait            time.Duration     `json:"ack_wait"`
	MaxRetryCount      int               `json:"max_retry_count"`
	MaxAckPending      int               `json:"max_ack_pending"`
	MaxWaiting         int               `json:"max_waiting"`
	LoadSheddingPolicy string            `json:"load_shedding_policy"`
	Start              string            `json:"start"`
	AckCommit          string            `json:"ack_commit"`
	Concurrency        int               `json:"concurrency"`
	Where              string            `json:"where"`
	Filter             string            `json:"filter"`
	Transform          string            `json:"transform"`
	Enrichment         string            `json:"enrichment"`
	Routing            string            `json:"routing"`
	Routes             []storedRoute     `json:"routes"`
	InitialBackfill    *storedInitial    `json:"initial_backfill,omitempty"`
}

type storedInitial struct {
	All    bool                 `json:"all"`
	Tables []storedInitialTable `json:"tables"`
}

type storedInitialTable struct {
	Table      storedTable `json:"table"`
	SortColumn string      `json:"sort_column"`
	Start      string      `json:"start"`
}

func storeInitial(b resource.InitialBackfill) *storedInitial {
	if !b.All && len(b.Tables) == 0 {
		return nil
	}
	return &storedInitial{All: b.All, Tables: converted(b.Tables, func(t resource.InitialTable) storedInitialTable {
		return storedInitialTable{storedTable(t.Table), t.SortColumn, t.Start}
	})}
}

func (b *storedInitial) resource() resource.InitialBackfill {
	if b == nil {
		return resource.InitialBackfill{}
	}
	return resource.InitialBackfill{All: b.All, Tables: converted(b.Tables, func(t storedInitialTable) resource.InitialTable {
		return resource.InitialTable{Table: resource.TableName(t.Table), SortColumn: t.SortColumn, Start: t.Start}
	})}
}

type storedRoute struct {
	Where string          `json:"where"`
	To    json.RawMessage `json:"to"`
}

type storedSource struct {
	IncludeSchemas []string      `json:"include_schemas"`
	ExcludeSchemas []string      `json:"exclude_schemas"`
	IncludeTables  []storedTable `json:"include_tables"`
	ExcludeTables  []storedTable `json:"exclude_tables"`
}

type storedSinkTable struct {
	Name         storedTable `json:"name"`
	GroupColumns []string    `json:"group_columns"`
	Where        string      `json:"where"`
}

type storedDestination struct {
	Type    string        `json:"type"`
	Webhook storedWebhook `json:"webhook"`
}

type storedWebhook struct {
	HTTPEndpoint     string `json:"http_endpoint"`
	HTTPEndpointPath string `json:"http_endpoint_path"`
	Batch            bool   `json:"batch"`
}

func storedTables(names []resource.TableName) []storedTable {
	return converted(names, func(t resource.TableName) storedTable { return storedTable(t) })
}

func tableNames(tables []storedTable) []resource.TableName {
	return converted(tables, func(t storedTable) resource.TableName { return resource.TableName(t) })
}

func storedSinkOf(s *resource.Sink) *storedSink {
	return &storedSink{
		Name: s.Name, Database: s.Database, Status: string(s.Status),
		Source: storedSource{
			IncludeSchemas: s.Source.IncludeSchemas, ExcludeSchemas: s.Source.ExcludeSchemas,
			IncludeTables: storedTables(s.Source.IncludeTables), ExcludeTables: storedTables(s.Source.ExcludeTables),
		},
		Tables: converted(s.Tables, func(t resource.SinkTable) storedSinkTable {
			return storedSinkTable{storedTable(t.Name), t.GroupColumns, t.Where}
		}),
		Actions:     converted(s.Actions, func(a resource.Action) string { return string(a) }),
		Destination: storedDestination{Type: string(s.Destination.Type), Webhook: storedWebhook(s.Destination.Webhook)},
		BatchSize:   s.BatchSize, BatchTimeout: s.BatchTimeout, TimestampFormat: string(s.TimestampFormat),
		LegacyTransform: string(s.LegacyTransform), UnchangedToast: string(s.UnchangedToast),
		MessageGrouping: string(s.MessageGrouping), Annotations: s.Annotations,
		AckWait: s.AckWait, MaxRetryCount: s.MaxRetryCount, MaxAckPending: s.MaxAckPending, MaxWaiting: s.MaxWaiting,
		LoadSheddingPolicy: string(s.LoadSheddingPolicy), Start: string(s.Start), AckCommit: string(s.AckCommit), Concurrency: s.Concurrency,
		Where: s.Where, Filter: s.Filter, Transform: s.Transform, Enrichment: s.Enrichment, Routing: s.Routing,
		Routes: converted(s.Routes, func(r resource.Route) storedRoute { return storedRoute(r) }), InitialBackfill: storeInitial(s.InitialBackfill),
	}
}

func (s *storedSink) resource() resource.Sink {
	return resource.Sink{
		Name: s.Name, Database: s.Database, Status: resource.Status(s.Status),
		Source: resource.Source{
			IncludeSchemas: s.Source.IncludeSchemas, ExcludeSchemas: s.Source.ExcludeSchemas,
			IncludeTables: tableNames(s.Source.IncludeTables), ExcludeTables: tableNames(s.Source.ExcludeTables),
		},
		Tables: converted(s.Tables, func(t storedSinkTable) resource.SinkTable {
			return resource.SinkTable{Name: resource.TableName(t.Name), GroupColumns: t.GroupColumns, Where: t.Where}
		}),
		Actions:     converted(s.Actions, func(a string) resource.Action { return resource.Action(a) }),
		Destination: resource.Destination{Type: resource.DestinationType(s.Destination.Type), Webhook: resource.Webhook(s.Destination.Webhook)},
		BatchSize:   s.BatchSize, BatchTimeout: s.BatchTimeout, TimestampFormat: resource.TimestampFormat(s.TimestampFormat),
		LegacyTransform: resource.LegacyTransform(s.LegacyTransform), UnchangedToast: resource.UnchangedToast(s.UnchangedToast),
		MessageGrouping: resource.Grouping(s.MessageGrouping), Annotations: orNone(s.Annotations),
		AckWait: s.AckWait, MaxRetryCount: s.MaxRetryCount, MaxAckPending: s.MaxAckPending, MaxWaiting: s.MaxWaiting,
		LoadSheddingPolicy: resource.LoadSheddingPolicy(s.LoadSheddingPolicy), Start: resource.Start(s.Start), AckCommit: resource.AckCommit(s.AckCommit),
		Concurrency: s.Concurrency,
		Where:       s.Where, Filter: s.Filter, Transform: s.Transform, Enrichment: s.Enrichment, Routing: s.Routing,
		Routes:          converted(s.Routes, func(r storedRoute) resource.Route { return resource.Route{Where: r.Where, To: orNone(r.To)} }),
		InitialBackfill: s.InitialBackfill.resource(),
	}
}
