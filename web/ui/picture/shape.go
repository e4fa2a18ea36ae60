package picture

import "math"

// point is a point of the plane.
type point struct{ x, y float64 }

// shape is the rectangle around a mark and its label: four corners, one after the other.
type shape [4]point

func (m *Mark) shape() shape {
	w := widthOf(m.Label)
	radius := float64(markRadius)
	if m.Group() {
		radius = groupRadius
	}
	left, top, right, bottom := -radius, -radius, radius, radius
	switch {
	case m.Below:
		half := max(gatewayRadius, w/2)
		left, top, right, bottom = -half, -gatewayRadius, half, labelBelow+labelHeight/2
	case m.Left:
		left = m.LabelX() - w
	default:
		right = m.LabelX() + w
	}
	sin, cos := math.Sincos(m.Turn * math.Pi / 180)
	var s shape
	for i, c := range []point{{left, top}, {right, top}, {right, bottom}, {left, bottom}} {
		s[i] = point{m.X + c.x*cos - c.y*sin, m.Y + c.x*sin + c.y*cos}
	}
	return s
}

// meets reports whether the rectangles have a point in common: no side of one of them parts them.
func (s shape) meets(t shape) bool {
	for _, sides := range []shape{s, t} {
		for i := range 2 {
			a, b := sides[i], sides[i+1]
			axis := point{b.x - a.x, b.y - a.y}
			sMin, sMax := s.along(axis)
			tMin, tMax := t.along(axis)
			if sMax <= tMin || tMax <= sMin {
				return false
			}
		}
	}
	return true
}

// along returns the extent of the rectangle along the axis.
func (s shape) along(axis point) (least, most float64) {
	least, most = math.Inf(1), math.Inf(-1)
	for _, c := range s {
		d := c.x*axis.x + c.y*axis.y
		least, most = min(least, d), max(most, d)
	}
	return least, most
}

// edges are those of a picture.
type edges struct{ left, top, right, bottom float64 }

func (e edges) width() float64  { return round(e.right - e.left) }
func (e edges) height() float64 { return round(e.bottom - e.top) }

// frame returns the edges around the marks.
func frame(marks []*Mark) edges {
	if len(marks) == 0 {
		return edges{}
	}
	e := edges{math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)}
	for _, m := range marks {
		for _, c := range m.shape() {
			e.left, e.right = min(e.left, c.x), max(e.right, c.x)
			e.top, e.bottom = min(e.top, c.y), max(e.bottom, c.y)
		}
	}
	return edges{e.left - margin, e.top - margin, e.right + margin, e.bottom + margin}
}
