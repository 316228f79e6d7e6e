package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/sequinstream/sequin/internal/engine"
)

// The key space, as FORMAT.md tells it.
const (
	metaPrefix  = 'm' // m/<name>: counters of the store
	namePrefix  = 'n' // n<log name>: the log's id
	logPrefix   = 'l' // l<id><kind>…: one log's blocks
	statePrefix = 's' // s<key>: a state value

	headerKind = 'h' // l<id>h<first>: what a block consists of
	partKind   = 'p' // l<id>p<first><incarnation><part>: its bytes
)

// partSize is the size of every part of a block but the last, and belongs to the format. It is small because Pebble, when a checksum does
// not match, tries whether flipping any one bit of the data would repair it: half a second for 32 KiB, half a minute for 1 MiB.
const partSize = 32 << 10

// maxBatch bounds the data of one batch: small writes of others get their turn in between.
const maxBatch = 1 << 20

// maxBlock is the largest block that the store takes.
const maxBlock = 1 << 30

var (
	keyRevision = []byte("m/revision")
	keyNextLog  = []byte("m/next_log")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged marks what failed its own checksum.
var errDamaged = errors.New("checksum mismatch")

// checksum covers the key too: a value that turns up under a key which is not its own is damage.
func checksum(key []byte, parts ...[]byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

func logKey(id uint32, kind byte) []byte {
	k := make([]byte, 0, 32)
	k = append(k, logPrefix)
	k = binary.BigEndian.AppendUint32(k, id)
	return append(k, kind)
}

func headerKey(id uint32, first uint64) []byte {
	return binary.BigEndian.AppendUint64(logKey(id, headerKind), first)
}

// partsKey is below every part of the block and above every part of the block before it.
func partsKey(id uint32, first uint64) []byte {
	return binary.BigEndian.AppendUint64(logKey(id, partKind), first)
}

func partKey(id uint32, first, incarnation uint64, part uint32) []byte {
	k := binary.BigEndian.AppendUint64(partsKey(id, first), incarnation)
	return binary.BigEndian.AppendUint32(k, part)
}

// firstOf reads the block number out of a header key.
func firstOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[6:]) }

// headersAbove is the key after the header of first.
func headersAbove(id uint32, first uint64) []byte {
	if first == math.MaxUint64 {
		return logKey(id, headerKind+1)
	}
	return headerKey(id, first+1)
}

// partsAbove is a key after every part of first.
func partsAbove(id uint32, first uint64) []byte {
	if first == math.MaxUint64 {
		return logKey(id, partKind+1)
	}
	return partsKey(id, first+1)
}

func nameKey(name string) []byte { return append([]byte{namePrefix}, name...) }

func stateKey(key string) []byte { return append([]byte{statePrefix}, key...) }

// successor is the smallest key above every key with the prefix. The prefix starts with one of the bytes above, so there always is one.
func successor(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return []byte{0xff}
}

// header tells what a block consists of. A block is there when its header is.
type header struct {
	incarnation uint64 // of its parts; a block that is replaced gets a new one
	size        uint64 // bytes of data
}

const headerSize = 8 + 8 + 4

func (h header) parts() uint32 {
	return uint32((h.size + partSize - 1) / partSize) //nolint:gosec // a block has far fewer
}

func (h header) encode(key []byte) []byte {
	b := make([]byte, 0, headerSize)
	b = binary.BigEndian.AppendUint64(b, h.incarnation)
	b = binary.BigEndian.AppendUint64(b, h.size)
	return binary.BigEndian.AppendUint32(b, checksum(key, b))
}

func decodeHeader(key, value []byte) (header, error) {
	if len(value) != headerSize {
		return header{}, fmt.Errorf("%w: block header of %d bytes", engine.ErrCorrupt, len(value))
	}
	if binary.BigEndian.Uint32(value[16:]) != checksum(key, value[:16]) {
		return header{}, fmt.Errorf("%w: block header: %w", engine.ErrCorrupt, errDamaged)
	}
	h := header{incarnation: binary.BigEndian.Uint64(value), size: binary.BigEndian.Uint64(value[8:])}
	if h.size > maxBlock {
		return header{}, fmt.Errorf("%w: block header claims %d bytes", engine.ErrCorrupt, h.size)
	}
	return h, nil
}

// A part and a state value carry their checksum in front: part = crc data, state = crc revision data.
const (
	crcSize   = 4
	stateHead = crcSize + 8
)

func decodePart(key, value []byte) ([]byte, error) {
	if len(value) < crcSize || binary.BigEndian.Uint32(value) != checksum(key, value[crcSize:]) {
		return nil, fmt.Errorf("%w: block part: %w", engine.ErrCorrupt, errDamaged)
	}
	return value[crcSize:], nil
}

func encodeState(dst, key []byte, revision uint64, value []byte) {
	binary.BigEndian.PutUint64(dst[crcSize:], revision)
	copy(dst[stateHead:], value)
	binary.BigEndian.PutUint32(dst, checksum(key, dst[crcSize:]))
}

// decodeState checks a stored value and copies it out.
func decodeState(key, value []byte) (engine.Entry, error) {
	if len(value) < stateHead || binary.BigEndian.Uint32(value) != checksum(key, value[crcSize:]) {
		return engine.Entry{}, fmt.Errorf("%w: value of %q: %w", engine.ErrCorrupt, key[1:], errDamaged)
	}
	return engine.Entry{
		Key:      string(key[1:]),
		Revision: binary.BigEndian.Uint64(value[crcSize:]),
		Value:    append([]byte{}, value[stateHead:]...),
	}, nil
}
