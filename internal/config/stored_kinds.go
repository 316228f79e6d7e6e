package config

import (
	"encoding/json"
	"time"

	"github.com/sequinstream/sequin/internal/resource"
)

// Durations are stored in nanoseconds, sizes in bytes.

type storedDatabase struct {
	Name            string            `json:"name"`
	Hostname        string            `json:"hostname"`
	Port            int               `json:"port"`
	Database        string            `json:"database"`
	Username        string            `json:"username"`
	Password        string            `json:"password"`
	PasswordFile    string            `json:"password_file"`
	PasswordCommand []string          `json:"password_command"`
	IPv6            bool              `json:"ipv6"`
	SSLMode         string            `json:"sslmode"`
	SSLRootCert     string            `json:"sslrootcert"`
	SSLCert         string            `json:"sslcert"`
	SSLKey          string            `json:"sslkey"`
	PoolSize        int               `json:"pool_size"`
	Slot            storedSlot        `json:"slot"`
	Publication     storedPublication `json:"publication"`
	Annotations     json.RawMessage   `json:"annotations"`
	AwaitTimeout    time.Duration     `json:"await_timeout"`
	AwaitInterval   time.Duration     `json:"await_interval"`
	RetentionAge    time.Duration     `json:"retention_age"`
	RetentionSize   int64             `json:"retention_size"`
	MaxDisk         int64             `json:"max_disk"`
	WALBudget       int64             `json:"wal_budget"`
	OnWALBudget     string            `json:"on_wal_budget"`
	MaxChangeBytes  int64             `json:"max_change_bytes"`
	Heartbeat       time.Duration     `json:"heartbeat_interval"`
}

type storedSlot struct {
	Name              string `json:"name"`
	CreateIfNotExists bool   `json:"create_if_not_exists"`
}

type storedPublication struct {
	Name              string `json:"name"`
	CreateIfNotExists bool   `json:"create_if_not_exists"`
	InitSQL           string `json:"init_sql"`
}

func storedDatabaseOf(d *resource.Database) *storedDatabase {
	return &storedDatabase{
		Name: d.Name, Hostname: d.Hostname, Port: d.Port, Database: d.Database,
		Username: d.Username, Password: d.Password.Reveal(), PasswordFile: d.PasswordFile, PasswordCommand: d.PasswordCommand, IPv6: d.IPv6,
		SSLMode: string(d.SSLMode), SSLRootCert: d.SSLRootCert, SSLCert: d.SSLCert, SSLKey: d.SSLKey, PoolSize: d.PoolSize,
		Slot: storedSlot(d.Slot), Publication: storedPublication(d.Publication), Annotations: d.Annotations,
		AwaitTimeout: d.AwaitDatabase.Timeout, AwaitInterval: d.AwaitDatabase.Interval,
		RetentionAge: d.Retention.MaxAge, RetentionSize: d.Retention.MaxSize, MaxDisk: d.MaxDisk,
		WALBudget: d.WALBudget, OnWALBudget: string(d.OnWALBudget), MaxChangeBytes: d.MaxChangeBytes, Heartbeat: d.HeartbeatInterval,
	}
}

func (s *storedDatabase) resource() resource.Database {
	return resource.Database{
		Name: s.Name, Hostname: s.Hostname, Port: s.Port, Database: s.Database,
		Username: s.Username, Password: resource.Secret(s.Password), PasswordFile: s.PasswordFile, PasswordCommand: s.PasswordCommand, IPv6: s.IPv6,
		SSLMode: resource.SSLMode(s.SSLMode), SSLRootCert: s.SSLRootCert, SSLCert: s.SSLCert, SSLKey: s.SSLKey, PoolSize: s.PoolSize,
		Slot: resource.Slot(s.Slot), Publication: resource.Publication(s.Publication), Annotations: orNone(s.Annotations),
		AwaitDatabase: resource.Await{Timeout: s.AwaitTimeout, Interval: s.AwaitInterval},
		Retention:     resource.Retention{MaxAge: s.RetentionAge, MaxSize: s.RetentionSize}, MaxDisk: s.MaxDisk,
		WALBudget: s.WALBudget, OnWALBudget: resource.OnWALBudget(s.OnWALBudget), MaxChangeBytes: s.MaxChangeBytes, HeartbeatInterval: s.Heartbeat,
	}
}

// orNone is nil for what was nil when it was written.
func orNone(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

type storedTable struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
}

type storedRetention struct {
	Name                string         `json:"name"`
	Status              string         `json:"status"`
	SourceDatabase      string         `json:"source_database"`
	SourceTable         storedTable    `json:"source_table"`
	DestinationDatabase string         `json:"destination_database"`
	DestinationTable    storedTable    `json:"destination_table"`
	Actions             []string       `json:"actions"`
	Filters             []storedFilter `json:"filters"`
}

type storedFilter struct {
	Column    string          `json:"column"`
	FieldPath string          `json:"field_path"`
	FieldType string          `json:"field_type"`
	Operator  string          `json:"operator"`
	Value     json.RawMessage `json:"value"`
}

func storedRetentionOf(r *resource.ChangeRetention) *storedRetention {
	return &storedRetention{
		Name: r.Name, Status: string(r.Status), SourceDatabase: r.SourceDatabase, SourceTable: storedTable(r.SourceTable),
		DestinationDatabase: r.DestinationDatabase, DestinationTable: storedTable(r.DestinationTable),
		Actions: converted(r.Actions, func(a resource.Action) string { return string(a) }),
		Filters: converted(r.Filters, func(f resource.ColumnFilter) storedFilter { return storedFilter(f) }),
	}
}

func (s *storedRetention) resource() resource.ChangeRetention {
	return resource.ChangeRetention{
		Name: s.Name, Status: resource.RetentionStatus(s.Status), SourceDatabase: s.SourceDatabase, SourceTable: resource.TableName(s.SourceTable),
		DestinationDatabase: s.DestinationDatabase, DestinationTable: resource.TableName(s.DestinationTable),
		Actions: converted(s.Actions, func(a string) resource.Action { return resource.Action(a) }),
		Filters: converted(s.Filters, func(f storedFilter) resource.ColumnFilter {
			f.Value = orNone(f.Value)
			return resource.ColumnFilter(f)
		}),
	}
}

// converted keeps the difference between none and an empty list.
func converted[From, To any](items []From, convert func(From) To) []To {
	if items == nil {
		return nil
	}
	out := make([]To, len(items))
	for i, item := range items {
		out[i] = convert(item)
	}
	return out
}

type storedEndpoint struct {
	Name             string            `json:"name"`
	URL              string            `json:"url"`
	Headers          map[string]string `json:"headers"`
	EncryptedHeaders map[string]string `json:"encrypted_headers"`
	SigningSecrets   []string          `json:"signing_secrets"`
}

func storedEndpointOf(e *resource.HTTPEndpoint) *storedEndpoint {
	s := &storedEndpoint{Name: e.Name, URL: e.URL, Headers: e.Headers, SigningSecrets: converted(e.SigningSecrets, resource.Secret.Reveal)}
	if e.EncryptedHeaders != nil {
		s.EncryptedHeaders = make(map[string]string, len(e.EncryptedHeaders))
		for name, value := range e.EncryptedHeaders {
			s.EncryptedHeaders[name] = value.Reveal()
		}
	}
	return s
}

func (s *storedEndpoint) resource() resource.HTTPEndpoint {
	e := resource.HTTPEndpoint{
		Name: s.Name, URL: s.URL, Headers: s.Headers,
		SigningSecrets: converted(s.SigningSecrets, func(text string) resource.Secret { return resource.Secret(text) }),
	}
	if s.EncryptedHeaders != nil {
		e.EncryptedHeaders = make(map[string]resource.Secret, len(s.EncryptedHeaders))
		for name, value := range s.EncryptedHeaders {
			e.EncryptedHeaders[name] = resource.Secret(value)
		}
	}
	return e
}

type storedFunction struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Type        string `json:"type"`
	Language    string `json:"language"`
	SinkType    string `json:"sink_type"`
	Path        string `json:"path"`
	Code        string `json:"code"`

	Query storedQuery `json:"query"`
}

type storedQuery struct {
	Database    string        `json:"database"`
	ReplicaHost string        `json:"replica_host"`
	ReplicaPort int           `json:"replica_port"`
	Timeout     time.Duration `json:"timeout"`
	MaxRows     int           `json:"max_rows"`
	CacheFor    time.Duration `json:"cache_for"`
}

func storedFunctionOf(f *resource.Function) *storedFunction {
	return &storedFunction{
		Name: f.Name, Description: f.Description, Type: string(f.Type), Language: string(f.Language), SinkType: f.SinkType, Path: f.Path, Code: f.Code,
		Query: storedQuery(f.Query),
	}
}

func (s *storedFunction) resource() resource.Function {
	return resource.Function{
		Name: s.Name, Description: s.Description, Type: resource.FunctionType(s.Type), Language: resource.Language(s.Language),
		SinkType: s.SinkType, Path: s.Path, Code: s.Code, Query: resource.Query(s.Query),
	}
}
