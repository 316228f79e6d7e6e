package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// The checks of the way to the server, which are over before there is a connection.
const (
	whyAddress        = "every connection begins with the host's name and port"
	whyTLS            = "without TLS that is verified, whoever is on the way can read and change what is sent, passwords included"
	whyAuthentication = "the server lets in whom it knows, from where pg_hba.conf allows"
)

// answerTimeout bounds the wait for an address to answer.
const answerTimeout = 5 * time.Second

// reach connects, step by step so that each can be judged, and reports whether there is a connection now.
func (p *preflight) reach(ctx context.Context) bool {
	found := p.checkAddress(ctx)
	p.report.add(check{name: "address", why: whyAddress}, found)
	if found.status == StatusFail {
		return false
	}
	conn, err := p.opts.Config.Connect(ctx)
	if err != nil {
		p.notConnected(err)
		return false
	}
	p.conn = conn
	p.report.add(check{name: "tls", why: whyTLS}, p.checkTLS(ctx))
	p.report.add(check{name: "authentication", why: whyAuthentication}, good("user %q is let in to database %q", p.opts.Config.User, p.opts.Config.Database))
	return true
}

// notConnected puts an error of connecting where it belongs.
func (p *preflight) notConnected(err error) {
	found, ok := problem.As(err)
	if !ok {
		found = problem.New("connect_failed", "%s could not be connected to", p.opts.Config.Address()).WithDetail("%v", innermost(err)).Because(err).
			WithHint("see the detail, and the server's log at this moment")
	}
	to := check{name: "authentication", why: whyAuthentication}
	switch {
	case strings.HasPrefix(found.Code, "tls_"):
		to = check{name: "tls", why: whyTLS}
		if found.Code == "tls_unknown_authority" {
			found.Hint = rootsHint(p.provider)
		}
	case found.Code == "pooled_connection":
		to = check{name: "pooler", why: p.streamChecks()[0].why}
	case slices.Contains([]string{"host_unknown", "host_lookup_failed", "host_unreachable", "connection_refused", "connection_timeout", "connection_closed"}, found.Code):
		to = check{name: "address", why: whyAddress}
		p.report.Items = slices.DeleteFunc(p.report.Items, func(i Item) bool { return i.Name == to.name })
	}
	p.report.add(to, fail(found))
}

// reached is one address of a host, and whether it answers.
type reached struct {
	text string
	err  error
}

// checkAddress resolves the hosts and asks each of their addresses for an answer.
func (p *preflight) checkAddress(ctx context.Context) finding {
	var (
		all  []reached
		text []string
	)
	for _, h := range p.opts.Config.hosts() {
		found := p.answers(ctx, h)
		all = append(all, found...)
		for _, a := range found {
			text = append(text, a.text)
		}
	}
	if !slices.ContainsFunc(all, func(a reached) bool { return a.err == nil }) {
		cause := errors.New("there is no host")
		if len(all) > 0 {
			cause = all[0].err
		}
		explained := explainer{cfg: p.opts.Config, err: cause, connecting: true}.network()
		if explained == nil {
			explained = problem.New("host_unreachable", "%s cannot be reached from here", p.opts.Config.Address()).
				WithHint("check host and port, and the network in between")
		}
		if explained.Code == "host_unreachable" && p.provider == ProviderSupabase {
			explained.Hint = "Supabase's direct host has an IPv6 address only: give this machine IPv6, or the project the IPv4 add-on"
		}
		return fail(explained.Because(cause)).saying("%s", strings.Join(text, "; "))
	}
	return good("%s", strings.Join(text, "; "))
}

// answers tries the addresses of a host at the same time.
func (p *preflight) answers(ctx context.Context, h Host) []reached {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if h.socket() {
		_, err := os.Stat(h.String())
		return []reached{p.dial(ctx, "unix", h.String(), err)}
	}
	network := "ip"
	if p.opts.Config.IPv6 {
		network = "ip6"
	}
	ips, err := net.DefaultResolver.LookupIP(ctx, network, h.Name)
	if err != nil {
		return []reached{{text: h.Name + ": not known", err: err}}
	}
	found := make([]reached, len(ips))
	var trying sync.WaitGroup
	for i, ip := range ips {
		trying.Go(func() {
			found[i] = p.dial(ctx, "tcp", Host{Name: ip.String(), Port: h.Port}.String(), nil)
			if ip.String() != h.Name {
				found[i].text = h.Name + " is " + found[i].text
			}
		})
	}
	trying.Wait()
	return found
}

func (p *preflight) dial(ctx context.Context, network, address string, err error) reached {
	began := time.Now()
	if err == nil {
		var conn net.Conn
		if conn, err = (&net.Dialer{}).DialContext(ctx, network, address); err == nil {
			_ = conn.Close() // nothing was said yet
			return reached{text: fmt.Sprintf("%s answers in %s", address, time.Since(began).Round(10*time.Microsecond))}
		}
	}
	return reached{text: fmt.Sprintf("%s does not answer: %v", address, innermost(err)), err: err}
}

// checkTLS judges the connection that was made.
func (p *preflight) checkTLS(ctx context.Context) finding {
	conn := p.conn.PgConn().Conn()
	w := wire{mode: p.opts.Config.SSLMode, provider: p.provider, chained: p.opts.Config.SSLRootCert != "", now: time.Now()}
	switch remote := conn.RemoteAddr().(type) {
	case *net.UnixAddr:
		return good("a unix socket: nothing leaves this machine")
	case *net.TCPAddr:
		w.local, w.host = remote.IP.IsLoopback(), remote.IP.String()
	}
	encrypted, ok := conn.(*tls.Conn)
	if !ok {
		if err := p.conn.QueryRow(ctx, "select current_setting('ssl') = 'on'").Scan(&w.offered); err != nil {
			w.offered = false // then the repair begins on the server
		}
		return w.judgeClear()
	}
	state := encrypted.ConnectionState()
	if state.ServerName != "" {
		w.host = state.ServerName
	}
	roots := &tls.Config{MinVersion: tls.VersionTLS12}
	if err := p.opts.Config.loadRoots(roots); err != nil {
		return good("%s", tls.VersionName(state.Version)) // the connection was made, so the file vanished just now
	}
	w.roots = roots.RootCAs
	return w.judge(state)
}
