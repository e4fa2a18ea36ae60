// Package ui contains the looks of the admin page: templates, style, script, charts and QR codes, all
// embedded in the binary.
//
// It owns the way things are shown, and the words for them. It does not own the things: package web
// reads the store and passes values; nothing here depends on a request or a record. Enter at [Render]
// and [Static].
//
// The server renders each page as a whole, at one address, and a page can be read without the script.
// static/wfm.js keeps it up to date: when an event of the API's stream concerns the page, the script
// fetches the page again, and idiomorph changes the parts that differ. So no part of a page has an
// address of its own. A form names the API call it stands for (data-api), and static/forms.js makes
// that call, as any other client would. If the script does not run, the browser posts the form to an
// address that changes nothing and says so. A password never becomes part of an address.
//
// Typed text survives updates of the page: a field is left alone while it differs from the value that
// the server sent. A form marked data-keep is left alone as a whole while one of its fields differs or
// has the focus. It also survives the deletion of its object and the end of the login session.
//
// A form may have fields that apply only with certain values of others (data-when), a button that fills in
// values proposed by the API (data-fill), and an answer that is shown before another form acts on it
// (data-answer with data-draft). A refusal that names a field is shown at the field.
//
// The pages use the words of the people who use them (mesh, push, check). The protocol's words stay
// in titles and in the parts for experts, which are folded.
//
// Invariants:
//   - No request goes to another host, and nothing is evaluated: the pages' Content-Security-Policy
//     allows scripts and styles of their own origin only, and no inline ones.
//   - All text from outside goes through html/template. The few functions that return
//     [html/template.HTML] build it from numbers and escaped strings.
//   - Colour is never the only sign: every state has a word and a shape.
package ui
