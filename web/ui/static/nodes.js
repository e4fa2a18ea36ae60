// The list of nodes: selecting them, and its pages without loading the page anew. forms.js sends the forms.
//
// The page that adds several nodes is here too.
//
// The selection is kept while the list is filtered, sorted and paged. It has the state of each node by its id.
'use strict'

const picked = new Map()
let everything = null // the search whose nodes are all selected, with their number
const mostNamed = 500 // nodes in an address

// searched returns the search in the address, without the order and the page of the list.
function searched() {
  const query = new URLSearchParams(location.search)
  for (const name of ['sort', 'size', 'page']) query.delete(name)
  return query.size ? '?' + query : ''
}

// mark shows the selection in the list and in the bar.
function mark() {
  const bar = $('#picked')
  const boxes = $$('[data-pick]')
  for (const box of boxes) {
    box.checked = picked.has(box.value)
    if (box.checked) picked.set(box.value, box.dataset.pick)
    box.closest('tr').classList.toggle('chosen', box.checked)
  }
  const here = boxes.filter(box => box.checked).length
  for (const all of $$('[data-pick-page]')) {
    all.checked = here > 0 && here === boxes.length
    all.indeterminate = here > 0 && here < boxes.length
  }
  if (!bar) return
  bar.hidden = picked.size === 0
  const count = `${picked.size} selected`
  if ($('[data-picked-count]', bar).textContent !== count) $('[data-picked-count]', bar).textContent = count
  $('[data-pick-matching]', bar).hidden = here < boxes.length || picked.size >= Number(bar.dataset.matching)
  for (const field of $$('[data-picked]')) field.value = [...picked.keys()].join(',')
  const link = $('[data-picked-link]', bar)
  const matching = everything?.search === searched() && everything.size === picked.size
  link.search = matching ? searched() : picked.size <= mostNamed ? '?nodes=' + [...picked.keys()].join(',') : '?nodes='
}

document.addEventListener('change', event => {
  const box = event.target
  if ('pick' in box.dataset) {
    if (box.checked) picked.set(box.value, box.dataset.pick)
    else picked.delete(box.value)
    mark()
  } else if ('pickPage' in box.dataset) {
    for (const one of $$('[data-pick]')) {
      if (box.checked) picked.set(one.value, one.dataset.pick)
      else picked.delete(one.value)
    }
    mark()
  }
})

// A click with the shift key selects all rows from the one that was clicked last.
let lastPicked = ''
document.addEventListener('click', event => {
  const box = event.target.closest('[data-pick]')
  if (!box) return
  const boxes = $$('[data-pick]')
  const from = boxes.findIndex(other => other.value === lastPicked)
  const to = boxes.indexOf(box)
  lastPicked = box.value
  if (!event.shiftKey || from < 0) return
  for (const other of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) {
    if (box.checked) picked.set(other.value, other.dataset.pick)
    else picked.delete(other.value)
  }
})

document.addEventListener('click', async event => {
  const button = event.target.closest('button, a[data-nav], a[data-picked-link]')
  if (!button) return
  if ('nav' in button.dataset && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault()
    history.pushState(null, '', button.href)
    refresh()
  }
  if ('pickNone' in button.dataset) {
    picked.clear()
    mark()
  }
  if ('pickMatching' in button.dataset) {
    button.disabled = true
    try {
      const data = await call('GET', $('#picked').dataset.choices + location.search)
      picked.clear()
      for (const node of data.nodes) picked.set(node.id, node.state)
      everything = { search: searched(), size: picked.size }
    } catch (error) {
      notice(error.message, 'error')
    }
    button.disabled = false
    mark()
  }
  if (button.dataset.bindPicked) bindPicked(button)
  if ('pickedLink' in button.dataset && button.search === '?nodes=') {
    event.preventDefault()
    notice(`Select up to ${mostNamed} nodes to apply, or all that match a search.`, 'warn')
  }
})

addEventListener('popstate', () => { if ($('#node-list')) refresh() })

// bindPicked shows a bind command for each of the selected nodes that has no agent.
async function bindPicked(button) {
  const ids = [...picked].filter(([, state]) => state === 'unbound').map(([id]) => id)
  if (!ids.length) return notice('None of the selected nodes needs a bind command: they have an agent, are static, or are disabled.', 'warn')
  button.disabled = true
  try {
    const rows = await call('POST', button.dataset.bindPicked, { node_ids: ids })
    const list = $('#bind-picked-list')
    list.replaceChildren(...rows.map(row => {
      const part = element('div', { class: 'command' })
      part.append(element('b', {}, row.node_name), element('pre', {}, row.command), '\n')
      return part
    }))
    $('#bind-picked').showModal()
  } catch (error) {
    notice(error.message, 'error')
  }
  button.disabled = false
}

document.addEventListener('shown', mark)
document.addEventListener('DOMContentLoaded', mark)

// ---- adding several nodes ------------------------------------------------------------------------

const mostPlanned = 100 // rows of the table, besides those with something to mend or to know

document.addEventListener('submit', event => {
  if (event.submitter?.id !== 'import-check') return
  event.preventDefault()
  event.stopPropagation() // forms.js would send it and go on
  checkImport(event.target)
}, true)

document.addEventListener('input', event => { if (event.target.form?.id === 'form-import') forgetPlan() })

document.addEventListener('change', async event => {
  const file = event.target.id === 'import-file' && event.target.files[0]
  if (!file) return
  const form = event.target.form
  form.elements.csv.value = await file.text()
  event.target.value = ''
  checkImport(form)
})

function forgetPlan() {
  $('#import-plan').hidden = true
  $('#import-add').hidden = true
}

// checkImport shows the nodes that would be made.
async function checkImport(form) {
  clearMessages(form)
  forgetPlan()
  const csv = form.elements.csv.value
  const button = $('#import-check')
  button.disabled = true
  try {
    const plan = await call('POST', form.dataset.api.split(' ')[1], { csv, dry_run: true })
    if (form.elements.csv.value === csv) showNewNodes(plan)
  } catch (error) {
    if (error instanceof Error) throw error
    showError(form, error)
  } finally {
    button.disabled = false
  }
}

function showNewNodes(plan) {
  const place = $('#import-plan')
  const notes = new Map() // by line
  const add = kind => note => {
    if (!notes.has(note.row)) notes.set(note.row, [])
    notes.get(note.row).push({ kind, text: `${note.column} ${note.message}.`.trim() })
  }
  plan.errors.forEach(add('problem'))
  plan.row_warnings.forEach(add('hint'))
  const lines = new Set(plan.rows.map(row => row.row))
  $('[role=status]', place).textContent = plan.message
  $('.faults', place).replaceChildren(...[...notes].filter(([line]) => !lines.has(line))
    .flatMap(([line, all]) => all.map(note => element('li', { class: note.kind }, `Line ${line}: ${note.text}`))))
  let plain = 0
  const shown = plan.rows.filter(row => notes.has(row.row) || plain++ < mostPlanned)
  shown.sort((a, b) => notes.has(b.row) - notes.has(a.row)) // what needs attention first
  $('tbody', place).replaceChildren(...shown.map(row => planRow(row, notes.get(row.row) || [])))
  const table = $('table', place)
  table.hidden = !plan.rows.length
  table.classList.toggle('plain-tags', !plan.rows.some(row => row.tags.length))
  table.classList.toggle('plain-notes', !notes.size)
  const more = plan.rows.length - shown.length
  $('[data-more]', place).textContent = more ? `and ${more} more` : ''
  place.hidden = false
  const button = $('#import-add')
  button.hidden = !plan.valid
  button.textContent = plan.rows.length === 1 ? 'Add 1 node' : `Add ${plan.rows.length} nodes`
  if (!plan.valid) place.focus()
}

function planRow(row, notes) {
  const tr = element('tr')
  const cell = (label, text, attributes = {}) => {
    const td = element('td', { 'data-label': label, ...attributes }, text)
    tr.append(td)
    return td
  }
  cell('Line', row.row, { class: 'num' })
  tr.append(element('th', { scope: 'row' }, row.name || '–'))
  cell('Type', row.node_type === 'static' ? 'static' : 'with an agent')
  const addresses = [row.virtual_ip, row.virtual_ip6].filter(Boolean).map(address => address.replace(/\/\d+$/, ''))
  const address = cell('Address', '')
  for (const text of addresses) address.append(element('code', {}, text), ' ')
  if (row.suggested) address.append(element('small', {}, 'next free'))
  else if (!addresses.length) address.append(element('span', { class: 'muted' }, '–'))
  cell('Interface', '').append(element('code', {}, row.interface_name))
  const tags = cell('Tags', '', row.tags.length ? {} : { class: 'none' })
  for (const tag of row.tags) tags.append(element('span', { class: 'tag' }, tag), ' ')
  const place = cell('Notes', '', { class: notes.length ? 'notes' : 'notes none' })
  for (const note of notes) place.append(element('div', { class: note.kind }, note.text[0].toUpperCase() + note.text.slice(1)))
  return tr
}
