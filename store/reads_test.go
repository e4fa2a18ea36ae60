package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

// furnished returns a store with a record of each kind, of node_1 where it is a node's, and the secrets of
// a session, an API token and an open bind token for node_2.
func furnished(t *testing.T) (db *DB, session, token, bindToken string) {
	t.Helper()
	db = open(t)
	addNode(t, db, "node_1")
	addNode(t, db, "node_2")
	bind(t, db)
	addRollout(t, db, "rol_1", "node_1")
	update(t, db, func(tx *Tx) (err error) {
		session = "session"
		if _, err = tx.CreateSession(session, "admin", "", time.Hour); err != nil {
			return err
		}
		if _, token, err = tx.CreateToken("script", ScopeWrite, time.Time{}); err != nil {
			return err
		}
		if bindToken, _, err = tx.IssueBindToken("node_2", time.Minute); err != nil {
			return err
		}
		if _, err = tx.SetDesired("node_1", "[Interface]\n", ConfVersion{Author: "admin"}); err != nil {
			return err
		}
		n, err := tx.Node("node_1")
		if err != nil {
			return err
		}
		cmd := Command{RequestID: "req_1", ConfigID: "cfg_a", NodeID: "node_1", Action: protocol.ActionStart, RequestedBy: "admin", State: CommandQueued}
		return errors.Join(
			tx.CreateAdmin("admin", "hash"), tx.AddCommand(&cmd), tx.SetWanted(cmd), tx.AddOutput("req_1", Output{Stream: "stdout", Output: "x"}),
			tx.UpdateEvidence("node_1", func(e *Evidence) { e.ReachableAt = tx.Now() }), tx.Note("node_1", JournalEntry{Message: "x"}),
			tx.AddTransition(n, Transition{At: tx.Now(), To: "online"}), tx.PutFile("a/b", []byte("x")), tx.SetMQTTSettings(MQTTSettings{Host: new("h")}),
			tx.CloseAudit(AuditEntry{Actor: "admin", Action: "PUT /x", RequestID: "req_0"}),
		)
	})
	return db, session, token, bindToken
}

func TestADamagedRecordIsAnErrorToWhoeverReadsIt(t *testing.T) {
	t.Parallel()
	db, session, token, bindToken := furnished(t)
	none := func(_ any, err error) error { return err }
	all := map[string][]func(*Tx) error{
		string(bucketAdmin): {func(tx *Tx) error { return none(tx.Admin()) }},
		string(bucketSessions): {
			func(tx *Tx) error { _, _, err := tx.Session(session); return err },
			func(tx *Tx) error { return none(tx.Sessions()) },
		},
		string(bucketTokens): {
			func(tx *Tx) error { _, _, err := tx.Token(token); return err },
			func(tx *Tx) error { return none(tx.Tokens()) },
		},
		string(bucketBindTokens): {
			func(tx *Tx) error { _, _, err := tx.BindTarget(bindToken); return err },
			func(tx *Tx) error { return none(tx.Bind(bindToken, Client{})) },
			func(tx *Tx) error { return none(tx.OpenBindToken("node_2")) },
		},
		string(bucketConfigs): {
			func(tx *Tx) error { return none(tx.Config("cfg_a")) },
			func(tx *Tx) error { return none(tx.Configs("", 0)) },
		},
		string(bucketNodes): {
			func(tx *Tx) error { return none(tx.Node("node_1")) },
			func(tx *Tx) error { return none(tx.Nodes("cfg_a", "", 0)) },
		},
		string(bucketCredentials): {func(tx *Tx) error { _, _, err := tx.Grant("node_1"); return err }},
		string(bucketEvidence):    {func(tx *Tx) error { return none(tx.Evidence("node_1")) }},
		string(bucketJournal):     {func(tx *Tx) error { return none(tx.Journal("node_1", 0, 10)) }},
		string(bucketTransitions): {func(tx *Tx) error { return none(tx.Transitions("node_1", 0, 10)) }},
		string(bucketCommands): {
			func(tx *Tx) error { return none(tx.Command("req_1")) },
			func(tx *Tx) error { return none(tx.Commands("node_1", 0, 10)) },
			func(tx *Tx) error { return none(tx.OpenCommands("")) },
			func(tx *Tx) error { return none(tx.CommandRequestedBy("node_1", "admin")) },
			func(tx *Tx) error { _, _, err := tx.LastCommand("node_1"); return err },
		},
		string(bucketOutput):     {func(tx *Tx) error { return none(tx.Output("req_1")) }},
		string(bucketConfStates): {func(tx *Tx) error { return none(tx.ConfState("node_1")) }},
		string(bucketConfVersions): {
			func(tx *Tx) error { return none(tx.ConfVersion("node_1", 1)) },
			func(tx *Tx) error { return none(tx.ConfVersions("node_1", 0, 10)) },
		},
		string(bucketRollouts): {
			func(tx *Tx) error { return none(tx.Rollout("rol_1")) },
			func(tx *Tx) error { return none(tx.Rollouts("cfg_a", 0, 10)) },
			func(tx *Tx) error { return none(tx.UnfinishedRollouts()) },
		},
		string(bucketRolloutNodes): {
			func(tx *Tx) error { return none(tx.RolloutNode("rol_1", 1)) },
			func(tx *Tx) error { return none(tx.RolloutNodes("rol_1", 0, 0)) },
		},
		string(bucketFiles):    {func(tx *Tx) error { _, _, err := tx.File("a/b"); return err }},
		string(bucketSettings): {func(tx *Tx) error { return none(tx.MQTTSettings()) }},
		string(bucketWanted):   {func(tx *Tx) error { return none(tx.Wanted("node_1")) }},
		string(bucketAudit):    {func(tx *Tx) error { return none(tx.Audit(0, 10, func(AuditEntry) bool { return true })) }},
	}
	for bucket, readers := range all {
		for i, read := range readers {
			if err := db.View(read); err != nil && !errors.Is(err, errReadOnlyTx) {
				t.Errorf("%s, reader %d, of what is sound: %v", bucket, i, err)
			}
		}
	}
	update(t, db, func(tx *Tx) error {
		for bucket := range all {
			for _, k := range tx.keysUnder([]byte(bucket), nil, 0) {
				if err := tx.putRaw([]byte(bucket), k, []byte("{")); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for bucket, readers := range all {
		for i, read := range readers {
			if err := db.View(read); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s, reader %d: %v, want ErrDamaged", bucket, i, err)
			}
		}
	}
}

func TestANodeWithoutCredentialsHasNoGrant(t *testing.T) {
	t.Parallel()
	for name, bucket := range map[string][]byte{"credentials": bucketCredentials, "config": bucketConfigs, "node": bucketNodes} {
		db := open(t)
		addNode(t, db, "node_1")
		bind(t, db)
		key := map[string]string{"config": "cfg_a"}[name]
		if key == "" {
			key = "node_1"
		}
		update(t, db, func(tx *Tx) error { return tx.deleteRaw(bucket, []byte(key)) })
		_ = db.View(func(tx *Tx) error {
			if g, ok, err := tx.Grant("node_1"); ok || err != nil || g != (Grant{}) {
				t.Errorf("without its %s: %+v, %v, %v", name, g, ok, err)
			}
			return nil
		})
	}
}

func TestWitnessIsCalledOnceForEachNodeThatWasChanged(t *testing.T) {
	t.Parallel()
	var told []string
	refuse := errors.New("refused")
	var refused string
	db, err := Open(t.TempDir(), Options{Witness: func(tx *Tx, n Node) error {
		told = append(told, n.ID)
		tx.Emit(Change{Kind: ChangeNode, NodeID: "node_3"}) // of its own, which is not told
		if n.ID == refused {
			return refuse
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, id := range []string{"node_1", "node_2", "node_3", "node_4"} {
		addNode(t, db, id)
	}
	change := func(kind ChangeKind, ids ...string) func(*Tx) error {
		return func(tx *Tx) error {
			for _, id := range ids {
				tx.Emit(Change{Kind: kind, NodeID: id})
			}
			return nil
		}
	}
	told = nil
	update(t, db, change(ChangeEvidence, "node_1", "node_1", "node_2", "node_1", "gone", "node_2", "node_4"))
	if want := []string{"node_1", "node_2", "node_4"}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
	told = nil
	for _, kind := range []ChangeKind{ChangeConfig, ChangePresence, ChangeCommand, ChangeApply, ChangeJournal, ChangeRollout, ChangeSettings} {
		update(t, db, change(kind, "node_1"))
	}
	if len(told) != 0 {
		t.Errorf("told of %v, which only other things changed of", told)
	}
	update(t, db, func(tx *Tx) error {
		return errors.Join(change(ChangeJournal, "node_1")(tx), change(ChangeNode, "node_2")(tx))
	})
	if !slices.Equal(told, []string{"node_2"}) {
		t.Errorf("told of %v, want node_2", told)
	}
	refused = "node_2"
	err = db.Update(func(tx *Tx) error {
		return errors.Join(tx.Note("node_1", JournalEntry{Message: "x"}), change(ChangeNode, "node_1", "node_2")(tx))
	})
	_ = db.View(func(tx *Tx) error {
		if lines, _ := tx.Journal("node_1", 0, 10); !errors.Is(err, refuse) || len(lines) != 0 {
			t.Errorf("an Update that the witness refuses: %v, and %d lines are kept", err, len(lines))
		}
		return nil
	})
}

func TestWhatIsNotThereIsSaidToBeNotFound(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1")
	none := func(_ any, err error) error { return err }
	for name, tc := range map[string]struct {
		call func(*Tx) error
		want error
	}{
		"DeleteNode":     {func(tx *Tx) error { return tx.DeleteNode("x") }, ErrNodeNotFound},
		"ResetClient":    {func(tx *Tx) error { return tx.ResetClient("x") }, ErrNodeNotFound},
		"UpdateClient":   {func(tx *Tx) error { return tx.UpdateClient("x", func(*Client) {}) }, ErrNodeNotFound},
		"UpdateEvidence": {func(tx *Tx) error { return tx.UpdateEvidence("x", func(*Evidence) {}) }, ErrNodeNotFound},
		"IssueBindToken": {func(tx *Tx) error { _, _, err := tx.IssueBindToken("x", time.Minute); return err }, ErrNodeNotFound},
		"SetDesired":     {func(tx *Tx) error { return none(tx.SetDesired("x", "y", ConfVersion{})) }, ErrNodeNotFound},
		"SetTags":        {func(tx *Tx) error { return none(tx.SetTags("x", nil)) }, ErrNodeNotFound},
		"Node":           {func(tx *Tx) error { return none(tx.Node("x")) }, ErrNodeNotFound},
		"Config":         {func(tx *Tx) error { return none(tx.Config("x")) }, ErrConfigNotFound},
		"DeleteConfig":   {func(tx *Tx) error { return tx.DeleteConfig("x") }, ErrConfigNotFound},
		"Command":        {func(tx *Tx) error { return none(tx.Command("x")) }, ErrCommandNotFound},
		"PutCommand":     {func(tx *Tx) error { return tx.PutCommand(Command{RequestID: "x"}) }, ErrCommandNotFound},
		"AddNote":        {func(tx *Tx) error { return tx.AddNote("x", "y") }, ErrCommandNotFound},
		"AddOutput":      {func(tx *Tx) error { return tx.AddOutput("x", Output{}) }, ErrCommandNotFound},
		"Rollout":        {func(tx *Tx) error { return none(tx.Rollout("x")) }, ErrRolloutNotFound},
		"PutRollout":     {func(tx *Tx) error { return tx.PutRollout(Rollout{ID: "x"}) }, ErrRolloutNotFound},
		"RolloutNode":    {func(tx *Tx) error { return none(tx.RolloutNode("x", 1)) }, ErrRolloutNotFound},
		"PutRolloutNode": {func(tx *Tx) error { return tx.PutRolloutNode(&Rollout{ID: "x"}, &RolloutNode{Position: 1}) }, ErrRolloutNotFound},
		"ConfVersion":    {func(tx *Tx) error { return none(tx.ConfVersion("node_1", 1)) }, ErrConfVersionNotFound},
		"ConfText":       {func(tx *Tx) error { return none(tx.ConfText("node_1", "x")) }, ErrConfVersionNotFound},
		"BindTarget":     {func(tx *Tx) error { _, _, err := tx.BindTarget("x"); return err }, ErrTokenInvalid},
	} {
		if err := db.Update(tc.call); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestEvidenceNamesItsNodeAlsoWhereNothingIsKnown(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1")
	for what, in := range map[string]func(func(*Tx) error) error{"View": db.View, "Update": db.Update} {
		for _, id := range []string{"node_1", "node_none"} {
			err := in(func(tx *Tx) error {
				if e, err := tx.Evidence(id); err != nil || e.NodeID != id {
					t.Errorf("%s of %s: %+v, %v", what, id, e, err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestANodeCanWhatItsAgentSaidItCan(t *testing.T) {
	t.Parallel()
	n := Node{Client: &Client{Capabilities: []string{"a", "b"}}}
	if !n.Can("a") || !n.Can("b") || n.Can("c") || n.Can("") {
		t.Error("it can what it did not say, or cannot what it said")
	}
	if (Node{}).Can("a") || (Node{Client: &Client{}}).Can("a") {
		t.Error("a node without an agent, or one without a word, can something")
	}
}

func TestSettingsAreToldOfAndKept(t *testing.T) {
	t.Parallel()
	db := open(t)
	feed := db.Subscribe(4)
	defer feed.Close()
	update(t, db, func(tx *Tx) error {
		return tx.SetMQTTSettings(MQTTSettings{Host: new("h"), Port: new(1), TLS: new(true)})
	})
	if len(feed.C) != 1 {
		t.Fatalf("the feed tells of %d changes", len(feed.C))
	}
	if c := <-feed.C; c.Kind != ChangeSettings {
		t.Errorf("the feed tells of %+v", c)
	}
	_ = db.View(func(tx *Tx) error {
		if s, err := tx.MQTTSettings(); err != nil || *s.Host != "h" || *s.Port != 1 || !*s.TLS {
			t.Errorf("%+v, %v", s, err)
		}
		return nil
	})
}

func TestEachBoundOfACommandIsMetExactly(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1")
	add := func(id string, action protocol.Action) {
		t.Helper()
		update(t, db, func(tx *Tx) error {
			c := Command{RequestID: id, ConfigID: "cfg_a", NodeID: "node_1", Action: action, State: CommandQueued}
			if err := tx.AddCommand(&c); err != nil {
				return err
			}
			c.State = CommandApplied
			return tx.PutCommand(c)
		})
	}
	read := func(id string) (c Command, outputs []Output) {
		t.Helper()
		_ = db.View(func(tx *Tx) (err error) {
			if c, err = tx.Command(id); err == nil {
				outputs, err = tx.Output(id)
			}
			if err != nil {
				t.Error(err)
			}
			return nil
		})
		return c, outputs
	}
	add("req_notes", protocol.ActionStart)
	for i := range 25 {
		update(t, db, func(tx *Tx) error { return tx.AddNote("req_notes", string(rune('a'+i))) })
		if c, _ := read("req_notes"); len(c.Notes) != min(i+1, 20) || c.Notes[len(c.Notes)-1].Text != string(rune('a'+i)) {
			t.Errorf("after %d notes there are %d: %+v", i+1, len(c.Notes), c.Notes)
		}
	}
	for id, pieces := range map[string][]int{"req_many": slices.Repeat([]int{1}, 16), "req_long": {1<<20 - 10, 10}} {
		add(id, protocol.ActionWGShow)
		for _, size := range append(pieces, 1, 1) {
			update(t, db, func(tx *Tx) error {
				return tx.AddOutput(id, Output{Stream: "stdout", Output: strings.Repeat("x", size)})
			})
		}
		if c, outputs := read(id); len(outputs) != len(pieces) || len(c.Notes) != 1 {
			t.Errorf("%s: %d pieces and %d notes in the end, want %d and 1", id, len(outputs), len(c.Notes), len(pieces))
		}
	}
	for action, want := range map[protocol.Action]int{protocol.ActionStop: 200, protocol.ActionDetect: 40} {
		for range want + 3 {
			add(protocol.NewID("req"), action)
		}
		kept := 0
		_ = db.View(func(tx *Tx) error {
			all, err := tx.Commands("node_1", 0, 1000)
			for _, c := range all {
				if (c.Action == protocol.ActionDetect) == (action == protocol.ActionDetect) {
					kept++
				}
			}
			return err
		})
		if kept != want {
			t.Errorf("%d commands like %s are kept, want %d", kept, action, want)
		}
	}
}
