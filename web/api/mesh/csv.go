package mesh

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	rules "wfm/mesh"
	"wfm/store"
	"wfm/web/wire"
)

// importRows bounds the nodes of one import.
const importRows = 5000

// The columns of a list of nodes.
const (
	columnName    = "name"
	columnType    = "type"
	columnAddress = "address"
	columnTags    = "tags"
)

// importColumns maps the names that a column may have to the column.
var importColumns = map[string]string{
	"name": columnName, "node": columnName, "node_name": columnName, "hostname": columnName,
	"type": columnType, "node_type": columnType, "kind": columnType,
	"address": columnAddress, "addresses": columnAddress, "ip": columnAddress, "virtual_ip": columnAddress, "tunnel_address": columnAddress,
	"tags": columnTags, "tag": columnTags, "labels": columnTags,
}

// importTypes maps the words for a node's type to it.
var importTypes = map[string]store.NodeType{
	"": store.NodeDynamic, "dynamic": store.NodeDynamic, "agent": store.NodeDynamic, "device": store.NodeDynamic,
	"static": store.NodeStatic, "phone": store.NodeStatic, "router": store.NodeStatic,
}

// cellNote is a fault of a cell, or an unexpected effect of one.
type cellNote struct {
	Row     int    `json:"row"`    // the line of the text, from 1
	Column  string `json:"column"` // "" for the whole line
	Message string `json:"message"`
}

// where names the cell in an error.
func (n cellNote) where() string {
	if n.Column == "" {
		return fmt.Sprintf("line %d", n.Row)
	}
	return fmt.Sprintf("line %d, %s", n.Row, n.Column)
}

// importedNode is one line of a list of nodes.
type importedNode struct {
	row       int
	name      string
	kind      store.NodeType
	addresses []netip.Addr
	tags      []string
}

// nodeTable is a list of nodes as it was read from CSV.
type nodeTable struct {
	rows     []importedNode
	faults   []cellNote
	warnings []cellNote
}

func (t *nodeTable) fault(row int, column, format string, args ...any) {
	t.faults = append(t.faults, cellNote{row, column, fmt.Sprintf(format, args...)})
}

// readTable reads a list of nodes. The columns are separated by commas, semicolons or tabs, as the first
// line is, which names them. A text of one column without a name is a list of names. A text that has no
// rows, or too many of them, is a *[wire.InvalidError]; all other faults are in the table.
func readTable(text string) (*nodeTable, error) {
	refuse := func(problem string) (*nodeTable, error) {
		return nil, &wire.InvalidError{Fields: map[string]string{"csv": problem}}
	}
	text = strings.TrimPrefix(text, "\ufeff")
	if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
		return refuse("is not UTF-8; save the file as CSV in UTF-8")
	}
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, "\r", "\n")
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord, r.TrimLeadingSpace = separatorOf(text), -1, true
	t := &nodeTable{}
	var columns []string
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			t.fault(parse.StartLine, "", "has a quotation mark out of place; put the whole cell into quotation marks, and double those within it")
			break
		}
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(cells, func(cell string) bool { return strings.TrimSpace(cell) != "" }) {
			continue
		}
		line, _ := r.FieldPos(0)
		if columns == nil {
			var header bool
			if columns, header = t.columns(line, cells); columns == nil {
				break
			}
			if header {
				continue
			}
		}
		if len(t.rows) == importRows {
			return refuse(fmt.Sprintf("must have at most %d rows; split it", importRows))
		}
		t.add(line, columns, cells)
	}
	if len(t.rows)+len(t.faults) == 0 {
		return refuse("must have at least one node")
	}
	t.names()
	return t, nil
}

// separatorOf returns the character that separates the columns of the first line.
func separatorOf(text string) rune {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		for _, r := range ",;\t" {
			if strings.ContainsRune(line, r) {
				return r
			}
		}
		break
	}
	return ','
}

// columns reads the names of the columns; "" stands for an unknown one. It returns nil if there is no
// column for the name. header is false if the cells are those of a node.
func (t *nodeTable) columns(line int, cells []string) (columns []string, header bool) {
	named := func(cell string) string {
		return strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(cell)))
	}
	if len(cells) == 1 && named(cells[0]) != columnName {
		return []string{columnName}, false
	}
	for _, cell := range cells {
		column := importColumns[named(cell)]
		switch {
		case column == "":
			t.warnings = append(t.warnings, cellNote{line, strings.TrimSpace(cell), "is not a known column and was left out; known are name, type, address and tags"})
		case slices.Contains(columns, column):
			t.fault(line, column, "is there twice; leave one of the columns out")
		}
		columns = append(columns, column)
	}
	if !slices.Contains(columns, columnName) {
		t.fault(line, "", "does not name the columns; begin with a line like name,type,address,tags")
		return nil, false
	}
	return columns, true
}

// add reads one line.
func (t *nodeTable) add(line int, columns, cells []string) {
	if len(cells) > len(columns) {
		t.fault(line, "", "has %d cells, but the first line has %d; put a cell with a comma into quotation marks", len(cells), len(columns))
	}
	n := importedNode{row: line, kind: store.NodeDynamic, tags: []string{}}
	for i, column := range columns[:min(len(columns), len(cells))] {
		cell := strings.TrimSpace(cells[i])
		switch column {
		case columnName:
			n.name = cell
		case columnType:
			kind, known := importTypes[strings.ToLower(cell)]
			if !known {
				t.fault(line, column, "must be dynamic (a device with an agent) or static (a phone or a router)")
			}
			n.kind = kind
		case columnAddress:
			t.addresses(&n, cell)
		case columnTags:
			t.tags(&n, cell)
		}
	}
	clean, problem := wire.Line(1, maxNodeName)(n.name)
	if problem != "" {
		t.fault(line, columnName, "%s", problem)
	}
	n.name = clean
	t.rows = append(t.rows, n)
}

// parts splits a cell with several values. A comma separates them as it does on the page, in a cell in
// quotation marks or between columns that are separated otherwise.
func parts(cell string) []string {
	return strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(";|,", r) })
}

func (t *nodeTable) addresses(n *importedNode, cell string) {
	for _, part := range parts(cell) {
		address, err := rules.ParseAddress("", part)
		if err != nil {
			t.fault(n.row, columnAddress, "%s", problemOf(err))
			return
		}
		n.addresses = append(n.addresses, address.Addr())
	}
}

func (t *nodeTable) tags(n *importedNode, cell string) {
	for _, part := range parts(cell) {
		tag, problem := wire.Line(0, maxTag)(part)
		switch {
		case problem != "":
			t.fault(n.row, columnTags, "each %s", problem)
			return
		case tag != "" && !slices.Contains(n.tags, tag):
			n.tags = append(n.tags, tag)
		}
	}
	if len(n.tags) > store.MaxNodeTags {
		t.fault(n.row, columnTags, "must be at most %d", store.MaxNodeTags)
	}
}

// names notes the names that the table has twice, in upper or lower case.
func (t *nodeTable) names() {
	first := make(map[string]importedNode)
	for _, n := range t.rows {
		if n.name == "" {
			continue
		}
		other, twice := first[folded(n.name)]
		switch {
		case !twice:
			first[folded(n.name)] = n
		case other.name == n.name:
			t.fault(n.row, columnName, "is also the name in line %d; choose another name", other.row)
		default:
			t.fault(n.row, columnName, "differs from %q in line %d in upper and lower case only; choose another name", other.name, other.row)
		}
	}
}

// folded returns a form of the name in which upper and lower case are equal.
func folded(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// problemOf words a refusal to follow the name of a column.
func problemOf(err error) string {
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(err.Error(), "virtual_ip"), "."))
}
