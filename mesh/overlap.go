package mesh

import (
	"net/netip"

	"wfm/store"
)

// TakenSubnets returns the subnets of all other meshes.
func TakenSubnets(tx *store.Tx, configID string) ([]Taken, error) {
	configs, err := tx.Configs("", 0)
	if err != nil {
		return nil, err
	}
	var all []Taken
	for _, c := range configs {
		if c.ID == configID {
			continue
		}
		for _, s := range subnetsOf(c) {
			all = append(all, Taken{s, "the mesh " + c.Name})
		}
	}
	return all, nil
}

// checkOverlap checks that the subnets of the mesh overlap none of another mesh: a node of both, or the
// appliance's own way to them, could not tell them apart. Error: an [*Error].
func checkOverlap(tx *store.Tx, c store.Config) error {
	configs, err := tx.Configs("", 0)
	if err != nil {
		return err
	}
	for _, other := range configs {
		if other.ID == c.ID {
			continue
		}
		for _, own := range []struct {
			field  string
			subnet netip.Prefix
		}{{"virtual_subnet", c.VirtualSubnet}, {"virtual_subnet6", c.VirtualSubnet6}} {
			for _, theirs := range subnetsOf(other) {
				if own.subnet.IsValid() && own.subnet.Overlaps(theirs) {
					return refuse(CodeInvalidSubnet, "%s %s overlaps %s of the mesh %s; choose another network.",
						own.field, own.subnet, theirs, other.Name)
				}
			}
		}
	}
	return nil
}
