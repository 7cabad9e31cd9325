package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"roster/eventstore"
	"roster/projections"
)

// errUnsound means that the check ran and found something; what it found has
// been printed.
var errUnsound = errors.New("something is wrong; see above")

// maintenance is what rebuild and verify need: the events and the read models,
// without a server around them.
type maintenance struct {
	storage
	JSON bool `help:"Print the result as JSON."`
}

func (m *maintenance) open(ctx context.Context) (*eventstore.Store, *projections.Projections, func(), error) {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, err := m.openStore(ctx, logger)
	if errors.Is(err, eventstore.ErrInUse) {
		return nil, nil, nil, fmt.Errorf("%w; stop the server first, or use a server with --nats-url, beside which this can run", err)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	closeStore := func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		_ = store.Close(stop)
	}
	database, err := m.openDatabase(ctx, logger)
	if err != nil {
		closeStore()
		return nil, nil, nil, err
	}
	closeAll := func() { _ = database.Close(); closeStore() }
	models, err := projections.New(ctx, database, store.Vault(), logger)
	if err != nil {
		closeAll()
		return nil, nil, nil, err
	}
	return store, models, closeAll, nil
}

type rebuildCommand struct {
	maintenance
	Models []string `arg:"" optional:"" name:"name" help:"Read models to rebuild: members, invitations, audit. None: all of them."`
}

// Run rebuilds and says how the old tables differed.
func (c *rebuildCommand) Run(ctx context.Context, out *output) error {
	store, models, closeAll, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	draw, end := out.bar("rebuilding")
	reports, err := models.Rebuild(ctx, store, c.Models, draw)
	end()
	if err != nil {
		return err
	}
	return out.reports(reports, c.JSON)
}

type verifyCommand struct{ maintenance }

// Run checks the events and the read models. It fails when anything is wrong.
func (c *verifyCommand) Run(ctx context.Context, out *output) error {
	store, models, closeAll, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll()
	draw, end := out.bar("verifying")
	found, err := models.Verify(ctx, store, draw)
	end()
	if err != nil {
		return err
	}
	if c.JSON {
		err = out.json(struct {
			Sound bool `json:"sound"`
			*projections.Verification
		}{found.Sound(), found})
	} else {
		err = out.verification(found)
	}
	if err == nil && !found.Sound() {
		err = errUnsound
	}
	return err
}

func (o *output) verification(found *projections.Verification) error {
	_, _ = fmt.Fprintf(o.stdout, "%d commits, %d of them broken\n", found.Commits, len(found.Broken))
	for _, broken := range found.Broken {
		_, _ = fmt.Fprintf(o.stdout, "  %s\n", broken)
	}
	return o.reports(found.Reports, false)
}

// reports prints how rebuilt tables compare with the live ones.
func (o *output) reports(reports []projections.Report, asJSON bool) error {
	if asJSON {
		return o.json(reports)
	}
	rows := make([][]string, len(reports))
	for i, report := range reports {
		rows[i] = []string{
			report.Model, strconv.FormatUint(report.Position, 10), fmt.Sprint(report.Rows), fmt.Sprint(report.Differences),
			report.Duration.Round(time.Millisecond).String(),
		}
	}
	if err := o.table([]string{"READ MODEL", "POSITION", "ROWS", "DIFFERENCES", "TOOK"}, rows); err != nil {
		return err
	}
	for _, report := range reports {
		for _, sample := range report.Samples {
			_, _ = fmt.Fprintf(o.stdout, "%s differs: %v\n", report.Model, sample)
		}
	}
	return nil
}
