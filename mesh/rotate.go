package mesh

import (
	"wfm/store"
)

// RotateKey gives the node, whose private key the appliance has, a new key pair, and returns the node.
// Errors: store.ErrNodeNotFound, and an [*Error] if somebody else has the key.
func (e *Edit) RotateKey(nodeID string) (store.Node, error) {
	n, err := e.Node(nodeID)
	if err != nil {
		return n, err
	}
	switch {
	case n.ConfigSource == store.SourceText:
		return n, refuse(CodeKeyElsewhere, "The tunnel config of %s is written by hand; give it another PrivateKey there.", n.Name)
	case n.KeyHolder == store.KeyAtNode:
		return n, refuse(CodeKeyElsewhere, "The private key of %s is kept on the node, and its agent has to make a new one.", n.Name)
	case n.PrivateKey == "" && n.PublicKey != "":
		return n, refuse(CodeKeyElsewhere, "The device %s made its own keys; make new ones on the device, and give its public_key to the node.", n.Name)
	}
	n.PrivateKey, n.PublicKey = "", ""
	return n, e.PutNode(&n)
}
