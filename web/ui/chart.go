package ui

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// Span is a period in one state, for [Timeline].
type Span struct {
	From, To time.Time
	State    string // online, dropped, offline or [SpanGap]
	Reason   string
}

// SpanGap is the state of a period about which nothing is known. It covers the spans below it.
const SpanGap = "unknown"

// spanTop is the upper edge of each state's bar. The height shows the state too, so that colour is
// not the only sign.
var spanTop = map[string]float64{"online": 2, "dropped": 14, "offline": 22, SpanGap: 0}

// Timeline draws the spans between begin and end as an SVG that scales with its place. label is the
// text for people who cannot see the picture.
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
		w = max(w, 3) // a short span stays visible
		fmt.Fprintf(&b, `<rect class="span-%s" x="%.2f" y="%g" width="%.2f" height="%g"><title>%s from %s to %s: %s</title></rect>`,
			s.State, x, top, w, max(2, height-2-top), s.State, clock(s.From), clock(s.To), template.HTMLEscapeString(s.Reason))
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

// Progress draws the parts of total in their order, as one bar. label is as for [Timeline].
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
	Class  string    // line-a or line-b
	Values []float64 // oldest first, at equal intervals
}

// Graph is a drawn [Chart] and the numbers to show beside it.
type Graph struct {
	Image template.HTML
	Top   float64   // value at the upper edge; the lower one is 0
	Last  []float64 // the newest value of each series
}

// Chart draws the series over a common scale, as an SVG that scales with its place. It has room for
// the given number of points. The newest point is at the right; if there are fewer, the left stays
// empty.
func Chart(points int, series []Series, label string) Graph {
	const width, height = 1000.0, 120.0
	g := Graph{Top: 1}
	for _, s := range series {
		last := 0.0
		for _, last = range s.Values {
			g.Top = max(g.Top, last)
		}
		g.Last = append(g.Last, last)
	}
	g.Top = niceTop(g.Top)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %g %g" preserveAspectRatio="none" role="img" aria-label="%s">`,
		width, height, template.HTMLEscapeString(label))
	for i := range 5 {
		fmt.Fprintf(&b, `<path class="grid" d="M0 %gH%g"/>`, height*float64(i)/4, width)
	}
	for _, s := range series {
		fmt.Fprintf(&b, `<path class="%s" d="`, template.HTMLEscapeString(s.Class))
		for i, v := range s.Values {
			x := width * (1 - float64(len(s.Values)-1-i)/float64(max(1, points-1)))
			fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(i, 1)], x, height-1-v/g.Top*(height-2))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString(`</svg>`)
	g.Image = template.HTML(b.String()) //nolint:gosec // numbers, and strings escaped above
	return g
}

// niceTop returns the least of 1, 2, 5, 10, 20 … that is not less than v.
func niceTop(v float64) float64 {
	for step := 1.0; step < 1e15; step *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v <= step*m {
				return step * m
			}
		}
	}
	return v
}
