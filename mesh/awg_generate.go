package mesh

import (
	"cmp"
	"io"

	"wfm/store"
)

// AWGQuery asks for new values of AmneziaWG.
type AWGQuery struct {
	Version   string // empty: 2.0
	Disguise  Disguise
	Intensity Intensity
	// Mesh and Nodes have the present values. Their options are kept, and so is the header protection
	// key: a new one is for a key that others may have seen.
	Mesh      store.AWGMesh
	Nodes     []store.AWGNode
	NodesOnly bool // the values of the mesh stay
}

// AWGValues are the answer to an [AWGQuery], with the nodes in its order.
type AWGValues struct {
	Mesh  store.AWGMesh
	Nodes []store.AWGNode
}

// GenerateAWG returns new values of AmneziaWG for a mesh and its nodes. Values that the version does
// not know are left out. Error: an [*Error] for an unknown version, disguise or intensity.
func GenerateAWG(q AWGQuery, random io.Reader) (AWGValues, error) {
	switch q.Version {
	case "":
		q.Version = awg20
	case awg15, awg20, awg31:
	default:
		return AWGValues{}, refuse(CodeInvalidAWG, "awg_version %q is unknown; give 1.5, 2.0 or 3.1.", q.Version)
	}
	v := AWGValues{Mesh: q.Mesh, Nodes: make([]store.AWGNode, len(q.Nodes))}
	// Also without nodes, to check the disguise and the intensity.
	for i := range max(1, len(q.Nodes)) {
		made, err := NewAWGNode(q.Disguise, q.Intensity, random)
		if err != nil {
			return AWGValues{}, err
		}
		if i < len(q.Nodes) {
			v.Nodes[i] = withPackets(q.Nodes[i], made)
		}
	}
	if q.NodesOnly {
		return v, nil
	}
	made, err := newAWG(q.Version, q.Intensity.mostPadding(), random)
	if err != nil {
		return AWGValues{}, err
	}
	v.Mesh = made
	if q.Version == awg31 {
		v.Mesh = withOptions(made, q.Mesh)
	}
	return v, nil
}

// withOptions returns made with the options of former.
func withOptions(made, former store.AWGMesh) store.AWGMesh {
	a := former
	a.S1, a.S2, a.S3, a.S4 = made.S1, made.S2, made.S3, made.S4
	a.H1, a.H2, a.H3, a.H4 = made.H1, made.H2, made.H3, made.H4
	a.HeaderProtectionKey = cmp.Or(former.HeaderProtectionKey, made.HeaderProtectionKey)
	if a.RandomTrailers { // they hide the sizes of packets only where the paddings are equal
		a.S1, a.S2, a.S3 = made.S4, made.S4, made.S4 // S4 is the least
	}
	return a
}

// mostPadding returns the largest padding of the packets of a handshake, in bytes.
func (i Intensity) mostPadding() uint32 {
	switch i {
	case IntensityLow:
		return lowPadding
	case IntensityHigh:
		return highPadding
	default:
		return mostPadding
	}
}
