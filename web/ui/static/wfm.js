// What makes the pages live. Everything that can be read can be read without it.
//
//   forms    are in forms.js
//   events   an event that concerns the page has it fetched again; what differs is changed
//   times    <time> goes on counting
//
// Loaded in the head, so that the theme stands before anything is drawn.
'use strict'

const root = document.documentElement
const saved = name => { try { return localStorage.getItem(name) } catch { return null } }
if (saved('theme')) root.dataset.theme = saved('theme')

const $ = (selector, from = document) => from.querySelector(selector)
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)]
const element = (name, attributes = {}, text = '') => {
  const e = document.createElement(name)
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
  e.textContent = text
  return e
}

// ---- live --------------------------------------------------------------------------------------

const timers = {}
function later(name, delay, f) {
  clearTimeout(timers[name])
  timers[name] = setTimeout(f, delay)
}

let fetching = false // one at a time
let again = false    // something has changed meanwhile
let pause = 300      // before the next, in milliseconds: longer where the page takes longer
let due = 0

// soon fetches the page again after a moment, in which further events may come.
function soon(delay = pause) {
  if (due && delay > 0) return
  clearTimeout(due)
  due = setTimeout(() => { due = 0; refresh() }, delay)
}

async function refresh() {
  if (fetching) { again = true; return }
  fetching = true
  const begin = performance.now()
  const address = location.href
  try {
    const response = await fetch(address, { headers: { Accept: 'text/html' } })
    if (response.redirected && new URL(response.url).pathname === '/login') return toLogin()
    if (!response.ok && response.status !== 404) return
    const page = new DOMParser().parseFromString(await response.text(), 'text/html')
    if (address === location.href) show(page)
  } catch { // not there at the moment; the stream tells when it is again
  } finally {
    fetching = false
    pause = Math.min(10000, Math.max(300, 4 * (performance.now() - begin)))
    if (again) { again = false; soon() }
  }
}

let held = false // a form was left as it is for the focus alone
function busy(node) {
  if (node.nodeType !== 1) return false
  if (node.matches('form[data-api]')) {
    if (node.getAttribute('aria-busy') || $('.message, .problem', node)) return true
    if ('keep' in node.dataset && changed(node).length) return true
    if ('keep' in node.dataset && fields(node).includes(document.activeElement)) return held = true
  }
  if (node.form && 'api' in node.form.dataset && fields(node.form).includes(node) && current(node) !== initial(node)) return true
  return (node.matches('dialog') && node.open) || (node.matches('[data-once], [data-outcome]') && !node.hidden) // what is shown once
}
document.addEventListener('focusout', () => { if (held) { held = false; soon() } })

function show(page) {
  const now = $('main'), next = $('main', page)
  for (const e of $$('[data-standing]')) if (e.dataset.standing !== 'gone') e.remove()
  if (!synchronized) setClock(next.dataset.now)
  const another = now.dataset.shape !== next.dataset.shape
  if (unsaved().some(form => another || !$('#' + form.id, next))) {
    return standing('gone', 'This page has changed, or what it shows was deleted. ' +
      'Your text is still here: copy it if you need it, then reload the page.')
  }
  for (const e of $$('[data-standing=gone]')) e.remove()
  document.title = page.title
  if (another) {
    // As after a reset: nothing of the old page is carried over.
    now.replaceWith(next)
  } else {
    Idiomorph.morph(now, next, {
      ignoreActiveValue: true,
      callbacks: {
        beforeNodeMorphed: node => !busy(node),
        beforeAttributeUpdated: (name, node) => !(name === 'open' && node.matches('details')),
      },
    })
  }
  // A bind command is void once the node has another token, or none.
  const bind = $('#bind'), shown = $('#bind-answer')
  if (shown && !shown.hidden) shown.toggleAttribute('data-void', bind.dataset.openToken !== $('[data-until]', shown).dataset.end)
  tick()
}

// One stream a page, and none while nobody looks at it: browsers allow few connections to a host.
let stream = null
function listen() {
  const main = $('main')
  if (!('live' in main.dataset) || document.hidden) {
    if (stream) stream.close()
    stream = null
    return
  }
  if (stream) return
  // It resumes where the page was read: what has changed since then has the page fetched again.
  stream = new EventSource('/api/v1/events/stream?last_event_id=' + encodeURIComponent(main.dataset.event))
  let lost = false
  let greeted = false
  stream.onopen = () => {
    connected(true)
    if (lost) soon(0)
    for (const id of followed.keys()) ask(id)
    lost = greeted = false
  }
  stream.addEventListener('control.log.updated', event => told(JSON.parse(event.data).payload.log))
  stream.addEventListener('system.status.updated', () => {
    if (greeted && $('main').dataset.live === 'all') soon()
    greeted = true // a stream begins with one
  })
  stream.addEventListener('system.clock.sync', event => {
    synchronized = true
    setClock(JSON.parse(event.data).payload.now)
  })
  stream.onerror = () => {
    lost = true
    connected(false)
    if (stream && stream.readyState === EventSource.CLOSED) { // refused: the session may have ended
      stream = null
      setTimeout(() => { refresh(); listen() }, 3000)
    }
  }
  for (const name of ['config.list.updated', 'config.overview.updated', 'node.workspace.updated', 'node.apply.updated',
    'endpoint.status.updated', 'control.log.created', 'control.log.updated', 'rollout.updated', 'settings.mqtt.updated', 'system.resync']) {
    stream.addEventListener(name, event => { if (concerns($('main').dataset, name, JSON.parse(event.data).payload)) soon() })
  }
}

function concerns(page, name, payload) {
  if (name === 'system.resync' || page.live === 'all') return true
  if (page.node && payload.nodes_changed) return false // each node has events of its own
  if (page.node) return payload.node_id === page.node || (!payload.node_id && name !== 'config.overview.updated' && payload.config_id === page.config)
  return payload.config_id === page.config && !name.startsWith('control.log')
}

function connected(yes) {
  const sign = $('#link')
  if (!sign) return
  sign.dataset.state = yes ? 'live' : 'lost'
  $('span', sign).textContent = yes ? 'Live' : 'Reconnecting'
}

// ---- times -------------------------------------------------------------------------------------

function span(seconds) {
  if (seconds >= 172800) return `${Math.floor(seconds / 86400)} days`
  if (seconds >= 7200) return `${Math.floor(seconds / 3600)} h`
  if (seconds >= 120) return `${Math.floor(seconds / 60)} min`
  return `${Math.floor(seconds)} s`
}

// All times are the appliance's, and the clock of the browser may be wrong. The stream tells the
// time; until it does, the page that was fetched last.
let ahead = 0 // the appliance's clock before the browser's, in milliseconds
let synchronized = false
function setClock(now) { ahead = Date.parse(now) - Date.now() }

function tick() {
  const now = Date.now() + ahead
  for (const e of $$('time[datetime]')) {
    const seconds = (now - Date.parse(e.dateTime)) / 1000
    const text = seconds < 0 ? 'in ' + span(-seconds) : seconds < 2 ? 'just now' : span(seconds) + ' ago'
    if (e.textContent !== text) e.textContent = text
  }
  for (const e of $$('[data-end]')) {
    const left = Math.ceil((Date.parse(e.dataset.end) - now) / 1000)
    const place = e.closest('[data-once]')
    if (left <= 0) {
      e.textContent = 'expired'
      if (place) place.dataset.expired = ''
    } else {
      e.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`
      if (place) delete place.dataset.expired
    }
  }
}

// The set-up link has its token as the fragment, which no log of a proxy gets to see.
function takeSetupToken() {
  const token = $('input[name=setup_token]')
  if (!token || location.hash.length < 2) return
  try {
    token.value = decodeURIComponent(location.hash.slice(1))
  } catch {
    return notice('The link is incomplete. Copy it again, or type the token at its end.', 'error')
  }
  history.replaceState(null, '', location.pathname)
  token.closest('label').hidden = true
  $('input[type=password]').focus()
}
addEventListener('hashchange', takeSetupToken)

// Who follows a link from another site has left the cookie behind (SameSite=Strict), and lands here
// although logged in.
async function passOnWhoIsLoggedIn() {
  const form = $('#login')
  const state = form && await call('GET', '/api/v1/auth/state').catch(() => null)
  if (state && state.authenticated) location.replace(form.dataset.then)
}

document.addEventListener('DOMContentLoaded', () => {
  setClock($('main').dataset.now)
  takeSetupToken()
  passOnWhoIsLoggedIn()
  listen()
  tick()
  setInterval(tick, 1000)
  const every = Number($('main').dataset.every)
  if (every) setInterval(() => { if (!document.hidden) soon() }, every * 1000)
})
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && 'live' in $('main').dataset) soon(0)
  listen()
})
