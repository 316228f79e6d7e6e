package cli

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/resource"
	"github.com/sequinstream/sequin/internal/server"
)

func newServe(streams Streams) *cobra.Command {
	settings := config.NewServer()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: capture, change log, consumers, API",
		Long: "Run the server. Every flag can also be set in the environment: --data-dir as SEQUIN_DATA_DIR.\n" +
			"SIGHUP reads the configuration again and applies it in place; SIGTERM drains and stops; a second signal stops at once.",
		Args: cobra.NoArgs,
	}
	config.BindFlags(cmd.Flags(), settings)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return serve(cmd.Context(), streams, cmd, settings)
	}
	return cmd
}

func serve(ctx context.Context, streams Streams, cmd *cobra.Command, settings *config.Server) error {
	warnings, err := config.ApplyEnv(cmd.Flags(), settings, os.LookupEnv)
	if err == nil {
		err = settings.Validate()
	}
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	logger := newLogger(streams, settings)
	declared, more, err := settings.LoadConfig(os.LookupEnv)
	for _, w := range append(warnings, more...) {
		logger.Warn("about the configuration", "warning", w.String())
	}
	if err != nil {
		return &exitError{ExitInvalid, err}
	}
	limitMemory(len(declared.Databases))
	s, err := server.New(ctx, server.Options{
		Version: version(), DataDir: settings.DataDir, Ephemeral: settings.Ephemeral, Salvage: settings.Salvage, Prune: settings.Prune,
		Listen: settings.Listen, MetricsListen: settings.MetricsListen,
		MetricsUser: settings.MetricsUser, MetricsPassword: settings.MetricsPass.Reveal(),
		ShutdownTimeout: settings.ShutdownTimeout, Logger: logger,
	})
	if err != nil {
		return err
	}
	return s.Run(ctx, declared, reloads(ctx, streams, settings, logger))
}

// reloads reads the configuration again at each signal. One that is not valid changes nothing.
func reloads(ctx context.Context, streams Streams, settings *config.Server, logger *slog.Logger) <-chan *resource.Set {
	sets := make(chan *resource.Set)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-streams.Reload:
			}
			set, warnings, err := settings.LoadConfig(os.LookupEnv)
			for _, w := range warnings {
				logger.Warn("about the configuration", "warning", w.String())
			}
			if err != nil {
				logger.Error("the configuration was read again and is not valid; the old one stays in force", "reason", err)
				continue
			}
			logger.Info("the configuration was read again", "databases", len(set.Databases), "sinks", len(set.Sinks))
			limitMemory(len(set.Databases))
			select {
			case sets <- set:
			case <-ctx.Done():
				return
			}
		}
	}()
	return sets
}

// Memory of the Go runtime beyond which it collects garbage sooner than it otherwise would: for the process, and for each database with its
// caches. What is alive in a busy server takes about half.
const (
	memoryOfProcess  = 96 << 20
	memoryOfDatabase = 48 << 20
)

// limitMemory sets the runtime's soft limit, unless GOMEMLIMIT does.
func limitMemory(databases int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryOfProcess + int64(databases)*memoryOfDatabase)
	}
}

func newLogger(streams Streams, settings *config.Server) *slog.Logger {
	options := &slog.HandlerOptions{Level: settings.Level()}
	if settings.LogFormat == config.LogFormatJSON {
		return slog.New(slog.NewJSONHandler(streams.Err, options))
	}
	return slog.New(slog.NewTextHandler(streams.Err, options))
}
