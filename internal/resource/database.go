package resource

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
)

// Database is a source: one Postgres database, read through one slot and one publication.
type Database struct {
	Meta
	Name string

	Hostname string // a host name or address, or the absolute path of a unix socket's directory
	Port     int
	Database string
	Username string
	Password Secret
	// PasswordFile is read at each connect, so that a rotated password needs no restart; it wins over Password.
	PasswordFile string
	// PasswordCommand is run at each connect; the first line that it prints is the password. It wins over Password.
	PasswordCommand []string
	IPv6            bool // prefer IPv6

	SSLMode     SSLMode
	SSLRootCert string // file of trusted roots
	SSLCert     string // file of the client's certificate
	SSLKey      string // file of the client's key

	PoolSize      int
	Slot          Slot
	Publication   Publication
	Annotations   json.RawMessage // an object
	AwaitDatabase Await

	Retention         Retention
	MaxDisk           int64 // bytes the change log may take; 0: the smaller of 50 GiB and 80 % of the file system
	WALBudget         int64 // bytes of WAL the slot may retain when the log is full; 0: half of max_slot_wal_keep_size, else 20 GiB
	OnWALBudget       OnWALBudget
	MaxChangeBytes    int64         // a larger change is recorded without its payload
	HeartbeatInterval time.Duration // 0: no heartbeats
}

// SlotID identifies the database's slot in the API: a version 4 UUID that follows from the database's own id.
func (d *Database) SlotID() string {
	if d.ID == "" {
		return ""
	}
	b := sha256.Sum256([]byte("slot of " + d.ID))
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Slot names the replication slot.
type Slot struct {
	Name              string
	CreateIfNotExists bool
}

// Publication names the publication.
type Publication struct {
	Name              string
	CreateIfNotExists bool
	InitSQL           string // the CREATE PUBLICATION statement to use; "" for ours
}

// Await says how long to wait for a database that cannot be reached when it is first declared.
type Await struct {
	Timeout  time.Duration
	Interval time.Duration
}

// Retention says how long changes stay in the log after everyone has acknowledged them: whichever bound is met first.
type Retention struct {
	MaxAge  time.Duration
	MaxSize int64 // bytes
}

// SSLMode is libpq's sslmode.
type SSLMode string

// The modes, as in the Postgres manual.
const (
	SSLDisable    SSLMode = "disable"
	SSLAllow      SSLMode = "allow"
	SSLPrefer     SSLMode = "prefer"
	SSLRequire    SSLMode = "require"
	SSLVerifyCA   SSLMode = "verify-ca"
	SSLVerifyFull SSLMode = "verify-full"
)

// SSLModes lists the modes, the safest first.
func SSLModes() []SSLMode {
	return []SSLMode{SSLVerifyFull, SSLVerifyCA, SSLRequire, SSLPrefer, SSLAllow, SSLDisable}
}

// Required reports whether a connection without TLS is refused.
func (m SSLMode) Required() bool {
	return m == SSLRequire || m == SSLVerifyCA || m == SSLVerifyFull
}

// OnWALBudget says what gives way when the log is full and the slot has retained its budget of WAL.
type OnWALBudget string

// What gives way.
const (
	OnWALBudgetRelease OnWALBudget = "release" // the lagging consumer loses its oldest messages, as a recorded gap; the primary lives
	OnWALBudgetWait    OnWALBudget = "wait"    // nothing: the slot goes on retaining WAL
)

// OnWALBudgets lists the choices.
func OnWALBudgets() []OnWALBudget { return []OnWALBudget{OnWALBudgetRelease, OnWALBudgetWait} }

// Defaults of a database.
const (
	DefaultPort           = 5432
	DefaultPoolSize       = 10
	DefaultRetentionAge   = 24 * time.Hour
	DefaultRetentionSize  = 10 << 30
	DefaultMaxChangeBytes = 64 << 20
	DefaultHeartbeat      = 15 * time.Second
)

// NewDatabase returns a database with every default in place.
func NewDatabase() Database {
	return Database{
		Port:              DefaultPort,
		Username:          "postgres",
		Password:          "postgres",
		SSLMode:           SSLPrefer,
		PoolSize:          DefaultPoolSize,
		AwaitDatabase:     Await{Timeout: 30 * time.Second, Interval: 3 * time.Second},
		Retention:         Retention{MaxAge: DefaultRetentionAge, MaxSize: DefaultRetentionSize},
		OnWALBudget:       OnWALBudgetRelease,
		MaxChangeBytes:    DefaultMaxChangeBytes,
		HeartbeatInterval: DefaultHeartbeat,
	}
}
