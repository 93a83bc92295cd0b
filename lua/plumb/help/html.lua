--- The reference as HTML: one page for each module, from the texts that help() prints. `make docs` writes it.
local catalogue = require "plumb.help.catalogue"
local core = require "plumb.core"
local docstrings = require "plumb.help.docstrings"

local html = {}

local STYLE = [[
:root { color-scheme: light dark; --ink: #1d2126; --paper: #ffffff; --faint: #5c6670; --line: #d9dee3; --code: #f4f6f8;
  --link: #0b5fa5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ea; --paper: #16191d; --faint: #9aa5b0; --line: #333a41; --code: #20252b; --link: #7ab8f0; }
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.55 system-ui, sans-serif; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
nav { padding: 1rem 1.25rem; border-bottom: 1px solid var(--line); }
nav strong { display: block; margin-bottom: .4rem; }
nav a { display: inline-block; margin: 0 .9rem .2rem 0; }
nav a[aria-current] { color: inherit; font-weight: 600; }
main { padding: 1.25rem; max-width: 52rem; }
h1 { font-size: 1.6rem; margin: 0 0 .8rem; }
.index { columns: 13rem; margin: 1rem 0 2rem; padding: 0; list-style: none; font: .85rem/1.5 ui-monospace, monospace; }
.index li { overflow-wrap: anywhere; }
article { border-top: 1px solid var(--line); padding: .9rem 0 .4rem; break-inside: avoid; }
h2 { font: 600 .95rem/1.4 ui-monospace, monospace; margin: 0 0 .4rem; overflow-wrap: anywhere; }
p { margin: 0 0 .6rem; overflow-wrap: anywhere; }
code { font: .9em ui-monospace, monospace; }
pre { background: var(--code); padding: .6rem .8rem; overflow-x: auto; font-size: .85rem; margin: 0 0 .7rem; }
footer { color: var(--faint); font-size: .85rem; margin-top: 2rem; }
@media (min-width: 60rem) {
  body { display: grid; grid-template-columns: 13rem 1fr; }
  nav { border: 0; border-right: 1px solid var(--line); position: sticky; top: 0; height: 100vh; overflow-y: auto; }
  nav a { display: block; margin: 0 0 .25rem; }
  main { padding: 1.5rem 2.5rem; }
}
@media print {
  nav { display: none; }
  body { display: block; font-size: 10pt; }
  main { max-width: none; padding: 0; }
  pre { white-space: pre-wrap; }
}
]]

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

-- What follows a signature begins as a sentence does, unless it is a formula.
local function as_sentence(text)
  local word = text:match("^%l%l+%f[%s,]") or text:match("^a%f[%s]")
  return word and word:gsub("^%l", string.upper) .. text:sub(#word + 1) or (text:gsub("^%->", "→"))
end

local function write_paragraphs(out, text)
  for _, paragraph in ipairs(docstrings.paragraphs(text)) do
    local words = escape(paragraph.text)
    out[#out + 1] = paragraph.code and "<pre>" .. words .. "</pre>"
      or "<p>" .. words:gsub("`([^`]+)`", "<code>%1</code>") .. "</p>"
  end
end

-- An identifier that is one of its kind on the page.
local function anchor_of(entry, taken)
  local anchor = entry.name:gsub("[^%w_.-]", "-")
  while taken[anchor] do anchor = anchor .. "-" end
  taken[anchor] = true
  return anchor
end

local function write_navigation(out, pages, current)
  out[#out + 1] = "<nav><strong>plumb " .. escape(require("plumb").version) .. "</strong>"
  for _, page in ipairs(pages) do
    out[#out + 1] = ('<a href="%s"%s>%s</a>'):format(html.file_name(page), page == current and ' aria-current="page"' or "",
      escape(page.title))
  end
  out[#out + 1] = "</nav>"
end

local function write_entries(out, page)
  local taken, anchors = {}, {}
  out[#out + 1] = '<ul class="index">'
  for i, entry in ipairs(page.entries) do
    anchors[i] = anchor_of(entry, taken)
    out[#out + 1] = ('<li><a href="#%s">%s</a></li>'):format(anchors[i], escape(entry.name))
  end
  out[#out + 1] = "</ul>"
  for i, entry in ipairs(page.entries) do
    out[#out + 1] = ('<article id="%s">\n<h2>%s</h2>'):format(anchors[i], escape(entry.signature))
    write_paragraphs(out, as_sentence(entry.description))
    out[#out + 1] = "</article>"
  end
end

--- html.file_name(page) -> the name of a page's file; the first page is index.html.
function html.file_name(page) return page.name == "plumb" and "index.html" or page.name .. ".html" end

--- html.page(page, pages) -> the text of one page, with links to all of them
function html.page(page, pages)
  local out = { "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    ("<title>%s – plumb</title>"):format(escape(page.title)), "<style>", STYLE .. "</style>", "</head>", "<body>" }
  write_navigation(out, pages, page)
  out[#out + 1] = "<main>"
  out[#out + 1] = ("<h1>%s</h1>"):format(escape(page.title))
  write_paragraphs(out, as_sentence(page.intro:match("^[%w_.]+:%s+(.*)$") or page.intro)) -- "plumb.nn: layers and ..."
  write_entries(out, page)
  out[#out + 1] = "<footer>The same texts are at the prompt: help(x), ?name, ?&quot;words&quot;.</footer>"
  out[#out + 1] = "</main>\n</body>\n</html>\n"
  return table.concat(out, "\n")
end

--- html.write(folder) -> the number of pages: writes the whole reference into the folder, which is made where it is missing.
function html.write(folder)
  local pages = catalogue.pages()
  core.files.make_directory(folder)
  for _, page in ipairs(pages) do
    core.files.write_atomically(folder .. "/" .. html.file_name(page), { html.page(page, pages) })
  end
  return #pages
end

return html
