package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"
)

// Errors about the file.
var (
	// ErrInUse is returned by Open if another process holds the file.
	ErrInUse = errors.New("another process is using the data file; stop it, or choose another data directory")
	// ErrNewer is returned by Open if a newer version of the program wrote the file.
	ErrNewer = errors.New("the data file was written by a newer version; run that version, or restore a backup")
	// ErrDamaged is returned by Open if the file is not one of ours, and by View and Update once
	// they, or the check of all pages, find data that makes no sense. Nothing is written after
	// that.
	ErrDamaged = errors.New("the data file is damaged or not a WFM data file; restore a backup, or move it away to start with an empty one")
	// ErrFull is returned by Update if the disk is full or the file has reached its size limit.
	// Nothing was changed.
	ErrFull = errors.New("no space left for the data file; free some space on its disk")
	// ErrReadOnly is returned by Open and Update if the file cannot be written. Nothing was
	// changed.
	ErrReadOnly = errors.New("the data file cannot be written; check the directory's permissions and that its disk is not mounted read-only")
	// ErrDisk is returned by Open, Update and Backup if the disk reports an error. Nothing was
	// acknowledged.
	ErrDisk = errors.New("the disk of the data file reports an error; look at the system's log, and save a backup to another disk")
	// ErrHangs is returned by [DB.WriteError] while one write takes longer than 10 s.
	ErrHangs = errors.New("the disk of the data file does not answer; look at the system's log")
	// ErrMoved is returned by View and Update once the data file was moved, removed, replaced,
	// overwritten or cut while it was open. Nothing is written after that.
	ErrMoved = errors.New("the data file was moved, replaced or cut while the appliance runs; put it, or a backup, in its place and restart the appliance")
	// ErrClosed is returned after Close was called.
	ErrClosed = errors.New("the store is closed")
	// ErrPanic is returned by Update if the function panicked. Nothing was changed.
	ErrPanic = errors.New("internal error in a transaction")
)

// Errors about records.
var (
	// ErrConfigNotFound is returned if no config has the id.
	ErrConfigNotFound = errors.New("config not found")
	// ErrNodeNotFound is returned if no node has the id.
	ErrNodeNotFound = errors.New("node not found")
	// ErrConfigNameExists is returned if another config has the name.
	ErrConfigNameExists = errors.New("a config with this name exists")
	// ErrNodeNameExists is returned if another node of the config has the name.
	ErrNodeNameExists = errors.New("a node with this name exists in this config")
	// ErrCommandNotFound is returned if no command has the request id.
	ErrCommandNotFound = errors.New("command not found")
	// ErrCommandEnded is returned for a change of a command that has ended.
	ErrCommandEnded = errors.New("command has ended")
	// ErrConfVersionNotFound is returned if the node's config never had the version, or the version
	// was removed to make room for newer ones.
	ErrConfVersionNotFound = errors.New("config version not found")
	// ErrTokenInvalid is returned for a bind token that was never issued or was invalidated.
	ErrTokenInvalid = errors.New("bind token is not valid")
	// ErrTokenUsed is returned for a bind token that was already spent.
	ErrTokenUsed = errors.New("bind token was used already")
	// ErrTokenExpired is returned for a bind token that has expired.
	ErrTokenExpired = errors.New("bind token has expired")
	// ErrNodeStatic is returned if an operation that needs an agent is asked of a static node.
	ErrNodeStatic = errors.New("node is static: it has no agent")
	// ErrNodeDisabled is returned if the node or its config is disabled.
	ErrNodeDisabled = errors.New("node or its config is disabled")
	// ErrTunnelRuns is returned by PutNode for another interface name while the node's last report
	// says that the tunnel runs: afterwards it could not be stopped under its old name.
	ErrTunnelRuns = errors.New("the tunnel runs under its present interface name")
	// ErrAdminExists is returned by CreateAdmin if the account exists.
	ErrAdminExists = errors.New("the admin account exists already")
	// ErrNoAdmin is returned if the admin account is not set up yet.
	ErrNoAdmin = errors.New("the admin account is not set up")
	// ErrSessionNotFound is returned if no admin session has the id.
	ErrSessionNotFound = errors.New("session not found")
	// ErrTokenNotFound is returned if no API token has the id.
	ErrTokenNotFound = errors.New("API token not found")
	// ErrTokenNameExists is returned if another API token has the name.
	ErrTokenNameExists = errors.New("an API token with this name exists")
	// ErrTooManyTokens is returned if the maximum number of API tokens exists.
	ErrTooManyTokens = errors.New("too many API tokens")
)

// Errors about tags.
var (
	// ErrTagNotFound is returned if neither the config nor any of its nodes has the tag.
	ErrTagNotFound = errors.New("tag not found")
	// ErrTooManyTags is returned for a tag beyond those that a config keeps.
	ErrTooManyTags = errors.New("the config keeps too many tags")
	// ErrNodeTags is returned for a tag beyond those that a node can have.
	ErrNodeTags = errors.New("the node has too many tags")
)

// Errors about the mesh.
var (
	// ErrLinkNotFound is returned if no link has the id.
	ErrLinkNotFound = errors.New("link not found")
	// ErrLinkExists is returned for an enabled link of two nodes that have an enabled one.
	ErrLinkExists = errors.New("the two nodes have an enabled link already")
	// ErrLinkEnds is returned for a link whose directions are not between the same two different nodes
	// of its config, and for a change of these nodes.
	ErrLinkEnds = errors.New("the two directions of a link join two different nodes of its mesh, which never change")
	// ErrForwardNotFound is returned if no port forward has the id.
	ErrForwardNotFound = errors.New("port forward not found")
	// ErrForwardExists is returned for an enabled port forward whose entry forwards the port already.
	ErrForwardExists = errors.New("the entry node forwards this port already")
	// ErrForwardEnds is returned for a port forward that is not between two different nodes of its
	// config, and for a change of these nodes.
	ErrForwardEnds = errors.New("a port forward leads from one node to another one of its mesh, which never change")
	// ErrAddressTaken is returned by PutNode if another node of the config has one of the addresses.
	ErrAddressTaken = errors.New("another node of the mesh has this address")
	// ErrKeyTaken is returned by PutNode if another node of the config has the public key.
	ErrKeyTaken = errors.New("another node of the mesh has this key")
)

// Errors about rollouts.
var (
	// ErrRolloutNotFound is returned if no rollout has the id.
	ErrRolloutNotFound = errors.New("rollout not found")
	// ErrRolloutNodeDecided is returned for a change of a node whose outcome is final.
	ErrRolloutNodeDecided = errors.New("the node's outcome is final")
)

// Unwritable reports whether err says that the disk currently takes no writes, which may pass.
func Unwritable(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrReadOnly) || errors.Is(err, ErrDisk)
}

// diskError maps the errors of bbolt and the system that an operator can act on to our sentinels,
// and returns others unchanged.
func diskError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrInUse
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen), errors.Is(err, fs.ErrClosed):
		return ErrClosed
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch), strings.Contains(err.Error(), "file size too small"):
		return damaged(err)
	case isAny(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG), errors.Is(err, bolterrors.ErrMaxSizeReached):
		return fmt.Errorf("%w (%w)", ErrFull, err)
	case isAny(err, syscall.EROFS), errors.Is(err, fs.ErrPermission), errors.Is(err, bolterrors.ErrDatabaseReadOnly):
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	case isAny(err, syscall.EIO, syscall.ENXIO, syscall.ENODEV, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EREMOTEIO):
		return fmt.Errorf("%w (%w)", ErrDisk, err)
	}
	return err
}

// isAny reports whether err is one of the system's errors. bbolt passes some on as text only.
func isAny(err error, errnos ...syscall.Errno) bool {
	for _, errno := range errnos {
		if errors.Is(err, errno) || strings.HasSuffix(err.Error(), ": "+errno.Error()) {
			return true
		}
	}
	return false
}
