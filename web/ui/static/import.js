// The page that brings existing wg-quick files into a mesh: it keeps the chosen files for the form that
// imports them, and shows the plan of that after each change of them.
'use strict'

const chosen = [] // { name, text, node_type }
let asked = 0 // plans asked for; only the answer to the last one is shown

const importForm = () => $('#import-conf')

function choose(name, text) {
  const same = chosen.find(f => f.name === name && f.text === text)
  if (!same) chosen.push({ name, text, node_type: 'dynamic' })
}

// showFiles lists the chosen files, each with a name that can be changed.
function showFiles() {
  $('#import-files').hidden = chosen.length === 0
  $('#import-files tbody').replaceChildren(...chosen.map((file, i) => {
    const row = element('tr')
    const name = element('input', { value: file.name, maxlength: 255, autocomplete: 'off', 'aria-label': `Name of file ${i + 1}` })
    name.addEventListener('change', () => {
      file.name = name.value.trim() || file.name
      name.value = file.name
      plan()
    })
    const kind = element('select', { 'aria-label': `Kind of file ${i + 1}` })
    for (const [value, words] of [['dynamic', 'a machine with an agent'], ['static', 'a phone or a router']]) {
      kind.append(element('option', { value }, words))
    }
    kind.value = file.node_type
    kind.addEventListener('change', () => {
      file.node_type = kind.value
      plan()
    })
    const remove = element('button', { type: 'button', class: 'quiet', 'aria-label': `Remove ${file.name}` }, 'Remove')
    remove.addEventListener('click', () => {
      chosen.splice(i, 1)
      showFiles()
      plan()
      ;($('#import-files tbody button') || $('#import-choose')).focus()
    })
    row.append(cell('Name', name), cell('Of', kind), cell('Size', `${new Blob([file.text]).size} B`, 'num'), cell('', remove))
    return row
  }))
}

// cell returns a cell of a table, with texts or elements in it.
function cell(label, content, kind) {
  const td = element('td', kind ? { class: kind } : {})
  if (label) td.dataset.label = label
  td.append(...[content].flat())
  return td
}

// muted returns a second line in a cell.
const muted = text => element('div', { class: 'muted' }, text)

function table(titles, rows) {
  const all = element('table', { class: 'cards' })
  const head = element('tr')
  head.append(...titles.map(t => element('th', { scope: 'col' }, t)))
  const thead = element('thead'), tbody = element('tbody')
  thead.append(head)
  tbody.append(...rows.map(cells => {
    const row = element('tr')
    row.append(...cells.map((c, i) => {
      if (i > 0) return cell(titles[i], c)
      const th = element('th', { scope: 'row' })
      th.append(...[c].flat())
      return th
    }))
    return row
  }))
  all.append(thead, tbody)
  return all
}

// remarks returns a titled list of sentences about files.
function remarks(title, all, kind) {
  if (!all.length) return []
  const list = element('ul', { class: kind })
  list.append(...all.map(r => {
    const item = element('li')
    if (r.file) item.append(element('b', {}, r.line ? `${r.file}, line ${r.line}` : r.file), ': ')
    item.append(r.message)
    return item
  }))
  return [element('h4', {}, title), list]
}

const networks = d => d.allowed_ips || 'nothing'

function nodeRow(n) {
  const kind = [n.file, n.node_type === 'static' ? 'no agent' : ''].filter(Boolean).join(', ')
  const made = n.config_source === 'mesh' ? ['made by the mesh']
    : n.file ? ['kept as it is', ...n.why.map(muted)] : ['not known here']
  const reached = [n.ipv4_address, n.ipv6_address].filter(Boolean).join(', ')
  const address = [n.addresses.join(', ') || '–']
  if (n.routes.length) address.push(muted('and behind it ' + n.routes.join(', ')))
  return [[n.name, muted(kind)], address, reached || '–', made]
}

const linkRow = l => [`${l.local_node} – ${l.peer_node}`,
  [element('div', {}, `to ${l.peer_node}: ${networks(l.forward)}`), element('div', {}, `to ${l.local_node}: ${networks(l.reverse)}`)],
  l.has_preshared_key ? 'yes' : 'no']

// showPlan shows the answer to a dry run.
function showPlan(p) {
  const found = $('#import-found'), go = $('#import-go')
  $('#import-said').textContent = p.message
  found.replaceChildren(
    ...remarks('To be solved first', p.problems, 'plain conflict'),
    ...remarks('The mesh takes from the files', p.settings.map(message => ({ message })), 'plain'),
    ...(p.nodes.length ? [element('h4', {}, 'Nodes'), table(['Node', 'Address', 'Reached at', 'Tunnel config'], p.nodes.map(nodeRow))] : []),
    ...(p.links.length ? [element('h4', {}, 'Links'), table(['Link', 'Carries', 'Preshared key'], p.links.map(linkRow))] : []),
    ...remarks('Peers without a link', p.one_sided, 'plain'),
    ...remarks('Good to know', p.notes, 'plain'),
  )
  go.disabled = !p.valid
  go.textContent = p.valid ? `Import ${p.nodes.length === 1 ? '1 node' : p.nodes.length + ' nodes'}` : 'Import'
  $('#import-plan').hidden = false
}

// plan asks for the plan of the chosen files, and shows it.
async function plan() {
  const form = importForm(), number = ++asked
  form.elements.files.value = JSON.stringify(chosen)
  clearMessages(form)
  $('#import-go').disabled = true
  if (!chosen.length) {
    $('#import-plan').hidden = true
    return
  }
  try {
    const [method, path] = form.dataset.api.split(' ')
    const p = await call(method, path, { ...valuesOf(form), dry_run: true })
    if (number === asked) showPlan(p)
  } catch (error) {
    if (!('message' in error)) throw error
    if (number !== asked) return
    $('#import-plan').hidden = true
    showError(form, { ...error, message: [error.message, ...fileProblems(error)].join(' ') })
  }
}

// fileProblems returns sentences about the files that the API does not take.
const fileProblems = error => Object.entries((error.detail && error.detail.fields) || {}).map(([name, problem]) => {
  const file = chosen[Number((name.match(/^files\[(\d+)\]/) || [])[1])]
  return `${file ? file.name : name} ${problem}.`
})

document.addEventListener('change', async event => {
  if (event.target.name === 'as_text' && event.target.form === importForm()) plan()
  if (event.target.id !== 'import-choose') return
  const input = event.target
  for (const file of input.files) choose(file.webkitRelativePath || file.name, await file.text())
  input.value = ''
  showFiles()
  plan()
})

document.addEventListener('click', event => {
  const button = event.target.closest('[data-import-add]')
  if (!button) return
  const name = $('#import-name'), text = $('#import-text')
  const empty = [name, text].find(e => !e.value.trim())
  if (empty) return empty.focus()
  choose(/\.conf$/i.test(name.value.trim()) ? name.value.trim() : name.value.trim() + '.conf', text.value)
  name.value = text.value = ''
  name.focus()
  showFiles()
  plan()
})
