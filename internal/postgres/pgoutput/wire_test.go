package pgoutput_test

import (
	"encoding/binary"

	"github.com/sequinstream/sequin/internal/cdc/cdctest"
)

// wire joins the parts of a message in wire order: a byte, uint16, uint32 or uint64 in network order, a string with its null, a []byte or a
// tuple as it is.
func wire(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case byte:
			b = append(b, p)
		case rune:
			b = append(b, byte(p))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		case string:
			b = append(append(b, p...), 0)
		case []byte:
			b = append(b, p...)
		default:
			panic("wire: unsupported part")
		}
	}
	return b
}

// Times on the wire count microseconds since 2000-01-01; this one is 2025-07-01T10:11:12.345678Z.
const (
	wireTime uint64 = 804679872345678
	unixTime int64  = 1751364672345678
)

var (
	newRow = []byte(cdctest.Tuple("1", nil, cdctest.Unchanged, cdctest.Binary{0xff, 0}))
	oldKey = []byte(cdctest.Tuple("0", nil, nil, nil))
	oldRow = []byte(cdctest.Tuple("0", "a", "", "b"))
)

// samples holds one or more valid messages of every kind.
var samples = map[string][]byte{
	"begin":                                  wire('B', uint64(0x16B374D848), wireTime, uint32(731)),
	"commit":                                 wire('C', byte(0), uint64(0x100), uint64(0x130), wireTime),
	"origin":                                 wire('O', uint64(0x99), "node_a"),
	"relation":                               wire('R', uint32(16390), "public", "orders", 'd', uint16(2), byte(1), "id", uint32(20), ^uint32(0), byte(0), "total", uint32(1700), uint32(655366)),
	"relation in pg_catalog without columns": wire('R', uint32(1259), "", "pg_class", 'n', uint16(0)),
	"type":                                   wire('Y', uint32(16400), "public", "mood"),
	"insert":                                 wire('I', uint32(16390), 'N', newRow),
	"insert without columns":                 wire('I', uint32(16390), 'N', uint16(0)),
	"update":                                 wire('U', uint32(16390), 'N', newRow),
	"update with old key":                    wire('U', uint32(16390), 'K', oldKey, 'N', newRow),
	"update with old row":                    wire('U', uint32(16390), 'O', oldRow, 'N', newRow),
	"delete with old key":                    wire('D', uint32(16390), 'K', oldKey),
	"delete with old row":                    wire('D', uint32(16390), 'O', oldRow),
	"truncate":                               wire('T', uint32(2), byte(3), uint32(16390), uint32(16395)),
	"message":                                wire('M', byte(1), uint64(0x77), "app.audit", uint32(5), []byte("hello")),
	"empty message":                          wire('M', byte(0), uint64(0x77), "", uint32(0)),
	"stream start":                           wire('S', uint32(731), byte(1)),
	"stream stop":                            wire('E'),
	"stream commit":                          wire('c', uint32(731), byte(0), uint64(0x100), uint64(0x130), wireTime),
	"stream abort":                           wire('A', uint32(731), uint32(732)),
	"stream abort with LSN":                  wire('A', uint32(731), uint32(732), uint64(0x140), wireTime),
	"begin prepare":                          wire('b', uint64(0x100), uint64(0x130), wireTime, uint32(731), "gid-1"),
	"prepare":                                wire('P', byte(0), uint64(0x100), uint64(0x130), wireTime, uint32(731), "gid-1"),
	"commit prepared":                        wire('K', byte(0), uint64(0x100), uint64(0x130), wireTime, uint32(731), "gid-1"),
	"rollback prepared":                      wire('r', byte(0), uint64(0x100), uint64(0x130), wireTime, wireTime+1, uint32(731), "gid-1"),
	"stream prepare":                         wire('p', byte(0), uint64(0x100), uint64(0x130), wireTime, uint32(731), "gid-1"),
}
