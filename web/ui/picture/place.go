package picture

import (
	"math"
	"unicode/utf8"
)

// Sizes in the picture, in pixels where it is not scaled.
const (
	markRadius    = 10
	gatewayRadius = 17
	labelAt       = 14 // from the middle of a mark to its label
	labelBelow    = 32 // from the middle of a mark to the middle of the label below it
	labelHeight   = 17
	letter        = 7.6 // the width of one, rather too wide
	wideLetter    = 13.5
	longestLabel  = 16 // letters
	cutTail       = 5  // letters that stay at the end of a longer one: names often differ there
	groupRadius   = 14
	groupLabelAt  = 19
	margin        = 10
	// mostLevel is the number of places on the circle up to which the labels are not turned.
	mostLevel = 14
	step      = 8 // by which circles grow until nothing is covered
)

// cut returns the name with at most longestLabel letters.
func cut(name string) string {
	if utf8.RuneCountInString(name) <= longestLabel {
		return name
	}
	letters := []rune(name)
	return string(letters[:longestLabel-1-cutTail]) + "…" + string(letters[len(letters)-cutTail:])
}

// LabelX returns where the label of a mark on the circle begins, or ends if it is at the left.
func (m Mark) LabelX() float64 {
	at := float64(labelAt)
	if m.Group() {
		at = groupLabelAt
	}
	if m.Left {
		return -at
	}
	return at
}

// widthOf returns the width of the label, rather too large.
func widthOf(label string) (w float64) {
	for _, r := range label {
		if r >= 0x1100 {
			w += wideLetter
		} else {
			w += letter
		}
	}
	return w
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

// place sets the places of all marks around 0, 0.
func (p *plan) place() {
	var circle []*Mark // nil: an empty place between two groups
	middle := make([]float64, len(p.gateways))
	groups := 0
	for _, marks := range p.around {
		if len(marks) > 0 {
			groups++
		}
	}
	for i, marks := range p.around {
		if i < len(p.gateways) {
			middle[i] = float64(len(circle)) + float64(len(marks)-1)/2
		}
		circle = append(circle, marks...)
		if len(marks) == 0 && i < len(p.gateways) || groups > 1 && len(marks) > 0 {
			circle = append(circle, nil)
		}
	}
	inner := p.placeGateways(p.turn(middle, len(circle)))
	if len(circle) == 0 {
		return
	}
	level := len(circle) <= mostLevel
	for r := inner + 80; ; r += step {
		for i, m := range circle {
			if m != nil {
				m.putOnCircle(r, angle(float64(i), len(circle)), level)
			}
		}
		if !p.covered(circle) {
			return
		}
	}
}

// angle returns the angle of a place on a circle of n places, beginning at the top.
func angle(place float64, n int) float64 { return 2*math.Pi*place/float64(max(n, 1)) - math.Pi/2 }

// turn returns by how much to turn the circle of gateways so that each is near the middle of its nodes.
func (p *plan) turn(middle []float64, places int) float64 {
	var x, y float64
	for i, m := range middle {
		d := angle(m, places) - angle(float64(i), len(middle))
		x, y = x+math.Cos(d), y+math.Sin(d)
	}
	return math.Atan2(y, x)
}

// placeGateways puts the gateways on the smallest circle on which none covers another one, and returns
// its radius.
func (p *plan) placeGateways(turn float64) (r float64) {
	if len(p.gateways) > 1 {
		r = 56
	}
	for ; ; r += step {
		for i, m := range p.gateways {
			a := angle(float64(i), len(p.gateways)) + turn
			m.X, m.Y, m.Below = r*math.Cos(a), r*math.Sin(a), true
		}
		if !anyCovered(p.gateways, nil) {
			return r
		}
	}
}

// putOnCircle sets the place of a mark and of its label, which points away from the middle.
func (m *Mark) putOnCircle(r, a float64, level bool) {
	m.X, m.Y = r*math.Cos(a), r*math.Sin(a)
	m.Left = math.Cos(a) < -1e-9
	m.Turn = 0
	if !level {
		m.Turn = round(a * 180 / math.Pi)
		if m.Left {
			m.Turn += 180
		}
		m.Turn = math.Mod(m.Turn, 360)
	}
}

// covered reports whether a mark on the circle covers another one or a gateway.
func (p *plan) covered(circle []*Mark) bool {
	var marks []*Mark
	for _, m := range circle {
		if m != nil {
			marks = append(marks, m)
		}
	}
	return anyCovered(marks, p.gateways)
}

// anyCovered reports whether one of marks covers another one, or one of others.
func anyCovered(marks, others []*Mark) bool {
	shapes := make([]shape, 0, len(marks)+len(others))
	for _, m := range marks {
		shapes = append(shapes, m.shape())
	}
	for _, m := range others {
		shapes = append(shapes, m.shape())
	}
	for i := range marks {
		for j := i + 1; j < len(shapes); j++ {
			if shapes[i].meets(shapes[j]) {
				return true
			}
		}
	}
	return false
}
