package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode"

	"github.com/sequinstream/sequin/internal/problem"
)

// Bounds of what a password command may take and say.
const (
	passwordTimeout = 10 * time.Second
	passwordLimit   = 64 << 10
	complaintLimit  = 200
	pipesTimeout    = time.Second // for a child that keeps the output open after the command has ended
)

// PasswordFile is a Config.Password that reads a file for every connection, without its final line end.
func PasswordFile(path string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", problem.New("password_file_unreadable", "the password file cannot be read").WithDetail("%v", err).Because(err).
				WithHint("check that the file exists and that this process may read it; it is read at every connect")
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
}

// PasswordCommand is a Config.Password that runs a command for every connection, without a shell, and takes the first line that it prints. A
// command that takes longer than 10 s is ended, with all that it started. What it prints is never shown; of what it complains, the last line is.
func PasswordCommand(argv []string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		if len(argv) == 0 {
			return "", commandFailed("no command is given")
		}
		return runPasswordCommand(ctx, argv, passwordTimeout)
	}
}

func runPasswordCommand(ctx context.Context, argv []string, timeout time.Duration) (string, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, complaints := &head{limit: passwordLimit}, &tail{limit: 4 << 10}
	cmd := exec.CommandContext(limited, argv[0], argv[1:]...) //nolint:gosec // running the operator's command is the feature
	cmd.Stdout, cmd.Stderr = out, complaints
	cmd.WaitDelay = pipesTimeout
	endGroup := leadGroup(cmd)
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it succeeded, and left somebody behind who holds its output
		endGroup()
		err = nil
	}
	password, _, _ := strings.Cut(string(out.data), "\n")
	password = strings.TrimSuffix(password, "\r")
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return "", problem.New("password_command_timeout", "the password command %q did not end within %s", argv[0], timeout).
			WithDetail("%s", complaints.line(password)).Because(limited.Err()).
			WithHint("run it by hand as the user that runs this process; see what it waits for")
	case err != nil:
		return "", commandFailed("%s", joinDetail(fmt.Sprintf("%q: %v", argv[0], err), complaints.line(password))).Because(err)
	case password == "":
		return "", commandFailed("%s", joinDetail(fmt.Sprintf("%q printed nothing on the first line", argv[0]), complaints.line("")))
	}
	return password, nil
}

func commandFailed(format string, args ...any) *problem.Error {
	return problem.New("password_command_failed", "the password command gave no password").WithDetail(format, args...).
		WithHint("run it by hand as the user that runs this process; it must print the password on its first line and end with status 0")
}

func joinDetail(what, complaint string) string {
	if complaint == "" {
		return what
	}
	return what + ": " + complaint
}

// head keeps the beginning of what is written.
type head struct {
	data  []byte
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	h.data = append(h.data, p[:min(len(p), h.limit-len(h.data))]...)
	return len(p), nil
}

// tail keeps the end of what is written.
type tail struct {
	data  []byte
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if extra := len(t.data) - t.limit; extra > 0 {
		t.data = append(t.data[:0], t.data[extra:]...)
	}
	return len(p), nil
}

// line is the last line that is not empty, clipped, without control characters and without the password.
func (t *tail) line(password string) string {
	var last string
	for text := range strings.Lines(string(t.data)) {
		if text = strings.TrimSpace(text); text != "" {
			last = text
		}
	}
	if password != "" {
		last = strings.ReplaceAll(last, password, "…")
	}
	last = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(last, "?"))
	if r := []rune(last); len(r) > complaintLimit {
		last = string(r[:complaintLimit]) + "…"
	}
	return last
}
