--- The global names at the prompt: the user's own, then plumb's fields, then a few for the prompt alone. A name that is none
--- of these is an error where a statement typed at the prompt uses it; programs and modules see nil, as everywhere in Lua.
local nearest = require "plumb.prompt.nearest"

local globals = {}

local SAVED = 9 -- values before the last that are kept

local plumb              -- what require "plumb" gives
local prompt_names = {}  -- names that only the prompt has
local standard = {}      -- the globals that were there when the prompt opened
local ended_locals = {}  -- names that a statement declared local

--- globals.offer(name, value): gives the prompt one more name.
function globals.offer(name, value) prompt_names[name] = value end

-- Keys of a table, and those that it makes on demand (`__names` of its metatable).
local function add_names(list, t)
  for name in next, t do
    if type(name) == "string" then list[#list + 1] = name end
  end
  local meta = debug.getmetatable(t)
  local names = type(meta) == "table" and rawget(meta, "__names")
  if type(names) == "function" then table.move(names(t), 1, #names(t), #list + 1, list) end
end

--- globals.names() -> all names that stand for something, sorted
function globals.names()
  local list, unique, seen = {}, {}, {}
  add_names(list, _G)
  add_names(list, plumb)
  add_names(list, prompt_names)
  for _, name in ipairs(list) do
    if not seen[name] then unique[#unique + 1], seen[name] = name, true end
  end
  table.sort(unique)
  return unique
end

--- globals.own() -> the names that the user made, sorted
function globals.own()
  local list = {}
  for name in next, _G do
    if type(name) == "string" and not standard[name] and not name:find("^_%d*$") and not name:find("^_PROMPT2?$") then
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return list
end

--- globals.find(name) -> the value of a global name without an error, or nil
function globals.find(name)
  local value = rawget(_G, name)
  if value == nil and name == "plumb" then return plumb end
  if value == nil then value = plumb[name] end
  if value == nil then value = prompt_names[name] end
  return value
end

-- ---- undefined names ----

--- globals.note_locals(text): remembers which names a statement declares local, to explain why they are gone.
function globals.note_locals(text)
  for names in text:gmatch("%f[%w_]local%s+([%a_][%w_%s,]*)") do
    for name in names:gmatch("[%a_][%w_]*") do ended_locals[name] = true end
  end
end

local function undefined(name)
  local message = ("'%s' is not defined"):format(name)
  if ended_locals[name] then return message .. ": a local ends with its statement (leave out the word local to keep a value)" end
  local meant = nearest(name, globals.names())
  if meant then message = ("%s; did you mean '%s'?"):format(message, meant) end
  return message
end

local function asked_at_prompt()
  local info = debug.getinfo(3, "S")
  return info ~= nil and info.source:find("^=stdin") ~= nil
end

-- The __index of _G; `before` is the one that was there.
local function make_index(before)
  return function(t, name)
    local value
    if type(name) == "string" then value = name == "plumb" and plumb or plumb[name] end
    if value == nil then value = prompt_names[name] end
    if value ~= nil then return value end
    if type(before) == "function" then return before(t, name) end
    if before ~= nil then value = before[name] end
    local required = type(name) == "string" and not name:find("^_%d*$") -- the first values are not there yet
    if value == nil and required and asked_at_prompt() then error(undefined(name), 2) end
    return value
  end
end

--- globals.open(library): puts the library's fields behind _G. The user's own names win.
function globals.open(library)
  plumb = library
  for name in next, _G do standard[name] = true end
  local meta = getmetatable(_G)
  if type(meta) ~= "table" then meta = {} end
  meta.__index = make_index(rawget(meta, "__index"))
  setmetatable(_G, meta)
end

-- ---- the last values ----

--- globals.keep(value): the value becomes _, the one before _1, and so on up to _9.
function globals.keep(value)
  for i = SAVED, 2, -1 do rawset(_G, "_" .. i, rawget(_G, "_" .. i - 1)) end
  rawset(_G, "_1", rawget(_G, "_"))
  rawset(_G, "_", value)
end

return globals
