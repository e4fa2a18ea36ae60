//go:build race

package presence

func init() { raceDetector = true }
