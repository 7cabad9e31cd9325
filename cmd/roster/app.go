package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"roster/api"
	"roster/commands"
	"roster/domain/catalogs"
	"roster/eventstore"
	"roster/projections"
	"roster/subscribers"
)

// app is a running server with everything that belongs to it.
type app struct {
	url     string // that it listens on
	baseURL string // that people reach it by

	store    *eventstore.Store
	nodes    *eventstore.Nodes // nil when this process is alone
	database *projections.Database
	service  *commands.Service
	models   *projections.Projections
	mailbox  *subscribers.Mailbox // nil when mail is sent by SMTP
	recorder *subscribers.Recorder
	server   *http.Server

	logger *slog.Logger
	tasks  *errgroup.Group
	failed context.Context    // ends when a task fails
	end    context.CancelFunc // ends the tasks
}

// minOperatorToken is the least length of the operator's token: 32 characters
// of base64 are 192 bits.
const minOperatorToken = 32

// start brings everything up, in the order in which the parts need one
// another, and answers once requests are served.
func start(ctx context.Context, c *serveCommand, logger *slog.Logger) (_ *app, err error) {
	if c.OperatorToken != "" && len(c.OperatorToken) < minOperatorToken {
		return nil, fmt.Errorf("--operator-token has less than %d characters; make one with: openssl rand -base64 32", minOperatorToken)
	}
	sources, err := c.catalogs()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("can't listen on --listen %s: %w", c.Listen, err)
	}
	a := &app{url: reachable(listener.Addr()), logger: logger}
	a.baseURL = strings.TrimRight(c.BaseURL, "/")
	if a.baseURL == "" {
		a.baseURL = a.url
	}
	// Whatever comes up is taken down again when something after it doesn't.
	defer func() {
		if err != nil {
			_ = listener.Close()
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			err = errors.Join(err, a.stop(stop))
		}
	}()
	brand, err := c.brand(sources[0].Catalog)
	if err != nil {
		return nil, err
	}
	billing, err := billingURL(c.BillingURL)
	if err != nil {
		return nil, err
	}
	base, err := origin(a.baseURL)
	if err != nil {
		return nil, err
	}
	sender, err := c.sender(a)
	if err != nil {
		return nil, err
	}

	if a.store, err = c.openStore(ctx, logger); err != nil {
		return nil, err
	}
	if a.database, err = c.openDatabase(ctx, logger); err != nil {
		return nil, err
	}
	if a.models, err = projections.New(ctx, a.database, a.store.Vault(), logger); err != nil {
		return nil, err
	}
	if c.NATSURL != "" {
		a.nodes = a.store.Nodes(eventstore.NodesConfig{Logger: logger})
	}
	a.service, err = commands.New(ctx, commands.Config{
		Store: a.store, Nodes: a.nodes, Catalogs: sources,
		BaseURL: a.baseURL, OperatorToken: c.OperatorToken, Logger: logger,
	})
	if err != nil {
		return nil, err
	}

	running, end := context.WithCancel(context.WithoutCancel(ctx))
	a.end = end
	a.tasks, a.failed = errgroup.WithContext(running)
	if err := a.follow(ctx); err != nil {
		return nil, err
	}
	a.task("read models", func(ctx context.Context) error { return a.models.Run(ctx, a.store) })
	if err := a.subscribe(ctx, sender, logger); err != nil {
		return nil, err
	}

	config := api.Config{
		Commands: a.service, Projections: a.models, BaseURL: base, Store: a.store,
		Brand: brand, BillingURL: billing, TrustedProxies: c.TrustedProxies, Version: version, Logger: logger,
	}
	if a.mailbox != nil {
		config.Mailbox = shownMailbox{a.mailbox}
	}
	a.server = api.New(config).HTTPServer()
	a.task("HTTP server", func(context.Context) error {
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return a, nil
}

// task runs something until the app stops. If it fails before, the app does.
func (a *app) task(name string, run func(ctx context.Context) error) {
	a.tasks.Go(func() error {
		err := run(a.failed)
		if err == nil || a.failed.Err() != nil {
			return nil
		}
		return fmt.Errorf("%s: %w", name, err)
	})
}

// follow keeps the aggregates in memory current, and joins the other nodes
// once they are.
func (a *app) follow(ctx context.Context) error {
	ready := make(chan struct{})
	a.task("event stream", func(ctx context.Context) error {
		return a.service.Follow(ctx, func() { close(ready) })
	})
	select {
	case <-ready:
	case <-a.failed.Done():
		return context.Cause(a.failed)
	case <-ctx.Done():
		return ctx.Err()
	}
	return a.nodes.Join(ctx)
}

// subscribe starts what reacts to events: mail, and the record of expiries.
func (a *app) subscribe(ctx context.Context, sender subscribers.Sender, logger *slog.Logger) error {
	a.recorder = subscribers.NewRecorder(a.store, subscribers.Clock{}, logger)
	mailer, err := subscribers.NewMailer(subscribers.MailerConfig{
		Sender: sender, Directory: directory{a.service}, Vault: a.store.Vault(),
		Token: a.service.InvitationToken, TransferToken: a.service.TransferToken,
		BaseURL: a.baseURL, Record: a.recorder.Record, Logger: logger,
	})
	if err != nil {
		return err
	}
	router, err := subscribers.New(ctx, a.store, subscribers.Config{Logger: logger}, mailer.Subscription())
	if err != nil {
		return err
	}
	invitations := &subscribers.Expiry[subscribers.DueInvitation]{
		What: "invitations", Due: dueInvitations(a.models), Logger: logger,
		Expire: func(ctx context.Context, due subscribers.DueInvitation) error {
			return a.service.ExpireInvitation(ctx, due.Team, due.Invitation)
		},
	}
	members := &subscribers.Expiry[subscribers.DueMember]{
		What: "access of members", Due: dueMembers(a.models), Logger: logger,
		Expire: func(ctx context.Context, due subscribers.DueMember) error {
			return a.service.ExpireMember(ctx, due.Team, due.User)
		},
	}
	a.task("mail", router.Run)
	a.task("expiry of invitations", invitations.Run)
	a.task("expiry of access", members.Run)
	return nil
}

// wait returns when the context ends, or with the error of a part that failed.
func (a *app) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.failed.Done():
		return context.Cause(a.failed)
	}
}

// stop ends everything in the reverse order of start: first what comes in,
// last what keeps it.
func (a *app) stop(ctx context.Context) error {
	var errs []error
	if a.server != nil {
		errs = append(errs, a.server.Shutdown(ctx))
	}
	if a.tasks != nil {
		a.end()
		errs = append(errs, a.tasks.Wait())
	}
	if a.recorder != nil {
		a.recorder.Close()
	}
	if a.mailbox != nil {
		errs = append(errs, a.mailbox.Close())
	}
	if a.service != nil {
		a.service.Close()
	}
	if a.nodes != nil {
		// Not a failure: the others notice by themselves that it is gone.
		if err := a.nodes.Close(ctx); err != nil {
			a.logger.Warn("the other nodes could not be told that this one stops", "error", err)
		}
	}
	if a.database != nil {
		errs = append(errs, a.database.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close(ctx))
	}
	return errors.Join(errs...)
}

func (c *storage) openStore(ctx context.Context, logger *slog.Logger) (*eventstore.Store, error) {
	config := eventstore.Config{
		URL: c.NATSURL, CredentialsFile: c.NATSCredentials, Replicas: c.NATSReplicas,
		MasterKeyFile: c.MasterKeyFile, Logger: logger,
	}
	if c.NATSURL == "" {
		config.DataDir = c.Data
	} else if config.MasterKeyFile == "" {
		return nil, errors.New("--master-key-file is required with --nats-url: all nodes need the same key; make one with: openssl rand -base64 32 > master.key && chmod 600 master.key")
	}
	return eventstore.Open(ctx, config)
}

func (c *storage) openDatabase(ctx context.Context, logger *slog.Logger) (*projections.Database, error) {
	if c.DatabaseURL == "" {
		if err := os.MkdirAll(c.Data, 0o700); err != nil {
			return nil, fmt.Errorf("the data folder --data can't be made: %w", err)
		}
	}
	return projections.Open(ctx, projections.Config{URL: c.DatabaseURL, Path: filepath.Join(c.Data, "read-models.db"), Logger: logger})
}

// catalogs are the built-in role catalogs and the one that was chosen, which
// comes first.
func (c *serveCommand) catalogs() ([]commands.CatalogSource, error) {
	chosen, source, err := catalogs.Load(c.Catalog)
	if err != nil {
		return nil, fmt.Errorf("--catalog %s: %w", c.Catalog, err)
	}
	sources := []commands.CatalogSource{{Catalog: chosen, Source: source}}
	for _, name := range catalogs.Names() {
		if name == chosen.Name {
			continue
		}
		catalog, source, err := catalogs.Load(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, commands.CatalogSource{Catalog: catalog, Source: source})
	}
	return sources, nil
}

// sender is where messages go: an SMTP server, or the dev mailbox.
func (c *serveCommand) sender(a *app) (subscribers.Sender, error) {
	from := c.MailFrom
	if from == "" {
		from = subscribers.DefaultFrom(a.baseURL)
	}
	if c.SMTPURL != "" {
		return subscribers.NewSMTP(c.SMTPURL, from)
	}
	var err error
	a.mailbox, err = subscribers.OpenMailbox(filepath.Join(c.Data, "mailbox"), from)
	return a.mailbox, err
}

// origin reads a base URL: a scheme and a host, and no path, since the cookie
// is for the whole host.
func origin(baseURL string) (*url.URL, error) {
	base, err := url.Parse(baseURL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Hostname() == "" ||
		base.Path != "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, errors.New("--base-url must be of the form https://teams.example.com, without a path")
	}
	return base, nil
}

// reachable is how this machine reaches an address that is listened on.
func reachable(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}
