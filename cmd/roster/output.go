package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// output is where a command writes. Tables go to stdout, progress to stderr,
// and only when a person is watching.
type output struct {
	stdout, stderr io.Writer
	progress       bool
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// table prints rows under their headings.
func (o *output) table(headings []string, rows [][]string) error {
	w := tabwriter.NewWriter(o.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, strings.Join(headings, "\t"))
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func (o *output) json(value any) error {
	encoder := json.NewEncoder(o.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// barWidth is the length of a progress bar, so that it fits into 80 columns
// with the numbers beside it.
const barWidth = 40

// bar gives a function that draws how much is done, at most ten times a
// second, and one that ends the line.
func (o *output) bar(label string) (draw func(done, total uint64), end func()) {
	if !o.progress {
		return func(uint64, uint64) {}, func() {}
	}
	var last time.Time
	started := time.Now()
	draw = func(done, total uint64) {
		if now := time.Now(); done == total || now.Sub(last) >= 100*time.Millisecond {
			last = now
			full := barWidth
			if total > 0 {
				full = int(uint64(barWidth) * min(done, total) / total)
			}
			_, _ = fmt.Fprintf(o.stderr, "\r%s [%s%s] %d of %d, %s ", label,
				strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done, total, time.Since(started).Round(time.Second))
		}
	}
	return draw, func() { _, _ = fmt.Fprintln(o.stderr) }
}
