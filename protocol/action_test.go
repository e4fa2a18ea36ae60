package protocol_test

import (
	"testing"

	"wfm/protocol"
)

func TestActionTravelsOnItsTopic(t *testing.T) {
	tests := []struct {
		action protocol.Action
		want   protocol.Kind
	}{
		{"start", "control"},
		{"stop", "control"},
		{"push_config", "config/push"},
		{"wg_show", "info"},
		{"describe", "info"},
		{"detect", "detect"},
		{"", ""},
		{"START", ""},
		{"restart", ""},
		{"config/push", ""},
	}
	for _, tt := range tests {
		t.Run(string(tt.action), func(t *testing.T) {
			if got := tt.action.Kind(); got != tt.want {
				t.Errorf("Kind = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestActionsAreDescribedCompletely(t *testing.T) {
	seen := make(map[protocol.Action]bool)
	for _, s := range protocol.Actions(nil) {
		t.Run(string(s.Action), func(t *testing.T) {
			if seen[s.Action] {
				t.Error("the action has two rows")
			}
			seen[s.Action] = true
			if s.Action.Spec().Action != s.Action {
				t.Errorf("Spec is that of %q", s.Action.Spec().Action)
			}
			if !s.Kind.IsCommand() || s.Name == "" || s.Label == "" || s.Words == "" || s.AnswerTime == 0 {
				t.Errorf("no kind of a command, no words or no time to answer: %+v", s)
			}
			if (s.Needs == "") != (s.Lacking == nil) {
				t.Error("a needed capability and the error for its lack go together")
			}
			if s.Kind.ChangesNode() == s.Repeatable {
				t.Error("an action either changes the node or may be repeated")
			}
			if !s.Kind.ChangesNode() && (s.InRollouts || s.QueueTime != 0 || s.ConfirmTime != 0 || s.ToolRuns != 0 || s.Leaves != "") {
				t.Errorf("an action that only asks changes no tunnel, waits for no node and is in no rollout: %+v", s)
			}
			if s.ConfirmTime != 0 && s.ConfirmTime <= s.AnswerTime {
				t.Error("a change that is confirmed takes longer")
			}
		})
	}
}

func TestActionSaysHowItLeavesTheTunnel(t *testing.T) {
	tests := map[protocol.Action]protocol.WantedState{
		"start": "running", "stop": "stopped",
		"push_config": "none", "detect": "none", "wg_show": "none", "describe": "none", "": "none", "explode": "none",
	}
	for action, want := range tests {
		t.Run(string(action), func(t *testing.T) {
			if got := action.Leaves(); got != want {
				t.Errorf("Leaves = %q, want %q", got, want)
			}
			if got := action.Starts(); got != (want == protocol.WantedRunning) {
				t.Errorf("Starts = %v", got)
			}
		})
	}
}
