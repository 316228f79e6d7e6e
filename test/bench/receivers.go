package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// arrivals finds the changes in a body of messages: the numbers after "id" and "at_us" in each record. A reader that decoded the JSON would
// spend more time on the two cores than what is measured.
func arrivals(into []arrival, body []byte) []arrival {
	const id, at = `{"record":{"id":`, `"at_us":`
	for {
		i := bytes.Index(body, []byte(id))
		if i < 0 {
			return into
		}
		var a arrival
		a.id, body = leadingNumber(body[i+len(id):])
		i = bytes.Index(body, []byte(at))
		if i < 0 {
			return into
		}
		a.written, body = leadingNumber(body[i+len(at):])
		into = append(into, a)
	}
}

func leadingNumber(text []byte) (n int64, rest []byte) {
	for len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
		n = n*10 + int64(text[0]-'0')
		text = text[1:]
	}
	return n, text
}

// receiver is an HTTP endpoint that takes every delivery.
type receiver struct {
	url      string
	server   *http.Server
	take     func(at time.Time, body []byte)
	requests atomic.Int64
	bodies   sync.Pool
}

// listen starts an endpoint that hands each body to take.
func listen(take func(at time.Time, body []byte)) (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{url: "http://" + l.Addr().String() + "/", take: take}
	r.bodies.New = func() any { return new(bytes.Buffer) }
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go r.server.Serve(l) //nolint:errcheck // it ends by Close
	return r, nil
}

// ServeHTTP answers 200.
func (r *receiver) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	at := time.Now()
	buf := r.bodies.Get().(*bytes.Buffer)
	defer r.bodies.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(req.Body); err != nil {
		return
	}
	r.requests.Add(1)
	r.take(at, buf.Bytes())
}

func (r *receiver) close() { _ = r.server.Close() } // at worst it goes with the process

// pull receives and acknowledges in a loop until ctx ends. It hands each reply with messages to take, and their number to acked once they are
// acknowledged.
func (s *sequin) pull(ctx context.Context, sink string, batch int, take func(at time.Time, reply []byte), acked func(messages int)) error {
	receive := `{"wait_for":1000,"batch_size":` + strconv.Itoa(batch) + `}`
	var ack bytes.Buffer
	for ctx.Err() == nil {
		reply, err := s.call(ctx, sink, "receive", receive)
		if err != nil {
			return unlessDone(ctx, err)
		}
		at := time.Now()
		ack.Reset()
		n := ackIDs(&ack, reply)
		if n == 0 {
			continue
		}
		take(at, reply)
		if _, err := s.call(ctx, sink, "ack", ack.String()); err != nil {
			return unlessDone(ctx, err)
		}
		acked(n)
	}
	return nil
}

// unlessDone is err, unless it came of the end of ctx.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// ackIDs writes the body of an acknowledgement for everything in the reply.
func ackIDs(into *bytes.Buffer, reply []byte) (count int) {
	const key, length = `{"ack_id":"`, 36
	into.WriteString(`{"ack_ids":[`)
	for {
		i := bytes.Index(reply, []byte(key))
		if i < 0 || len(reply) < i+len(key)+length {
			break
		}
		if count > 0 {
			into.WriteByte(',')
		}
		into.WriteByte('"')
		into.Write(reply[i+len(key) : i+len(key)+length])
		into.WriteByte('"')
		reply = reply[i+len(key)+length:]
		count++
	}
	into.WriteString(`]}`)
	return count
}

// readPgoutput reads what pg_recvlogical prints, pgoutput messages with a newline behind each, and hands the inserted rows to take as they come.
func readPgoutput(r io.Reader, take func(at time.Time, rows []arrival)) error {
	buf := make([]byte, 0, 1<<20)
	var rows []arrival
	for {
		if cap(buf)-len(buf) < 64<<10 {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		at := time.Now()
		buf = buf[:len(buf)+n]
		rest := buf
		rows = rows[:0]
		for {
			size, row, problem := pgoutputMessage(rest)
			if problem != nil {
				return problem
			}
			if size == 0 {
				break
			}
			if row.id != 0 {
				rows = append(rows, row)
			}
			rest = rest[size:]
		}
		take(at, rows)
		buf = buf[:copy(buf, rest)]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pgoutputMessage measures the first message with its newline; 0 when it is not all there. Only what the benchmark's table makes is known.
func pgoutputMessage(b []byte) (size int, row arrival, err error) {
	if len(b) == 0 {
		return 0, row, nil
	}
	switch b[0] {
	case 'B':
		size = 1 + 8 + 8 + 4
	case 'C':
		size = 1 + 1 + 8 + 8 + 8
	case 'R':
		size = relationSize(b)
	case 'I':
		size, row = insertSize(b)
	default:
		return 0, row, fmt.Errorf("pgoutput message %q is not known here", b[0])
	}
	if size == 0 || len(b) < size+1 {
		return 0, arrival{}, nil
	}
	return size + 1, row, nil
}

// relationSize: kind, OID, schema, name, replica identity, columns with flags, name, type, modifier.
func relationSize(b []byte) int {
	at := 5
	for range 2 {
		i := bytes.IndexByte(b[min(at, len(b)):], 0)
		if i < 0 {
			return 0
		}
		at += i + 1
	}
	if len(b) < at+3 {
		return 0
	}
	columns := int(binary.BigEndian.Uint16(b[at+1:]))
	at += 3
	for range columns {
		if len(b) < at+1 {
			return 0
		}
		i := bytes.IndexByte(b[at+1:], 0)
		if i < 0 {
			return 0
		}
		at += 1 + i + 1 + 8
	}
	return at
}

// insertSize: kind, OID, 'N', then the columns id, payload and at_us as text.
func insertSize(b []byte) (int, arrival) {
	var row arrival
	if len(b) < 8 {
		return 0, row
	}
	columns := int(binary.BigEndian.Uint16(b[6:]))
	at := 8
	for i := range columns {
		if len(b) < at+5 {
			return 0, arrival{}
		}
		length := int(binary.BigEndian.Uint32(b[at+1:]))
		at += 5
		if len(b) < at+length {
			return 0, arrival{}
		}
		switch i {
		case 0:
			row.id, _ = leadingNumber(b[at : at+length])
		case 2:
			row.written, _ = leadingNumber(b[at : at+length])
		}
		at += length
	}
	return at, row
}
