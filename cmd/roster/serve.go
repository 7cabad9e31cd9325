package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// storage says where the events and the read models are.
type storage struct {
	Data            string `help:"Folder of everything that is kept on this machine." env:"ROSTER_DATA" default:"./roster-data" type:"path"`
	NATSURL         string `name:"nats-url" help:"NATS servers that hold the events, as nats://host:4222, several separated by commas. None: a server inside this process." env:"ROSTER_NATS_URL"`
	NATSCredentials string `name:"nats-credentials" help:"Credentials file for NATS." env:"ROSTER_NATS_CREDENTIALS" type:"path"`
	NATSReplicas    int    `name:"nats-replicas" help:"Copies of every event in the NATS cluster: 1 or 3." env:"ROSTER_NATS_REPLICAS" default:"1"`
	MasterKeyFile   string `help:"File with the key that personal data is sealed under. None: master.key in the data folder." env:"ROSTER_MASTER_KEY_FILE" type:"path"`
	DatabaseURL     string `help:"PostgreSQL database of the read models, as postgres://user:password@host/name. None: SQLite in the data folder." env:"ROSTER_DATABASE_URL"`
}

// serveCommand is roster serve. Every flag is also an environment variable.
type serveCommand struct {
	storage
	Listen         string         `help:"Address to listen on." env:"ROSTER_LISTEN" default:":8080"`
	BaseURL        string         `help:"Where people reach this server, as https://teams.example.com; links in messages begin with it, and passkeys belong to its domain. None: the address listened on." env:"ROSTER_BASE_URL"`
	SMTPURL        string         `name:"smtp-url" help:"Mail server, as smtp://user:password@host:587. None: messages go to /dev/mailbox." env:"ROSTER_SMTP_URL"`
	MailFrom       string         `help:"Sender of messages, as 'Roster <no-reply@example.com>'." env:"ROSTER_MAIL_FROM"`
	Catalog        string         `help:"Role catalog of teams that name none: default, distribu, dzbuild, tenants, or a file." env:"ROSTER_CATALOG" default:"default"`
	OperatorToken  string         `help:"Token of the operator, at least 32 characters. None: there is no operator." env:"ROSTER_OPERATOR_TOKEN"`
	BrandName      string         `help:"Your product's name, on every page. None: that of the role catalog." env:"ROSTER_BRAND_NAME"`
	BrandAccent    string         `help:"The colour of buttons and links, as #3b5bdb. Text keeps its contrast whatever it is." env:"ROSTER_BRAND_ACCENT"`
	BrandLogo      string         `help:"SVG or PNG file of at most 256 KiB, shown beside the name." env:"ROSTER_BRAND_LOGO" type:"path"`
	BillingURL     string         `help:"Where a team's plan is changed in your product, as https://example.com/billing; the pages lead there with team and plan in the query. None: they name the operator's command." env:"ROSTER_BILLING_URL"`
	TrustedProxies []netip.Prefix `help:"Networks of proxies whose X-Forwarded-For is believed, as 10.0.0.0/8." env:"ROSTER_TRUSTED_PROXIES"`
	LogLevel       slog.Level     `help:"debug, info, warn or error." env:"ROSTER_LOG_LEVEL" default:"info"`
	LogFormat      string         `help:"text or json." env:"ROSTER_LOG_FORMAT" enum:"text,json" default:"text"`
}

// stopTimeout bounds how long a server that was told to stop may take: twice
// what a request may.
const stopTimeout = time.Minute

// Run serves until the context ends.
func (c *serveCommand) Run(ctx context.Context, out *output) error {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	var handler slog.Handler = slog.NewTextHandler(out.stderr, options)
	if c.LogFormat == "json" {
		handler = slog.NewJSONHandler(out.stderr, options)
	}
	app, err := start(ctx, c, slog.New(handler))
	if err != nil {
		return err
	}
	c.spread()
	_, _ = fmt.Fprintf(out.stdout, "listening on %s\n", app.url)
	_, _ = fmt.Fprint(out.stdout, c.welcome(app))
	tidy()

	failed := app.wait(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := app.stop(stop); failed == nil {
		failed = err
	}
	return failed
}

// spread gives the scheduler twice as many threads as there are processors, for
// the event store inside this process: every commit waits for the disk, and once
// that has answered, the goroutine that stores the next one must not queue behind
// all that are ready to run. With one thread for each processor it does; with
// two, the kernel lets it run at once. On two processors under load that is
// worth half as many commands again. It comes after everything that is sized by
// the number of processors has been made, such as the turns at hashing passwords.
func (c *serveCommand) spread() {
	if c.NATSURL == "" && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}

// tidy gives back what starting took, of which 10 MiB are not needed again, and
// has garbage collected half as often from then on: a page of a long list costs
// 5 to 9% less, and a server that does nothing makes next to none.
func tidy() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	debug.FreeOSMemory()
}

// welcome says where to go next.
func (c *serveCommand) welcome(app *app) string {
	text := fmt.Sprintf("\n  dashboard         %s/dashboard\n", app.baseURL)
	text += fmt.Sprintf("  API description   %s/docs\n", app.baseURL)
	if app.mailbox != nil {
		text += fmt.Sprintf("  sent messages     %s/dev/mailbox\n", app.baseURL)
	}
	if c.NATSURL == "" {
		text += fmt.Sprintf("  data              %s\n", c.Data)
	}
	text += fmt.Sprintf("  role catalog      %s\n", c.Catalog)
	return text + fmt.Sprintf(`
Open an account there, and with it a team that is yours; or over HTTP:

  curl -s %s/v1/users -H 'Content-Type: application/json' \
    -d '{"email":"you@example.com","name":"You","password":"a long pass phrase"}'

`, app.url)
}
