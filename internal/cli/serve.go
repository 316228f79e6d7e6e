package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sequinstream/sequin/internal/config"
	"github.com/sequinstream/sequin/internal/control"
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
	boot, more, err := readConfig(settings)
	for _, w := range append(warnings, more...) {
		logger.Warn("about the configuration", "warning", w.String())
	}
	if err != nil {
		return &exitError{ExitInvalid, err}
	}
	s, err := server.New(ctx, server.Options{
		Version: version(), DataDir: settings.DataDir, Ephemeral: settings.Ephemeral, Salvage: settings.Salvage, Prune: settings.Prune,
		Listen: settings.Listen, MetricsListen: settings.MetricsListen,
		MetricsUser: settings.MetricsUser, MetricsPassword: settings.MetricsPass.Reveal(),
		ShutdownTimeout: settings.ShutdownTimeout, Logger: logger,
		VaultKey: settings.VaultKey, VaultKeyPrevious: previousKeys(settings.VaultKeyPrevious), LimitMemory: limitMemory,
	})
	if err != nil {
		return err
	}
	err = s.Run(ctx, boot, reloads(ctx, streams, settings, logger))
	if _, invalid := errors.AsType[*resource.InvalidError](err); invalid {
		return &exitError{ExitInvalid, err}
	}
	return err
}

// readConfig reads the document that the settings name; nil when there is none. What is wrong in it is found when it is applied to what is stored.
func readConfig(settings *config.Server) (*control.Document, []config.Warning, error) {
	raw, warnings, err := settings.ReadConfig()
	if err != nil || raw == nil {
		return nil, warnings, err
	}
	return &control.Document{Name: raw.Name, Data: raw.Data, Lookup: os.LookupEnv, Prune: settings.Prune}, warnings, nil
}

func previousKeys(text resource.Secret) []resource.Secret {
	var keys []resource.Secret
	for key := range strings.SplitSeq(text.Reveal(), ",") {
		if key = strings.TrimSpace(key); key != "" {
			keys = append(keys, resource.Secret(key))
		}
	}
	return keys
}

// reloads reads the configuration again at each signal.
func reloads(ctx context.Context, streams Streams, settings *config.Server, logger *slog.Logger) <-chan *control.Document {
	documents := make(chan *control.Document)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-streams.Reload:
			}
			doc, warnings, err := readConfig(settings)
			for _, w := range warnings {
				logger.Warn("about the configuration", "warning", w.String())
			}
			if err != nil {
				logger.Error("the configuration could not be read again; the old one stays in force", "reason", err)
				continue
			}
			if doc == nil {
				logger.Warn("there is no configuration to read again; what is declared stays as it is")
				continue
			}
			logger.Info("the configuration was read again", "file", doc.Name)
			select {
			case documents <- doc:
			case <-ctx.Done():
				return
			}
		}
	}()
	return documents
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
