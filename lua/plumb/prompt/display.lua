--- Values as the prompt shows them: tensors as matrices, models as a table of their layers, tables one level deep, functions
--- with where they were defined.
local core = require "plumb.core"
local docstrings = require "plumb.help.docstrings"
local format = require "plumb.format"
local help = require "plumb.help"
local terminal = require "plumb.prompt.terminal"

local display = {}

local MAX_ENTRIES = 40    -- of a table that are shown
local MAX_SORTED = 5000   -- keys that are put in order
local MAX_TEXT = 60       -- characters of a string within a table

-- ---- functions ----

-- The names of a Lua function's parameters.
local function parameters_of(f)
  local info, names = debug.getinfo(f, "u"), {}
  for i = 1, info.nparams do names[i] = debug.getlocal(f, i) end
  if info.isvararg then names[#names + 1] = "..." end
  return table.concat(names, ", ")
end

-- The path of a file, from plumb's library folder on where it is there.
local function short_path(source)
  return source:match("^@.*/lua/(plumb/.*)$") or source:match("^@(.*)$") or source:match("^=(.*)$") or "a string"
end

--- display.place(f) -> where a function was defined: "my_file.lua:12", "stdin[3]:1", "C"
function display.place(f)
  local info = debug.getinfo(f, "S")
  return info.what == "C" and "C" or ("%s:%d"):format(short_path(info.source), info.linedefined)
end

local function function_text(f)
  local row = help.operator_of(f)
  if row then return ("operator %s(%s)"):format(row.name, row.signature) end
  local place = display.place(f)
  if place == "C" then return "function, in C" end
  return ("function(%s)  %s"):format(parameters_of(f), terminal.paint("quiet", "-- " .. place))
end

-- ---- strings ----

-- A string as Lua would read it, on one line, cut when long.
local function quoted(text)
  local cut = #text > MAX_TEXT and text:sub(1, MAX_TEXT) or text
  if not utf8.len(cut) and utf8.len(text) then cut = text:sub(1, utf8.offset(text, 0, MAX_TEXT) - 1) end
  local valid = utf8.len(cut) ~= nil
  cut = cut:gsub('[%c"\\\127]', function(c)
    return ({ ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ['"'] = '\\"', ["\\"] = "\\\\" })[c] or ("\\%d"):format(c:byte())
  end)
  if not valid then cut = cut:gsub("[\128-\255]", function(c) return ("\\x%02X"):format(c:byte()) end) end
  return '"' .. cut .. '"' .. (#text > MAX_TEXT and terminal.dots or "")
end

-- ---- what stands within a table ----

local function count_entries(t)
  local count = 0
  for _ in next, t do count = count + 1 end
  return count
end

local function has_text(value)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__tostring") ~= nil
end

local function is_module(value)
  local loaded = package.loaded["plumb.nn.module"]
  return loaded ~= nil and type(value) == "table" and loaded.is(value)
end

local function first_line(text)
  local line = text:match("^[^\n]*")
  return line .. (#line < #text and " " .. terminal.dots or "")
end

-- The documentation of something that is called like a function: a class, a loss, or fit.
local function class_doc(t)
  local meta = debug.getmetatable(t)
  return type(meta) == "table" and rawget(meta, "__call") and help.own_doc(t)
end

--- display.brief(value) -> one short line about a value
function display.brief(value)
  local kind = type(value)
  if core.is_tensor(value) then return ("tensor %s %s"):format(value:dtype(), format.shape(value)) end
  if kind == "string" then return quoted(value) end
  if kind == "function" then return (function_text(value)) end
  if is_module(value) then
    return ("nn.%s, %d parameter%s"):format(value.name, value.size, value.size == 1 and "" or "s")
  end
  if has_text(value) then return first_line(tostring(value)) end
  if kind ~= "table" then return tostring(value) end
  if class_doc(value) then return (docstrings.split(class_doc(value))) end
  local count = count_entries(value)
  return count == 0 and "{}" or ("{%d entr%s}"):format(count, count == 1 and "y" or "ies")
end

-- ---- tables ----

local function is_name(key) return type(key) == "string" and key:find("^[%a_][%w_]*$") ~= nil end

local function key_text(key)
  if is_name(key) then return key end
  return "[" .. (type(key) == "string" and quoted(key) or tostring(key)) .. "]"
end

-- Keys beside 1 .. n, numbers first, and how many there are; of very many only some.
local function other_keys(t, n)
  local keys, count = {}, 0
  for key in next, t do
    if not (math.type(key) == "integer" and key >= 1 and key <= n) then
      count = count + 1
      if count <= MAX_SORTED then keys[count] = key end
    end
  end
  table.sort(keys, function(a, b)
    if type(a) == "number" and type(b) == "number" then return a < b end
    if type(a) ~= type(b) then return type(a) == "number" or type(b) ~= "number" and type(a) < type(b) end
    return tostring(a) < tostring(b)
  end)
  return keys, count
end

local function more_text(count) return terminal.paint("quiet", ("%s %d more"):format(terminal.dots, count)) end

-- The texts of a table's entries; a list's elements come without a key.
local function entries_of(t)
  local n = rawlen(t)
  local keys, others = other_keys(t, n)
  local texts = {}
  for i = 1, math.min(n, MAX_ENTRIES) do texts[i] = display.brief(rawget(t, i)) end
  for i = 1, math.min(others, MAX_ENTRIES) do
    texts[#texts + 1] = terminal.paint("name", key_text(keys[i])) .. " = " .. display.brief(rawget(t, keys[i]))
  end
  local left_out = math.max(0, n - MAX_ENTRIES) + math.max(0, others - MAX_ENTRIES)
  if left_out > 0 then texts[#texts + 1] = more_text(left_out) end
  return texts
end

-- How many columns a text takes: without what paints it.
local function columns_of(text)
  text = text:gsub("\27%[[%d;]*m", "")
  return utf8.len(text) or #text
end

local function table_text(t)
  local texts = entries_of(t)
  local line = "{" .. table.concat(texts, ", ") .. "}"
  if columns_of(line) <= math.min(terminal.width(), 100) then return line end
  return "{\n  " .. table.concat(texts, ",\n  ") .. "\n}"
end

-- ---- everything ----

--- display.text(value) -> the text that the prompt shows for a value
function display.text(value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "function" then return function_text(value) end
  if is_module(value) then return require("plumb.nn").summary(value) end
  if kind == "table" and not has_text(value) then
    return class_doc(value) and first_line(class_doc(value)) or table_text(value)
  end
  return tostring(value)
end

-- What draws itself instead of being printed: figures.
local function show_method(value)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__show")
end

--- display.show(values): prints the values of table.pack, side by side where each is one line, else below each other; figures
--- are drawn, or where that fails described.
function display.show(values)
  local texts, figures, in_lines = {}, {}, false
  for i = 1, math.min(values.n, MAX_ENTRIES) do
    if show_method(values[i]) then
      figures[#figures + 1] = values[i]
    else
      texts[#texts + 1] = display.text(values[i])
      in_lines = in_lines or texts[#texts]:find("\n", 1, true) ~= nil
    end
  end
  if values.n > MAX_ENTRIES then texts[#texts + 1] = more_text(values.n - MAX_ENTRIES) end
  if #texts > 0 then io.stdout:write(table.concat(texts, in_lines and "\n" or "\t"), "\n") end
  for _, figure in ipairs(figures) do
    if not show_method(figure)(figure) then io.stdout:write(tostring(figure), "\n") end
  end
end

return display
