package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/sequinstream/sequin/internal/problem"
)

// CheckAtOnce is Check with a warning for every open transaction, however young.
func CheckAtOnce(ctx context.Context, cfg Config, opts PreflightOptions) Report {
	opts.Config = cfg
	p := newPreflight(nil, opts)
	p.full = true
	return p.checkAll(ctx)
}

// Wire is what JudgeWire judges: a connection to another machine.
type Wire struct {
	Mode     SSLMode
	Host     string
	Offered  bool
	Chained  bool
	Roots    *x509.CertPool
	Provider Provider
}

// JudgeWire judges a connection to another machine; a nil state is one without TLS.
func JudgeWire(w Wire, state *tls.ConnectionState, now time.Time) (Status, string, *problem.Error) {
	inside := wire{mode: w.Mode, host: w.Host, offered: w.Offered, chained: w.Chained, roots: w.Roots, provider: w.Provider, now: now}
	var f finding
	if state == nil {
		f = inside.judgeClear()
	} else {
		f = inside.judge(*state)
	}
	return f.status, f.found, f.problem
}

// JudgeClocks compares clocks.
func JudgeClocks(before, there, after time.Time) (Status, *problem.Error) {
	f := judgeClocks(before, there, after)
	return f.status, f.problem
}

// RunPasswordCommand runs a password command with another timeout.
func RunPasswordCommand(ctx context.Context, argv []string, timeout time.Duration) (string, error) {
	return runPasswordCommand(ctx, argv, timeout)
}

// ExplainRefusal explains why a replication connection was refused to a role of the provider.
func ExplainRefusal(provider Provider, mayReplicate bool, err error) *problem.Error {
	p := &preflight{provider: provider, server: serverFacts{user: "app", mayReplicate: mayReplicate}}
	f, _ := p.noReplication(err)
	return f.problem
}

// ReaderEndpoint is the reader endpoint of an Aurora cluster, and the writer's.
func ReaderEndpoint(c Config) (reader, writer string) { return readerEndpoint(c) }
