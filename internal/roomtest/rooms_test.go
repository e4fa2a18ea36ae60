package roomtest

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The measures. A package that outgrows them has more than one thing in it; a line that does is not
// read to its end.
const (
	maxNames   = 150 // constants, variables, types and functions of a package, but for its tests
	maxMethods = 40  // of a type
	maxColumns = 160 // of a line, in tests too; a tab is one
)

// outgrown lists the packages and types that are larger, with their limits. The limits must not
// rise: a change that makes one smaller lowers its limit, and removes it from the list once it
// fits.
var outgrown = map[string]int{
	"agent":                    220,
	"agent.executor":           50,
	"appliance/command.Ledger": 45,
	"appliance/emqx":           165,
	"appliance/emqx.Broker":    55,
	"internal/emqxtest.Server": 60,
	"mesh":                     260,
	"mesh.Mesh":                80,
	"store":                    420,
	"store.Tx":                 220, // a method for each reading and each write of records
}

const root = "../.."

// version is the last part of the path of a module from its second version on.
var version = regexp.MustCompile(`^v[0-9]+$`)

// room counts the declarations of a package, without its tests.
type room struct {
	names   int
	methods map[string]int // by type
}

// TestNoRoomIsTooLarge prints the figures with -v.
func TestNoRoomIsTooLarge(t *testing.T) {
	rooms := make(map[string]*room)
	for _, file := range goFiles(t) {
		src, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(src), "\n") {
			if n := utf8.RuneCountInString(line); n > maxColumns {
				t.Errorf("%s:%d has %d columns, more than %d", file, i+1, n, maxColumns)
			}
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.ToSlash(filepath.Dir(file))
		if rooms[dir] == nil {
			rooms[dir] = &room{methods: make(map[string]int)}
		}
		rooms[dir].count(parsed)
	}
	if len(rooms) < 20 {
		t.Fatalf("%d packages were found; the tree has more", len(rooms))
	}
	for _, dir := range slices.SortedFunc(maps.Keys(rooms), func(a, b string) int { return cmp.Compare(rooms[b].names, rooms[a].names) }) {
		r := rooms[dir]
		figures := fmt.Sprintf("%-24s %4d names", dir, r.names)
		fits(t, dir, r.names, maxNames, "names: make two packages of it")
		for _, name := range slices.Sorted(maps.Keys(r.methods)) {
			n := r.methods[name]
			fits(t, dir+"."+name, n, maxMethods, "methods: make two types of it")
			if n > maxMethods/2 {
				figures += fmt.Sprintf(", %s %d methods", name, n)
			}
		}
		t.Log(figures)
	}
}

// fits fails the test if n is more than most and more than outgrown allows.
func fits(t *testing.T, what string, n, most int, words string) {
	t.Helper()
	grown, isOutgrown := outgrown[what]
	switch {
	case isOutgrown && n <= most:
		t.Errorf("%s fits with %d: take it out of outgrown", what, n)
	case n > max(grown, most):
		t.Errorf("%s has %d, more than %d, %s", what, n, max(grown, most), words)
	}
}

// TestNoImportIsShadowed checks that the name of an imported package means that package in the
// whole file.
func TestNoImportIsShadowed(t *testing.T) {
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, filepath.Join(root, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		imported := make(map[string]bool)
		for _, i := range parsed.Imports {
			at := strings.Trim(i.Path.Value, `"`)
			name := path.Base(at)
			if version.MatchString(name) {
				name = path.Base(path.Dir(at))
			}
			if i.Name != nil {
				name = i.Name.Name
			}
			imported[name] = name != "_"
		}
		for _, id := range locals(parsed) {
			if imported[id.Name] {
				t.Errorf("%s:%d: %s is the name of a package here, too", file, set.Position(id.Pos()).Line, id.Name)
			}
		}
	}
}

// locals are the names that the file declares: parameters, results, variables and constants.
func locals(f *ast.File) (all []*ast.Ident) {
	expressions := func(list ...ast.Expr) {
		for _, e := range list {
			if id, ok := e.(*ast.Ident); ok {
				all = append(all, id)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				expressions(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				expressions(n.Key, n.Value)
			}
		case *ast.ValueSpec:
			all = append(all, n.Names...)
		case *ast.FuncType:
			for _, list := range []*ast.FieldList{n.Params, n.Results} {
				if list == nil {
					continue
				}
				for _, field := range list.List {
					all = append(all, field.Names...)
				}
			}
		}
		return true
	})
	return all
}

func (r *room) count(f *ast.File) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				r.names++
			} else {
				r.methods[receiver(d.Recv.List[0].Type)]++
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					r.names++
				case *ast.ValueSpec:
					for _, name := range s.Names {
						if name.Name != "_" {
							r.names++
						}
					}
				}
			}
		}
	}
}

// receiver is the name of the type that a method has.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// goFiles are the Go files of the tree, from its root.
func goFiles(t *testing.T) (files []string) {
	t.Helper()
	if err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(name, ".go") {
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			files = append(files, rel)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return files
}
