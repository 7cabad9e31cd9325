package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport says which packages of this module each folder may import, beside
// its own. Dependencies point inward; only cmd sees everything.
var mayImport = map[string][]string{
	"roster/domain":          {},
	"roster/domain/catalogs": {"roster/domain"},
	"roster/eventstore":      {"roster/domain"},
	"roster/commands":        {"roster/domain", "roster/domain/catalogs", "roster/eventstore"},
	"roster/projections":     {"roster/domain", "roster/eventstore"},
	"roster/subscribers":     {"roster/domain", "roster/eventstore"},
	"roster/api":             {"roster/domain", "roster/eventstore", "roster/commands", "roster/projections", "roster/api/dashboard"},
	"roster/api/client":      {}, // hosts import it
}

func TestImportsPointInward(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "roster/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		allowed, ruled := mayImport[pkg]
		if !ruled {
			continue
		}
		checked[pkg] = true
		for imported := range strings.FieldsSeq(imports) {
			switch {
			case len(allowed) == 0 && strings.Contains(imported, "."):
				t.Errorf("%s imports %s: it uses the standard library only", pkg, imported)
			case strings.HasPrefix(imported, "roster/") && !slices.Contains(allowed, imported):
				t.Errorf("%s must not import %s", pkg, imported)
			}
		}
	}
	for pkg := range mayImport {
		if !checked[pkg] {
			t.Errorf("there is no package %s; has it moved?", pkg)
		}
	}
}
