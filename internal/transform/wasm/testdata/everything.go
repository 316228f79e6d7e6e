package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"
)

var calls int

var kept [][]byte

// Transform does what the action says.
func Transform(action string, record, changes, metadata *Object) (any, error) {
	calls++
	switch action {
	case "calls":
		return calls, nil
	case "five":
		return NewObject("id", record.Number("id"), "name", record.String("name"), "status", record.String("status"), "total", record.Float("price")*2,
			"table", metadata.String("table_name")), nil
	case "panic":
		var list []int
		return list[record.Int("n")], nil
	case "nil":
		var o *time.Location
		return *o, nil
	case "error":
		return nil, errors.New("no such luck")
	case "goroutine":
		done := make(chan bool)
		go func() { panic("in the background") }()
		<-done
	case "deadlock":
		<-make(chan bool)
	case "exit":
		os.Exit(7)
	case "loop":
		for {
		}
	case "recurse":
		return recurse(1), nil
	case "fill":
		for i := range 400 {
			kept = append(kept, make([]byte, 1<<20))
			kept[i][0] = 1
		}
	case "bomb":
		kept = append(kept, make([]byte, 1<<30))
	case "grow": // beyond what there was, within what there may be
		big := make([]byte, 20<<20)
		big[len(big)-1] = 1
		return len(big), nil
	case "now":
		begin := time.Now()
		time.Sleep(90 * time.Second)
		return []string{begin.UTC().Format(time.RFC3339Nano), time.Since(begin).String()}, nil
	case "random":
		return rand.New(rand.NewPCG(Random(), Random())).Uint32(), nil
	case "world":
		_, err := os.ReadFile("/etc/passwd")
		_, err2 := net.Dial("tcp", "127.0.0.1:80")
		fmt.Println("to nowhere")
		fmt.Fprintln(os.Stderr, "to nowhere")
		return fmt.Sprint(err != nil, err2 != nil, len(os.Environ()), len(os.Args) <= 1), nil
	case "big":
		return strings.Repeat("x", int(record.Int("n"))), nil
	case "type":
		return struct{}{}, nil
	case "cycle":
		o := NewObject()
		return o.Set("self", o), nil
	case "raw":
		return Raw(record.String("raw")), nil
	}
	return record, nil
}

func recurse(n int) int { return recurse(n+1) + 1 }

// Filter wants what is wanted.
func Filter(_ string, record, _, _ *Object) bool { return record.Bool("wanted") }

// Route says what the record says.
func Route(_ string, record, _, _ *Object) any { return record.Get("route") }
