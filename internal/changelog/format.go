package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/sequinstream/sequin/internal/cdc"
	"github.com/sequinstream/sequin/internal/engine"
)

// Version is the newest block format that this build writes and reads. FORMAT.md describes it.
const Version = 1

const (
	magic      = "SQCL"
	headerSize = 140

	// maxRaw bounds what a block may unfold to, so that a damaged size cannot exhaust memory.
	maxRaw = 1 << 30
)

// Flags of a block.
const (
	flagCommit   uint16 = 1 << 0 // its last frame is a commit; without it the block is a part of a transaction whose commit comes later
	flagContinue uint16 = 1 << 1 // it begins inside a transaction
	flagLost     uint16 = 1 << 2 // a marker: the numbers first..last were lost, and there is no body
)

// Codecs of a body.
const (
	codecPlain byte = 0
	codecS2    byte = 1
)

// VersionError reports a block that a newer version of Sequin wrote.
type VersionError struct {
	Version int // of the block
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the change log has a block of format %d, and this build reads formats up to %d: run the version that wrote it, or a newer one",
		e.Version, Version)
}

// errDamaged is what every failed check of a block wraps. It is an engine.ErrCorrupt.
var errDamaged = fmt.Errorf("change log block: %w", engine.ErrCorrupt)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the fixed part of a block, readable without its body. FORMAT.md has the offsets.
type header struct {
	flags      uint16
	sum        uint32 // checksum of the header, which covers the body's; the successor repeats it
	bodySum    uint32
	prev       uint32 // sum of the predecessor, 0 when there is none
	epoch      uint32
	first      uint64
	last       uint64
	committed  uint64 // the last number before the transaction that the block is a part of; last itself with flagCommit
	firstPos   cdc.Position
	lastPos    cdc.Position
	commitEnd  cdc.LSN       // end LSN of the last commit up to here
	end        cdc.LSN       // everything received before this LSN is in the log up to here
	commitTime cdc.Timestamp // of the last commit up to here
	maxCommit  cdc.Timestamp // running maximum of commit times
	appended   cdc.Timestamp // our clock, never running backwards within a log
	offset     uint64        // bytes of all blocks before this one, since the log began
	rawSize    uint32        // body, uncompressed
	storedSize uint32        // body, as stored
	frames     uint32        // bytes of the raw body that hold frames; relations follow
	relations  uint16
	codec      byte
	part       uint32 // blocks of the same transaction before this one, for blocks without flagCommit
}

func (h *header) committing() bool { return h.flags&flagCommit != 0 }
func (h *header) lost() bool       { return h.flags&flagLost != 0 }

// size is the whole block's, as stored.
func (h *header) size() uint64 { return headerSize + uint64(h.storedSize) }

// entries is how many numbers the block covers.
func (h *header) entries() uint64 { return h.last - h.first + 1 }

// put writes the header over the first headerSize bytes of dst and sets its checksum.
func (h *header) put(dst []byte) {
	_ = dst[headerSize-1]
	le := binary.LittleEndian
	copy(dst, magic)
	le.PutUint16(dst[4:], Version)
	le.PutUint16(dst[6:], h.flags)
	le.PutUint32(dst[12:], h.bodySum)
	le.PutUint32(dst[16:], h.prev)
	le.PutUint32(dst[20:], h.epoch)
	le.PutUint64(dst[24:], h.first)
	le.PutUint64(dst[32:], h.last)
	le.PutUint64(dst[40:], h.committed)
	le.PutUint64(dst[48:], uint64(h.firstPos.LSN))
	le.PutUint64(dst[56:], uint64(h.lastPos.LSN))
	le.PutUint32(dst[64:], h.firstPos.Index)
	le.PutUint32(dst[68:], h.lastPos.Index)
	le.PutUint64(dst[72:], uint64(h.commitEnd))
	le.PutUint64(dst[80:], uint64(h.end))
	putTime(dst[88:], h.commitTime)
	putTime(dst[96:], h.maxCommit)
	putTime(dst[104:], h.appended)
	le.PutUint64(dst[112:], h.offset)
	le.PutUint32(dst[120:], h.rawSize)
	le.PutUint32(dst[124:], h.storedSize)
	le.PutUint32(dst[128:], h.frames)
	le.PutUint16(dst[132:], h.relations)
	dst[134], dst[135] = h.codec, 0
	le.PutUint32(dst[136:], h.part)
	h.sum = headerSum(dst)
	le.PutUint32(dst[8:], h.sum)
}

func putTime(dst []byte, t cdc.Timestamp) {
	binary.LittleEndian.PutUint64(dst, uint64(t)) //nolint:gosec // the bits are kept as they are
}

func getTime(src []byte) cdc.Timestamp {
	return cdc.Timestamp(binary.LittleEndian.Uint64(src)) //nolint:gosec // the bits are kept as they are
}

// headerSum covers the header without its own four bytes.
func headerSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:8], castagnoli), castagnoli, b[12:headerSize])
}

// parseHeader reads and checks the header alone.
func parseHeader(b []byte) (header, error) {
	var h header
	if len(b) < 6 || string(b[:4]) != magic {
		return h, fmt.Errorf("%w: no magic number", errDamaged)
	}
	le := binary.LittleEndian
	if v := int(le.Uint16(b[4:])); v > Version {
		return h, &VersionError{Version: v}
	}
	if len(b) < headerSize {
		return h, fmt.Errorf("%w: %d bytes are shorter than a header", errDamaged, len(b))
	}
	h.sum = le.Uint32(b[8:])
	if h.sum != headerSum(b) {
		return h, fmt.Errorf("%w: checksum of the header", errDamaged)
	}
	h.flags = le.Uint16(b[6:])
	h.bodySum = le.Uint32(b[12:])
	h.prev = le.Uint32(b[16:])
	h.epoch = le.Uint32(b[20:])
	h.first = le.Uint64(b[24:])
	h.last = le.Uint64(b[32:])
	h.committed = le.Uint64(b[40:])
	h.firstPos = cdc.Position{LSN: cdc.LSN(le.Uint64(b[48:])), Index: le.Uint32(b[64:]), Epoch: h.epoch}
	h.lastPos = cdc.Position{LSN: cdc.LSN(le.Uint64(b[56:])), Index: le.Uint32(b[68:]), Epoch: h.epoch}
	h.commitEnd = cdc.LSN(le.Uint64(b[72:]))
	h.end = cdc.LSN(le.Uint64(b[80:]))
	h.commitTime = getTime(b[88:])
	h.maxCommit = getTime(b[96:])
	h.appended = getTime(b[104:])
	h.offset = le.Uint64(b[112:])
	h.rawSize = le.Uint32(b[120:])
	h.storedSize = le.Uint32(b[124:])
	h.frames = le.Uint32(b[128:])
	h.relations = le.Uint16(b[132:])
	h.codec = b[134]
	h.part = le.Uint32(b[136:])
	err := h.check()
	return h, err
}

// check refuses what no writer writes, so that the code behind it need not be careful.
func (h *header) check() error {
	switch {
	case h.first == 0 || h.last < h.first:
		return fmt.Errorf("%w: numbers %d to %d", errDamaged, h.first, h.last)
	case h.lost():
		return nil
	case h.rawSize > maxRaw || h.frames > h.rawSize:
		return fmt.Errorf("%w: a body of %d bytes, %d of them frames", errDamaged, h.rawSize, h.frames)
	case h.entries() > uint64(h.frames)/2: // an entry takes at least the two bytes of a truncated relation
		return fmt.Errorf("%w: %d entries in %d bytes", errDamaged, h.entries(), h.frames)
	}
	return nil
}

// parseBlock reads the header and checks everything that can be checked without decoding: both checksums and the key it is stored under.
func parseBlock(b engine.Block) (header, error) {
	h, err := parseHeader(b.Data)
	if err != nil {
		return h, err
	}
	if h.first != b.First {
		return h, fmt.Errorf("%w: it says that it begins at %d and is stored at %d", errDamaged, h.first, b.First)
	}
	body := b.Data[headerSize:]
	if uint64(len(body)) != uint64(h.storedSize) {
		return h, fmt.Errorf("%w: %d bytes of body, want %d", errDamaged, len(body), h.storedSize)
	}
	if crc32.Checksum(body, castagnoli) != h.bodySum {
		return h, fmt.Errorf("%w: checksum of the body", errDamaged)
	}
	return h, nil
}

// intactHeader tells whether b's header can be trusted although something behind it cannot.
func intactHeader(b engine.Block) (header, bool) {
	h, err := parseHeader(b.Data)
	return h, err == nil && h.first == b.First
}

func isVersion(err error) bool {
	var v *VersionError
	return errors.As(err, &v)
}

func stamp(t time.Time) cdc.Timestamp { return cdc.Timestamp(t.UnixMicro()) }
