package callback

import (
	"net/http"
	"sync"
	"time"

	"wfm/internal/emqxcall"
	"wfm/web/view"
	"wfm/web/wire"
)

// questions counts the questions.
type questions struct {
	mu     sync.Mutex
	status view.QuestionsStatus
}

func (q *questions) wrongKey() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.status.WrongKey++
}

func (q *questions) answered(r *http.Request, v emqxcall.Answer, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.status.LastAskedAt, q.status.LastAskedFrom = &now, wire.RemoteHost(r)
	switch v {
	case deny:
		q.status.Denied++
		q.status.LastDeniedAt = &now
	case ignore:
		q.status.Ignored++
	default:
		q.status.Allowed++
	}
}

// Status returns nil if no questions are answered.
func (a *API) Status() *view.QuestionsStatus {
	if a.Own == nil {
		return nil
	}
	a.questions.mu.Lock()
	defer a.questions.mu.Unlock()
	status := a.questions.status
	return &status
}
