package events

import (
	"fmt"

	"wfm/web/view"
)

// statusEvent returns the system's status if nodes or a service have changed since the last call.
// It is for the hub's goroutine only.
func (s *Streams) statusEvent(nodesChanged bool) (e event, changed bool, err error) {
	mqtt := s.reader.MQTTService()
	tls := s.reader.TLSService()
	services := fmt.Sprint(s.reader.StoreService().Status, mqtt.Status, mqtt.Connected, mqtt.LastError, tls.Status, tls.LastError, tls.Warning)
	if tls.NotAfter != nil { // a renewal is a change
		services += tls.NotAfter.String()
	}
	first := s.lastServices == ""
	changed = nodesChanged || (services != s.lastServices && !first)
	s.lastServices = services
	if !changed {
		return event{}, false, nil
	}
	status, err := s.reader.ReadStatus()
	return newStatusEvent(status), err == nil, err
}

// newStatusEvent is without the list of nodes that lack their tunnel configs, which would make it many times
// as long.
func newStatusEvent(status view.SystemStatus) event {
	status.Sync.Issues = []view.SyncIssue{}
	return event{eventSystemStatus, status}
}
