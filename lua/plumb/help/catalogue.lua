--- All that is documented, by pages: for the search, and for the reference as HTML.
local core = require "plumb.core"
local docstrings = require "plumb.help.docstrings"
local help = require "plumb.help"

local catalogue = {}

-- An entry: its signature, the name in it, its description, and the whole text. What does not begin with a signature is an
-- entry under the name `otherwise`, or none.
local function add_entry(entries, text, otherwise)
  local signature, description = docstrings.split(text)
  local name, rest = signature:match("^([%a_][%w_.:]*)(.*)$")
  if not name or not rest:find("^$") and not rest:find("^[({,]") then
    if not otherwise then return end
    signature, name, description = otherwise, otherwise, text
  end
  entries[#entries + 1] = { signature = signature, name = name, description = description, text = text }
end

local function by_name(a, b) return a.name:lower() < b.name:lower() end

-- ---- what a module holds ----

-- Adds what is documented among the fields of a module or a class; `seen` holds texts that are there already.
local function add_fields(entries, t, seen)
  for name, value in pairs(t) do
    local text
    if type(name) ~= "string" or name:find("^_") or value == package.loaded["plumb." .. name] then text = nil -- has a page
    elseif type(value) == "function" and not help.operator_of(value) then text = help.text(value)
    elseif type(value) == "table" and (rawget(value, "doc") ~= nil) and value ~= t then text = help.text(value) end
    if text and not seen[text] then
      seen[text] = true
      add_entry(entries, text, name)
      if type(value) == "table" then add_fields(entries, value, seen) end
    end
  end
end

-- Files that define the objects which a module's functions return: their methods are public.
local OBJECTS = { plot = { "plumb.plot.figure" }, data = { "plumb.data.loader" },
  measure = { "plumb.measure.spectrum", "plumb.measure.pca" } }

-- Docstrings of a module's main file stand for methods of classes that are not among its fields; with `methods_only` those of
-- other files do.
local function add_file(entries, path, seen, methods_only)
  local _, blocks = docstrings.of_file(path)
  for _, text in ipairs(blocks) do
    if not seen[text] and (not methods_only or text:find("^%l+:%l")) then
      seen[text] = true
      add_entry(entries, text)
    end
  end
end

local function module_page(name, seen)
  local path = package.searchpath(name, package.path)
  local header = path and docstrings.of_file(path)
  local value = require(name)
  if not header or type(value) ~= "table" then return nil end
  local page = { name = name:match("([%w_]+)$"), title = name, intro = header, entries = {} }
  local own = rawget(value, "doc") ~= nil and help.text(value) -- of a module that can be called: plot, fit
  if own and not seen[own] then
    seen[own] = true
    add_entry(page.entries, own)
  end
  add_fields(page.entries, value, seen)
  add_file(page.entries, path, seen)
  for _, file in ipairs(OBJECTS[page.name] or {}) do
    add_file(page.entries, package.searchpath(file, package.path), seen, true)
  end
  table.sort(page.entries, by_name)
  return page
end

-- ---- tensors ----

local function operators_page()
  local page = { name = "operators", title = "Operators", entries = {}, intro = [[
Functions of tensors. Each is a function of plumb and a method of tensors: plumb.exp(x) and x:exp(). In a signature, `?`
marks what may be left out, and a kind follows the name where the argument is not a tensor or a number.]] }
  for _, row in pairs(core.operators) do
    if row.call then add_entry(page.entries, help.operator_text(row)) end
  end
  table.sort(page.entries, by_name)
  return page
end

local function tensor_page(seen)
  local page = { name = "tensor", title = "Methods of tensors", entries = {}, intro = [[
What tensors can do beside the operators. Indexing counts from 1: t[i] is a row, t[{i, j}] an element, and t[i] = v gives the
name t a new tensor.]] }
  for name, f in pairs(core.methods) do
    local text = type(name) == "string" and not help.operator_of(f) and help.text(f)
    if text and not seen[text] then
      seen[text] = true
      add_entry(page.entries, text)
    end
  end
  table.sort(page.entries, by_name)
  return page
end

local function prompt_page()
  local name = "plumb.prompt"
  local page = { name = "prompt", title = "The prompt", entries = {},
    intro = docstrings.of_file(package.searchpath(name, package.path)) }
  add_entry(page.entries, help.text(require(name .. ".errors").traceback))
  add_entry(page.entries, help.text(require(name .. ".who").who))
  return page
end

-- ---- the pages ----

--- catalogue.pages() -> list of { name =, title =, intro =, entries = list of { name =, signature =, description =, text = } }
function catalogue.pages()
  local seen, pages = {}, {}
  local plumb = require "plumb"
  pages[1] = module_page("plumb", seen)
  pages[2] = operators_page()
  pages[3] = tensor_page(seen)
  local names = getmetatable(plumb).__names()
  table.sort(names)
  for _, name in ipairs(names) do pages[#pages + 1] = module_page("plumb." .. name, seen) end
  pages[#pages + 1] = prompt_page()
  return pages
end

-- How well an entry fits: nil where a word is missing; the smaller the better.
local function rank(e, words)
  local name, text, place = e.name:lower(), e.text:lower(), 0
  for _, word in ipairs(words) do
    if name:match("[%w_]+$") == word then place = place + (name == word and 0 or 0.5)
    elseif name:find(word, 1, true) then place = place + 1
    elseif text:find(word, 1, true) then place = place + 2
    else return nil end
  end
  return place
end

--- catalogue.search(words) -> list of the entries that have all the words, the best first
function catalogue.search(words)
  local list, found = {}, {}
  for word in words:lower():gmatch("%S+") do list[#list + 1] = word end
  for _, page in ipairs(#list > 0 and catalogue.pages() or {}) do
    for _, e in ipairs(page.entries) do
      local place = rank(e, list)
      if place then found[#found + 1] = { name = e.name, signature = e.signature, text = e.text, place = place } end
    end
  end
  table.sort(found, function(a, b)
    if a.place ~= b.place then return a.place < b.place end
    return a.signature < b.signature
  end)
  return found
end

return catalogue
