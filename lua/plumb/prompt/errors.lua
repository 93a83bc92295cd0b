--- Errors at the prompt: what is wrong, then the user's own lines from the innermost on, each with the shapes of the tensors
--- that it names. plumb's own lines are left out; traceback() shows them.
local core = require "plumb.core"
local fields = require "plumb.prompt.fields"
local format = require "plumb.format"
local globals = require "plumb.prompt.globals"
local nearest = require "plumb.prompt.nearest"
local sources = require "plumb.help.sources"
local terminal = require "plumb.prompt.terminal"

local errors = {}

local MAX_LINES = 8       -- of the user's that are shown
local MAX_FRAMES = 400    -- that are looked at: a stack that overflowed is deep
local MAX_COLUMNS = 100   -- of a line of code
local MAX_LOCALS = 200    -- in a function, by Lua's own limit: what getlocal gives after them, often by the hundred thousand
                          -- (table.unpack), are values without a name

local last_traceback

-- ---- the shapes on a line ----

-- The value of a local variable, an upvalue or a global of the function at this level, in that order.
local function find_variable(level, name)
  local found
  for i = 1, MAX_LOCALS do
    local local_name, value = debug.getlocal(level + 1, i)
    if not local_name then break end
    if local_name == name then found = value end -- the last of several is the innermost
  end
  if found ~= nil then return found end
  local f = debug.getinfo(level + 1, "f").func
  for k = 1, debug.getinfo(f, "u").nups do
    local upvalue_name, value = debug.getupvalue(f, k)
    if upvalue_name == name then return value end
  end
  return globals.find(name)
end

-- The value of a path such as set.x in the function at this level; only fields that are there as such.
local function find_value(level, path)
  local value, first = nil, true
  for name in path:gmatch("[%a_][%w_]*") do
    if first then value = find_variable(level + 1, name)
    else value = value ~= nil and fields.look_up(value, name) or nil end
    first = false
  end
  return value
end

-- "a float32 (2, 3), set.x float64 (4)": the tensors that a line of code names.
local function shapes_on_line(level, line)
  local texts, seen = {}, {}
  for path in line:gsub("%-%-.*", ""):gmatch("[%a_][%w_.]*") do
    local value = find_value(level + 1, path)
    if core.is_tensor(value) and not seen[path] then
      seen[path] = true
      texts[#texts + 1] = ("%s %s %s"):format(path, value:dtype(), format.shape(value))
    end
  end
  return #texts > 0 and table.concat(texts, ", ") or nil
end

-- A field or method that the message says is nil: the name that was probably meant, from what the value does have.
local function meant_field(level, line, message)
  local name = message:match("%(field '([%w_]+)'%)") or message:match("method '([%w_]+)'")
  local path = name and line:match("([%a_][%w_.]*)[.:]%s*" .. name .. "%f[^%w_]")
  local value = path and find_value(level + 1, path)
  if value == nil then return nil end
  local names = {}
  for field in pairs(fields.names(value)) do names[#names + 1] = field end
  return nearest(name, names)
end

-- ---- the user's lines ----

local function is_users(info) return info.currentline > 0 and not info.source:find("/lua/plumb/", 1, true) end

local function describe(level, info, message)
  local line = (sources.lines(info.source, info.currentline, info.currentline) or {})[1]
  local frame = { place = ("%s:%d"):format(info.short_src, info.currentline), source = info.source, what = info.what,
    calls = 1 }
  if line then
    frame.shapes = shapes_on_line(level + 1, line)
    frame.meant = meant_field(level + 1, line, message)
    line = line:match("^%s*(.-)%s*$")
    frame.line = #line > MAX_COLUMNS and line:sub(1, MAX_COLUMNS) .. terminal.dots or line
  end
  return frame
end

-- The user's lines among the calls from `level` on, and how many more there are. A function that calls itself over and over
-- has one entry, with the number of its `calls`.
local function users_lines(level, message)
  local frames, more, last = {}, 0, nil
  for k = level + 1, level + MAX_FRAMES do
    local info = debug.getinfo(k, "Sl")
    if not info then break end
    local place = is_users(info) and info.source .. ":" .. info.currentline
    if place and place == last then
      if more == 0 then frames[#frames].calls = frames[#frames].calls + 1 end
    elseif place then
      if #frames < MAX_LINES then frames[#frames + 1] = describe(k, info, message) else more = more + 1 end
      last = place
    end
  end
  return frames, more
end

-- A line that stands on the screen just above the error: the whole of the last statement.
local function is_in_sight(frame)
  local text = sources.text(frame.source)
  return frame.source == sources.last() and frame.what == "main" and not text:find("\n", 1, true)
end

-- ---- the texts ----

-- It does not matter which of the library's lines was interrupted.
local function heading(message)
  if message == "interrupted!" or message:find(":%d+: interrupted!$") then return terminal.paint("error", "interrupted!") end
  return terminal.paint("error", "error:") .. " " .. message
end

-- The message without the place that the first line names anyway.
local function without_place(message, frame)
  local place = frame and frame.place .. ": "
  if place and message:sub(1, #place) == place then return message:sub(#place + 1) end
  return message
end

local function write(message, frames, more)
  local meant = frames[1] and frames[1].meant
  local out = { heading(without_place(message, frames[1]) .. (meant and ("; did you mean '%s'?"):format(meant) or "")) }
  for _, frame in ipairs(frames) do
    if not is_in_sight(frame) then
      local calls = frame.calls > 1 and ("  (called %d times or more)"):format(frame.calls) or ""
      out[#out + 1] = ("  %s  %s%s"):format(terminal.paint("name", frame.place), frame.line or "", calls)
    end
    if frame.shapes then out[#out + 1] = "    " .. frame.shapes end
  end
  if more > 0 then out[#out + 1] = ("  %s and %d more lines"):format(terminal.dots, more) end
  return table.concat(out, "\n")
end

--- errors.explain(message) -> the text for an error; to be called by the C function that is the message handler.
function errors.explain(message)
  last_traceback = debug.traceback(message, 3)
  return write(message, users_lines(3, message))
end

--- errors.explain_syntax(message) -> the text for a statement that could not be compiled.
function errors.explain_syntax(message)
  last_traceback = message
  local name, number, rest = message:match("^(stdin%[%d+%]):(%d+): (.*)$")
  if not name then return heading(message) end
  local frame = { place = name .. ":" .. number, source = "=" .. name, what = "main", calls = 1 }
  frame.line = (sources.lines(frame.source, tonumber(number), tonumber(number)) or {})[1]
  if frame.line and #frame.line > MAX_COLUMNS then frame.line = nil end
  return write(frame.place .. ": " .. rest, { frame }, 0)
end

--- traceback(): prints all calls behind the last error, plumb's own too.
function errors.traceback() print(last_traceback or "There has been no error.") end

return errors
