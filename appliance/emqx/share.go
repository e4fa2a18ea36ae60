package emqx

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"wfm/protocol"
	"wfm/store"
)

const (
	// shareCount is the number of sessions for nodes' messages. It must not shrink: EMQX keeps
	// giving its part to a session that does not come back.
	shareCount = 4
	// sharePrefix begins the filters of the sessions that share nodes' messages. The printed
	// configuration sets a strategy for its group that sends all of a node's messages to the same
	// session.
	sharePrefix = "$share/wfm/"
)

// ClientIDs returns the client ids of the appliance's sessions at EMQX, the main one's first.
func ClientIDs(base string) []string {
	ids := []string{base}
	for n := range shareCount {
		ids = append(ids, base+"-"+strconv.Itoa(n+1))
	}
	return ids
}

// upstreamFilters returns the filters for all messages of nodes.
func upstreamFilters(prefix string) (filters []string) {
	for _, kind := range protocol.UpstreamKinds() {
		filters = append(filters, prefix+protocol.TopicPrefix+"/+/+/"+string(kind))
	}
	return filters
}

// share subscribes the session to its part of the nodes' messages.
func (l *link) share(cm *autopaho.ConnectionManager, e *epoch) {
	b := l.b
	b.settleWithMain(e)
	timer := time.AfterFunc(settleLimit, e.settle)
	defer func() { timer.Stop(); e.settle() }()
	state := linkUp
	if !b.persist(e, func() error {
		b.sharing.Lock()
		defer b.sharing.Unlock()
		err := subscribe(e.ctx, cm, upstreamFilters(sharePrefix)...)
		if errors.Is(err, errShared) {
			state, err = linkRefused, nil
		}
		return err
	}) {
		return
	}
	b.holds(l.number, state == linkUp)
	l.move(e, state)
	<-e.ctx.Done()
}

// move records the state of a share, unless its connection e has ended meanwhile.
func (l *link) move(e *epoch, state linkState) {
	b := l.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if state != linkDown && e.ctx.Err() != nil {
		return
	}
	l.state = state
	close(b.moved)
	b.moved = make(chan struct{})
}

// settleWithMain settles the epoch of a share once it is known who is connected.
func (b *Broker) settleWithMain(e *epoch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epoch != nil && b.epoch.listed {
		e.settle()
		return
	}
	b.waiting = append(b.waiting, e)
}

// settle settles the epoch of the main connection, and of the shares that waited for it.
func (b *Broker) settle(main *epoch) {
	main.settle()
	b.mu.Lock()
	waiting := b.waiting
	b.waiting = nil
	b.mu.Unlock()
	for _, e := range waiting {
		e.settle()
	}
}

// awaitShares waits until every share takes messages, so that none is published without a
// subscriber. It does not wait for a share that does not come up.
func (b *Broker) awaitShares(e *epoch) {
	limit := time.NewTimer(settleLimit)
	defer limit.Stop()
	for {
		b.mu.Lock()
		moved, missing := b.moved, 0
		for _, l := range b.shares {
			if l.state == linkDown {
				missing++
			}
		}
		b.mu.Unlock()
		if missing == 0 {
			return
		}
		select {
		case <-moved:
		case <-limit.C:
			return
		case <-e.ctx.Done():
			return
		}
	}
}

// usePlain makes the main session take all messages of nodes if EMQX refuses shares. Otherwise it
// unsubscribes from them: the session may be that of an older appliance, which had only this one.
// It returns false if the connection has ended.
func (b *Broker) usePlain(cm *autopaho.ConnectionManager, e *epoch) bool {
	b.mu.Lock()
	refused, up := false, 0
	for _, l := range b.shares {
		refused = refused || l.state == linkRefused
		if l.state == linkUp {
			up++
		}
	}
	b.mu.Unlock()
	switch {
	case refused == e.plain && e.plainKnown:
	case refused:
		if !b.persist(e, func() error { return subscribe(e.ctx, cm, upstreamFilters("")...) }) {
			return false
		}
		b.log.Warn("EMQX accepts no shared subscriptions, so one session takes all messages; set up its listener for the appliance as `wfm emqx config` prints")
		b.holds(0, true)
		e.plain, e.plainKnown = true, true
	case up == shareCount:
		if !b.persist(e, func() error { return unsubscribe(e.ctx, cm, upstreamFilters("")) }) {
			return false
		}
		b.holds(0, false)
		e.plain, e.plainKnown = false, true
	}
	return true
}

func unsubscribe(ctx context.Context, cm *autopaho.ConnectionManager, filters []string) error {
	ctx, cancel := context.WithTimeout(ctx, subscribeLimit)
	defer cancel()
	if _, err := cm.Unsubscribe(ctx, &paho.Unsubscribe{Topics: filters}); err != nil {
		return fmt.Errorf("unsubscribe at EMQX: %w", err)
	}
	return nil
}

// holds records whether the session of that number keeps messages of nodes while we are away.
func (b *Broker) holds(number int, yes bool) {
	err := b.o.Store.Update(func(tx *store.Tx) error { return tx.SetBrokerSession(number, yes) })
	if err != nil && !errors.Is(err, store.ErrClosed) {
		b.log.Error("cannot record which sessions EMQX keeps messages in", "err", err)
	}
}
