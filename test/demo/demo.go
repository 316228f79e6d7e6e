package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/sequinstream/sequin/internal/postgres/throwaway"
)

// demo is the stage: the database, the product, and a consumer of each kind.
type demo struct {
	opts   options
	out    *printer
	pg     *throwaway.Cluster
	dir    string // in the cluster's directory, and removed with it
	sequin *child
	hook   *receiver
	shop   *shop

	token   string
	api     string // URL
	metrics string // URL
	client  *http.Client

	group  sync.WaitGroup
	failed chan error // the first part that broke
}

// start brings everything up, telling what it does: the slow steps take a second or two.
func (d *demo) start(ctx context.Context) error {
	found, err := throwaway.Ensure(ctx, d.opts.major, d.out)
	if err != nil {
		return d.missing(err)
	}
	d.out.say("Starting a throwaway PostgreSQL %s …", found.Version)
	d.pg, err = throwaway.Start(ctx, throwaway.Options{Major: found.Major, Password: secret()})
	if err != nil {
		return err
	}
	d.dir = filepath.Join(d.pg.SocketDir(), "demo")
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return err
	}
	if d.shop, err = openShop(ctx, d.pg.SocketURL("postgres")); err != nil {
		return err
	}
	if d.hook, err = listen(ctx, d.out); err != nil {
		return err
	}
	d.out.say("Starting Sequin …")
	if err := d.serve(ctx); err != nil {
		return err
	}
	return d.await(ctx)
}

// missing says what to install where there is no server and none could be fetched.
func (d *demo) missing(err error) error {
	if !errors.Is(err, throwaway.ErrNotFound) {
		return err
	}
	install := "install it with your system's package manager"
	switch {
	case runtime.GOOS == "darwin":
		install = "install it with: brew install postgresql@17"
	case found("apt-get"):
		install = "install it with: sudo apt-get install postgresql"
	}
	return fmt.Errorf("the demonstration needs a PostgreSQL server, version 12 to 18.\n%s\nor install npm (it comes with Node.js), with which one is fetched into %s.\n(%w)",
		install, throwaway.CacheDir(), err)
}

func found(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// play changes rows and prints what is delivered until ctx ends or a part breaks.
func (d *demo) play(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.group.Go(func() { d.report(ctx, d.pull(ctx)) })
	d.group.Go(func() { d.report(ctx, d.shop.trade(ctx, d.opts.interval, lines(in))) })
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.failed:
		return d.blame(err)
	case <-d.sequin.done:
		return d.sequin.ended()
	case err := <-d.hook.failed:
		return err
	}
}

// blame names the part whose end made another one fail: a broken connection shows a moment earlier than the end of the process behind it.
func (d *demo) blame(err error) error {
	over := time.After(2 * time.Second)
	for {
		select {
		case <-d.sequin.done:
			return d.sequin.ended()
		case <-over:
			return err
		case <-time.After(50 * time.Millisecond):
			if !d.pg.Running() {
				return fmt.Errorf("the throwaway PostgreSQL has ended\n%s", d.pg.LogTail(10))
			}
		}
	}
}

// report keeps the first failure; what fails because the end has come is none.
func (d *demo) report(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	select {
	case d.failed <- err:
	default:
	}
}

// stopTime is how long Sequin may take to drain and stop, before it is killed.
const stopTime = 10 * time.Second

// close ends everything in the order of the data, also when the start was not completed.
func (d *demo) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	d.group.Wait()
	var errs []error
	if d.sequin != nil {
		d.sequin.stop(stopTime)
	}
	if d.hook != nil {
		errs = append(errs, d.hook.close())
	}
	if d.shop != nil {
		d.shop.close(ctx)
	}
	if d.pg != nil {
		errs = append(errs, d.pg.Remove(ctx))
	}
	return errors.Join(errs...)
}

// program is the binary as one types it here.
func (d *demo) program() string {
	here, err := os.Getwd()
	if err != nil {
		return d.opts.binary
	}
	if short, err := filepath.Rel(here, d.opts.binary); err == nil && filepath.IsLocal(short) {
		return short
	}
	return d.opts.binary
}
