--- help(x): the documentation of a function, an operator, a module, a class or an object. The text is that of the reference
--- (make docs): operators have it in their table, Lua functions in the `---` lines above them, classes in their `doc`.
local core = require "plumb.core"
local docstrings = require "plumb.help.docstrings"

local help = {}

local COLUMNS = 100 -- of a paragraph at most

--- help.operator_text(row) -> the text of a row of plumb.operators
function help.operator_text(row)
  local text = ("%s(%s): %s"):format(row.name, row.signature, row.doc)
  if row.differentiable then return text end
  return text .. " It has no gradient."
end

--- help.operator_of(f) -> the row of plumb.operators that this function is, or nil
function help.operator_of(f)
  for _, row in pairs(core.operators) do
    if row.call == f then return row end
  end
end

-- The name by which a module was loaded.
local function module_name(t)
  for name, value in pairs(package.loaded) do
    if value == t and name:find("^plumb") then return name end
  end
end

--- help.own_doc(t) -> what a class or a module says of itself, or nil: a text, or the docstring of a function
function help.own_doc(t)
  local doc = type(t) == "table" and rawget(t, "doc")
  if type(doc) == "function" then return docstrings.above(doc) end
  return type(doc) == "string" and doc or nil
end

local function names_text(title, names)
  if #names == 0 then return "" end
  table.sort(names)
  return ("\n\n%s: %s."):format(title, table.concat(names, ", "))
end

-- The names of the documented functions of a class and of those that it inherits from.
local function method_names(class)
  local names, seen = {}, {}
  for _ = 1, 10 do
    if type(class) ~= "table" then break end
    for name, value in pairs(class) do
      if type(name) == "string" and not name:find("^_") and type(value) == "function" and not seen[name]
        and (core.documentation[value] or docstrings.above(value)) then
        names[#names + 1], seen[name] = name, true
      end
    end
    local meta = getmetatable(class)
    class = type(meta) == "table" and rawget(meta, "__index")
  end
  return names
end

local function module_text(name, t)
  local path = package.searchpath(name, package.path)
  local header = path and docstrings.of_file(path)
  if not header then return nil end
  local names = {}
  for key in pairs(t) do
    if type(key) == "string" and not core.operators[key] then names[#names + 1] = key end
  end
  return header .. names_text("It has", names)
end

local function function_text(f)
  local row = help.operator_of(f)
  if row then return help.operator_text(row) end
  return core.documentation[f] or docstrings.above(f)
end

local function object_text(x)
  local class = debug.getmetatable(x)
  if type(class) ~= "table" then return nil end
  local doc = help.own_doc(class)
  if core.is_tensor(x) then doc, class = "A tensor: an array of numbers of one dtype.", core.methods end
  return doc and doc .. names_text("Methods", method_names(class))
end

--- help.text(x) -> what help(x) prints, or nil: x is a function, a module, a class, an object, or an operator's name.
function help.text(x)
  if type(x) == "string" then return core.operators[x] and help.operator_text(core.operators[x]) or nil end
  if type(x) == "function" then return function_text(x) end
  local doc = help.own_doc(x)
  if doc then return doc end
  local name = type(x) == "table" and module_name(x)
  return name and module_text(name, x) or object_text(x)
end

--- help.option_names(x) -> the names of the options that a function or a class takes, as its documentation tells them
function help.option_names(x)
  local text = help.text(x)
  return text and docstrings.option_names(text) or {}
end

--- help.search(words) -> list of { name =, text = } from the whole reference: what has all the words, names first
function help.search(words) return require("plumb.help.catalogue").search(words) end

--- help.search_text(words) -> what ?"words" prints
function help.search_text(words)
  local found = help.search(words)
  if #found == 0 then return ("Nothing in the reference has %s."):format(words) end
  local lines = {}
  for i, entry in ipairs(found) do
    if i > 20 then lines[#lines + 1] = ("... and %d more"):format(#found - 20) break end
    lines[i] = ("%s: %s"):format(entry.signature, docstrings.summary(entry.text))
  end
  return table.concat(lines, "\n")
end

--- help.print(text): fills the paragraphs to the width of the terminal.
function help.print(text)
  local columns = core.process.isatty(1) and core.process.terminal_width() or COLUMNS
  print(docstrings.wrap(text, math.min(COLUMNS, columns)))
end

--- help(x): prints the documentation of a function, a layer, an optimiser, a module or an object; of a string, that of the
--- operator of this name, else what in the reference has all its words.
function help.help(x)
  if x == nil then
    print('help(x) explains a function, a class or a module: help(plumb.grad), help(nn.Linear), help(plumb);\n'
      .. 'help("exp") an operator, and help("learning rate") searches.')
    return
  end
  local text = help.text(x)
  if text then help.print(text)
  elseif type(x) == "string" then print(help.search_text(x))
  else print("There is no documentation of this " .. type(x) .. ".") end
end

return help
