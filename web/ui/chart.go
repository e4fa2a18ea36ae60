package ui

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// Span is a stretch of time in one state, for [Timeline].
type Span struct {
	From, To time.Time
	State    string // online, dropped, offline, or empty: not known
	Reason   string
}

// height of each state's bar: a state is told by its height too, not by colour alone.
var spanTop = map[string]float64{"online": 2, "dropped": 14, "offline": 22}

// Timeline draws the spans between begin and end as an SVG that scales with its place. label says
// in words what a picture cannot say to everybody.
func Timeline(spans []Span, begin, end time.Time, label string) template.HTML {
	const width, height = 1000.0, 30.0
	total := end.Sub(begin).Seconds()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="timeline" viewBox="0 0 %g %g" preserveAspectRatio="none" role="img" aria-label="%s">`,
		width, height, template.HTMLEscapeString(label))
	for _, s := range spans {
		top, ok := spanTop[s.State]
		if !ok {
			continue
		}
		x := max(0, s.From.Sub(begin).Seconds()/total*width)
		w := min(width, s.To.Sub(begin).Seconds()/total*width) - x
		if w <= 0 {
			continue
		}
		w = max(w, 3) // short, but it was there
		fmt.Fprintf(&b, `<rect class="span-%s" x="%.2f" y="%g" width="%.2f" height="%g"><title>%s from %s to %s: %s</title></rect>`,
			s.State, x, top, w, height-2-top, s.State, clock(s.From), clock(s.To), template.HTMLEscapeString(s.Reason))
	}
	for i := 1; i < 6; i++ {
		x := width * float64(i) / 6
		fmt.Fprintf(&b, `<path class="grid" d="M%.2f 0V%g"/>`, x, height)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, and strings escaped above
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Part is a part of a whole, for [Progress].
type Part struct {
	Name string // done, failed, open, skipped
	N    int
}

// Progress draws the parts of total, in their order, as one bar.
func Progress(parts []Part, total int, label string) template.HTML {
	const width = 1000.0
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="progress" viewBox="0 0 %g 10" preserveAspectRatio="none" role="img" aria-label="%s">`, width, template.HTMLEscapeString(label))
	x := 0.0
	for _, p := range parts {
		w := float64(p.N) / float64(max(1, total)) * width
		fmt.Fprintf(&b, `<rect class="part-%s" x="%.2f" y="0" width="%.2f" height="10"/>`, template.HTMLEscapeString(p.Name), x, w)
		x += w
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, and strings escaped above
}

// Series is one line of a [Chart].
type Series struct {
	Name  string
	Class string // line-a or line-b
	// Values are oldest first, all the same time apart; NaN is a gap.
	Values []float64
}

// Chart draws the series over one common scale from 0 as an SVG that scales with its place.
func Chart(series []Series, label string) template.HTML {
	const width, height = 1000.0, 120.0
	top := 1.0
	for _, s := range series {
		for _, v := range s.Values {
			if v > top { // false for NaN
				top = v
			}
		}
	}
	top = niceTop(top)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %g %g" preserveAspectRatio="none" role="img" aria-label="%s">`,
		width, height, template.HTMLEscapeString(label))
	for i := range 5 {
		y := height * float64(i) / 4
		fmt.Fprintf(&b, `<path class="grid" d="M0 %gH%g"/>`, y, width)
	}
	for _, s := range series {
		fmt.Fprintf(&b, `<path class="%s" d="%s"/>`, template.HTMLEscapeString(s.Class), linePath(s.Values, top, width, height))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, and strings escaped above
}

// ChartTop is the value at the upper edge of the [Chart] of these series.
func ChartTop(series []Series) float64 {
	top := 1.0
	for _, s := range series {
		for _, v := range s.Values {
			if v > top {
				top = v
			}
		}
	}
	return niceTop(top)
}

func linePath(values []float64, top, width, height float64) string {
	if len(values) < 2 {
		return ""
	}
	var d strings.Builder
	pen := "M"
	for i, v := range values {
		if math.IsNaN(v) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&d, "%s%.1f %.1f", pen, float64(i)/float64(len(values)-1)*width, height-v/top*(height-2)-1)
		pen = "L"
	}
	return d.String()
}

// niceTop is the least of 1, 2, 5, 10, 20 … that is not less than v.
func niceTop(v float64) float64 {
	for step := 1.0; ; step *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v <= step*m {
				return step * m
			}
		}
	}
}
