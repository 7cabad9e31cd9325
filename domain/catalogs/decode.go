package catalogs

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"roster/domain"
)

const (
	// maxItems is the most items of one list. A catalog has at most as many
	// permissions, so no longer list means anything.
	maxItems = domain.MaxPermissions
	// maxText is the most bytes of one text. The domain's limits are lower;
	// this one keeps a longer text out of messages.
	maxText = 1000
)

// A decoder fills a [domain.CatalogSpec] from YAML. The YAML library could do
// that too, but it stops being strict for a node, names no field in its
// errors, and names Go types instead.
//
// It goes as deep as the type does, so a deeply nested file costs nothing
// more, and it follows no aliases, so a small file can't stand for a large
// catalog.
type decoder struct {
	lines    map[string]int // of every field met, for problems found later
	problems []*Error
}

func (d *decoder) problem(line int, field, format string, args ...any) {
	d.problems = append(d.problems, &Error{Line: line, Field: field, Detail: fmt.Sprintf(format, args...)})
}

// line finds the line of a field, or of what it would be in when the file
// doesn't have it.
func (d *decoder) line(field string) int {
	for {
		if line, ok := d.lines[field]; ok {
			return line
		}
		field = parent(field)
	}
}

var durationType = reflect.TypeFor[time.Duration]()

func (d *decoder) value(field string, node *yaml.Node, into reflect.Value) {
	line := d.line(field)
	switch {
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		d.problem(line, field, "must be written out: anchors (&) and aliases (*) are not read")
		return
	case node.Style&yaml.TaggedStyle != 0:
		d.problem(line, field, "must have no tag (!)")
		return
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		d.problem(line, field, "has no value; give it one or leave it out")
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		d.fields(field, node, into)
	case reflect.Map:
		d.table(field, node, into)
	case reflect.Slice:
		d.list(field, node, into)
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(field, node, into.Elem())
	default:
		d.scalar(line, field, node, into)
	}
}

// fields reads a mapping whose fields are known: the struct tags name them.
func (d *decoder) fields(field string, node *yaml.Node, into reflect.Value) {
	known := make([]string, into.NumField())
	for i := range known {
		known[i] = into.Type().Field(i).Tag.Get("yaml")
	}
	d.entries(field, node, "must have the fields "+strings.Join(known, ", "), func(name, at string, value *yaml.Node) {
		for i := range known {
			if known[i] == name {
				d.value(at, value, into.Field(i))
				return
			}
		}
		d.problem(d.line(at), at, "is no field here; known are %s", strings.Join(known, ", "))
	})
}

// table reads a mapping from free names to text.
func (d *decoder) table(field string, node *yaml.Node, into reflect.Value) {
	into.Set(reflect.MakeMap(into.Type()))
	d.entries(field, node, "must have lines of the form name: text", func(name, at string, value *yaml.Node) {
		text := reflect.New(into.Type().Elem()).Elem()
		d.value(at, value, text)
		into.SetMapIndex(reflect.ValueOf(name), text)
	})
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,59}$`)

// entries goes through a mapping. It hands on only names that are safe to
// print and to take for a part of a field's path.
func (d *decoder) entries(field string, node *yaml.Node, wanted string, entry func(name, at string, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		d.problem(d.line(field), field, "%s", wanted)
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Anchor != "" || !plainName.MatchString(key.Value) {
			at := strings.TrimPrefix(field+"."+strconv.QuoteToASCII(key.Value[:min(len(key.Value), 40)]), ".")
			d.problem(key.Line, at, "is no name: a name has letters, digits, _ and -, at most 60")
			continue
		}
		at := strings.TrimPrefix(field+"."+key.Value, ".")
		if first, twice := d.lines[at]; twice {
			d.problem(key.Line, at, "is there already, in line %d", first)
			continue
		}
		d.lines[at] = key.Line
		entry(key.Value, at, value)
	}
}

func (d *decoder) list(field string, node *yaml.Node, into reflect.Value) {
	if node.Kind != yaml.SequenceNode {
		d.problem(d.line(field), field, "must be a list")
		return
	}
	items := node.Content
	if len(items) > maxItems {
		d.problem(d.line(field), field, "has more than %d items", maxItems)
		items = items[:maxItems]
	}
	into.Set(reflect.MakeSlice(into.Type(), len(items), len(items)))
	for i, item := range items {
		at := field + "[" + strconv.Itoa(i) + "]"
		d.lines[at] = item.Line
		d.value(at, item, into.Index(i))
	}
}

func (d *decoder) scalar(line int, field string, node *yaml.Node, into reflect.Value) {
	single := node.Kind == yaml.ScalarNode
	switch {
	case into.Type() == durationType:
		duration, err := time.ParseDuration(node.Value)
		if !single || err != nil {
			d.problem(line, field, "must be a duration in hours or smaller units: 168h (7 days), 90m")
			return
		}
		into.SetInt(int64(duration))
	case into.Kind() == reflect.Int:
		var number int
		if !single || node.Tag != "!!int" || node.Decode(&number) != nil {
			d.problem(line, field, "must be a whole number")
			return
		}
		into.SetInt(int64(number))
	case into.Kind() == reflect.Bool:
		var yes bool
		if !single || node.Tag != "!!bool" || node.Decode(&yes) != nil {
			d.problem(line, field, "must be true or false")
			return
		}
		into.SetBool(yes)
	default: // text
		// Texts end up in pages and in the headers of messages.
		text := strings.TrimSpace(node.Value)
		switch {
		case !single:
			d.problem(line, field, "must be text")
		case len(text) > maxText:
			d.problem(line, field, "is longer than %d bytes", maxText)
		case strings.ContainsFunc(text, unicode.IsControl):
			d.problem(line, field, "must be one line, without control characters")
		default:
			into.SetString(text)
		}
	}
}
