package consumer

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
	"github.com/sequinstream/sequin/internal/filter"
	"github.com/sequinstream/sequin/internal/problem"
)

// Errors that callers decide on.
var (
	// ErrEnd reports that the log has nothing at or after a position yet.
	ErrEnd = errors.New("end of the change log")
	// ErrStopped reports use of a consumer whose Run has ended.
	ErrStopped = errors.New("consumer is stopped")
	// ErrMode reports a pull on a push consumer or the reverse.
	ErrMode = errors.New("consumer delivers the other way")
	// ErrNotFound reports a dead letter that is not there.
	ErrNotFound = errors.New("dead letter not found")
)

// Log is what a consumer needs of the change log. It is safe for concurrent use.
type Log interface {
	// End is the end of what is durable and visible.
	End() End
	// FirstSeq is the first change that is retained.
	FirstSeq() uint64
	// Segment returns the run of changes that holds seq or, if there is none, the first one after it; changes[i].Seq is first+i. It returns
	// ErrEnd when nothing at or after seq is visible yet, and a Gap when that part of the log is lost.
	Segment(ctx context.Context, seq uint64) (first, last uint64, changes []cdc.Change, err error)
	// Since is the first change that was committed at a time or later, and before which nothing was; rather one too early than one too late.
	// It returns ErrEnd when nothing was committed then or later.
	Since(ctx context.Context, at cdc.Timestamp) (seq uint64, err error)
	// Changed is closed at the next advance of End.
	Changed() <-chan struct{}
}

// Gap is an error that names what of the log is lost; reading goes on after its end.
type Gap interface {
	error
	Gap() (from, to uint64)
}

// End is the log's end.
type End struct {
	Seq        uint64 // the last change, 0 for an empty log
	Position   cdc.Position
	CommitEnd  cdc.LSN
	CommitTime cdc.Timestamp
}

// Codec turns a change into bytes with everything that decoding it will ever need, and back into an empty change.
type Codec interface {
	Encode(change *cdc.Change) []byte
	Decode(b []byte, into *cdc.Change) error
}

// Deps is what a consumer works with.
type Deps struct {
	Log    Log
	State  engine.State
	Logger *slog.Logger
	// Encode builds the message of a change for its dead letter.
	Encode func(*cdc.Change) ([]byte, error)
	// Codec keeps single messages in the state store; nil if the log is never to let go of what is not done.
	Codec Codec
	// Lane keeps the rows of backfills; nil for a consumer that takes none.
	Lane *Lane
	// Trimming is held while the log is trimmed, from the question what is needed to the last removal; nil if it never is.
	Trimming sync.Locker
	// Rand spreads retries; nil for a random seed. It is used under the consumer's lock.
	Rand *rand.Rand
}

// Conditions tell which changes of each table are wanted, beyond the table and the action. They are safe for concurrent use.
type Conditions interface {
	// Of is the condition on the changes of a relation, nil for none. An error says that it cannot be told now: the consumer reads no further
	// and asks again from time to time, at once when Changed was closed.
	Of(relation *cdc.Relation) (Condition, error)
	// Changed is closed when Of may answer otherwise than before.
	Changed() <-chan struct{}
	// String is what was declared: conditions with the same text want the same.
	String() string
}

// Condition judges the changes of one relation. An error is the failure of that one message.
type Condition interface {
	Matches(c *cdc.Change) (bool, error)
}

// GroupMode says what the messages of one group have in common.
type GroupMode string

// The ways of grouping.
const (
	GroupByKey   GroupMode = ""      // the chosen columns, else the row that an event is about, else the primary key, else the replica identity index, else nothing
	GroupByTable GroupMode = "table" // the table
	GroupOff     GroupMode = "off"   // nothing: every message is independent of all others
)

// Grouping says which messages keep their order.
type Grouping struct {
	Mode    GroupMode
	Columns map[filter.TableRef][]string // GroupByKey: chosen columns by table
}

// DeadLetterBounds say when a consumer stops rather than lose a dead letter. Zero means the default, a negative value no bound.
type DeadLetterBounds struct {
	MaxAge   time.Duration
	MaxBytes int64
}

// Config is what is declared about a consumer.
type Config struct {
	ID            string // UUID
	Name          string
	Source        filter.Source
	Actions       []string
	Where         Conditions // nil for none
	Grouping      Grouping
	Status        Status
	Push          bool          // Take and Settle; else Receive and Ack
	AckWait       time.Duration // pull: the lease
	MaxAckPending int           // messages in flight or waiting for a retry
	MaxWaiting    int           // long polls at a time
	MaxRetryCount int           // attempts before a message becomes a dead letter; 0 for no end
	AckCommit     AckCommit
	Start         Start
	StartAt       uint64  // StartNow: the first entry of the log that may be delivered; 0 for the one behind its end
	SkipBelow     cdc.LSN // StartNow: the server's WAL position at creation; what committed before it is not delivered
	DeadLetters   DeadLetterBounds
}

// Defaults of a consumer's settings.
const (
	defaultAckWait         = 30 * time.Second
	defaultMaxAckPending   = 10_000
	defaultMaxWaiting      = 20
	defaultDeadLetterAge   = 7 * 24 * time.Hour
	defaultDeadLetterBytes = 1 << 30
)

// withDefaults fills in what was left out and checks the rest.
func (c Config) withDefaults() (Config, error) {
	def(&c.Status, Active)
	def(&c.AckWait, defaultAckWait)
	def(&c.MaxAckPending, defaultMaxAckPending)
	def(&c.MaxWaiting, defaultMaxWaiting)
	def(&c.AckCommit, AckWindow)
	def(&c.Start, StartNow)
	def(&c.DeadLetters.MaxAge, defaultDeadLetterAge)
	def(&c.DeadLetters.MaxBytes, defaultDeadLetterBytes)

	fields := map[string][]string{}
	check := func(ok bool, field, text string) {
		if !ok {
			fields[field] = append(fields[field], text)
		}
	}
	check(c.ID != "", "id", "must be given")
	check(c.Status == Active || c.Status == Paused || c.Status == Disabled, "status", "must be active, paused or disabled")
	check(c.AckWait > 0, "ack_wait_ms", "must be positive")
	check(c.MaxAckPending > 0, "max_ack_pending", "must be positive")
	check(c.MaxWaiting > 0, "max_waiting", "must be positive")
	check(c.MaxRetryCount >= 0, "max_retry_count", "must not be negative")
	check(c.AckCommit == AckWindow || c.AckCommit == AckEach, "ack_commit", "must be window or each")
	check(c.Start == StartNow || c.Start == StartBeginning, "start", "must be now or beginning")
	check(c.Grouping.Mode == GroupByKey || c.Grouping.Mode == GroupByTable || c.Grouping.Mode == GroupOff, "message_grouping",
		"must be true, false or table")
	check(c.Grouping.Mode == GroupByKey || len(c.Grouping.Columns) == 0, "group_column_names",
		"can be chosen only while messages are grouped by columns")
	if len(fields) == 0 {
		return c, nil
	}
	e := problem.New("invalid_consumer", "consumer %q is not valid", c.Name)
	e.Fields = fields
	return c, e
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
