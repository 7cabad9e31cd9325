package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a run has found.
type report struct {
	CPUs  int      `json:"cpus"`
	Rows  []row    `json:"rows"`
	Notes []string `json:"notes"`
}

// row is one scenario at one number of clients. The baseline beside it is what
// the scenario is compared with.
type row struct {
	Scenario string   `json:"scenario"`
	Clients  int      `json:"clients,omitempty"`
	Roster   *figures `json:"roster,omitempty"`
	Baseline *figures `json:"baseline,omitempty"`
	Ratio    float64  `json:"ratio,omitempty"` // of the rates
	Value    string   `json:"value,omitempty"` // of what has no rate
	Aim      string   `json:"aim,omitempty"`
	Met      *bool    `json:"met,omitempty"`
}

func met(is bool) *bool { return &is }

func (r *report) add(one row) {
	one.Ratio = ratio(one.Roster, one.Baseline)
	r.Rows = append(r.Rows, one)
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *report) print(to io.Writer, asJSON bool) error {
	r.CPUs = runtime.NumCPU()
	if asJSON {
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SCENARIO\tCLIENTS\tPER S\tMEDIAN\tP99\tBASELINE PER S\tMEDIAN\tP99\tRATIO\tAIM\tMET")
	for _, one := range r.Rows {
		_, _ = fmt.Fprintln(w, strings.Join(one.cells(), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, note := range r.Notes {
		_, _ = fmt.Fprintln(to, note)
	}
	_, err := fmt.Fprintf(to, "Generator, server and baseline shared %d cores.\n", r.CPUs)
	return err
}

func (r *row) cells() []string {
	clients, times, reached := "", "", ""
	if r.Clients > 0 {
		clients = fmt.Sprint(r.Clients)
	}
	if r.Ratio > 0 {
		times = fmt.Sprintf("%.2f", r.Ratio)
	}
	if r.Met != nil {
		reached = map[bool]string{true: "yes", false: "NO"}[*r.Met]
	}
	cells := append([]string{r.Scenario, clients}, r.Roster.cells(r.Value)...)
	cells = append(cells, r.Baseline.cells("")...)
	return append(cells, times, r.Aim, reached)
}

func (f *figures) cells(otherwise string) []string {
	if f == nil {
		return []string{otherwise, "", ""}
	}
	return []string{fmt.Sprintf("%.0f", f.PerSecond), latency(f.P50), latency(f.P99)}
}

// latency is a number of microseconds with three digits.
func latency(micros float64) string {
	d := time.Duration(micros * 1e3)
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", micros)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", micros/1e3)
	}
	return fmt.Sprintf("%.0f ms", micros/1e3)
}
