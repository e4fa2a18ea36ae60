// The editor of a tunnel config: numbers of the lines, and colours behind the text.
//
// The text itself is in a plain textarea, which everything else works with. Above the limit it has no
// colours, so that typing stays fast.
'use strict'

const coloured = 64 * 1024 // characters

const sheets = new WeakMap() // the lines that are drawn, by textarea

// draw shows the numbers and the colours of the text. It changes only the lines that differ.
function draw(area) {
  const editor = area.closest('[data-editor]')
  const numbers = $('.numbers', editor), layer = $('.colours', editor)
  const lines = area.value.split('\n')
  if (numbers.hidden || numbers.dataset.count !== String(lines.length)) {
    numbers.textContent = lines.map((_, i) => i + 1).join('\n')
    numbers.dataset.count = lines.length
    numbers.hidden = false
  }
  layer.hidden = area.value.length > coloured
  if (layer.hidden) {
    layer.replaceChildren()
    sheets.delete(area)
  } else {
    const drawn = sheets.get(area) || []
    let from = 0
    while (from < drawn.length && from < lines.length && drawn[from] === lines[from]) from++
    let same = 0 // at the end
    while (same < drawn.length - from && same < lines.length - from && drawn.at(-1 - same) === lines.at(-1 - same)) same++
    for (let i = drawn.length - same - from; i > 0; i--) layer.children[from].remove()
    const after = layer.children[from] || null
    for (const line of lines.slice(from, lines.length - same)) layer.insertBefore(drawLine(line), after)
    sheets.set(area, lines)
  }
  follows(area)
}

function drawLine(text) {
  const line = element('div')
  const [, code, comment] = text.match(/^([^#]*)(.*)$/s)
  const [, section, key, rest] = code.match(/^(\s*\[[^\]]*\]?)?([^=]*)(.*)$/s)
  const add = (name, part) => { if (part) line.append(name ? element('span', { class: name }, part) : part) }
  add('section', section)
  add(rest ? 'key' : '', key)
  add(/^=\s*\(.*\)\s*$/.test(rest) ? 'comment' : '', rest)
  add('comment', comment)
  return line
}

// follows keeps the numbers and the colours beside the text.
function follows(area) {
  const editor = area.closest('[data-editor]')
  $('.numbers', editor).scrollTop = area.scrollTop
  $('.colours', editor).scrollTop = area.scrollTop
  $('.colours', editor).scrollLeft = area.scrollLeft
}

// markLines marks the lines with the numbers. A mark goes when its line is changed.
function markLines(area, numbers) {
  const layer = area.closest('[data-editor]') && $('.colours', area.closest('[data-editor]'))
  if (!layer) return
  for (const e of $$('.wrong', layer)) e.classList.remove('wrong')
  for (const n of numbers) layer.children[n - 1]?.classList.add('wrong')
}

// showKey puts the private key where the text hides it. The address of the page then asks for it, too.
async function showKey(link) {
  const area = $('[data-editor] textarea')
  const hidden = /^([ \t]*PrivateKey[ \t]*=[ \t]*)\(hidden\)/im
  try {
    const { content } = await call('GET', link.dataset.showKey)
    const key = (content.match(/^[ \t]*PrivateKey[ \t]*=[ \t]*([^#\r\n]*)/im) || [])[1]
    if (key) {
      const shown = text => text.replace(hidden, (_, before) => before + key.trim())
      const typed = shown(area.value)
      area.defaultValue = shown(area.defaultValue)
      area.value = typed
    }
    history.replaceState(null, '', link.href)
    draw(area)
    soon(0)
  } catch (error) {
    if (!('message' in error)) throw error
    notice(error.message, 'error')
  }
}

const editors = () => $$('[data-editor] textarea')

document.addEventListener('input', event => { if (event.target.matches('[data-editor] textarea')) draw(event.target) })
document.addEventListener('scroll', event => {
  if (event.target.nodeType === 1 && event.target.matches('[data-editor] textarea')) follows(event.target)
}, true)
document.addEventListener('reset', () => setTimeout(() => editors().forEach(draw))) // the text is reset after the event
document.addEventListener('shown', () => editors().forEach(draw))
document.addEventListener('DOMContentLoaded', () => editors().forEach(draw))
document.addEventListener('click', event => {
  const link = event.target.closest('a[data-show-key]')
  if (!link) return
  event.preventDefault()
  showKey(link)
})
