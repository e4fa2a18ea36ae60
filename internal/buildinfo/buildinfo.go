package buildinfo

import "runtime/debug"

// version is set by the linker (-X wfm/internal/buildinfo.version=…) in release builds.
var version string

// Version returns the version of this build: the release version if the linker set one, otherwise
// the VCS revision the toolchain recorded, otherwise "dev". It is never empty.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}
