package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/client"
)

// statusAnswer is what GET /api/status says.
type statusAnswer struct {
	Status    string           `json:"status"`
	Version   string           `json:"version"`
	Instance  string           `json:"instance"`
	Accounts  int              `json:"accounts"`
	Databases []databaseStatus `json:"databases"`
	Sinks     []sinkStatus     `json:"sinks"`
	Gaps      []gapStatus      `json:"gaps"`
	Problems  []issue          `json:"problems"`
}

type databaseStatus struct {
	Name        string    `json:"name"`
	Status      string    `json:"status"`
	Slot        string    `json:"slot"`
	State       string    `json:"state"`
	RetainedWAL *int64    `json:"retained_wal_bytes"`
	Lag         *int64    `json:"lag_bytes"`
	Log         logStatus `json:"log"`
	Problems    []issue   `json:"problems"`
}

type logStatus struct {
	Bytes    *int64    `json:"bytes"`
	MaxBytes int64     `json:"max_bytes"`
	Oldest   time.Time `json:"oldest"`
	Newest   time.Time `json:"newest"`
}

type sinkStatus struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	Database    string  `json:"database"`
	Type        string  `json:"type"`
	Status      string  `json:"status"`
	Health      string  `json:"health"`
	Pending     int64   `json:"pending"`
	InFlight    int64   `json:"in_flight"`
	BackingOff  int64   `json:"backing_off"`
	DeadLetters int64   `json:"dead_letters"`
	OldestAge   int64   `json:"oldest_age_ms"`
	Delivered   int64   `json:"delivered"`
	Failed      int64   `json:"failed"`
	Problems    []issue `json:"problems"`
}

type gapStatus struct {
	Database string `json:"database"`
	Sink     string `json:"sink"`
	From     any    `json:"from"`
	To       any    `json:"to"`
	Cause    string `json:"cause"`
	Since    string `json:"since"`
}

// issue is one reason why something is not well, with its repair.
type issue struct {
	Severity string     `json:"severity"`
	Code     string     `json:"code"`
	Message  string     `json:"message"`
	Detail   string     `json:"detail"`
	Hint     string     `json:"hint"`
	Since    *time.Time `json:"since"`
}

const statusError = "error"

// red reports whether something does not flow.
func (s *statusAnswer) red() bool {
	if s.Status == statusError || anyRed(s.Problems) {
		return true
	}
	for i := range s.Databases {
		if s.Databases[i].Status == statusError || anyRed(s.Databases[i].Problems) {
			return true
		}
	}
	for i := range s.Sinks {
		if s.Sinks[i].Health == statusError || anyRed(s.Sinks[i].Problems) {
			return true
		}
	}
	return false
}

func anyRed(issues []issue) bool {
	for i := range issues {
		if issues[i].Severity == statusError {
			return true
		}
	}
	return false
}

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use: "status", Short: "Show on one screen whether changes flow, and what to do where they do not", Args: cobra.NoArgs,
		Long: "Show every database and sink: what is captured, what waits, what fails, and under each trouble what mends it.\n" +
			"The exit code is 0 when nothing is red, 1 when something is. Yellow is a warning and does not count.",
		RunE: a.call(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			if every < 100*time.Millisecond {
				return usage("--every is %s; it must be 100ms or more", every)
			}
			w := &watcher{app: a, client: c}
			if watch {
				return w.watch(cmd.Context(), every)
			}
			return w.once(cmd.Context())
		}),
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on, and show rates, until interrupted")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "with --watch: the time between two looks")
	a.outputFlag(cmd)
	return cmd
}

// watcher looks at the status, once or again and again.
type watcher struct {
	app    *app
	client *client.Client
	last   map[string]int64 // delivered, by sink
	lastAt time.Time
}

func (w *watcher) get(ctx context.Context) (*client.Response, *statusAnswer, error) {
	res, err := w.client.Do(ctx, client.Request{Path: client.Path("api", "status"), Timeout: answerAllowance, Quiet: w.last != nil})
	if err != nil {
		return nil, nil, err
	}
	var s statusAnswer
	if err := res.Decode(&s); err != nil || s.Status == "" {
		return nil, nil, noAnswer("status")
	}
	return res, &s, nil
}

func (w *watcher) once(ctx context.Context) error {
	res, s, err := w.get(ctx)
	if err != nil {
		return err
	}
	if err := w.app.answer(res.Body, func() error { return w.app.write(w.app.renderStatus(s, nil, time.Now())) }); err != nil {
		return err
	}
	if s.red() {
		return &exitError{ExitError, errSaid}
	}
	return nil
}

// watch goes on through troubles of the server itself: they are part of what is watched.
func (w *watcher) watch(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for first := true; ; first = false {
		res, s, err := w.get(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && first {
			return err
		}
		if err := w.show(res, s, err, first); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *watcher) show(res *client.Response, s *statusAnswer, failed error, first bool) error {
	a := w.app
	now := time.Now()
	switch {
	case failed != nil && a.output != formatTable:
		a.note("%s", text(failed))
		return nil
	case a.output == formatJSON:
		var b bytes.Buffer
		if err := json.Compact(&b, res.Body); err != nil {
			return noAnswer("JSON")
		}
		return a.write(b.String() + "\n")
	case a.output == formatYAML:
		return a.answer(append([]byte(nil), res.Body...), nil)
	}
	screenful := ""
	switch {
	case a.screen.out && first:
		screenful = "\x1b[2J\x1b[H"
	case a.screen.out:
		screenful = "\x1b[H\x1b[J"
	case !first:
		screenful = "\n"
	}
	if failed != nil {
		return a.write(screenful + now.Format(time.TimeOnly) + "  " + text(failed) + "\n")
	}
	screenful += a.renderStatus(s, w.rates(s, now), now)
	return a.write(screenful)
}

// rates are messages a second since the last look. A server that was restarted counts from 0 again.
func (w *watcher) rates(s *statusAnswer, now time.Time) map[string]float64 {
	rates := map[string]float64{}
	seconds := now.Sub(w.lastAt).Seconds()
	delivered := map[string]int64{}
	for i := range s.Sinks {
		k := &s.Sinks[i]
		key := k.ID + "/" + k.Name
		delivered[key] = k.Delivered
		if before, ok := w.last[key]; ok && seconds > 0 && k.Delivered >= before {
			rates[k.ID+"/"+k.Name] = float64(k.Delivered-before) / seconds
		}
	}
	w.last, w.lastAt = delivered, now
	return rates
}

// bytesText is a size for people.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, unit := float64(n), 0
	for (v >= 1024 || v <= -1024) && unit < len(units)-1 {
		v /= 1024
		unit++
	}
	if unit == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[unit])
	}
	return fmt.Sprintf("%.1f %s", v, units[unit])
}

// ageText is a duration for people: two units at most.
func ageText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", max(0, d.Milliseconds()))
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}
