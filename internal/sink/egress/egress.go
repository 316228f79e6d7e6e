// Package egress decides which addresses Sequin may connect to on behalf of a declared destination. The rule is applied to the address
// that is really dialled, after name resolution, so a name that resolves to another address the second time gets no further. Loopback and
// private networks are allowed, link-local addresses and the metadata services of clouds are not: a webhook must not be a way to read the
// machine's credentials. A Policy is immutable and safe for concurrent use.
package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// DefaultDeny is the list of prefixes that are denied when nothing else is said.
func DefaultDeny() []string {
	return []string{
		"169.254.0.0/16",     // link-local: metadata of AWS, Azure, Google Cloud, OpenStack, DigitalOcean, ECS tasks
		"fe80::/10",          // link-local
		"fd00:ec2::/32",      // AWS metadata, DNS and time over IPv6
		"fd20:ce::/32",       // Google Cloud metadata over IPv6
		"168.63.129.16/32",   // Azure host agent
		"100.100.100.200/32", // Alibaba Cloud metadata
		"192.0.0.192/32",     // Oracle Cloud metadata
	}
}

// Policy is a deny list with exceptions. A nil Policy denies DefaultDeny.
type Policy struct {
	deny  []netip.Prefix
	allow []netip.Prefix
}

// DeniedError says that an address must not be connected to.
type DeniedError struct {
	Addr netip.Addr
	Rule netip.Prefix
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("address %s is denied by the egress rule %s", e.Addr, e.Rule)
}

// New makes a policy from prefixes or single addresses; what allow covers is never denied.
func New(deny, allow []string) (*Policy, error) {
	d, err := parse(deny)
	if err != nil {
		return nil, fmt.Errorf("egress deny list: %w", err)
	}
	a, err := parse(allow)
	if err != nil {
		return nil, fmt.Errorf("egress allow list: %w", err)
	}
	return &Policy{deny: d, allow: a}, nil
}

func parse(list []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		if !strings.Contains(s, "/") {
			addr, err := netip.ParseAddr(s)
			if err != nil {
				return nil, err
			}
			prefixes = append(prefixes, netip.PrefixFrom(addr.Unmap().WithZone(""), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// Check returns a *DeniedError when addr must not be connected to. An IPv6 address that carries an IPv4 one (mapped, translated or
// tunnelled) is judged as both.
func (p *Policy) Check(addr netip.Addr) error {
	deny, allow := p.lists()
	for _, form := range forms(addr) {
		rule, denied := match(deny, form)
		if !denied {
			continue
		}
		if _, excepted := match(allow, form); !excepted {
			return &DeniedError{Addr: addr, Rule: rule}
		}
	}
	return nil
}

func (p *Policy) lists() (deny, allow []netip.Prefix) {
	if p != nil {
		return p.deny, p.allow
	}
	for _, s := range DefaultDeny() {
		deny = append(deny, netip.MustParsePrefix(s))
	}
	return deny, nil
}

func match(list []netip.Prefix, addr netip.Addr) (netip.Prefix, bool) {
	for _, p := range list {
		if p.Contains(addr) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// forms lists the addresses that connecting to addr may reach.
func forms(addr netip.Addr) []netip.Addr {
	addr = addr.WithZone("").Unmap()
	all := []netip.Addr{addr}
	if addr.IsUnspecified() { // the kernel takes it for loopback
		if addr.Is4() {
			return append(all, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		}
		return append(all, netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	if addr.Is4() {
		return all
	}
	b := addr.As16()
	switch {
	case b[0] == 0x20 && b[1] == 0x02: // 6to4
		return append(all, netip.AddrFrom4([4]byte(b[2:6])))
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr), // NAT64
		netip.MustParsePrefix("64:ff9b:1::/48").Contains(addr),                        // local NAT64, in its usual /96 form
		netip.MustParsePrefix("::/96").Contains(addr) && addr != netip.IPv6Loopback(): // IPv4-compatible
		return append(all, netip.AddrFrom4([4]byte(b[12:16])))
	}
	return all
}

// Control is for net.Dialer.ControlContext: it sees the resolved address of every connection before it is made.
func (p *Policy) Control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("egress rules: %w", err)
	}
	return p.Check(ap.Addr())
}

// Dialer returns a dialer that obeys the policy.
func (p *Policy) Dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second, ControlContext: p.Control}
}
