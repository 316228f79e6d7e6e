package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// The sample table. With the full replica identity an update's message tells the old values too.
const schema = `
create table orders (
  id       int generated always as identity primary key,
  customer text not null,
  item     text not null,
  quantity int not null default 1,
  status   text not null default 'new'
);
alter table orders replica identity full`

// shop is the application whose rows change. It has one connection, used by one goroutine.
type shop struct {
	conn *pgx.Conn
	open []order // rows that may change yet, oldest first
}

// order is a row that the shop has to take further.
type order struct {
	id    int
	stage int // of stages
}

var (
	stages    = []string{"new", "paid", "shipped"}                                                                   //nolint:gochecknoglobals // constant
	customers = []string{"Ada", "Grace", "Edsger", "Barbara", "Donald", "Radia", "Tony", "Frances"}                  //nolint:gochecknoglobals // constant
	items     = []string{"a cup of tea", "a loaf of bread", "a bicycle", "a book", "an umbrella", "a pair of shoes"} //nolint:gochecknoglobals // constant
)

func openShop(ctx context.Context, url string) (*shop, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	s := &shop{conn: conn}
	if _, err := conn.Exec(ctx, schema); err != nil {
		s.close(ctx)
		return nil, fmt.Errorf("create the sample table: %w", err)
	}
	return s, nil
}

func (s *shop) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // a farewell
}

// trade changes a row now and then, and inserts one for each line that is typed, until ctx ends.
func (s *shop) trade(ctx context.Context, interval time.Duration, typed <-chan struct{}) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		err := s.step(ctx)
		select {
		case <-ctx.Done():
			return nil
		default:
		}
		if err != nil {
			return fmt.Errorf("change a row: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-typed:
			if err := s.insert(ctx, "you"); err != nil && ctx.Err() == nil {
				return fmt.Errorf("insert a row: %w", err)
			}
		}
	}
}

// step takes one order further: each is inserted, paid, shipped, and deleted. A few are under way at a time.
func (s *shop) step(ctx context.Context) error {
	const underWay = 3
	if len(s.open) < underWay {
		return s.insert(ctx, customers[rand.IntN(len(customers))]) //nolint:gosec // not a secret
	}
	i := rand.IntN(len(s.open)) //nolint:gosec // not a secret
	o := &s.open[i]
	if o.stage++; o.stage < len(stages) {
		_, err := s.conn.Exec(ctx, `update orders set status = $2 where id = $1`, o.id, stages[o.stage])
		return err
	}
	id := o.id
	s.open = append(s.open[:i], s.open[i+1:]...)
	_, err := s.conn.Exec(ctx, `delete from orders where id = $1`, id)
	return err
}

func (s *shop) insert(ctx context.Context, customer string) error {
	var o order
	err := s.conn.QueryRow(ctx, `insert into orders (customer, item, quantity) values ($1, $2, $3) returning id`,
		customer, items[rand.IntN(len(items))], 1+rand.IntN(5)).Scan(&o.id) //nolint:gosec // not a secret
	s.open = append(s.open, o)
	return err
}

// lines signals each line of the input. The goroutine stays in its read until the process ends.
func lines(in io.Reader) <-chan struct{} {
	typed := make(chan struct{})
	go func() {
		for r := bufio.NewReader(in); ; {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
			typed <- struct{}{}
		}
	}()
	return typed
}
