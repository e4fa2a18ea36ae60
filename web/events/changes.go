package events

import (
	"errors"

	"wfm/store"
	"wfm/web/view"
)

// eventsOf turns committed changes into events with the current content of the store. It also
// returns the meshes whose overview has changed. A deleted object makes no event of its own.
func (s *Streams) eventsOf(changes []store.Change) (events []event, configs configChanges, err error) {
	r := changeReader{s: s, told: make(map[string]bool), configs: configChanges{}}
	if s.Count() > 0 {
		mqtt := s.reader.MQTTService()
		r.mqtt = &mqtt
	}
	err = s.db.View(func(tx *store.Tx) error {
		for _, c := range changes {
			if err := r.read(tx, c); err != nil && !gone(err) {
				return err
			}
		}
		return nil
	})
	return r.events, r.configs, err
}

// changeReader makes the events of several changes with one read of the store.
type changeReader struct {
	s       *Streams
	mqtt    *view.MQTTService // nil if there are no streams
	told    map[string]bool   // rollouts and nodes that already have an event
	events  []event
	configs configChanges
}

func (r *changeReader) add(name string, payload any) {
	r.events = append(r.events, event{name, payload})
}

// once reports whether the thing has no event yet. Events have the present state, so one is enough
// for several changes.
func (r *changeReader) once(thing string) bool {
	again := r.told[thing]
	r.told[thing] = true
	return !again
}

func (r *changeReader) read(tx *store.Tx, c store.Change) error {
	ref := nodeRef{c.ConfigID, c.NodeID}
	switch c.Kind {
	case store.ChangeConfig:
		r.add(eventConfigList, configRef{c.ConfigID})
		r.configs.add(c.ConfigID, false)
	case store.ChangeNode:
		r.add(eventNode, ref)
		r.configs.add(c.ConfigID, true)
	case store.ChangeApply:
		r.add(eventApply, ref)
		r.configs.add(c.ConfigID, false)
	case store.ChangeMesh:
		r.configs.add(c.ConfigID, false)
	case store.ChangePresence:
		r.configs.add(c.ConfigID, false)
		return r.readStatus(tx, ref)
	case store.ChangeCommand:
		cmd, err := tx.Command(c.RequestID)
		if err != nil {
			return err
		}
		name := eventLogUpdated
		if c.Created {
			name = eventLogCreated
		}
		r.add(name, logPayload{ref, view.LogOf(cmd)})
	case store.ChangeRollout:
		rollout, err := tx.Rollout(c.RolloutID)
		if err == nil && r.once(c.RolloutID) {
			r.add(eventRollout, rolloutPayload{configRef{c.ConfigID}, view.RolloutOf(rollout)})
		}
		return err
	case store.ChangeSettings:
		r.add(eventSettings, struct{}{})
	case store.ChangeEvidence, store.ChangeJournal:
		// A heartbeat changes nothing that is shown.
	}
	return nil
}

// readStatus adds the status of the node. Without streams it is left out: a client that resumes
// reads it again.
func (r *changeReader) readStatus(tx *store.Tx, ref nodeRef) error {
	if !r.once(ref.NodeID) {
		return nil
	}
	if r.mqtt == nil {
		r.add(eventStatus, statusPayload{nodeRef: ref})
		return nil
	}
	f, err := r.s.reader.NodeFacts(tx, ref.NodeID)
	if err != nil {
		return err
	}
	v, err := r.s.reader.Status(tx, f, *r.mqtt)
	if err != nil {
		return err
	}
	r.add(eventStatus, statusPayload{ref, &v})
	return nil
}

func gone(err error) bool {
	return errors.Is(err, store.ErrConfigNotFound) || errors.Is(err, store.ErrNodeNotFound) ||
		errors.Is(err, store.ErrCommandNotFound) || errors.Is(err, store.ErrRolloutNotFound)
}
