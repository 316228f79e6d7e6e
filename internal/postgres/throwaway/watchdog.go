package throwaway

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"syscall"
)

// The watchdog's input is a pipe that only the owner holds. It ends when the owner closes it or dies in any way; then the watchdog stops the
// server, if the one named in the pid file is still ours, and removes the directory. It ignores the signals of a terminal and has its own
// process group, so that what ends its owner does not end it as well.
const watchdogScript = `
trap '' HUP INT QUIT TERM
cat >/dev/null
ours() {
	{ tr '\0' ' ' <"/proc/$1/cmdline" || ps -o args= -p "$1"; } 2>/dev/null | grep -qF "$2/data"
}
if [ -f "$1/data/postmaster.pid" ]; then
	read -r pid <"$1/data/postmaster.pid"
	if ours "$pid" "$1"; then
		kill -QUIT "$pid"
		tries=0
		while ours "$pid" "$1" && [ $tries -lt 100 ]; do
			sleep 0.1
			tries=$((tries + 1))
		done
		ours "$pid" "$1" && kill -KILL "$pid"
	fi
fi
tries=0
while [ -e "$1" ] && [ $tries -lt 50 ]; do
	rm -rf "$1" 2>/dev/null || sleep 0.1
	tries=$((tries + 1))
done
`

type watchdog struct {
	cmd   *exec.Cmd
	leash io.WriteCloser
}

func startWatchdog(ctx context.Context, dir string) (*watchdog, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", watchdogScript, "throwaway-postgres-watchdog", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &watchdog{cmd: cmd, leash: leash}, nil
}

// release lets the watchdog go; it returns when the watchdog has ended.
func (w *watchdog) release() error {
	if w == nil || w.leash == nil {
		return nil
	}
	err := w.leash.Close()
	w.leash = nil
	return errors.Join(err, w.cmd.Wait())
}
