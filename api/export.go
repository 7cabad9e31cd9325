package api

import (
	"bufio"
	"context"
	"encoding/csv"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"roster/domain"
	"roster/projections"
)

// entryWriter writes audit entries one by one.
type entryWriter interface {
	write(*auditView) error
	flush() error
}

var auditColumns = []string{
	"id", "position", "at", "action", "actor_type", "actor_id", "actor_name", "actor_email", "actor_ip", "actor_user_agent",
	"target_type", "target_id", "target_name", "before", "after", "request_id",
	"on_behalf_of_id", "on_behalf_of_name", "on_behalf_of_email", "detail", "occurred_at",
}

type csvWriter struct {
	*csv.Writer
	row []string
}

func newCSVWriter(w io.Writer) (entryWriter, error) {
	out := &csvWriter{Writer: csv.NewWriter(w)}
	return out, out.Write(auditColumns)
}

func (w *csvWriter) write(e *auditView) error {
	w.row = append(w.row[:0], string(e.ID), strconv.FormatUint(e.Position, 10), e.At.Format(time.RFC3339Nano), e.Action,
		string(e.Actor.Type), e.Actor.ID, e.Actor.Name, e.Actor.Email, e.Actor.IP, e.Actor.UserAgent,
		e.Target.Type, e.Target.ID, e.Target.Name, string(e.Before), string(e.After), e.RequestID)
	var person auditPersonView
	if e.OnBehalfOf != nil {
		person = *e.OnBehalfOf
	}
	occurred := ""
	if e.OccurredAt != nil {
		occurred = e.OccurredAt.Format(time.RFC3339Nano)
	}
	w.row = append(w.row, string(person.ID), person.Name, person.Email, string(e.Detail), occurred)
	return writeHarmless(w.Writer, w.row)
}

func (w *csvWriter) flush() error {
	w.Flush()
	return w.Error()
}

// writeHarmless writes a row, and changes its cells for that.
func writeHarmless(w *csv.Writer, row []string) error {
	for i, cell := range row {
		row[i] = harmless(cell)
	}
	return w.Write(row)
}

// harmless keeps a spreadsheet from taking a cell for a formula.
func harmless(cell string) string {
	if cell != "" {
		switch cell[0] {
		case '=', '+', '-', '@', '\t', '\r':
			return "'" + cell
		}
	}
	return cell
}

type jsonLinesWriter struct {
	*bufio.Writer
	line []byte
}

func newJSONLinesWriter(w io.Writer) entryWriter { return &jsonLinesWriter{Writer: bufio.NewWriter(w)} }

func (w *jsonLinesWriter) write(e *auditView) error {
	w.line = append(appendEntry(w.line[:0], e), '\n')
	_, err := w.Write(w.line)
	return err
}

func (w *jsonLinesWriter) flush() error { return w.Flush() }

const (
	// exportFlush is after how many entries the caller gets what there is.
	exportFlush = 500
	// exportPatience is how long a caller may take to accept that many.
	exportPatience = 30 * time.Second
)

func (s *Server) exportAudit(ctx context.Context, x *exchange, in *exportAuditInput) (func(huma.Context), error) {
	if err := s.permitted(ctx, x, in.Team, domain.ActionReadAudit); err != nil {
		return nil, err
	}
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	media := mediaCSV
	if in.Format == "jsonl" {
		media = "application/jsonl"
	}
	return s.download(x, "audit-"+string(in.Team)+"."+in.Format, media, func(pause func() error) error {
		return s.export(ctx, x, in, filter, pause)
	}), nil
}

const mediaCSV = "text/csv; charset=utf-8; header=present"

// download answers with a file that is written piece by piece. write calls
// pause after every piece, so that the caller gets what there is and has time
// to accept it.
func (s *Server) download(x *exchange, name, media string, write func(pause func() error) error) func(huma.Context) {
	return func(huma.Context) {
		header := x.Header()
		header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
		header.Set("Content-Type", media)
		x.WriteHeader(http.StatusOK)
		control := http.NewResponseController(x)
		// Not every connection has deadlines; where there are none, none is needed.
		extend := func() { _ = control.SetWriteDeadline(time.Now().Add(exportPatience)) }
		extend()
		err := write(func() error {
			extend()
			return control.Flush()
		})
		if err != nil {
			x.failure = err
			// The status is out. Cutting the connection off is the one way left
			// to say that this is not all of it.
			panic(http.ErrAbortHandler)
		}
	}
}

func (s *Server) export(ctx context.Context, x *exchange, in *exportAuditInput, filter projections.AuditFilter, pause func() error) error {
	out := newJSONLinesWriter(x)
	if in.Format == "csv" {
		var err error
		if out, err = newCSVWriter(x); err != nil {
			return err
		}
	}
	count := 0
	err := s.projections.AuditExport(ctx, in.Team, filter, func(entry *projections.AuditEntry) error {
		view := viewEntry(entry)
		if err := out.write(&view); err != nil {
			return err
		}
		if count++; count%exportFlush != 0 {
			return nil
		}
		if err := out.flush(); err != nil {
			return err
		}
		return pause()
	})
	if err != nil {
		return err
	}
	return out.flush()
}
