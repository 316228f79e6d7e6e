package consumer

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// AckID stands for one message of one consumer in one generation. In text it has the form of a UUID v4: its 122 free bits are the three
// numbers, scrambled so that ids look alike to nobody and can be turned back. It is a name, not a secret.
type AckID struct {
	Consumer   uint64 // 40 bits: a hash of the consumer's id
	Generation uint32 // 24 bits
	Seq        uint64 // 58 bits
}

const (
	ackSeqBits        = 58
	ackGenerationBits = 24
	ackConsumerBits   = 40
	ackHalfBits       = 61 // (58 + 24 + 40) / 2
	ackHalfMask       = 1<<ackHalfBits - 1
	ackTextLen        = 36
)

// ackRounds are the keys of the Feistel network that scrambles the two halves: arbitrary, and part of the format.
var ackRounds = [4]uint64{0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93}

// consumerTag is the consumer's part of its ack ids.
func consumerTag(id string) uint64 { return xxhash.Sum64String(id) >> (64 - ackConsumerBits) }

func ackMix(half, key uint64) uint64 {
	x := (half + key) * 0xff51afd7ed558ccd
	x ^= bits.RotateLeft64(x, 29)
	x *= 0xc4ceb9fe1a85ec53
	return (x ^ x>>32) & ackHalfMask
}

// AppendText appends the textual form. Numbers too big for their fields lose their upper bits.
func (a AckID) AppendText(dst []byte) []byte {
	seq := a.Seq & (1<<ackSeqBits - 1)
	generation := uint64(a.Generation) & (1<<ackGenerationBits - 1)
	tag := a.Consumer & (1<<ackConsumerBits - 1)
	left := seq<<3 | generation>>21
	right := (generation&(1<<21-1))<<ackConsumerBits | tag
	for _, key := range ackRounds {
		left, right = right, left^ackMix(right, key)
	}
	// 122 bits become 48 + 12 + 62: before, between and after the version and the variant.
	var raw [16]byte
	hi := left<<3 | right>>58 // the first 64 of 122
	lo := right & (1<<58 - 1) // the last 58
	binary.BigEndian.PutUint64(raw[:8], hi>>16<<16|4<<12|hi>>4&0xfff)
	binary.BigEndian.PutUint64(raw[8:], 1<<63|(hi&0xf)<<58|lo)

	dst = hex.AppendEncode(dst, raw[0:4])
	dst = hex.AppendEncode(append(dst, '-'), raw[4:6])
	dst = hex.AppendEncode(append(dst, '-'), raw[6:8])
	dst = hex.AppendEncode(append(dst, '-'), raw[8:10])
	return hex.AppendEncode(append(dst, '-'), raw[10:16])
}

func (a AckID) String() string { return string(a.AppendText(make([]byte, 0, ackTextLen))) }

// ParseAckID reads the textual form of a UUID. One that is not a version 4, and so was never handed out, gives the zero AckID, which belongs
// to no message; an error means that the text is not a UUID at all.
func ParseAckID(s string) (AckID, error) {
	var raw [16]byte
	if len(s) != ackTextLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return AckID{}, fmt.Errorf("ack id %.40q is not a UUID", s)
	}
	plain := make([]byte, 0, 32)
	plain = append(plain, s[0:8]...)
	plain = append(plain, s[9:13]...)
	plain = append(plain, s[14:18]...)
	plain = append(plain, s[19:23]...)
	plain = append(plain, s[24:36]...)
	if _, err := hex.Decode(raw[:], plain); err != nil {
		return AckID{}, fmt.Errorf("ack id %.40q is not a UUID", s)
	}
	a, b := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	if a>>12&0xf != 4 || b>>62 != 2 {
		return AckID{}, nil
	}
	hi := a>>16<<16 | (a&0xfff)<<4 | b>>58&0xf
	lo := b & (1<<58 - 1)
	left, right := hi>>3, (hi&7)<<58|lo
	for i := len(ackRounds) - 1; i >= 0; i-- {
		left, right = right^ackMix(left, ackRounds[i]), left
	}
	return AckID{
		Seq:        left >> 3,
		Generation: uint32((left&7)<<21 | right>>ackConsumerBits), //nolint:gosec // 24 bits
		Consumer:   right & (1<<ackConsumerBits - 1),
	}, nil
}
