package throwaway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func (c *Cluster) initdb(ctx context.Context) error {
	args := []string{
		"--pgdata", c.DataDir(), "--username", c.opts.Superuser, "--encoding", "UTF8", "--locale", "C", "--no-sync",
		"--auth-local", "trust", "--auth-host", c.hostAuth(),
	}
	if c.opts.Password != "" {
		file := filepath.Join(c.dir, "password")
		if err := c.write(file, c.opts.Password+"\n"); err != nil {
			return err
		}
		defer func() { _ = os.Remove(file) }() // at the latest it goes with the directory
		args = append(args, "--pwfile", file)
	}
	out, err := run(c.account.command(ctx, filepath.Join(c.installation.Bin, "initdb"), args...))
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (c *Cluster) hostAuth() string {
	if c.opts.Password != "" {
		return "scram-sha-256"
	}
	return "trust"
}

// configure writes what stays the same over restarts: the access rules, the certificate, and a postgresql.conf that reads our settings.
func (c *Cluster) configure() error {
	if c.opts.TLS {
		if err := c.writeCertificates(); err != nil {
			return err
		}
	}
	lines := c.opts.HBA
	if len(lines) == 0 {
		lines = []string{
			"local all all trust", "local replication all trust",
			"host all all 127.0.0.1/32 " + c.hostAuth(), "host replication all 127.0.0.1/32 " + c.hostAuth(),
		}
	}
	if err := c.write(filepath.Join(c.DataDir(), "pg_hba.conf"), strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(c.DataDir(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = conf.WriteString("\ninclude 'throwaway.conf'\n")
	return errors.Join(err, conf.Close())
}

// writeSettings writes the settings; the caller holds mu.
func (c *Cluster) writeSettings() error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(c.port),
		"unix_socket_directories": c.dir,
		"wal_level":               "logical",
		"max_wal_senders":         "64",
		"max_replication_slots":   "64",
		"max_connections":         "200",
		"shared_buffers":          "64MB",
		"max_wal_size":            "1GB",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"log_line_prefix":         "%m [%p] %q%d ",
		"logging_collector":       "off",
	}
	if !c.opts.Durable {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	if c.opts.TLS {
		settings["ssl"] = "on"
		settings["ssl_cert_file"] = c.certFile()
		settings["ssl_key_file"] = c.keyFile()
	}
	maps.Copy(settings, c.settings)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	return c.write(filepath.Join(c.DataDir(), "throwaway.conf"), b.String())
}

// Configure changes settings and has a running server read them again. Those that take effect only at a start need a Restart.
func (c *Cluster) Configure(settings map[string]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settings == nil {
		c.settings = map[string]string{}
	}
	maps.Copy(c.settings, settings)
	if err := c.writeSettings(); err != nil {
		return err
	}
	return c.reload()
}

// SetHBA replaces the lines of pg_hba.conf and has a running server read them again. They apply to new connections.
func (c *Cluster) SetHBA(lines ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.write(filepath.Join(c.DataDir(), "pg_hba.conf"), strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	return c.reload()
}

// reload asks a running postmaster to read its files again; the caller holds mu. The effect is visible a moment later.
func (c *Cluster) reload() error {
	if !c.process.alive() {
		return nil
	}
	return c.process.cmd.Process.Signal(syscall.SIGHUP)
}

// write replaces a file of the server's user.
func (c *Cluster) write(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	return c.account.give(path)
}
