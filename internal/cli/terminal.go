package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen is the terminal, as far as the streams are one.
type screen struct {
	in, out, err bool
	width        int // of the output; 0 when it is no terminal
	color        bool
}

func newScreen(streams Streams) screen {
	s := screen{in: isTerminal(streams.In), out: isTerminal(streams.Out), err: isTerminal(streams.Err)}
	if f, ok := streams.Out.(*os.File); ok && s.out {
		s.width = 80
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			s.width = width
		}
		s.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// asks reports whether there is somebody to ask.
func (s screen) asks() bool { return s.in && s.err }

// paint is what the terminal is told before a text.
type paint string

const (
	plain  paint = ""
	red    paint = "\x1b[31m"
	green  paint = "\x1b[32m"
	yellow paint = "\x1b[33m"
	bold   paint = "\x1b[1m"
	faint  paint = "\x1b[2m"
)

func (s screen) paint(p paint, text string) string {
	if !s.color || p == plain || text == "" {
		return text
	}
	return string(p) + text + "\x1b[0m"
}

// errNobody is for commands that have to ask and cannot.
var errNobody = errors.New("there is no terminal to ask on")

// readLine reads one line of the input. An interrupt ends the wait; the read goes on until the process ends.
func (a *app) readLine(ctx context.Context) (string, error) {
	if a.lines == nil {
		a.lines = bufio.NewReader(a.streams.In)
	}
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := a.lines.ReadString('\n')
		if errors.Is(err, io.EOF) && line != "" {
			err = nil
		}
		read <- result{strings.TrimRight(line, "\r\n"), err}
	}()
	select {
	case <-ctx.Done():
		a.note("")
		return "", ctx.Err()
	case r := <-read:
		return r.line, r.err
	}
}

// ask asks for a line on the terminal.
func (a *app) ask(ctx context.Context, question string) (string, error) {
	if !a.screen.asks() {
		return "", errNobody
	}
	_, _ = fmt.Fprint(a.streams.Err, question+" ")
	answer, err := a.readLine(ctx)
	if errors.Is(err, io.EOF) {
		a.note("")
		err = errors.New("nothing was answered, and nothing was done")
	}
	return answer, err
}

// confirm asks a question whose answer is y or n; anything else is n.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	answer, err := a.ask(ctx, question+" [y/N]")
	if err != nil {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// certain asks before something is lost, unless yes was said already. Without a terminal it has to be said.
func (a *app) certain(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	ok, err := a.confirm(ctx, question)
	if errors.Is(err, errNobody) {
		return usage("%s Say so with --yes: there is no terminal to ask on", question)
	}
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("nothing was done")
	}
	return nil
}

// pick lets one of several be chosen, by number or by name.
func (a *app) pick(ctx context.Context, question string, options []string) (string, error) {
	if !a.screen.asks() {
		return "", errNobody
	}
	for i, o := range options {
		a.note("%3d  %s", i+1, o)
	}
	for {
		answer, err := a.ask(ctx, question)
		if err != nil {
			return "", err
		}
		answer = strings.TrimSpace(answer)
		if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(options) {
			return options[n-1], nil
		}
		for _, o := range options {
			if o == answer {
				return o, nil
			}
		}
		a.note("answer with a number from 1 to %d, or with a name", len(options))
	}
}

// secret reads what must not be seen: without echo from a terminal, or a line of the input when asked to.
func (a *app) secret(ctx context.Context, question string, fromInput bool) (string, error) {
	if fromInput {
		line, err := a.readLine(ctx)
		if errors.Is(err, io.EOF) {
			return "", usage("the standard input is empty")
		}
		return line, err
	}
	f, ok := a.streams.In.(*os.File)
	if !ok || !a.screen.asks() {
		return "", errNobody
	}
	fd := int(f.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("prepare the terminal: %w", err)
	}
	_, _ = fmt.Fprint(a.streams.Err, question+" ")
	type result struct {
		text []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- result{text, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, state) // or else the shell would not echo
		a.note("")
		return "", ctx.Err()
	case r := <-read:
		a.note("")
		return string(r.text), r.err
	}
}

// waiting shows on a terminal that the server takes its time, until it is over.
func (a *app) waiting() (over func()) {
	if !a.screen.err {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		first := time.NewTimer(waitingAfter)
		defer first.Stop()
		select {
		case <-done:
			return
		case <-first.C:
		}
		tick := time.NewTicker(time.Second / 4)
		defer tick.Stop()
		for i := 0; ; i++ {
			_, _ = fmt.Fprintf(a.streams.Err, "\r%c waiting for the server", `|/-\`[i%4])
			select {
			case <-done:
				_, _ = fmt.Fprint(a.streams.Err, "\r\x1b[K")
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		close(done)
		<-gone
	}
}

// waitingAfter is the time after which a request is worth a word.
const waitingAfter = time.Second

// note tells the person something that is no data.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintln(a.streams.Err, clean(fmt.Sprintf(format, args...), true)) // nobody is left to tell when this fails
}
