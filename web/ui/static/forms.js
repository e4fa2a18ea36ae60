// Forms, dialogs and notices. wfm.js keeps the pages up to date.
//
// A <form data-api="POST /api/…"> is sent as JSON, as any other client of the API would do. {NAME} in its
// path is the value of that field. Typed text survives updates of the page.
'use strict'

// valuesOf returns the values of the form's fields, to be sent as JSON. A name like forward.notes is that
// of a member of an object; one that begins with _ is for the page alone. It leaves out an empty field
// marked data-optional. A field marked data-none is null where it does not apply (see data-when). For a
// form marked data-changes it leaves out unchanged fields, since another user may have changed them
// meanwhile. Boxes marked data-each are a list of the values of those that are ticked.
function valuesOf(form, submitter) {
  const values = {}
  const changes = 'changes' in form.dataset && changed(form)
  for (const e of form.elements) {
    if (!e.name || e.name.startsWith('_') || e.type === 'submit' || e.type === 'button') continue
    if ('each' in e.dataset) {
      put(values, e.name, (values[e.name] ?? []).concat(e.checked ? [e.value] : []))
      continue
    }
    if (e.disabled && !('none' in e.dataset) || e.type === 'radio' && !e.checked || 'optional' in e.dataset && e.value.trim() === '') continue
    if (!changes || changes.includes(e)) put(values, e.name, e.disabled ? null : valueOf(e))
  }
  if (submitter && submitter.name) put(values, submitter.name, valueOf(submitter))
  return values
}

// fillIn sets the fields to the members of the values with their names. A member that is null is empty.
function fillIn(fields, values) {
  for (const e of fields) {
    const value = e.name.split('.').reduce((v, part) => v?.[part], values)
    if (value === undefined) continue
    if (ticked(e)) e.checked = value === true
    else e.value = value ?? ''
  }
}

function put(values, name, value) {
  const path = name.split('.')
  const last = path.pop()
  for (const part of path) values = values[part] ??= {}
  values[last] = value
}

function valueOf(e) {
  if (e.type === 'checkbox') return e.checked
  if ('bool' in e.dataset) return e.value === 'true'
  if ('json' in e.dataset) return JSON.parse(e.value)
  if ('list' in e.dataset) return listOf(e.value)
  if ('rows' in e.dataset) return e.value.split('\n').map(row => row.trim()).filter(Boolean)
  if (e.type === 'number' && !('text' in e.dataset) || 'number' in e.dataset) return Number(e.value)
  return e.value
}

// listOf reads what ui.list writes.
const listOf = text => [...text.matchAll(/\s*(?:"((?:[^"]|"")*)"\s*|([^,]*))(?:,|$)/g)]
  .map(m => m[1] === undefined ? m[2].trim() : m[1].replaceAll('""', '"')).filter(Boolean)

// The default of a field is the value that the server sent last. A field that differs from it was edited
// here, and an update of the page leaves it alone. A form marked data-keep is left alone as a whole, with
// its hidden fields, while one of its fields differs or has the focus: the hidden field that names the
// version a text is based on must not run ahead of the text.
const fields = form => [...form.elements].filter(e => e.name && e.matches('input:not([type=hidden]), select, textarea'))
const ticked = e => e.type === 'checkbox' || e.type === 'radio'
const current = e => ticked(e) ? e.checked : e.value
const initial = e => ticked(e) ? e.defaultChecked
  : e.options ? ([...e.options].find(o => o.defaultSelected) || e.options[0])?.value ?? '' : e.defaultValue // a page that is left early may lack options
const changed = form => fields(form).filter(e => current(e) !== initial(e))
const unsaved = () => $$('form[data-keep]').filter(form => changed(form).length)

// settle makes the sent values the defaults of their fields, and copies the members of the answer that
// data-from names. A field edited since it was sent still differs from its default.
function settle(form, sent, data) {
  for (const [e, value] of sent) {
    if (e.type === 'password' || e.closest('[data-force]')) continue // a password is not kept, and force counts once
    if (ticked(e)) e.defaultChecked = value
    else if (e.options) {
      const now = e.value
      for (const o of e.options) o.defaultSelected = o.value === value
      e.value = now
    } else e.defaultValue = value
  }
  for (const e of $$('[data-from]', form)) {
    const value = data && data[e.dataset.from]
    if (value !== undefined) e['value' in e ? 'value' : 'textContent'] = value
  }
}

// An element marked data-when="NAME=VALUE,VALUE …" applies only while each of these fields of its form has
// one of the values. Otherwise it is hidden, and its fields are disabled.
function arrange(form) {
  for (const e of $$('[data-when]', form)) {
    e.hidden = !e.dataset.when.split(' ').every(condition => {
      const [name, values] = condition.split('=')
      const field = form.elements[name]
      return field && !field.disabled && values.split(',').includes(field.type === 'checkbox' ? String(field.checked) : field.value)
    })
    for (const field of $$('input, select, textarea, button', e)) field.disabled = field.closest('[data-when][hidden]') !== null
  }
}
const arrangeAll = () => { for (const form of $$('form')) arrange(form) }

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
    throw { message: 'The appliance did not answer. Check that it is running, then try again.', detail: null }
  }
  const body = await response.json().catch(() => null)
  if (response.ok && body && body.success) return body.data
  const error = (body && body.error) || { message: `The appliance answered with HTTP status ${response.status}.`, detail: null }
  if ($('#link') && ['AUTH_REQUIRED', 'INVALID_TOKEN', 'TOKEN_EXPIRED'].includes(error.code)) {
    toLogin()
    error.message = 'You are logged out, so nothing was done. Log in in another tab, then try again here.'
  }
  throw error
}

// toLogin goes to the login page, unless typed text would be lost.
function toLogin() {
  const address = '/login?next=' + encodeURIComponent(location.pathname + location.search)
  if (!unsaved().length) return location.assign(address)
  const note = standing('logged-out', 'You are logged out. Your text stays here: log in in another tab, then continue.')
  if (!$('a', note)) note.append(element('a', { href: address, target: '_blank', rel: 'noopener' }, 'Log in'))
}

// confirmed asks for confirmation, with the consequences in words. The dialog's own form closes it.
function confirmed(text, doIt) {
  const dialog = $('#confirm')
  $('p', dialog).textContent = text
  $('button[value=yes]', dialog).textContent = doIt
  dialog.returnValue = ''
  dialog.showModal()
  return new Promise(resolve => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }))
}

async function submit(form, submitter) {
  // The values are read before the question is asked, since the question is about them.
  const values = valuesOf(form, submitter)
  const sent = new Map(fields(form).map(e => [e, current(e)]))
  const dialog = form.closest('dialog')
  if ('changes' in form.dataset && !Object.keys(values).length) {
    if (dialog) dialog.close()
    return notice('Nothing was changed.', 'ok')
  }
  const asks = (submitter && submitter.dataset.confirm) || form.dataset.confirm
  if (asks && !await confirmed(asks, (submitter && submitter.textContent.trim()) || 'Continue')) return
  const [method, pattern] = ((submitter && submitter.dataset.api) || form.dataset.api).split(' ')
  const path = pattern.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(form.elements[name].value))
  clearMessages(form)
  const buttons = $$('button', form).filter(b => !b.disabled)
  form.setAttribute('aria-busy', 'true')
  for (const b of buttons) b.disabled = true
  try {
    const data = await call(method, path, values)
    if (submitter && 'test' in submitter.dataset) return notice(data.message, data.success ? 'ok' : 'error') // nothing was saved
    const asSent = [...sent].every(([e, value]) => current(e) === value)
    if ('reset' in form.dataset && asSent) form.reset()
    else settle(form, sent, data)
    for (const e of $$('[data-force]', form)) { e.hidden = true; $('input', e).checked = false }
    const then = (submitter && submitter.dataset.then) || form.dataset.then
    if (then) {
      location.assign(filled(then, data))
      return
    }
    const command = 'follow' in form.dataset ? data : data && data.push
    if (form.dataset.answer) await showAnswer($('#' + form.dataset.answer), data)
    else if (command) {
      follow(command, teller(form, filled(form.dataset.done || '', data)))
      if (!asSent) notice('What you typed since then is not saved yet.', 'warn')
    } else {
      const said = filled(form.dataset.done || '', data) || (data && data.message) || 'Done.'
      tell(said, data, asSent)
    }
    if (!form.dataset.answer) { // showAnswer shows the warnings itself
      for (const w of [...data?.warnings || [], ...data?.change_hints || []]) notice(warning(w), 'warn')
    }
    if (dialog && asSent && !$('#' + (form.dataset.answer || 'none'), dialog)) dialog.close()
    soon(0)
  } catch (error) {
    if (!('message' in error)) throw error
    if (error.code === 'CONFIG_CONFLICT' && form.dataset.diff) await showConflict(form, values.content).catch(e => showError(form, e))
    else showError(form, error)
    soon() // the reason for the refusal may not be on this page yet
  } finally {
    form.removeAttribute('aria-busy')
    for (const b of buttons) b.disabled = false
  }
}

// tell shows what was done. If tunnel configs followed from it, it leads to the page that applies them.
function tell(said, data, asSent) {
  const changed = data?.affected_node_ids?.length
  const mesh = $('main').dataset.config
  if (data?.status === 'failed') return notice(said, 'error')
  if (!asSent) said += ' What you typed since then is not saved yet.'
  if (!changed || !mesh) return notice(said, asSent ? 'ok' : 'warn')
  const note = notice(`${said} ${changed === 1 ? '1 tunnel config has' : changed + ' tunnel configs have'} changed.`, asSent ? 'wait' : 'warn')
  $('span', note).append(' ', element('a', { href: `/configs/${mesh}/apply` }, 'Review and apply'))
}

// filled replaces each {name} in the pattern by that member of the answer. In a path, the value is escaped.
const filled = (pattern, data) => pattern.replace(/\{(\w+)\}/g, (_, name) =>
  pattern.startsWith('/') ? encodeURIComponent(data[name] ?? '') : String(data[name] ?? ''))

// follow calls say with the command of the answer, and again after each change of it, until it has
// ended. wfm.js passes the changes from the stream on to told.
const followed = new Map() // by request id
function follow(command, say) {
  say(command)
  if (command.status !== 'pending') return
  followed.set(command.request_id, say)
  ask(command.request_id)
}

// ask fetches the state of the command, for changes from before the stream was open.
const ask = id => call('GET', '/api/v1/commands/' + id).then(told, () => {})

function told(command) {
  const say = followed.get(command.request_id)
  if (!say) return
  if (command.status !== 'pending') followed.delete(command.request_id)
  say(command)
}

// teller returns a function that shows the progress of a command, in the form's data-outcome if it has
// one, otherwise in a notice. The text begins with done.
function teller(form, done) {
  const place = $('[data-outcome]', form)
  let note
  return command => {
    const said = command.state === 'applied' && command.summary || command.detail || command.message || command.summary
    const text = [done, said[0].toUpperCase() + said.slice(1) + (/[.!?]$/.test(said) ? '' : '.')].filter(Boolean).join(' ')
    const kind = { pending: 'wait', acked: 'ok' }[command.status] || 'error'
    if (place && place.isConnected) {
      place.hidden = false
      place.dataset.outcome = kind
      place.textContent = text
      return
    }
    if (note && !note.isConnected && kind === 'wait') return // dismissed
    if (note) note.remove()
    note = notice(text, kind)
  }
}

function clearMessages(form) {
  for (const e of $$('.problem, .message', form)) e.remove()
  for (const e of $$('[data-outcome]', form)) e.hidden = true
  for (const e of $$('[data-conflict]', form)) e.hidden = true
  for (const e of $$('[aria-invalid]', form)) {
    e.removeAttribute('aria-invalid')
    e.removeAttribute('aria-describedby')
  }
}

function showError(form, error) {
  const dialog = form.closest('dialog')
  if (dialog && !dialog.open) { // closed before the answer came
    form.reset()
    return notice(error.message, 'error')
  }
  const fields = { ...error.detail?.fields }
  const about = error.detail?.field
  if (about) fields[about] = error.message
  let first
  for (const [name, problem] of Object.entries(fields)) {
    const field = form.elements[name]
    if (!field || !field.after || field.type === 'hidden' || field.disabled) continue
    const id = `problem-${name}-${form.id || 'form'}`
    field.setAttribute('aria-invalid', 'true')
    field.setAttribute('aria-describedby', id)
    const folded = field.closest('details')
    if (folded) folded.open = true
    field.after(element('small', { class: 'problem', id }, name === about ? inWords(form, problem) : `${title(field)} ${problem}.`))
    first = first || field
  }
  const warnings = ((error.detail && error.detail.warnings) || []).map(warning)
  // The API's own sentence repeats all warnings and tells scripts how to force the call.
  const said = error.code === 'CONFIG_WOULD_CUT_OFF' ? 'Nothing was done, since this tunnel config may cut the node off:' : error.message
  const typed = $$('input:not([type=hidden], [type=checkbox]), textarea, select, [data-force]', form).length > 0
  if (!typed) return notice([said, ...warnings].join(' '), 'error')
  if (first) return first.focus()
  const faults = error.detail?.faults || []
  const message = element('div', { class: 'message error', role: 'alert' }, faults.length ? faultCount(faults.length) : said)
  if (faults.length) message.append(faultList(faults))
  for (const w of warnings) message.append(element('p', {}, w))
  form.append(message)
  // The box to force the call appears only after the warnings have been shown.
  const force = $('[data-force]', form)
  if (force && warnings.length) {
    force.hidden = false
    message.append(element('p', {}, 'Change the tunnel config, or tick “Do it anyway” and try again.'))
  }
  const area = $('textarea', form)
  if (!area) return
  markLines(area, faults.map(f => f.line))
  if (error.detail && error.detail.line) selectLine(area, error.detail.line)
}

const mostFaults = 100 // in a list

const faultCount = n => n === 1 ? 'Nothing was saved: the tunnel config has a fault.' : `Nothing was saved: the tunnel config has ${n} faults.`

// faultList lists the faults of a text. Each leads to its line.
function faultList(faults) {
  const list = element('ul', { class: 'faults' })
  for (const f of faults.slice(0, mostFaults)) {
    const item = element('li')
    if (f.line) item.append(element('button', { type: 'button', class: 'small', 'data-line': f.line }, `Line ${f.line}`), ' ')
    const said = f.problem[0].toUpperCase() + f.problem.slice(1)
    item.append(/[.?!]$/.test(said) ? said : said + '.')
    list.append(item)
  }
  if (faults.length > mostFaults) list.append(element('li', {}, `And ${faults.length - mostFaults} more.`))
  return list
}

// showConflict shows the changes that saving the text over the newer version would make, and offers to
// make them.
async function showConflict(form, text) {
  const theirs = await call('POST', form.dataset.diff, { content: text })
  const place = $('[data-conflict]', form)
  for (const e of $$('[data-value]', place)) e.textContent = theirs[e.dataset.value]
  $('button[name=base_version]', place).value = theirs.version
  showLines($('pre', place), theirs.lines)
  if (!theirs.lines.length) $('pre', place).textContent = 'The texts are the same.'
  place.hidden = false
  place.focus()
}

// showLines shows the lines of a difference.
const showLines = (pre, lines) => pre.replaceChildren(...lines.map(l => element('span', { class: l.class }, l.text + '\n')))

function selectLine(area, line) {
  const lines = area.value.split('\n')
  const start = lines.slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0)
  area.focus()
  area.setSelectionRange(start, start + (lines[line - 1] || '').length)
  area.scrollTop = (line - 1) * parseFloat(getComputedStyle(area).lineHeight) - area.clientHeight / 2
}

// title returns the page's name for the field: the beginning of its label.
const title = field => (field.labels?.length && field.labels[0].firstChild.textContent.trim()) || field.name

// inWords returns the sentence of the API with the page's names for the fields.
function inWords(form, sentence) {
  const said = sentence.replace(/\b[a-z][a-z0-9]*(?:[_.][a-z0-9_]+)+\b/g, name => {
    const field = form.elements?.[name]
    if (field?.labels?.length) return title(field)
    return /^awg_[shij]\w{1,3}$/.test(name) ? name.slice(4).toUpperCase() : name
  })
  return said[0].toUpperCase() + said.slice(1)
}

// showAnswer fills a place with values that are shown only once: a bind command, a token.
async function showAnswer(place, data) {
  for (const e of $$('[data-value]', place)) e.textContent = data[e.dataset.value] ?? ''
  for (const e of $$('[data-values]', place)) {
    const texts = data[e.dataset.values] ?? []
    e.replaceChildren(...texts.map(text => element('li', {}, inWords(place, text))))
    e.hidden = !texts.length
  }
  for (const e of $$('[data-lines]', place)) {
    showLines(e, data[e.dataset.lines] ?? [])
    e.hidden = !e.hasChildNodes()
  }
  for (const e of $$('[data-member]', place)) {
    e.value = ''
    fillIn([e], data[e.dataset.member])
  }
  for (const e of $$('[data-until]', place)) {
    e.dataset.end = data[e.dataset.until] ?? ''
    e.dataset.left = ''
  }
  place.hidden = false
  tick()
  for (const e of $$('img[data-qr]', place)) {
    const body = JSON.stringify({ text: data[e.dataset.qr] })
    const response = await fetch('/ui/qr', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
    if (response.ok) e.src = 'data:image/svg+xml,' + encodeURIComponent(await response.text())
  }
}

// picture fetches an image that holds a secret, which is shown only when it is asked for.
async function picture(button) {
  const place = $('#' + button.dataset.into)
  button.disabled = true
  try {
    const response = await fetch(button.dataset.picture)
    if (!response.ok) throw (await response.json()).error
    const said = response.headers.get('X-QR-Warning')
    $('[data-warning]', place).textContent = said
    $('[data-warning]', place).hidden = !said
    $('img', place).src = 'data:image/svg+xml,' + encodeURIComponent(await response.text())
    place.hidden = false
    soon(0) // it counts as handed out
  } catch (error) {
    notice(error && error.code ? error.message : 'The appliance did not answer. Check that it is running, then try again.', 'error')
  } finally {
    button.disabled = false
  }
}

// hide hides a value that was shown when it was asked for.
function hide(place) {
  for (const e of $$('[data-value]', place)) e.textContent = ''
  for (const e of $$('img', place)) e.removeAttribute('src')
  place.hidden = true
}

// warning returns the text of a warning, which is a sentence or an object about a line.
function warning(w) {
  if (typeof w === 'string') return w
  return w.line && !w.message.includes(`line ${w.line}`) ? `Line ${w.line}: ${w.message}` : w.message
}

function notice(text, kind) {
  if (kind !== 'warn') for (const old of $$('.notice.ok, .notice.wait')) old.remove() // the newest is enough
  const note = element('div', { class: `notice ${kind}`, role: kind === 'error' ? 'alert' : 'status' })
  note.append(element('span', {}, text))
  const close = element('button', { type: 'button', class: 'quiet', 'aria-label': 'Dismiss' }, '×')
  close.addEventListener('click', () => note.remove())
  note.append(close)
  $('#notices').append(note)
  if (kind === 'ok') setTimeout(() => note.remove(), 6000)
  return note
}

// standing shows a notice that stays until the next update of the page. If a dialog is open, the notice
// goes into it, since nothing outside can be clicked.
function standing(name, text) {
  let note = $(`[data-standing=${name}]`)
  if (note) return note
  note = element('div', { class: 'notice error', role: 'alert', 'data-standing': name })
  note.append(element('span', {}, text))
  ;($('dialog[open]') || $('#notices')).append(note)
  return note
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
  if (event.target.getAttribute('aria-invalid')) clearMessages(form)
  for (const e of $$('[data-draft]')) if (e.id === form.dataset.answer) e.hidden = true // it answers another question
  arrange(form)
  if ('filter' in form.dataset) later('filter', 250, () => filter(form))
})

// filter puts the form's fields into the address and shows the page for it. A form that data-follows it is
// about something else then, so what was typed there is dropped.
function filter(form) {
  for (const e of $$('form[data-follows]')) if (e.dataset.follows === form.id) e.reset()
  const query = new URLSearchParams([...new FormData(form)].filter(([, v]) => v !== ''))
  history.replaceState(null, '', location.pathname + (String(query) && '?' + query))
  refresh()
}

document.addEventListener('click', async event => {
  const button = event.target.closest('button')
  if (!button) return
  if (button.dataset.copy) copy(button)
  if (button.dataset.picture) picture(button)
  if (button.dataset.line) selectLine($('textarea', button.form), Number(button.dataset.line))
  if (button.dataset.hide) hide($('#' + button.dataset.hide))
  if (button.dataset.open) $('#' + button.dataset.open).showModal()
  if ('close' in button.dataset) {
    button.form.reset() // at once, since the close event comes later
    button.closest('dialog').close()
  }
  if (button.dataset.fill) { // values that the API proposes; nothing is saved
    const [method, path] = button.dataset.fill.split(' ')
    clearMessages(button.form)
    await call(method, path, {}).then(data => fillIn(fields(button.form), data), error => showError(button.form, error))
  }
  if ('theirs' in button.dataset && await confirmed(button.dataset.ask, button.textContent)) {
    clearMessages(button.form)
    button.form.reset()
    soon(0)
  }
  if ('theme' in button.dataset) {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
    root.dataset.theme = dark ? 'light' : 'dark'
    try { localStorage.setItem('theme', root.dataset.theme) } catch { /* the theme lasts for this page only */ }
  }
})

// Browsers offer the clipboard only to pages of https and localhost. Elsewhere, the text is selected and
// copied as by Ctrl+C.
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

// A dialog closed without saving is reset. After Escape that happens at once: before the close event
// comes, the dialog may be open again, with text typed into it.
document.addEventListener('cancel', event => {
  const form = $('form[data-api]', event.target)
  if (form && !form.getAttribute('aria-busy')) form.reset()
}, true)

document.addEventListener('close', event => {
  const forms = $$('form[data-api]', event.target)
  if (!forms.length || forms.some(form => form.getAttribute('aria-busy')) || event.target.open) return
  for (const form of forms) {
    form.reset()
    clearMessages(form)
  }
  for (const e of $$('[data-draft]', event.target)) e.hidden = true
  for (const e of $$('[data-standing]', event.target)) e.remove()
  soon(0)
}, true)

document.addEventListener('reset', event => setTimeout(() => arrange(event.target))) // it has not happened yet
document.addEventListener('DOMContentLoaded', arrangeAll)

addEventListener('beforeunload', event => { if (unsaved().length) event.preventDefault() })
