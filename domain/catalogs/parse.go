package catalogs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"roster/domain"
)

// Error is one thing wrong with a catalog file.
type Error struct {
	File   string
	Line   int    // from 1
	Field  string // "roles[2].level", counted from 0; empty where the file isn't YAML at all
	Detail string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Detail)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Field, e.Detail)
}

// maxReported is how many problems one error lists: more than anyone corrects
// in one go, and few enough that a file that is no catalog doesn't flood the
// terminal.
const maxReported = 100

// Parse reads a role catalog. The name of the file appears in errors only.
//
// The error joins an [*Error] for everything that is wrong, in the order of
// the lines. What only follows from another problem is left out: an unreadable
// resource doesn't make every permission that names it a problem of its own.
func Parse(file string, source []byte) (*domain.Catalog, error) {
	root, problem := parseYAML(source)
	if problem != nil {
		return nil, join(file, source, []*Error{problem})
	}
	d := &decoder{lines: map[string]int{"": max(root.Line, 1)}}
	var spec domain.CatalogSpec
	d.value("", root, reflect.ValueOf(&spec).Elem())

	catalog, problems := domain.NewCatalog(spec)
	follows := consequences(d.problems, problems)
	for _, problem := range problems {
		if !follows(problem.Path) {
			d.problem(d.line(problem.Path), problem.Path, "%s", problem.Detail)
		}
	}
	if len(d.problems) > 0 {
		return nil, join(file, source, d.problems)
	}
	return catalog, nil
}

var (
	// A permission is unknown where a resource, its key or its actions can't be
	// read, or aren't there.
	namesPermission = regexp.MustCompile(`^(roles\[\d+\]\.(permissions|except)\[|actions\.)`)
	resourceUnread  = regexp.MustCompile(`^resources(\[\d+\](\.key|\.actions(\[\d+\])?)?)?$`)
	resourceMissing = regexp.MustCompile(`^resources(\[\d+\]\.actions)?$`)
	// A role is unknown where its key can't be read, and the owner's is missing
	// where "owner" can't be.
	namesRole  = regexp.MustCompile(`^(roles|rules\.previous_owner_role)$`)
	roleUnread = regexp.MustCompile(`^roles(\[\d+\](\.key|\.owner)?)?$`)
)

// consequences gives a function that tells whether a problem with a field may
// be there only because of another one: the field, or what it is a part of, is
// unreadable, or it names something that is unreadable or missing.
func consequences(unreadable []*Error, missing []domain.Problem) func(field string) bool {
	fields := map[string]bool{}
	permissions, roles := false, false
	for _, cause := range unreadable {
		fields[cause.Field] = true
		permissions = permissions || resourceUnread.MatchString(cause.Field)
		roles = roles || roleUnread.MatchString(cause.Field)
	}
	for _, cause := range missing {
		permissions = permissions || resourceMissing.MatchString(cause.Path)
	}
	return func(field string) bool {
		if permissions && namesPermission.MatchString(field) || roles && namesRole.MatchString(field) {
			return true
		}
		for ; field != ""; field = parent(field) {
			if fields[field] {
				return true
			}
		}
		return fields[""]
	}
}

// parent is what a field is in: "roles[2]" for "roles[2].level", "roles" for
// that, and "" for the file.
func parent(field string) string { return field[:max(0, strings.LastIndexAny(field, ".["))] }

// join makes one error of all problems.
func join(file string, source []byte, problems []*Error) error {
	last := lineAt(source, len(source))
	slices.SortStableFunc(problems, func(x, y *Error) int { return cmp.Compare(x.Line, y.Line) })
	var all []error
	for i, problem := range problems {
		if i == maxReported {
			all = append(all, fmt.Errorf("%s: and %d more problems", file, len(problems)-maxReported))
			break
		}
		problem.File = file
		problem.Line = min(problem.Line, last) // the YAML library has the end of the file in a line of its own
		all = append(all, problem)
	}
	return errors.Join(all...)
}

// parseYAML reads the one document of a file.
func parseYAML(source []byte) (root *yaml.Node, problem *Error) {
	if len(source) > MaxSize {
		return nil, &Error{Line: 1, Detail: fmt.Sprintf("is larger than %d KiB, the most that a role catalog may be", MaxSize>>10)}
	}
	if at := notText(source); at >= 0 {
		return nil, &Error{Line: lineAt(source, at), Detail: "is not text in UTF-8"}
	}
	// The library reports what it foresees; a panic is a file that it doesn't.
	defer func() {
		if recover() != nil {
			root, problem = nil, &Error{Line: 1, Detail: "can't be read as YAML"}
		}
	}()
	var document, second yaml.Node
	reader := yaml.NewDecoder(bytes.NewReader(source))
	switch err := reader.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, &Error{Line: 1, Detail: "is empty; default.yaml of Roster shows what a role catalog looks like"}
	case err != nil:
		return nil, syntaxError(source, err)
	}
	switch err := reader.Decode(&second); {
	case err == nil:
		return nil, &Error{Line: second.Line, Detail: `must hold one catalog, so no second "---"`}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(source, err)
	}
	return document.Content[0], nil
}

// notText finds the first byte that can't be in a text file, or -1. The YAML
// library refuses the same, but without a line.
func notText(source []byte) int {
	for at := 0; at < len(source); {
		r, size := utf8.DecodeRune(source[at:])
		if r == utf8.RuneError && size == 1 || r < ' ' && r != '\t' && r != '\n' && r != '\r' {
			return at
		}
		at += size
	}
	return -1
}

func lineAt(source []byte, at int) int { return 1 + bytes.Count(source[:at], []byte("\n")) }

var (
	syntaxPattern = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	// collectionPattern matches the messages whose line counts from 0 and may
	// be the one where the collection at fault starts. Those of the scanner,
	// all others, count from 1 and are about the line itself.
	collectionPattern = regexp.MustCompile(`^(did not find expected (<.*>|node content|'-' indicator|key|',' or '[\]}]')` +
		`|found (duplicate %(YAML|TAG) directive|incompatible YAML document|undefined tag handle))$`)
	anchorPattern = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntaxError takes the line out of the YAML library's message. The library
// names none when it is the first, nor with an unknown anchor.
func syntaxError(source []byte, err error) *Error {
	match := syntaxPattern.FindStringSubmatch(err.Error())
	if match == nil {
		return &Error{Line: 1, Detail: "is not YAML: " + err.Error()}
	}
	line, _ := strconv.Atoi(match[1]) // 0 where there is none
	detail := match[2]
	anchor := anchorPattern.FindStringSubmatch(detail)
	switch {
	case collectionPattern.MatchString(detail):
		return &Error{Line: line + 1, Detail: "is not YAML here or below: " + detail}
	case anchor != nil:
		line = lineAt(source, max(0, bytes.Index(source, []byte("*"+anchor[1]))))
	}
	return &Error{Line: max(line, 1), Detail: "is not YAML: " + detail}
}
