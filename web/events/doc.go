// Package events turns committed changes into the event stream. Its events tell clients to read
// something again.
//
// It owns the hub with its numbers and its ring of past events, the streams, and the content of
// events. It does not own changes (store) nor the forms that events carry (package view).
//
// Enter at [New]. [Streams.Newest] is the event after which a page's stream begins.
//
// Invariants:
//   - A client that resumes gets every event it missed, or an event that tells it to read
//     everything again.
//   - Neither the store's writer nor the hub waits for a stream: a slow one is ended, and may
//     resume.
//   - A stream ends with its login.
package events
