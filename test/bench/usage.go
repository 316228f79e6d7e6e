package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 wherever Linux runs today.
const tick = 10 * time.Millisecond

// usage is the CPU time used up to a moment.
type usage struct {
	at    time.Time
	busy  time.Duration // by processes and kernel threads, all CPUs
	ours  time.Duration // by this process and all its descendants, those that have ended included
	os    time.Duration // by kernel threads: writing pages back is our own doing
	steal time.Duration // by other guests of the same hardware
}

// process is what /proc/PID/stat says of one.
type process struct {
	pid, parent int
	own         time.Duration // its own CPU time
	total       time.Duration // with that of ended children it waited for
}

// readUsage reads the counters, taking the descendants of root for ours. A process that ends while /proc is read is missed, or counted twice once
// its parent has waited for it; so everything is read until two readings agree.
func readUsage(root int) (usage, error) {
	const tries, near = 50, 5 * tick
	var before usage
	members := -1
	for range tries {
		u, err := machineUsage()
		if err != nil {
			return u, err
		}
		n, err := u.share(root)
		if err != nil {
			return u, err
		}
		if n == members && (u.ours-before.ours).Abs() <= near {
			return u, nil
		}
		before, members = u, n
	}
	return before, nil
}

// machineUsage reads what all CPUs did.
func machineUsage() (usage, error) {
	u := usage{at: time.Now()}
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, fmt.Errorf("CPU times are read from /proc, as Linux has it: %w", err)
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return u, errors.New("the first line of /proc/stat is not the sum of all CPUs")
	}
	// cpu user nice system idle iowait irq softirq steal; interrupts belong to nobody
	u.busy = ticks(fields[1]) + ticks(fields[2]) + ticks(fields[3])
	u.steal = ticks(fields[8])
	return u, nil
}

// share sums up what the descendants of root and what kernel threads took, and counts the former.
func (u *usage) share(root int) (members int, err error) {
	all, err := processes()
	if err != nil {
		return 0, err
	}
	const kthreadd = 2
	for _, p := range all {
		switch {
		case descends(all, p.pid, root):
			u.ours += p.total
			members++
		case p.pid == kthreadd || p.parent == kthreadd:
			u.os += p.own
		}
	}
	return members, nil
}

// others is how many cores everybody else took since an earlier reading, hypervisor included.
func (u usage) others(before usage) float64 {
	elapsed := u.at.Sub(before.at)
	if elapsed <= 0 {
		return 0
	}
	theirs := (u.busy - before.busy) - (u.ours - before.ours) - (u.os - before.os) + (u.steal - before.steal)
	return max(0, theirs.Seconds()/elapsed.Seconds())
}

func descends(all map[int]process, pid, root int) bool {
	for range 100 {
		if pid == root {
			return true
		}
		p, ok := all[pid]
		if !ok || p.parent == 0 {
			return false
		}
		pid = p.parent
	}
	return false
}

func processes() (map[int]process, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := make(map[int]process, len(paths))
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		if p, ok := parseStat(content); ok {
			all[p.pid] = p
		}
	}
	return all, nil
}

// parseStat reads "pid (name) state ppid …"; the name may hold anything, parentheses too.
func parseStat(content []byte) (process, bool) {
	open, end := bytes.IndexByte(content, '('), bytes.LastIndexByte(content, ')')
	if open < 1 || end < open {
		return process{}, false
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(content[:open])))
	f := bytes.Fields(content[end+1:])
	if err != nil || len(f) < 15 {
		return process{}, false
	}
	parent, err := strconv.Atoi(string(f[1]))
	own := ticks(f[11]) + ticks(f[12])
	return process{pid: pid, parent: parent, own: own, total: own + ticks(f[13]) + ticks(f[14])}, err == nil
}

func ticks(field []byte) time.Duration {
	n, err := strconv.ParseInt(string(field), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n) * tick
}

// cpuOf is the CPU time of one process so far; 0 when it is gone.
func cpuOf(pid int) time.Duration {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	p, _ := parseStat(content)
	return p.own
}

// memoryOf reads a line of /proc/PID/status in bytes: VmHWM is the peak, VmRSS the present value.
func memoryOf(pid int, name string) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(content) {
		if value, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			kb, _ := strconv.ParseInt(string(bytes.Fields(value)[0]), 10, 64)
			return kb << 10
		}
	}
	return 0
}
