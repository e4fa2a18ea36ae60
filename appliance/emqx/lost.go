package emqx

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"wfm/protocol"
	"wfm/store"
)

const (
	// askPause is the time between two nodes that are asked after a loss: 100 a second.
	askPause = 10 * time.Millisecond
	// sourcePause is the time between two checks whether EMQX can ask the appliance again. EMQX
	// itself tries every 15 s.
	sourcePause = 2 * time.Second
	// sourceLimit bounds those checks after a connection has come up.
	sourceLimit = 2 * time.Minute

	eventSessionLost = "mqtt_session_lost"
)

// sessionMissing records that EMQX has no session of the client id. If it had one, the messages
// waiting in it are lost, although their nodes have an acknowledgement.
func (b *Broker) sessionMissing(l *link) {
	held, err := store.Read(b.o.Store, func(tx *store.Tx) (bool, error) { return tx.BrokerSession(l.number) })
	if err != nil || !held {
		return // the first session, or one that took no messages
	}
	b.mu.Lock()
	b.missed++
	b.lostAt = time.Now()
	b.mu.Unlock()
	select {
	case b.repair <- struct{}{}:
	default:
	}
}

// runRepairs restores the known state after sessions were lost. Several losses at once, as when
// EMQX restarts, count as one.
func (b *Broker) runRepairs() {
	for {
		select {
		case <-b.repair:
		case <-b.life.Done():
			return
		}
		b.log.Error("EMQX dropped the appliance's session: messages that nodes believe delivered may be lost, in unknown number; "+
			"every connected node is asked for its state", "client_id_of", b.o.Username)
		if !b.awaitListing() {
			return
		}
		select { // of the same loss
		case <-b.repair:
		default:
		}
		b.askAll()
	}
}

// awaitListing waits until the connected clients are known and all shares are up, within a limit.
// It returns false if the broker ends first.
func (b *Broker) awaitListing() bool {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	limit := time.Now().Add(time.Minute)
	for {
		s := b.Status()
		b.mu.Lock()
		listed := b.epoch != nil && b.epoch.listed
		b.mu.Unlock()
		if (listed && (s.Shares == s.SharesMost || s.Plain)) || time.Now().After(limit) {
			return true
		}
		select {
		case <-ticks.C:
		case <-b.life.Done():
			return false
		}
	}
}

// askAll records the loss in the journal of every connected node and asks each for its state, one
// after the other.
func (b *Broker) askAll() {
	b.mu.Lock()
	nodes := slices.Sorted(maps.Keys(b.sessions))
	b.mu.Unlock()
	pause := time.NewTicker(askPause)
	defer pause.Stop()
	asked := 0
	for batch := range slices.Chunk(nodes, 500) {
		err := b.o.Store.Update(func(tx *store.Tx) error {
			for _, id := range batch {
				if err := tx.Note(id, store.JournalEntry{
					Level: "warning", Event: eventSessionLost,
					Message: "EMQX dropped the appliance's session: messages of this node may be lost; the node is asked for its state",
				}); err != nil && !errors.Is(err, store.ErrNodeNotFound) {
					return err
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, store.ErrClosed) {
			b.log.Error("cannot note the loss in the nodes' journals", "err", err)
		}
		for _, id := range batch {
			select {
			case <-pause.C:
			case <-b.life.Done():
				return
			}
			if b.o.Ask == nil || !b.Ready(protocol.Topic{NodeID: id}) {
				continue
			}
			if err := b.o.Ask(b.life, id); err != nil {
				b.log.Debug("a node cannot be asked for its state", "node_id", id, "err", err)
				continue
			}
			asked++
		}
	}
	b.log.Info("the connected nodes were asked for their state", "nodes", asked)
}

// forgetDenials makes EMQX forget the answers it made up while it could not ask the appliance: it
// caches such a denial like any other. It clears the caches again a little later, and once more
// after EMQX has checked again whether it reaches the appliance: the first questions after an
// outage may still fail, over old connections of EMQX to the appliance.
func (b *Broker) forgetDenials(ctx context.Context) {
	b.forgetDenialsOnce(ctx)
	for _, pause := range clearAgain {
		select {
		case <-time.After(pause):
			b.forgetDenialsOnce(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// clearAgain are the pauses before the caches are cleared again.
var clearAgain = []time.Duration{3 * time.Second, 16 * time.Second}

// forgetDenialsOnce waits until EMQX can ask the appliance, and clears its caches.
func (b *Broker) forgetDenialsOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sourceLimit)
	defer cancel()
	ticks := time.NewTicker(sourcePause)
	defer ticks.Stop()
	for cleared := false; ; {
		able, err := b.o.API.canAsk(ctx)
		if err == nil && able || isStatus(err, 404) {
			err = b.o.API.clearAllCaches(ctx)
			if err == nil {
				return
			}
		} else if !cleared && err == nil {
			cleared = b.o.API.clearAllCaches(ctx) == nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}
