package events

import (
	"fmt"
)

// statusEvent tells of the system's status if nodes have changed or a service has since it was asked
// last. It is for the hub's goroutine alone.
func (s *Streams) statusEvent(nodesChanged bool) (e event, changed bool, err error) {
	mqtt := s.reader.MQTTService()
	tls := s.reader.TLSService()
	services := fmt.Sprint(s.reader.StoreService().Status, mqtt.Status, mqtt.Connected, mqtt.LastError, tls.Status, tls.LastError, tls.Warning)
	if tls.NotAfter != nil { // a renewal is news
		services += tls.NotAfter.String()
	}
	first := s.lastServices == ""
	changed = nodesChanged || (services != s.lastServices && !first)
	s.lastServices = services
	if !changed {
		return event{}, false, nil
	}
	status, err := s.reader.ReadStatus()
	return event{eventSystemStatus, status}, err == nil, err
}
