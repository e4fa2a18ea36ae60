package emqx

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Version is a release of EMQX. All differences between releases stand here.
type Version struct {
	Major, Minor, Patch int
	patched             bool // the patch was given
}

// DefaultVersion is the release that the configuration is for by default. It was tested with it.
var DefaultVersion = Version{5, 8, 9, true}

// Versions lists the releases that [ParseVersion] accepts.
const Versions = "5.5 to 5.10 and 6.0 to 6.3"

var versionForm = regexp.MustCompile(`^[ev]?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?:[-+].*)?$`)

// ParseVersion parses a release as in 5.8.9 or 6.1. It refuses releases whose configuration is
// unknown.
func ParseVersion(text string) (v Version, err error) {
	parts := versionForm.FindStringSubmatch(strings.TrimSpace(text))
	if parts == nil {
		return v, fmt.Errorf("want a version of EMQX as in 5.8.9 or 6.1; known are %s", Versions)
	}
	v.Major, _ = strconv.Atoi(parts[1])
	v.Minor, _ = strconv.Atoi(parts[2])
	if v.patched = parts[3] != ""; v.patched {
		v.Patch, _ = strconv.Atoi(parts[3])
	}
	switch {
	case !v.known():
		return v, fmt.Errorf("no configuration is known for EMQX %s; known are %s", v, Versions)
	case v.Major == 5 && v.Minor == 8 && !v.patched:
		return v, fmt.Errorf("EMQX 5.8 reads etc/base.hocon from 5.8.4 on, and not before: give the version with its patch, as in 5.8.9")
	}
	return v, nil
}

func (v Version) known() bool {
	return (v.Major == 5 && v.Minor >= 5 && v.Minor <= 10) || (v.Major == 6 && v.Minor <= 3)
}

// since5 reports whether the release is 5.minor.patch or a later one.
func (v Version) since5(minor, patch int) bool {
	switch {
	case v.Major != 5:
		return v.Major > 5
	case v.Minor != minor:
		return v.Minor > minor
	}
	return v.Patch >= patch
}

// BaseFile reports whether the release reads etc/base.hocon. An older one ignores the file
// silently, and lets anyone log in and do everything.
func (v Version) BaseFile() bool { return v.since5(8, 4) }

// NodeCache reports whether the release has a cache of permissions that a kick does not clear.
func (v Version) NodeCache() bool { return v.since5(9, 0) }

// ExpireAt reports whether sessions end at the time in the appliance's answer to their login.
func (v Version) ExpireAt() bool { return v.since5(7, 0) }

// ImportAnswers reports whether the answer to an import of users has the number of failures.
func (v Version) ImportAnswers() bool { return v.since5(8, 2) }

func (v Version) String() string {
	if v.patched {
		return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	}
	return fmt.Sprintf("%d.%d", v.Major, v.Minor)
}
