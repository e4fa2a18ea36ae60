// Keeps the pages up to date. The pages can be read without it. Forms are in forms.js.
//
//   events   after an event that concerns the page, the page is fetched again, and the parts that differ are changed
//   times    the text of each <time> is updated every second
//
// It is loaded in the head, so that the theme is set before anything is drawn.
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
let again = false    // something changed while the page was being fetched
let pause = 300      // before the next fetch, in milliseconds; longer for a page that takes longer
let due = 0

// soon fetches the page again after a pause, in which further events may arrive.
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
  } catch { // the appliance is not reachable; onopen of the stream fetches the page again
  } finally {
    fetching = false
    pause = Math.min(10000, Math.max(300, 4 * (performance.now() - begin)))
    if (again) { again = false; soon() }
  }
}

let held = false // a form was left alone only because it has the focus
function busy(node) {
  if (node.nodeType !== 1) return false
  if (node.matches('form[data-api]')) {
    if (node.getAttribute('aria-busy') || $('.message, .problem', node)) return true
    if ('keep' in node.dataset && changed(node).length) return true
    if ('keep' in node.dataset && fields(node).includes(document.activeElement)) return held = true
  }
  if (node.form && 'api' in node.form.dataset && fields(node.form).includes(node) && current(node) !== initial(node)) return true
  return (node.matches('dialog') && node.open) || node.matches('[data-drawn]') ||
    (node.matches('[data-once], [data-outcome]') && !node.hidden) // values shown only once
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
  // A value that was asked for is hidden when it is no longer the latest.
  for (const e of $$('[data-once][data-version]', now)) {
    const latest = $('#' + e.id, next)
    if (!e.hidden && latest && latest.dataset.version !== e.dataset.version) hide(e)
  }
  if (another) {
    // For example after a reset. Nothing of the old page is carried over.
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
  arrangeAll()
  // A bind command is void if the node has another token, or none.
  const bind = $('#bind'), shown = $('#bind-answer')
  if (shown && !shown.hidden) shown.toggleAttribute('data-void', bind.dataset.openToken !== $('[data-until]', shown).dataset.end)
  document.dispatchEvent(new Event('shown'))
  tick()
  document.dispatchEvent(new Event('shown'))
}

// A page has one stream, and none while it is hidden: browsers allow few connections to a host.
let stream = null
function listen() {
  const main = $('main')
  if (!('live' in main.dataset) || document.hidden) {
    if (stream) stream.close()
    stream = null
    return
  }
  if (stream) return
  // The stream resumes where the page was read, so that no later change is missed.
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
    greeted = true // the stream begins with such an event
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
  if (page.node && payload.nodes_changed) return false // each node gets its own event
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

// All times are by the appliance's clock, and the browser's may be wrong. The time comes from the stream,
// and before its first event from the page that was fetched last.
let ahead = 0 // the appliance's clock minus the browser's, in milliseconds
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

// The set-up link has its token in the fragment, which is not sent and so is in no proxy's log.
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

// A browser that follows a link from another site does not send the cookie (SameSite=Strict), so a user
// who is logged in may get the login page.
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
