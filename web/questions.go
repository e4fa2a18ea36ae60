package web

import (
	"net/http"
	"sync"
	"time"

	"wfm/internal/emqxcall"
	"wfm/web/wire"
)

// QuestionsStatus tells of the questions about MQTT access that an EMQX has asked since the start.
type QuestionsStatus struct {
	// Allowed, Denied and Ignored count answers; ignored are logins of users that are not ours.
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
	Ignored uint64 `json:"ignored"`
	// WrongKey counts questions with another key than WFM_EMQX_AUTHZ_SHARED_KEY, which get no answer.
	WrongKey uint64 `json:"wrong_key"`
	// LastAskedAt and LastAskedFrom are of the last question with the right key; the address is that of the
	// connection. LastDeniedAt is of the last one that was denied.
	LastAskedAt   *time.Time `json:"last_asked_at"`
	LastAskedFrom string     `json:"last_asked_from"`
	LastDeniedAt  *time.Time `json:"last_denied_at"`
}

// questions counts what is asked.
type questions struct {
	mu     sync.Mutex
	status QuestionsStatus
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

// status is nil where no questions are answered.
func (s *callbacks) status() *QuestionsStatus {
	if s.own == nil {
		return nil
	}
	s.questions.mu.Lock()
	defer s.questions.mu.Unlock()
	status := s.questions.status
	return &status
}
