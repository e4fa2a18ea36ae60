// Package ui is the looks of the admin page: templates, style, script, charts and QR codes, all
// embedded in the binary.
//
// It owns how things are shown. It does not own what is shown: package web reads the store and
// hands over values; nothing here knows a request or a record. Enter at [Render] and [Static].
//
// How a page lives: the server renders the whole page, at one address, and it can be read without
// the script. static/wfm.js makes it live. An event of the API's stream that concerns the page has
// it fetched again, and idiomorph changes what is different; so there is no second set of addresses
// for parts of a page. A form names the API call it stands for (data-api), and static/forms.js makes
// exactly that call, as any other client would. Should it not run, the browser posts the form to an
// address that changes nothing and says so; it never puts a password into an address.
//
// Whatever somebody types outlives what happens meanwhile: a field is not touched while it
// differs from what the server said. A form marked data-keep is not touched as a whole while one does
// or somebody is in it, nor taken away by a deletion or the end of the session.
//
// Invariants:
//   - No request goes to another host, and nothing is evaluated: the pages' Content-Security-Policy
//     allows scripts and styles of their own origin only, and no inline ones.
//   - Everything that came from outside goes through html/template. The few functions that return
//     [html/template.HTML] build it from numbers and escaped strings.
//   - Colour is never the only sign: every state has a word and a shape.
package ui
