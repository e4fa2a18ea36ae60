package tunnel

import "errors"

var (
	// ErrNoDesiredConfig is returned if the node has no desired config to stage.
	ErrNoDesiredConfig = errors.New("no config is desired for this node")
	// ErrNoStagedConfig is returned for a push while no config is staged.
	ErrNoStagedConfig = errors.New("no config is staged for this node")
	// ErrStagedOutdated is returned for a push of a config that was staged for the tools of another
	// tunnel protocol.
	ErrStagedOutdated = errors.New("the staged config was checked for another tunnel protocol")
	// ErrStagedChanged is returned for a push of a version that is no longer the staged one.
	ErrStagedChanged = errors.New("another version is staged by now")
	// ErrVersionBehind is returned for a version older than the staged one.
	ErrVersionBehind = errors.New("the version is older than the one that is staged")
	// ErrUnsettled is returned if the node's config or mesh changed during every check.
	ErrUnsettled = errors.New("the config or its mesh is being changed at this moment")
	// ErrNothingToStart is returned for a start of a node that never confirmed a config, if its agent
	// would start an empty tunnel instead of refusing.
	ErrNothingToStart = errors.New("no config was ever confirmed for this node")
)
