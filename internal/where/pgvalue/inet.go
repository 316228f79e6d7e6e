package pgvalue

import (
	"net/netip"
	"strconv"
	"strings"
)

// Inet is an address with the length of its network's prefix.
type Inet struct {
	Addr netip.Addr
	Bits int
	CIDR bool
}

// ParseInet reads an address, whole and with or without a prefix length.
func ParseInet(s string, cidr bool) (Value, error) {
	typ := "inet"
	if cidr {
		typ = "cidr"
	}
	text, length, hasLength := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		return Null, unsupported("%s %q: write the address in full", typ, shorten(s))
	}
	bits := addr.BitLen()
	if hasLength {
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > bits || strconv.Itoa(n) != length {
			return Null, invalid(typ, s)
		}
		bits = n
	}
	if cidr {
		prefix, _ := addr.Prefix(bits)
		if prefix.Addr() != addr {
			return Null, &Error{"22P02", "invalid cidr value: " + strconv.Quote(shorten(s))}
		}
	}
	return Value{P: &Inet{addr, bits, cidr}}, nil
}

// Inet is the address in a value.
func (v Value) Inet() *Inet {
	if a, ok := v.P.(*Inet); ok {
		return a
	}
	return &Inet{}
}

// FormatInet prints an address; a prefix of full length shows for cidr alone.
func FormatInet(v Value) string {
	a := v.Inet()
	s := a.Addr.String()
	if a.CIDR || a.Bits != a.Addr.BitLen() {
		s += "/" + strconv.Itoa(a.Bits)
	}
	return s
}

// CompareInet orders by family, the common part of the networks, their lengths, and the whole addresses.
func CompareInet(x, y Value) int {
	a, b := x.Inet(), y.Inet()
	if a.Addr.BitLen() != b.Addr.BitLen() {
		return compareInt(int64(a.Addr.BitLen()), int64(b.Addr.BitLen()))
	}
	n := min(a.Bits, b.Bits)
	p, _ := a.Addr.Prefix(n)
	q, _ := b.Addr.Prefix(n)
	if c := p.Addr().Compare(q.Addr()); c != 0 {
		return c
	}
	if c := compareInt(int64(a.Bits), int64(b.Bits)); c != 0 {
		return c
	}
	return a.Addr.Compare(b.Addr)
}

// InetContains reports whether a's network holds b's; strictly if they may not be the same.
func InetContains(a, b *Inet, strictly bool) bool {
	if a.Addr.BitLen() != b.Addr.BitLen() || a.Bits > b.Bits || strictly && a.Bits == b.Bits {
		return false
	}
	p, _ := a.Addr.Prefix(a.Bits)
	q, _ := b.Addr.Prefix(a.Bits)
	return p == q
}

// InetOverlaps reports whether one network holds the other.
func InetOverlaps(a, b *Inet) bool { return InetContains(a, b, false) || InetContains(b, a, false) }
