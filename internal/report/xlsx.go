package report

import (
	"archive/zip"
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf16"
)

// sheetRowsMax is the most that a sheet holds, its heading included.
var sheetRowsMax = 1 << 20

// textMax is how many UTF-16 units a cell holds; what is longer is cut, and
// whole in the CSV.
const textMax = 32767

// digitsMax is how many digits of a number spreadsheets keep; a longer one is
// written as text.
const digitsMax = 15

const (
	spreadsheet   = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
	packageRels   = "http://schemas.openxmlformats.org/package/2006/relationships"
	officeRels    = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
	contentTypes  = "http://schemas.openxmlformats.org/package/2006/content-types"
	mainSheetType = "application/vnd.openxmlformats-officedocument.spreadsheetml."
)

// The styles of cells, as xl/styles.xml numbers them.
const (
	styleText   = 0
	styleHead   = 1
	styleAmount = 2
)

// styles: the heading is bold, and amounts have two decimals (number format 2).
const styles = `<styleSheet xmlns="` + spreadsheet + `"><fonts count="2">` +
	`<font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts>` +
	`<fills count="1"><fill><patternFill patternType="none"/></fill></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>` +
	`<cellXfs count="3"><xf/><xf fontId="1" applyFont="1"/><xf numFmtId="2" applyNumberFormat="1"/></cellXfs></styleSheet>`

// writeXLSX writes rows as a workbook (ECMA-376), in as many sheets as it takes.
// Texts are inline strings, which no program takes for formulas. The same rows
// give the same bytes.
func writeXLSX(w io.Writer, rows iter.Seq2[Row, error]) error {
	x := &workbook{zip: zip.NewWriter(w)}
	for r, err := range rows {
		if err == nil {
			err = x.row(&r)
		}
		if err != nil {
			return err
		}
	}
	return x.close()
}

type workbook struct {
	zip    *zip.Writer
	sheet  *bufio.Writer // nil before the first
	sheets int
	rows   int // in the sheet
	fault  error
}

func (x *workbook) row(r *Row) error {
	if x.sheet == nil || x.rows == sheetRowsMax {
		if err := x.open(); err != nil {
			return err
		}
		x.begin()
		for _, c := range columns {
			x.text(c.name, styleHead)
		}
		x.print(`</row>`)
	}
	x.begin()
	for _, c := range columns {
		v := c.value(r)
		switch style := styleAmount; {
		case v == "":
			x.print(`<c/>`)
		case !c.number || len(v) > digitsMax: // the point counts too: rather text too early
			x.text(v, styleText)
		default:
			if !strings.Contains(v, ".") || c.name == "exchangeRate" {
				style = styleText
			}
			x.print(`<c s="%d"><v>%s</v></c>`, style, v)
		}
	}
	x.print(`</row>`)
	return x.fault
}

// begin begins the next row.
func (x *workbook) begin() {
	x.rows++
	x.print(`<row r="%d">`, x.rows)
}

func (x *workbook) text(s string, style int) {
	if units := utf16.Encode([]rune(s)); len(units) > textMax {
		s = string(utf16.Decode(units[:textMax-1])) + "…"
	}
	x.print(`<c s="%d" t="inlineStr"><is><t xml:space="preserve">`, style)
	if x.fault == nil {
		x.fault = xml.EscapeText(x.sheet, []byte(s)) // what XML has no form for becomes U+FFFD
	}
	x.print(`</t></is></c>`)
}

// open ends the sheet that there is and begins another.
func (x *workbook) open() error {
	if err := x.end(); err != nil {
		return err
	}
	x.sheets, x.rows = x.sheets+1, 0
	part, err := x.zip.Create(fmt.Sprintf("xl/worksheets/sheet%d.xml", x.sheets))
	if err != nil {
		return err
	}
	x.sheet = bufio.NewWriter(part)
	x.print(xml.Header+`<worksheet xmlns="`+spreadsheet+`"><sheetViews><sheetView workbookViewId="0">`+
		`<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><cols><col min="1" max="%d" width="20" customWidth="1"/></cols><sheetData>`, len(columns))
	return x.fault
}

func (x *workbook) end() error {
	if x.sheet == nil {
		return nil
	}
	x.print(`</sheetData></worksheet>`)
	if x.fault == nil {
		x.fault = x.sheet.Flush()
	}
	return x.fault
}

// close writes what holds the sheets together; an empty workbook has one as well.
func (x *workbook) close() error {
	if x.sheet == nil {
		if err := x.open(); err != nil {
			return err
		}
	}
	if err := x.end(); err != nil {
		return err
	}
	var types, sheets, rels strings.Builder
	for n := 1; n <= x.sheets; n++ {
		fmt.Fprintf(&types, `<Override PartName="/xl/worksheets/sheet%d.xml" ContentType="%sworksheet+xml"/>`, n, mainSheetType)
		fmt.Fprintf(&sheets, `<sheet name="Payouts %d" sheetId="%d" r:id="rId%d"/>`, n, n, n)
		fmt.Fprintf(&rels, `<Relationship Id="rId%d" Type="%s/worksheet" Target="worksheets/sheet%d.xml"/>`, n, officeRels, n)
	}
	for _, part := range [][2]string{
		{"[Content_Types].xml", `<Types xmlns="` + contentTypes + `">` +
			`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Override PartName="/xl/workbook.xml" ContentType="` + mainSheetType + `sheet.main+xml"/>` +
			`<Override PartName="/xl/styles.xml" ContentType="` + mainSheetType + `styles+xml"/>` + types.String() + `</Types>`},
		{"_rels/.rels", `<Relationships xmlns="` + packageRels + `">` +
			`<Relationship Id="rId1" Type="` + officeRels + `/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
		{"xl/workbook.xml", `<workbook xmlns="` + spreadsheet + `" xmlns:r="` + officeRels + `"><bookViews><workbookView/></bookViews><sheets>` + sheets.String() + `</sheets></workbook>`},
		{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="` + packageRels + `">` + rels.String() +
			fmt.Sprintf(`<Relationship Id="rId%d" Type="%s/styles" Target="styles.xml"/></Relationships>`, x.sheets+1, officeRels)},
		{"xl/styles.xml", styles},
	} {
		w, err := x.zip.Create(part[0])
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, xml.Header+part[1]); err != nil {
			return err
		}
	}
	return x.zip.Close()
}

// print writes to the sheet; the first error stays in x.fault.
func (x *workbook) print(format string, args ...any) {
	if x.fault == nil {
		_, x.fault = fmt.Fprintf(x.sheet, format, args...)
	}
}
