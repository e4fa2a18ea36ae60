package emqxtest

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

const sharePrefix = "$share/"

// inboxOf returns the session of a superuser, creating it if needed.
func (b *broker) inboxOf(cl *mqtt.Client, s *session, fresh bool) *inbox {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.inboxes[cl.ID]
	if i == nil || fresh {
		i = &inbox{
			clientID: cl.ID, username: s.username, done: b.done, zone: b.zone(cl),
			wake: make(chan struct{}, 1), inflight: make(map[uint16]packets.Packet),
		}
		i.kill = func() { b.discard(i.clientID) }
		b.inboxes[cl.ID] = i
		go i.run()
	}
	return i
}

func (b *broker) inbox(clientID string) *inbox {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inboxes[clientID]
}

func (b *broker) zone(cl *mqtt.Client) Zone {
	c := b.emqx.config()
	if cl.Net.Listener == ownListener {
		return c.OwnZone
	}
	return c.Zone
}

// joined records the order of the members of a shared filter: EMQX picks by position.
func (b *broker) joined(clientID, filter string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.members[filter], clientID) {
		b.members[filter] = append(b.members[filter], clientID)
	}
}

// leave drops the session of a superuser. It returns the messages that an ended session passes on:
// those of QoS 1 in flight, then the queue.
func (b *broker) leave(clientID string) (left []packets.Packet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.inboxes[clientID]; i != nil {
		delete(b.inboxes, clientID)
		i.mu.Lock()
		left = slices.Concat(i.unacknowledged(), i.queue, i.mailbox)
		i.dead, i.mailbox, i.queue, i.cl = true, nil, nil, nil
		clear(i.inflight)
		i.mu.Unlock()
	}
	for filter, ids := range b.members {
		b.members[filter] = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == clientID })
	}
	return left
}

// expire ends a session as its expiry does. EMQX gives what waited in it to the others of its group; it
// does not when the session was taken over, kicked or killed.
func (b *broker) expire(clientID string) {
	defer b.holdOff(clientID)()
	cl, ok := b.server.Clients.Get(clientID)
	if ok {
		cl.Stop(packets.ErrUnspecifiedError)
		b.awaitEnd(cl)
	}
	left := b.leave(clientID)
	if ok {
		b.server.UnsubscribeClient(cl)
		if now, ok := b.server.Clients.Get(clientID); ok && now == cl {
			b.server.Clients.Delete(clientID)
		}
	}
	for _, pk := range left {
		b.redispatch(pk)
	}
}

// holdOff lets the client wait with its next connection until the function that it returns is called:
// otherwise it could still take over the session that is being ended.
func (b *broker) holdOff(clientID string) (release func()) {
	gone := make(chan struct{})
	b.mu.Lock()
	b.kicks[clientID] = gone
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		if b.kicks[clientID] == gone {
			delete(b.kicks, clientID)
		}
		b.mu.Unlock()
		close(gone)
	}
}

// discard ends a session as force_shutdown does, with all its waiting messages.
func (b *broker) discard(clientID string) {
	defer b.holdOff(clientID)()
	b.leave(clientID)
	cl, ok := b.server.Clients.Get(clientID)
	if !ok {
		return
	}
	cl.Stop(packets.ErrQuotaExceeded)
	b.awaitEnd(cl)
	b.server.UnsubscribeClient(cl)
	if now, ok := b.server.Clients.Get(clientID); ok && now == cl {
		b.server.Clients.Delete(clientID)
	}
}

// spread delivers a message to the superusers' sessions, and returns the number of sessions, of any
// client, that are subscribed.
func (b *broker) spread(from string, pk packets.Packet) int {
	pk.Origin = from
	subs := b.server.Topics.Subscribers(pk.TopicName)
	count := len(subs.Subscriptions)
	for id, sub := range subs.Subscriptions {
		b.deliver(id, "", sub, pk)
	}
	for filter, members := range subs.Shared {
		id := b.pick(filter, from, pk.TopicName, members)
		if id == "" {
			continue
		}
		count++
		b.deliver(id, filter, members[id], pk)
	}
	return count
}

// deliver gives the session a message, of the group of the shared filter if there is one.
func (b *broker) deliver(id, filter string, sub packets.Subscription, pk packets.Packet) {
	i := b.inbox(id)
	if i == nil {
		return // mochi delivers
	}
	out := pk.Copy(false)
	out.FixedHeader.Retain, out.FixedHeader.Dup = false, false
	out.FixedHeader.Qos = min(pk.FixedHeader.Qos, sub.Qos)
	out.Filters = nil
	if filter != "" {
		out.Filters = packets.Subscriptions{{Filter: filter}} // which PUBLISH does not have, for redispatch
	}
	i.put(out)
}

// redispatch gives a message that waited in an ended session to another member of its group. Without
// one it is lost.
func (b *broker) redispatch(pk packets.Packet) {
	if len(pk.Filters) == 0 {
		return
	}
	filter := pk.Filters[0].Filter
	members := b.server.Topics.Subscribers(pk.TopicName).Shared[filter]
	if id := b.pick(filter, pk.Origin, pk.TopicName, members); id != "" {
		b.deliver(id, filter, members[id], pk)
	}
}

// pick chooses the member of a group that gets a message.
func (b *broker) pick(filter, from, topic string, members map[string]packets.Subscription) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []string
	for _, id := range b.members[filter] {
		if _, ok := members[id]; ok {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	hash := func(s string) int {
		h := fnv.New32a()
		_, _ = h.Write([]byte(s))
		return int(h.Sum32() % uint32(len(ids))) //nolint:gosec // few
	}
	switch b.emqx.config().ShareStrategy {
	case "hash_clientid":
		return ids[hash(from)]
	case "hash_topic":
		return ids[hash(topic)]
	case "sticky":
		if id, ok := b.stuck[from+" "+filter]; ok && slices.Contains(ids, id) {
			return id
		}
		id := ids[rand.IntN(len(ids))] //nolint:gosec // no secret
		b.stuck[from+" "+filter] = id
		return id
	case "round_robin", "round_robin_per_group", "":
		b.turn++
		return ids[b.turn%len(ids)]
	}
	return ids[rand.IntN(len(ids))] //nolint:gosec // random, local
}

// delay delays a message of $delayed/N/topic, and reports whether it was one.
func (b *broker) delay(from string, pk packets.Packet) bool {
	rest, ok := strings.CutPrefix(pk.TopicName, "$delayed/")
	if !ok || !b.emqx.config().Delayed {
		return false
	}
	seconds, topic, ok := strings.Cut(rest, "/")
	n, err := strconv.Atoi(seconds)
	if !ok || err != nil {
		return false
	}
	id := b.emqx.hold(from, topic)
	time.AfterFunc(time.Duration(n)*time.Second, func() {
		if !b.emqx.release(id) {
			return
		}
		select {
		case <-b.done:
		default:
			_ = b.server.Publish(topic, pk.Payload, false, pk.FixedHeader.Qos)
		}
	})
	return true
}
