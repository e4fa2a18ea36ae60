// The list of nodes: selecting them, and its pages without loading the page anew. forms.js sends the forms.
//
// The selection is kept while the list is filtered, sorted and paged. It has the state of each node by its id.
'use strict'

const picked = new Map()

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
  link.href = link.pathname + (picked.size <= 500 ? '?nodes=' + [...picked.keys()].join(',') : location.search)
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

document.addEventListener('click', async event => {
  const button = event.target.closest('button, a[data-nav]')
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
      for (const node of data.nodes) picked.set(node.id, node.state)
    } catch (error) {
      notice(error.message, 'error')
    }
    button.disabled = false
    mark()
  }
  if (button.dataset.bindPicked) bindPicked(button)
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
