package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"wfm/protocol"
	"wfm/store"
)

// sendOne sends the command. It reports whether the publisher took it.
func (c *Ledger) sendOne(cmd store.Command) bool {
	if !c.publisher.Ready(topicOf(cmd)) {
		return false
	}
	var out *outgoing
	err := c.change(cmd.RequestID, func(tx *store.Tx, cmd *store.Command) (err error) {
		if cmd.State != store.CommandQueued {
			return errNothingToDo
		}
		out, err = c.markSent(tx, cmd)
		return err
	})
	switch {
	case errors.Is(err, errNothingToDo):
		return true
	case errors.Is(err, errEncode):
		c.log.Error("cannot encode a command", "request_id", cmd.RequestID, "err", err)
		return false
	case err != nil:
		c.log.Error("cannot record that a command is sent, so it is not sent; trying again", "request_id", cmd.RequestID, "err", err)
		c.armIn(cmd.RequestID, retryWrite)
		return false
	}
	return out == nil || c.publish(*out)
}

// outgoing is a command to publish once it is on disk as sent.
type outgoing struct {
	requestID string
	topic     protocol.Topic
	message   []byte
	limit     time.Duration
}

func topicOf(cmd store.Command) protocol.Topic {
	return protocol.Topic{ConfigID: cmd.ConfigID, NodeID: cmd.NodeID, Kind: cmd.Kind}
}

var errEncode = errors.New("cannot encode the command")

// markSent marks a queued command as sent and returns the message to publish. If the command must
// not be sent, it ends the command and returns nil. Errors: errEncode, and those of writing.
func (c *Ledger) markSent(tx *store.Tx, cmd *store.Command) (*outgoing, error) {
	if cmd.Attempts >= maxAttempts {
		return nil, c.end(tx, cmd, store.CommandUnknown, fmt.Sprintf("sent %d times without an answer", cmd.Attempts))
	}
	if cmd.Attempts == 0 {
		why, err := outdated(tx, *cmd)
		if err != nil {
			return nil, err
		}
		if why != "" {
			if err := tx.WithdrawWanted(*cmd, false); err != nil {
				return nil, err
			}
			return nil, c.end(tx, cmd, store.CommandCancelled, why)
		}
	}
	out := outgoing{requestID: cmd.RequestID, topic: topicOf(*cmd)}
	var err error
	if out.message, err = encode(tx, out.topic, *cmd); err != nil {
		return nil, fmt.Errorf("%w: %w", errEncode, err)
	}
	if out.limit, err = c.limitOf(tx, *cmd); err != nil {
		return nil, err
	}
	cmd.State, cmd.Attempts, cmd.Detail = store.CommandSent, cmd.Attempts+1, ""
	cmd.SentAt, cmd.DeadlineAt = tx.Now().UTC(), tx.Now().Add(out.limit).UTC()
	if cmd.Action == protocol.ActionDetect {
		if err := tx.UpdateEvidence(cmd.NodeID, func(e *store.Evidence) { e.ProbeSentAt = tx.Now().UTC() }); err != nil {
			return nil, err
		}
	}
	return &out, tx.PutCommand(*cmd)
}

// publish reports whether the publisher took the command. If not, the command is queued again.
func (c *Ledger) publish(out outgoing) bool {
	err := c.publisher.Publish(out.topic, out.message, out.limit)
	if err != nil {
		c.log.Info("the node disconnected before a command was sent", "node_id", out.topic.NodeID, "request_id", out.requestID)
		c.unsend(out.requestID)
	}
	return err == nil
}

// give runs write, which adds a command to the ledger or returns the zero value, in a transaction
// for ctx. If the command can be sent at once, the same transaction marks it as sent, and it is
// published afterwards. give returns the command as it is then.
func (c *Ledger) give(ctx context.Context, nodeID string, write func(*store.Tx) (store.Command, error)) (store.Command, error) {
	unlock, running := c.lockSender(nodeID)
	if running {
		defer unlock()
	}
	var cmd store.Command
	var out *outgoing
	err := c.db.UpdateFor(ctx, func(tx *store.Tx) (err error) {
		out = nil
		if cmd, err = write(tx); err != nil || cmd.RequestID == "" || !running || !c.publisher.Ready(topicOf(cmd)) {
			return err
		}
		if waits, err := othersWait(tx, cmd); err != nil || waits {
			return err
		}
		out, err = c.markSent(tx, &cmd)
		tx.OnCommit(func() { c.arm(cmd, tx.Now()) })
		return err
	})
	switch {
	case err != nil || cmd.RequestID == "":
		return store.Command{}, err
	case out != nil:
		c.publish(*out)
	case running:
		c.sendLocked(nodeID)
	}
	return c.read(cmd.RequestID)
}

// othersWait reports whether other commands wait to be sent on the topic before this one.
func othersWait(tx *store.Tx, cmd store.Command) (bool, error) {
	open, err := tx.OpenCommands(cmd.NodeID)
	return slices.ContainsFunc(open, func(other store.Command) bool {
		return other.RequestID != cmd.RequestID && other.Kind == cmd.Kind && other.State == store.CommandQueued
	}), err
}

func encode(tx *store.Tx, topic protocol.Topic, cmd store.Command) ([]byte, error) {
	payload, err := payloadToSend(tx, cmd)
	if err != nil {
		return nil, err
	}
	env, err := protocol.NewEnvelope(topic, cmd.RequestID, payload, time.Now())
	if err != nil {
		return nil, err
	}
	return env.Encode()
}

// payloadToSend returns the command's payload for the node. The command may have been written when
// AmneziaWG had several spellings on the wire.
func payloadToSend(tx *store.Tx, cmd store.Command) (any, error) {
	switch cmd.Kind { //nolint:exhaustive // the others are sent as they were written
	case protocol.KindPush:
		return withText(tx, cmd)
	case protocol.KindControl:
		var p protocol.Control
		if err := json.Unmarshal(cmd.Payload, &p); err != nil {
			return nil, fmt.Errorf("read payload of %s: %w", cmd.RequestID, err)
		}
		p.TunnelProtocol, p.PreviousTunnelProtocol = protocol.WireTunnel(p.TunnelProtocol), protocol.WireTunnel(p.PreviousTunnelProtocol)
		return p, nil
	}
	return cmd.Payload, nil
}

// unsend records that a command was not sent. If the node got it nevertheless, its ACK still
// counts, since an attempt was made.
func (c *Ledger) unsend(requestID string) {
	err := c.change(requestID, func(tx *store.Tx, cmd *store.Command) error {
		if cmd.State != store.CommandSent {
			return errNothingToDo
		}
		cmd.State, cmd.DeadlineAt, cmd.Detail = store.CommandQueued, time.Time{}, "waits for the node to connect"
		return tx.PutCommand(*cmd)
	})
	if err != nil && !errors.Is(err, errNothingToDo) {
		// It stays sent and its time limit ends it as unknown, which is true.
		c.log.Error("cannot record that a command was not sent", "request_id", requestID, "err", err)
	}
}
