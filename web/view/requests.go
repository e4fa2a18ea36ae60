package view

import (
	"strings"
	"sync/atomic"
)

// The classes of routes by which requests are counted.
const (
	classAPI = iota
	classPage
	classStream
	classProbe // health checks and metrics
	classCount
)

// ClassNames are the names of the classes of routes.
var ClassNames = [classCount]string{"api", "page", "stream", "probe"}

func classOf(route string) int {
	switch {
	case route == "/metrics", route == "/healthz", route == "/readyz", strings.HasSuffix(route, "/system/health"):
		return classProbe
	case strings.HasSuffix(route, "/events/stream"):
		return classStream
	case strings.HasPrefix(route, "/api/"):
		return classAPI
	}
	return classPage
}

// RequestCounts counts answers by class of route and of status (1xx to 5xx).
type RequestCounts [classCount][6]atomic.Uint64

// Count counts an answer.
func (r *RequestCounts) Count(route string, status int) {
	if status >= 100 && status < 600 {
		r[classOf(route)][status/100].Add(1)
	}
}

// Total is the number of answers.
func (r *RequestCounts) Total() (n uint64) {
	for class := range r {
		for status := range r[class] {
			n += r[class][status].Load()
		}
	}
	return n
}
