// Command roster runs the team and permissions backend and operates it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

type commandLine struct {
	Serve   serveCommand   `cmd:"" help:"Run the server."`
	Rebuild rebuildCommand `cmd:"" help:"Build read models anew from the events, compare them with the live ones, and put them in their place."`
	Verify  verifyCommand  `cmd:"" help:"Check that no event is missing or altered and that every read model equals one built anew."`
	Team    teamCommand    `cmd:"" help:"Look at and change teams of a running server, as its operator."`
	User    userCommand    `cmd:"" help:"Help users of a running server, as its operator."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

type versionCommand struct{}

func (versionCommand) Run(out *output) error {
	_, err := fmt.Fprintln(out.stdout, version)
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], &output{stdout: os.Stdout, stderr: os.Stderr, progress: isTerminal(os.Stderr)})
	stop()
	os.Exit(code)
}

// run is the whole program: what main does, without the process around it.
func run(ctx context.Context, args []string, out *output) int {
	var line commandLine
	exit := -1
	parser, err := kong.New(&line,
		kong.Name("roster"),
		kong.Description("Teams, roles, invitations and an audit log, as a service."),
		kong.UsageOnError(),
		kong.Writers(out.stdout, out.stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(out),
	)
	if err != nil {
		panic(err) // the grammar above is wrong
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help
		return exit
	}
	if err != nil {
		_, _ = fmt.Fprintf(out.stderr, "roster: %v\nTry: roster --help\n", err)
		return 2
	}
	switch err := parsed.Run(); {
	case err == nil:
		return 0
	case errors.Is(err, errUnsound):
		return 1
	default:
		_, _ = fmt.Fprintf(out.stderr, "roster: %v\n", err)
		return 1
	}
}
