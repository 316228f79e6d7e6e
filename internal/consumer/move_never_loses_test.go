package consumer_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sequinstream/sequin/internal/consumer"
	"github.com/sequinstream/sequin/internal/problem"
)

// mover moves a consumer about, acknowledges, trims, restarts it and cuts it off in the middle of its writes, and knows what has to be delivered.
type mover struct {
	t     *testing.T
	r     *rand.Rand
	log   *fakeLog
	state *fakeState
	c     *running
	key   map[uint64]string

	generation uint32
	done       map[uint64]bool // false: perhaps, for an acknowledgement was not answered
	was        map[uint64]bool // before the last move
	to         uint64          // of the last move
	undoable   bool
	held       []*consumer.Delivery
	moves      int
	undone     int
	crashes    int
}

// However a consumer is moved and its moves are taken back, and wherever that is cut off: what was acknowledged stays so, what was not is
// delivered, and the messages of a key keep their order.
func TestMovesLoseNothing(t *testing.T) {
	t.Parallel()
	var moves, undone, crashes int
	for seed := range uint64(iterations(300)) {
		synctest.Test(t, func(t *testing.T) {
			m := &mover{
				t: t, r: rand.New(rand.NewPCG(seed, 7)), log: newLog(), state: newState(), key: map[uint64]string{},
				done: map[uint64]bool{},
			}
			m.write(20)
			m.open()
			for range 60 {
				m.act()
				m.crashIf()
				require.Empty(t, m.c.Books(), "seed %d", seed)
			}
			m.finish()
			moves, undone, crashes = moves+m.moves, undone+m.undone, crashes+m.crashes
		})
	}
	require.Greater(t, moves, iterations(300))
	require.Greater(t, undone, iterations(300)/3)
	require.Greater(t, crashes, iterations(300)/3)
	t.Logf("%d moves, %d taken back, %d crashes", moves, undone, crashes)
}

func (m *mover) open() {
	m.c = startCopying(m.t, m.log, m.state, pullConfig())
	synctest.Wait()
}

// crashIf opens what was cut off. The generation tells whether a move was.
func (m *mover) crashIf() {
	select {
	case <-m.state.crashed:
	default:
		return
	}
	m.crashes++
	require.Error(m.t, <-m.c.done)
	m.c.over = true
	m.state = m.state.survivor()
	m.open()
	require.Equal(m.t, m.generation, m.c.Stats().Generation)
}

func (m *mover) write(n int) {
	rel := table(1, "orders")
	for range n {
		key := strconv.Itoa(m.r.IntN(6))
		m.log.add(insert(rel, key))
		m.key[m.log.End().Seq] = key
	}
}

func (m *mover) act() {
	switch m.r.IntN(12) {
	case 0:
		m.write(1 + m.r.IntN(8))
	case 1, 2, 3:
		m.receive()
	case 4, 5, 6:
		m.ack()
	case 7:
		m.move()
	case 8:
		m.undo()
	case 9:
		if m.r.IntN(2) == 0 {
			m.state.mu.Lock()
			m.state.budget = m.r.IntN(25)
			m.state.mu.Unlock()
		} else {
			m.c.quit()
			m.c.over = true
			if err := <-m.c.done; err == nil {
				m.open()
			} else {
				m.c.done <- err
			}
		}
	case 10:
		time.Sleep(time.Duration(m.r.IntN(40)) * time.Second)
	case 11:
		_ = m.c.CopyOut(m.t.Context(), m.log.FirstSeq()+m.r.Uint64N(20))
		if before := m.c.Cursor(); m.r.IntN(2) == 0 && before <= m.log.End().Seq {
			m.log.trim(max(before, m.log.FirstSeq()))
		}
	}
	synctest.Wait()
}

// fine tells that nothing went wrong but a crash.
func (m *mover) fine(err error) bool {
	if err != nil {
		require.True(m.t, errors.Is(err, errCrashed) || errors.Is(err, consumer.ErrStopped), "%v", err)
	}
	return err == nil
}

func (m *mover) receive() {
	ds, err := m.c.Receive(m.t.Context(), consumer.ReceiveOptions{Max: 1 + m.r.IntN(10)})
	if !m.fine(err) {
		return
	}
	for _, d := range ds {
		m.check(d)
	}
	m.held = append(m.held, ds...)
}

func (m *mover) check(d *consumer.Delivery) {
	require.False(m.t, m.done[d.Seq], "message %d is done", d.Seq)
	delete(m.done, d.Seq) // if it was perhaps
	for seq := d.Seq - 1; seq > 0; seq-- {
		if _, done := m.done[seq]; !done && m.key[seq] == m.key[d.Seq] {
			require.Fail(m.t, "out of order", "message %d before %d of key %s", d.Seq, seq, m.key[seq])
		}
	}
}

// ack acknowledges some of what was received, of earlier generations too.
func (m *mover) ack() {
	if len(m.held) == 0 {
		return
	}
	n := m.r.IntN(len(m.held))
	some := []*consumer.Delivery{m.held[n]}
	if m.r.IntN(2) == 0 {
		some = m.held[n:]
	}
	err := m.c.Ack(m.t.Context(), ackIDs(some))
	for _, d := range some {
		if generationOf(m.t, d) != m.generation {
			continue
		}
		if err == nil {
			m.done[d.Seq] = true
		} else if !m.done[d.Seq] {
			m.done[d.Seq] = false
		}
	}
	m.fine(err)
}

func generationOf(t *testing.T, d *consumer.Delivery) uint32 {
	t.Helper()
	id, err := consumer.ParseAckID(d.AckID)
	require.NoError(t, err)
	return id.Generation
}

// changed tells whether a move was made, also if that was not answered.
func (m *mover) changed(err error) bool {
	if !m.fine(err) {
		kept, openErr := consumer.Open(m.t.Context(), deps(m.log, m.state.survivor()), pullConfig())
		require.NoError(m.t, openErr)
		if kept.Stats().Generation == m.generation {
			return false
		}
	}
	m.generation++
	return true
}

func (m *mover) move() {
	to := 1 + m.r.Uint64N(m.log.End().Seq+1)
	move, err := m.c.Move(m.t.Context(), consumer.MoveRequest{To: to, Skip: true})
	if p, ok := errors.AsType[*problem.Error](err); ok {
		require.Equal(m.t, "history_trimmed", p.Code)
		require.Less(m.t, to, m.log.FirstSeq())
		return
	}
	if err == nil && !move.Moved {
		require.Equal(m.t, to, m.c.Stats().Cursor)
		return
	}
	if !m.changed(err) {
		return
	}
	m.moves++
	m.was, m.to, m.undoable = m.done, to, true
	m.done = map[uint64]bool{}
	for seq := uint64(1); seq < to; seq++ {
		m.done[seq] = true
	}
}

func (m *mover) undo() {
	_, err := m.c.UndoMove(m.t.Context(), "")
	if p, ok := errors.AsType[*problem.Error](err); ok {
		if p.Code == "nothing_to_undo" {
			require.False(m.t, m.undoable)
			return
		}
		require.Equal(m.t, "history_trimmed", p.Code)
		require.True(m.t, m.undoable)
		return
	}
	require.True(m.t, m.undoable || err != nil)
	if !m.changed(err) {
		return
	}
	m.undone++
	now := maps.Clone(m.was)
	for seq, sure := range m.done {
		if seq >= m.to {
			now[seq] = now[seq] || sure
		}
	}
	m.done, m.undoable = now, false
}

// finish delivers everything that is left.
func (m *mover) finish() {
	m.state.mu.Lock()
	m.state.budget = -1
	m.state.mu.Unlock()
	for quiet := 0; quiet < 3; {
		time.Sleep(minute)
		synctest.Wait()
		ds := m.c.receive(consumer.ReceiveOptions{Max: 1000})
		if quiet++; len(ds) > 0 {
			quiet = 0
		}
		for _, d := range ds {
			m.check(d)
		}
		m.c.ack(ds...)
		for _, d := range ds {
			m.done[d.Seq] = true
		}
	}
	for seq := uint64(1); seq <= m.log.End().Seq; seq++ {
		_, done := m.done[seq]
		require.True(m.t, done, "message %d was not delivered", seq)
	}
	gaps, err := m.c.Gaps(m.t.Context())
	require.NoError(m.t, err)
	require.Empty(m.t, gaps)
}
