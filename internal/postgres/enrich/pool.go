package enrich

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// idleTime is how long a connection is kept that nobody uses.
const idleTime = time.Minute

// pool lends connections, at most so many at a time.
type pool struct {
	connect func(ctx context.Context) (*pgx.Conn, error)
	logger  *slog.Logger
	turns   chan struct{} // one value for each connection that is lent

	mu     sync.Mutex
	idle   []*connection // the last used is the last
	timer  *time.Timer
	closed bool
}

// connection is one of them, with what it has prepared.
type connection struct {
	conn     *pgx.Conn
	prepared map[string]*prepared
	names    int       // given to prepared statements
	since    time.Time // idle
}

func newPool(n int, connect func(context.Context) (*pgx.Conn, error), logger *slog.Logger) *pool {
	return &pool{connect: connect, logger: logger, turns: make(chan struct{}, n)}
}

// take lends a connection, and tells whether it was used before. It must be put back.
func (p *pool) take(ctx context.Context) (c *connection, used bool, err error) {
	select {
	case p.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, false, fmt.Errorf("wait for a connection: %w", ctx.Err())
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c = p.idle[n-1]
		p.idle = p.idle[:n-1]
	}
	p.mu.Unlock()
	if c != nil {
		return c, true, nil
	}
	conn, err := p.connect(ctx)
	if err != nil {
		<-p.turns
		return nil, false, err
	}
	if _, err := conn.Exec(ctx, "set session characteristics as transaction read only"); err != nil {
		p.end(ctx, conn)
		<-p.turns
		return nil, false, err
	}
	return &connection{conn: conn, prepared: map[string]*prepared{}}, false, nil
}

// put takes a connection back. One that is broken goes.
func (p *pool) put(ctx context.Context, c *connection) {
	defer func() { <-p.turns }()
	if c.conn.IsClosed() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.conn.PgConn().IsBusy() || c.conn.PgConn().TxStatus() != 'I' {
		go p.end(ctx, c.conn)
		return
	}
	c.since = time.Now()
	p.idle = append(p.idle, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTime, p.expire)
	}
}

// drop ends a connection that was lent.
func (p *pool) drop(ctx context.Context, c *connection) {
	p.end(ctx, c.conn)
	<-p.turns
}

// expire closes what has been idle for long.
func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.idle) && time.Since(p.idle[n].since) >= idleTime {
		go p.end(context.Background(), p.idle[n].conn)
		n++
	}
	p.idle = append(p.idle[:0:0], p.idle[n:]...)
	p.timer = nil
	if len(p.idle) > 0 && !p.closed {
		p.timer = time.AfterFunc(idleTime, p.expire)
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	for _, c := range p.idle {
		p.end(context.Background(), c.conn)
	}
	p.idle = nil
}

// end says farewell, for a short time, whatever became of the question.
func (p *pool) end(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := conn.Close(ctx); err != nil {
		p.logger.Debug("close a connection for enrichment", "reason", err)
	}
}
