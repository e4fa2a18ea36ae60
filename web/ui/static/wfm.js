// What makes the pages live. Everything that can be read can be read without it.
//
//   forms    <form data-api="POST /api/…"> is sent as JSON, as any other client of the API would
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

// ---- forms -------------------------------------------------------------------------------------

// What the fields say, as JSON: a list for data-list, a number for type=number; nothing for an empty
// field marked data-optional.
function valuesOf(form, submitter) {
  const values = {}
  for (const e of form.elements) {
    if (!e.name || e.disabled || e.type === 'submit' || e.type === 'button') continue
    if (e.type === 'checkbox') values[e.name] = e.checked
    else if (e.type === 'radio') { if (e.checked) values[e.name] = e.value }
    else if ('optional' in e.dataset && e.value.trim() === '') continue
    else if ('bool' in e.dataset) values[e.name] = e.value === 'true'
    else if ('list' in e.dataset) values[e.name] = e.value.split(',').map(v => v.trim()).filter(Boolean)
    else if (e.type === 'number' || 'number' in e.dataset) values[e.name] = Number(e.value)
    else values[e.name] = e.value
  }
  if (submitter && submitter.name) values[submitter.name] = submitter.value
  return values
}

async function call(method, path, values) {
  const options = { method, headers: { Accept: 'application/json' } }
  if (method !== 'DELETE' && method !== 'GET') {
    options.headers['Content-Type'] = 'application/json'
    options.body = JSON.stringify(values)
  }
  let response
  try {
    response = await fetch(path, options)
  } catch {
    throw { message: 'The appliance did not answer. Look whether it runs, and try again.', detail: null }
  }
  const body = await response.json().catch(() => null)
  if (response.ok && body && body.success) return body.data
  const error = (body && body.error) || { message: `The appliance answered with HTTP status ${response.status}.`, detail: null }
  if ($('#link') && ['AUTH_REQUIRED', 'INVALID_TOKEN', 'TOKEN_EXPIRED'].includes(error.code)) toLogin()
  throw error
}

const toLogin = () => location.assign('/login?next=' + encodeURIComponent(location.pathname + location.search))

// confirmed asks in words what would be lost. The dialog's own form closes it.
function confirmed(text, doIt) {
  const dialog = $('#confirm')
  $('p', dialog).textContent = text
  $('button[value=yes]', dialog).textContent = doIt
  dialog.returnValue = ''
  dialog.showModal()
  return new Promise(resolve => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }))
}

async function submit(form, submitter) {
  const asks = (submitter && submitter.dataset.confirm) || form.dataset.confirm
  if (asks && !await confirmed(asks, (submitter && submitter.textContent.trim()) || 'Go on')) return
  const values = valuesOf(form, submitter) // before the buttons are disabled
  const [method, path] = ((submitter && submitter.dataset.api) || form.dataset.api).split(' ')
  clearMessages(form)
  const buttons = $$('button', form).filter(b => !b.disabled)
  form.setAttribute('aria-busy', 'true')
  for (const b of buttons) b.disabled = true
  try {
    const data = await call(method, path, values)
    if (submitter && 'test' in submitter.dataset) return notice(data.message, data.success ? 'ok' : 'error') // nothing was saved
    delete form.dataset.dirty
    const then = (submitter && submitter.dataset.then) || form.dataset.then
    if (then) {
      location.assign(filled(then, data))
      return
    }
    if (form.dataset.answer) await showAnswer($('#' + form.dataset.answer), data)
    else notice(filled(form.dataset.done || '', data) || (data && data.message) || 'Done.', 'ok')
    for (const w of (data && data.warnings) || []) notice(w.line ? `Line ${w.line}: ${w.message}` : w.message, 'warn')
    if ('reset' in form.dataset) form.reset()
    const dialog = form.closest('dialog')
    if (dialog) dialog.close()
    soon(0)
  } catch (error) {
    if (!('message' in error)) throw error
    showError(form, error)
  } finally {
    form.removeAttribute('aria-busy')
    for (const b of buttons) b.disabled = false
  }
}

// {name} in a pattern stands for a member of the answer; only in a path is it escaped.
const filled = (pattern, data) => pattern.replace(/\{(\w+)\}/g, (_, name) =>
  pattern.startsWith('/') ? encodeURIComponent(data[name] ?? '') : String(data[name] ?? ''))

function clearMessages(form) {
  for (const e of $$('.problem, .message', form)) e.remove()
  for (const e of $$('[aria-invalid]', form)) {
    e.removeAttribute('aria-invalid')
    e.removeAttribute('aria-describedby')
  }
}

function showError(form, error) {
  const fields = (error.detail && error.detail.fields) || {}
  let first
  for (const [name, problem] of Object.entries(fields)) {
    const field = form.elements[name]
    if (!field || !field.after || field.type === 'hidden') continue
    const id = `problem-${name}-${form.id || 'form'}`
    field.setAttribute('aria-invalid', 'true')
    field.setAttribute('aria-describedby', id)
    field.after(element('small', { class: 'problem', id }, `${title(name)} ${problem}.`))
    first = first || field
  }
  const typed = $$('input:not([type=hidden]), textarea, select', form).length > 0
  if (!typed) return notice(error.message, 'error')
  if (first) return first.focus()
  const message = element('div', { class: 'message error', role: 'alert' }, error.message)
  for (const w of (error.detail && error.detail.warnings) || []) message.append(element('p', {}, w.line ? `Line ${w.line}: ${w.message}` : w.message))
  form.append(message)
  // What the API refuses unless it is forced can be forced after it has said why.
  const force = $('[data-force]', form)
  if (force && error.detail && error.detail.warnings) force.hidden = false
  const area = $('textarea', form)
  if (area && error.detail && error.detail.line) selectLine(area, error.detail.line)
}

function selectLine(area, line) {
  const lines = area.value.split('\n')
  const start = lines.slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0)
  area.focus()
  area.setSelectionRange(start, start + (lines[line - 1] || '').length)
}

const title = name => { const s = name.replaceAll('_', ' '); return s[0].toUpperCase() + s.slice(1) }

// showAnswer fills a place with what is shown this once: a bind command, a token.
async function showAnswer(place, data) {
  for (const e of $$('[data-value]', place)) e.textContent = data[e.dataset.value] ?? ''
  for (const e of $$('[data-until]', place)) {
    e.dataset.end = data[e.dataset.until] ?? ''
    e.dataset.left = ''
  }
  place.hidden = false
  tick()
  for (const e of $$('img[data-qr]', place)) {
    const response = await fetch('/ui/qr', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ text: data[e.dataset.qr] }) })
    if (response.ok) e.src = 'data:image/svg+xml,' + encodeURIComponent(await response.text())
  }
}

function notice(text, kind) {
  for (const old of $$('.notice.ok')) old.remove() // the newest says enough
  const note = element('div', { class: `notice ${kind}`, role: kind === 'error' ? 'alert' : 'status' })
  note.append(element('span', {}, text))
  const close = element('button', { type: 'button', class: 'quiet', 'aria-label': 'Dismiss' }, '×')
  close.addEventListener('click', () => note.remove())
  note.append(close)
  $('#notices').append(note)
  if (kind === 'ok') setTimeout(() => note.remove(), 6000)
}

document.addEventListener('submit', event => {
  const form = event.target
  if (form.dataset.api || (event.submitter && event.submitter.dataset.api)) {
    event.preventDefault()
    submit(form, event.submitter)
  } else if ('filter' in form.dataset) {
    event.preventDefault()
    filter(form)
  }
})

document.addEventListener('input', event => {
  const form = event.target.form
  if (!form) return
  if (form.dataset.api) form.dataset.dirty = ''
  if (event.target.getAttribute('aria-invalid')) clearMessages(form)
  if ('filter' in form.dataset) later('filter', 250, () => filter(form))
})

// filter shows the list under the address that its form's fields make.
function filter(form) {
  const query = new URLSearchParams([...new FormData(form)].filter(([, v]) => v !== ''))
  history.replaceState(null, '', location.pathname + (query.size ? '?' + query : ''))
  refresh()
}

document.addEventListener('click', async event => {
  const button = event.target.closest('button')
  if (!button) return
  if (button.dataset.copy) copy(button)
  if (button.dataset.open) $('#' + button.dataset.open).showModal()
  if ('close' in button.dataset) button.closest('dialog').close()
  if ('theme' in button.dataset) {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
    root.dataset.theme = dark ? 'light' : 'dark'
    try { localStorage.setItem('theme', root.dataset.theme) } catch { /* it holds for this page */ }
  }
})

// A browser gives its clipboard to pages of https and of localhost only; elsewhere the text is
// selected and copied as a person would.
async function copy(button) {
  const source = $('#' + button.dataset.copy)
  let done = false
  try {
    await navigator.clipboard.writeText(source.textContent)
    done = true
  } catch {
    getSelection().selectAllChildren(source)
    done = document.execCommand('copy')
  }
  const said = button.textContent
  button.textContent = done ? 'Copied' : 'Selected: press Ctrl+C'
  setTimeout(() => { button.textContent = said }, 2000)
}

addEventListener('beforeunload', event => {
  if ($('form[data-dirty][data-keep]')) event.preventDefault() // a long text would be lost
})

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

const busy = node => node.nodeType === 1 && (
  (node.matches('form') && ('dirty' in node.dataset || node.getAttribute('aria-busy') || $('.message, .problem', node))) ||
  (node.matches('dialog') && node.open) ||
  (node.matches('[data-once]') && !node.hidden)) // what is shown once

function show(page) {
  const now = $('main'), next = $('main', page)
  document.title = page.title
  if (now.dataset.shape !== next.dataset.shape) {
    // Another page, as after a reset: nothing of the old one is carried over, except unsaved work.
    if ($('form[data-dirty][data-keep]', now)) return notice('This page has changed. Save or copy your text, then reload.', 'error')
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
  stream = new EventSource('/api/v1/events/stream')
  let lost = false
  let greeted = false
  stream.onopen = () => { connected(true); if (lost) soon(0); lost = greeted = false }
  stream.addEventListener('system.status.updated', () => {
    if (greeted && $('main').dataset.live === 'all') soon()
    greeted = true // a stream begins with one
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

function tick() {
  const now = Date.now()
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
  token.value = decodeURIComponent(location.hash.slice(1))
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
