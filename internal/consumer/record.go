package consumer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
)

// What a consumer keeps under "consumer/<id>/" in the state store. Numbers in keys are 16 hexadecimal digits, so that keys sort like numbers.
// Every value begins with the version of its format; those that speak of seqs go on with the consumer's generation, and one of an earlier
// generation is void.
//
//	cursor          generation, cursor, start, flags, below: everything below the cursor is done; below says up to where stragglers were copied
//	stray/<seq>     a straggler: a message that is not done, copied out of the log
//	done/<page>     4,096 bits: which messages above the cursor are done
//	spread/<n>      4,096 bits: which pages above the cursor are done
//	lease/<n>       one receive: deadline, and the messages with the number of the attempt
//	msg/<seq>       a message that failed: failed attempts, time of the next, last error
//	bury/<seq>      a message that is becoming a dead letter; gone when it is one
//	dead/<seq>      a dead letter (JSON); deadbody/<seq> is its payload
//	deadstat        count and bytes of the dead letters
//	redrive/<seq>   a dead letter that is being delivered again: failed attempts since
//	again/<seq>     a message that was asked for once more: when, and a copy of it; its failed attempts are in redrive/<seq>
//	move/<n>        a move (JSON), by the generation that it began
//	was/<n>/…       done and spread before that move; now/<n>/… those after one that took a move back
//	gap/<seq>       messages that were given up or lost (JSON), by the first of them
//	lane            the number below which all rows of backfills are done; lanedone/ and lanespread/ are bits as above, without a generation
//	laneprogress/<backfill> how far a backfill has read: a page's first row (0 for a page that was empty), what was known before it, what with it.
//	                It is written just before its page: a number that no page has says that the page was lost, and what was known before counts.
//	lane/<n>        a page of rows that a backfill read, from row n on: its last row, its place in the log, its size, the backfill
//
// One Apply writes, in this order: dead letters, gaps and pages of rows, leases and failures, done bits, the cursor, deletions. So after a crash that kept
// only its beginning, a message is never done without its dead letter, an acknowledgement is at worst not there (and was not answered), and
// what was not deleted is recognised as void: a lease's message whose attempt is over has a msg record with that number of attempts or a
// done bit.
const recordVersion = 1

var errRecord = errors.New("damaged record")

type keys struct{ prefix string }

func newKeys(id string) keys { return keys{prefix: "consumer/" + id + "/"} }

const (
	keyCursor   = "cursor"
	keyDeadStat = "deadstat"
	dirDone     = "done/"
	dirSpread   = "spread/"
	dirLease    = "lease/"
	dirMsg      = "msg/"
	dirBury     = "bury/"
	dirDead     = "dead/"
	dirDeadBody = "deadbody/"
	dirRedrive  = "redrive/"
	dirGap      = "gap/"
	dirStray    = "stray/"

	keyLane       = "lane"
	dirLane       = "lane/"
	dirLaneDone   = "lanedone/"
	dirLaneSpread = "lanespread/"
	dirProgress   = "laneprogress/"
)

func (k keys) name(s string) string { return k.prefix + s }

func (k keys) number(dir string, n uint64) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, len(k.prefix)+len(dir)+16)
	b = append(b, k.prefix...)
	b = append(b, dir...)
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return string(b)
}

// parseNumber is the number at the end of a key of dir.
func (k keys) parseNumber(dir, key string) (uint64, error) {
	s, ok := strings.CutPrefix(key, k.prefix+dir)
	n, err := strconv.ParseUint(s, 16, 64)
	if !ok || len(s) != 16 || err != nil {
		return 0, fmt.Errorf("key %q: %w", key, errRecord)
	}
	return n, nil
}

// reader takes a record apart; the first mistake sticks.
type reader struct {
	b   []byte
	err error
}

func newReader(b []byte) *reader {
	r := &reader{b: b}
	if v := r.uint(); r.err == nil && v != recordVersion {
		r.err = fmt.Errorf("record of format %d, this version knows %d: %w", v, recordVersion, errRecord)
	}
	return r
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b = nil
		if r.err == nil {
			r.err = errRecord
		}
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) time() time.Time {
	us := r.uint()
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(us)) //nolint:gosec // written from an int64
}

func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() || t.UnixMicro() < 0 {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(t.UnixMicro()))
}

func appendUints(dst []byte, vs ...uint64) []byte {
	for _, v := range vs {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

// cursorRecord is the consumer's place.
type cursorRecord struct {
	generation uint32
	cursor     uint64
	skipBelow  cdc.LSN // of epoch skipEpoch: committed before the consumer was created
	skipEpoch  uint32
	disabled   bool
	below      uint64 // of what is not done, everything below it was copied out of the log
}

// pin is the first number that the log has to keep.
func (c cursorRecord) pin() uint64 { return max(c.cursor, c.below) }

func (c cursorRecord) encode() []byte {
	flags := uint64(0)
	if c.disabled {
		flags = 1
	}
	return appendUints(nil, recordVersion, uint64(c.generation), c.cursor, uint64(c.skipBelow), uint64(c.skipEpoch), flags, c.below)
}

func decodeCursor(b []byte) (cursorRecord, error) {
	r := newReader(b)
	c := cursorRecord{generation: uint32(r.uint())} //nolint:gosec // written from a uint32
	c.cursor = r.uint()
	c.skipBelow = cdc.LSN(r.uint())
	c.skipEpoch = uint32(r.uint()) //nolint:gosec // written from a uint32
	c.disabled = r.uint()&1 != 0
	if len(r.b) > 0 { // not in the first releases' records
		c.below = r.uint()
	}
	return c, r.err
}

func encodePage(generation uint32, b *bitmap) []byte {
	return b.encode(appendUints(make([]byte, 0, pageBytes+8), recordVersion, uint64(generation)))
}

func decodePage(b []byte, into *bitmap) (generation uint32, err error) {
	r := newReader(b)
	generation = uint32(r.uint()) //nolint:gosec // written from a uint32
	if r.err != nil {
		return 0, r.err
	}
	return generation, into.decode(r.b)
}

// leaseItem is one message of a lease.
type leaseItem struct {
	seq     uint64
	attempt int
}

func encodeLease(generation uint32, deadline time.Time, items []leaseItem) []byte {
	b := make([]byte, 0, 24+4*len(items))
	b = appendTime(appendUints(b, recordVersion, uint64(generation)), deadline)
	b = appendUints(b, uint64(len(items)))
	var last uint64
	for _, it := range items { // ascending, so the distances are small
		b = appendUints(b, it.seq-last, uint64(it.attempt)) //nolint:gosec // attempts count up from 1
		last = it.seq
	}
	return b
}

func decodeLease(b []byte) (generation uint32, deadline time.Time, items []leaseItem, err error) {
	r := newReader(b)
	generation = uint32(r.uint()) //nolint:gosec // written from a uint32
	deadline = r.time()
	n := r.uint()
	if n > uint64(len(r.b)) {
		return 0, time.Time{}, nil, errRecord
	}
	var seq uint64
	for range n {
		seq += r.uint()
		items = append(items, leaseItem{seq: seq, attempt: int(r.uint())}) //nolint:gosec // written from an int
	}
	return generation, deadline, items, r.err
}

const maxErrorBytes = 1000

// msgRecord is a message that failed.
type msgRecord struct {
	attempts int
	next     time.Time
	cause    string
}

func (m msgRecord) encode(generation uint32) []byte {
	b := make([]byte, 0, 24+min(len(m.cause), maxErrorBytes))
	b = appendUints(b, recordVersion, uint64(generation), uint64(m.attempts)) //nolint:gosec // attempts count up from 0
	b = appendTime(b, m.next)
	return append(b, truncate(m.cause, maxErrorBytes)...)
}

func decodeMsg(b []byte) (generation uint32, m msgRecord, err error) {
	r := newReader(b)
	generation = uint32(r.uint()) //nolint:gosec // written from a uint32
	m.attempts = int(r.uint())    //nolint:gosec // written from an int
	m.next = r.time()
	m.cause = string(r.b)
	return generation, m, r.err
}

// truncate cuts s to at most n bytes, between characters.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
