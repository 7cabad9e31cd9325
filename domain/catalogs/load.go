// Package catalogs holds the role catalogs that come with Roster and reads
// those that others write.
//
// A role catalog is a YAML file that says what a team is called, which roles
// there are, what each may do, what the plans allow and which rules apply. The
// type is [domain.Catalog]; default.yaml explains every field. Whoever writes
// a catalog learns of everything that is wrong with it at once, each problem
// with its file, line and field.
package catalogs

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"roster/domain"
)

//go:embed *.yaml
var files embed.FS

const extension = ".yaml"

// MaxSize is the most bytes that a catalog file may have. The largest that
// comes with Roster has under 16 KiB; the limit keeps a wrong path (a log, a
// device) from being read whole.
const MaxSize = 256 << 10

// Names lists the catalogs that come with Roster, sorted.
func Names() []string {
	paths, err := fs.Glob(files, "*"+extension)
	if err != nil {
		panic(err) // only a malformed pattern, and this one is constant
	}
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = strings.TrimSuffix(path, extension)
	}
	slices.Sort(names)
	return names
}

// Builtin gives the source text of a catalog that comes with Roster.
func Builtin(name string) (source []byte, ok bool) {
	if !slices.Contains(Names(), name) {
		return nil, false
	}
	source, err := files.ReadFile(name + extension)
	return source, err == nil
}

// Load reads a role catalog, by the name of one that comes with Roster or else
// by the path of a file, and also gives its source text, which is what gets
// recorded in the event store. A file of the same name as a built-in catalog
// is reached as "./name".
func Load(nameOrPath string) (*domain.Catalog, []byte, error) {
	file := nameOrPath
	source, ok := Builtin(nameOrPath)
	if ok {
		file += extension
	} else {
		var err error
		if source, err = readFile(nameOrPath); err != nil {
			return nil, nil, fmt.Errorf("role catalog %q is neither built in (%s) nor a file that can be read: %w",
				nameOrPath, strings.Join(Names(), ", "), err)
		}
	}
	catalog, err := Parse(file, source)
	if err != nil {
		return nil, nil, err
	}
	return catalog, source, nil
}

// readFile reads at most one byte more than Parse accepts.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written, so there is nothing to lose
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("it is a directory")
	}
	return io.ReadAll(io.LimitReader(file, MaxSize+1))
}
