// Command roster-load measures a Roster server over HTTP and, in the same run
// and with the same client, what a team would write instead: chi and pgx, with
// one PostgreSQL transaction for each command. It builds the server, starts it
// with data of its own in a temporary folder, and takes everything away again.
//
// Everything runs on one machine, so the generator, the server and the
// database share its cores: the figures are lower than a server alone would
// give, and the ratios are what to look at.
//
//	go run ./cmd/roster-load                                 # everything, about ten minutes
//	go run ./cmd/roster-load -only invite,check -seconds 2   # a short look
//
// The temporary folders go where TMPDIR says; both stores are as fast as that
// disk makes things durable.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// scenarios are what -only can name, in the order in which they run.
var scenarios = []string{"start", "memory", "check", "batch", "invite", "hot", "members", "audit", "lag"}

// options are the flags.
type options struct {
	length    time.Duration // of each measurement
	warmUp    time.Duration // before it
	clients   []int
	only      []string
	members   int // of the large team
	audit     int // entries in its audit log, at least two for each member
	baseline  bool
	json      bool
	serverBin string
}

func (o *options) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(o.only, name) })
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("roster-load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	seconds := flags.Float64("seconds", 5, "length of each measurement")
	warmUp := flags.Float64("warm-up", 1, "seconds before each measurement that don't count")
	clients := flags.String("clients", "1,16,64", "numbers of clients")
	only := flags.String("only", strings.Join(scenarios, ","), "scenarios")
	flags.IntVar(&o.members, "members", 100_000, "members of the large team")
	flags.IntVar(&o.audit, "audit", 1_000_000, "entries in its audit log")
	flags.BoolVar(&o.baseline, "baseline", true, "measure the baseline in PostgreSQL too")
	flags.BoolVar(&o.json, "json", false, "print the result as JSON")
	flags.StringVar(&o.serverBin, "server", "", "roster binary to measure; built from ./cmd/roster when empty")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.length = time.Duration(*seconds * float64(time.Second))
	o.warmUp = time.Duration(*warmUp * float64(time.Second))
	for text := range strings.SplitSeq(*clients, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return o, fmt.Errorf("-clients: %q is not a number of clients", text)
		}
		o.clients = append(o.clients, n)
	}
	for name := range strings.SplitSeq(*only, ",") {
		if name = strings.TrimSpace(name); !slices.Contains(scenarios, name) {
			return o, fmt.Errorf("-only: there is no scenario %q; known are %s", name, strings.Join(scenarios, ", "))
		}
		o.only = append(o.only, name)
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("what is %q? Flags are all that is taken", flags.Arg(0))
	case o.length <= 0 || o.warmUp < 0:
		return o, errors.New("-seconds must be more than nothing, and -warm-up not less")
	case o.members < pageWalk*pageSize || o.audit < 2*o.members+singles:
		return o, fmt.Errorf("-members must be %d at least, and -audit twice -members and %d more", pageWalk*pageSize, singles)
	}
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "roster-load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		// The baselines are processes of their own, as the server is.
		switch args[0] {
		case baselineHTTP:
			return serveHTTPBaseline(ctx)
		case baselinePG:
			return servePGBaseline(ctx)
		}
	}
	o, err := parseOptions(args, os.Stderr)
	if err != nil {
		return err
	}
	b := &bench{options: o, log: os.Stderr}
	err = b.run(ctx)
	if len(b.report.Rows) > 0 {
		err = errors.Join(err, b.report.print(os.Stdout, o.json))
	}
	return err
}
