package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startPatience = 5 * time.Minute // a server with a million events behind it
	stopPatience  = 90 * time.Second
)

// process is a server that was started here and says where it listens.
type process struct {
	url  string
	took time.Duration // from start to listening
	cmd  *exec.Cmd
	errs *tail
	done chan struct{}
	err  error // of its end
}

// start runs a program whose first line is "listening on <url>".
func start(ctx context.Context, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...), errs: &tail{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopPatience
	p.cmd.Stderr = p.errs
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = in
	began := time.Now()
	err = p.cmd.Start()
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	line := make(chan string, 1)
	go func() {
		defer func() { _ = out.Close() }()
		reader := bufio.NewReader(out)
		first, _ := reader.ReadString('\n') // what is wrong shows in the line
		line <- first
		_, _ = io.Copy(io.Discard, reader)
	}()
	select {
	case first := <-line:
		p.took = time.Since(began)
		url, ok := strings.CutPrefix(strings.TrimSpace(first), "listening on ")
		if !ok {
			return nil, errors.Join(fmt.Errorf("%s: the first line is %q; expected \"listening on <url>\"", name, first), p.stop(), p.errs.err())
		}
		p.url = url
		return p, nil
	case <-time.After(startPatience):
		return nil, errors.Join(fmt.Errorf("%s didn't listen within %v", name, startPatience), p.stop(), p.errs.err())
	}
}

// stop ends the process as an operator would, and waits for it.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s didn't end within %v of SIGTERM and was killed", p.cmd.Path, stopPatience)
	}
	if p.err != nil {
		return errors.Join(fmt.Errorf("%s: %w", p.cmd.Path, p.err), p.errs.err())
	}
	return nil
}

// memory is the resident memory of the process in bytes, as Linux tells it.
func (p *process) memory() (int64, error) {
	fields, err := p.proc("statm")
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// cpu is how much processor time the process has used, as Linux tells it in
// ticks of 10 ms.
func (p *process) cpu() (time.Duration, error) {
	fields, err := p.proc("stat")
	if err != nil {
		return 0, err
	}
	var user, system int64
	_, err = fmt.Sscan(fields[13]+" "+fields[14], &user, &system)
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// proc reads a file of fields that Linux has for the process.
func (p *process) proc(name string) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
	if err != nil {
		return nil, fmt.Errorf("memory and processor time are read from /proc, which only Linux has: %w", err)
	}
	return strings.Fields(string(text)), nil
}

// settle waits until the server has done what earlier load left it with, such
// as the messages of invitations: until it has used less than a twentieth of a
// core for a second. It tells how long that took.
func (p *process) settle(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	before, err := p.cpu()
	for err == nil && time.Since(began) < startPatience {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-p.done:
			return 0, errors.Join(errors.New("the server has ended"), p.err, p.errs.err())
		}
		var now time.Duration
		if now, err = p.cpu(); err == nil && now-before < 50*time.Millisecond {
			return time.Since(began), nil
		}
		before = now
	}
	if err == nil {
		err = fmt.Errorf("the server is still busy after %v without load", startPatience)
	}
	return 0, err
}

// tail keeps the end of what a process says on stderr.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, text...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(text), nil
}

func (t *tail) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := bytes.TrimSpace(t.text); len(text) > 0 {
		return fmt.Errorf("it said: %s", text)
	}
	return nil
}
