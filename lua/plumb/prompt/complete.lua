--- What Tab offers: names, fields and methods; option names within the braces of a call; modules behind `require`; files
--- within other strings. Fields are looked up without running anybody's code.
local core = require "plumb.core"
local fields = require "plumb.prompt.fields"
local globals = require "plumb.prompt.globals"

local complete = {}

-- Where keywords are offered, they are those that take a while to type.
local KEYWORDS = { "function", "local", "return", "while", "repeat", "until", "elseif", "break" }

-- ---- where the cursor is ----

-- Skips a long bracket that begins at i; returns its end, or nil where it is not closed; false when there is none.
local function long_bracket(text, i)
  local level = text:match("^%[(=*)%[", i)
  if not level then return false end
  local _, last = text:find("]" .. level .. "]", i + #level + 2, true)
  return last
end

-- Skips a quoted string that begins at i; returns its end, or nil where it is not closed.
local function quoted(text, i)
  local quote, k = text:sub(i, i), i + 1
  while k <= #text do
    local c = text:sub(k, k)
    if c == quote then return k end
    k = k + (c == "\\" and 2 or 1)
  end
  return nil
end

-- Reads Lua text up to its end: { kind = "code", "comment" or "string", from = where the string's text begins, open = the
-- brackets that are open, each with its place and kind }.
local function read(text)
  local open, i = {}, 1
  while i <= #text do
    local c = text:sub(i, i)
    local last
    if text:find("^%-%-", i) then
      last = long_bracket(text, i + 2)
      if last == false then last = text:find("\n", i, true) end
      if not last then return { kind = "comment", open = open } end
    elseif c == '"' or c == "'" then
      last = quoted(text, i)
      if not last then return { kind = "string", from = i + 1, open = open } end
    elseif c == "[" and long_bracket(text, i) ~= false then
      last = long_bracket(text, i)
      if not last then return { kind = "comment", open = open } end
    elseif c:find("[({%[]") then
      open[#open + 1] = { place = i, kind = c }
    elseif c:find("[)}%]]") then
      open[#open] = nil
    end
    i = (last or i) + 1
  end
  return { kind = "code", open = open }
end

-- ---- fields ----

-- The value of a path, or nil. The first name may be a field of plumb that is not loaded yet.
local function resolve(path)
  local value
  for name in path:gmatch("[^.:]+") do
    if value == nil or value == globals.find("plumb") then value = globals.find(name) else value = fields.look_up(value, name) end
    if value == nil then return nil end
  end
  return value
end

local function sorted_matches(set, start, prefix)
  local list = {}
  for name in pairs(set) do
    if name:sub(1, #start) == start and (start ~= "" or not name:find("^_")) then list[#list + 1] = prefix .. name end
  end
  table.sort(list)
  return list
end

-- Methods only behind a colon.
local function field_candidates(base, separator, start)
  local value = resolve(base)
  if value == nil then return {} end
  local set = fields.names(value)
  for name in pairs(separator == ":" and set or {}) do
    local field = fields.look_up(value, name)
    local meta = type(field) == "table" and getmetatable(field)
    if type(field) ~= "function" and not (type(meta) == "table" and meta.__call) then set[name] = nil end
  end
  return sorted_matches(set, start, base .. separator)
end

-- ---- options ----

-- What is called with the innermost open bracket: optim.Adam{ or plumb.fit(model, set, {
local function callee_of(text, open)
  local at = open[#open]
  if not at or at.kind ~= "{" then return nil end
  local path = text:sub(1, at.place - 1):match("([%a_][%w_%.:]*)%s*$")
  if not path and #open > 1 and open[#open - 1].kind == "(" then
    path = text:sub(1, open[#open - 1].place - 1):match("([%a_][%w_%.:]*)%s*$")
  end
  return path and resolve(path)
end

-- A name may stand where an entry of the table begins: behind the brace or a comma.
local function option_candidates(text, open, start)
  local before = text:sub(1, #text - #start)
  local callee = before:find("[{,;]%s*$") and callee_of(before, open)
  if not callee then return {} end
  local set = {}
  for _, name in ipairs(require("plumb.help").option_names(callee)) do set[name] = true end
  local list = sorted_matches(set, start, "")
  for i, name in ipairs(list) do list[i] = name .. " = " end
  return list
end

-- ---- strings ----

local function each_name(folder, f)
  for _, name in ipairs(core.files.list(folder == "" and "." or folder) or {}) do f(name) end
end

local function file_candidates(start)
  local folder, name_start = start:match("^(.*/)([^/]*)$")
  folder, name_start = folder or "", name_start or start
  local list = {}
  each_name(folder, function(name)
    if name:sub(1, #name_start) == name_start and (name_start ~= "" or name:sub(1, 1) ~= ".") then
      list[#list + 1] = folder .. name
    end
  end)
  table.sort(list)
  return list
end

-- Modules in one place of package.path, such as lua/?.lua, whose names begin with `start`.
local function add_modules(set, template, start)
  local root, ending = template:match("^(.*)%?([^?]*)$")
  if not root then return end
  local parent, name_start = start:match("^(.*%.)([^.]*)$")
  parent, name_start = parent or "", name_start or start
  each_name(root .. parent:gsub("%.", "/"), function(name)
    if name:sub(1, #name_start) ~= name_start or name:sub(1, 1) == "." then return end
    local is_folder = name:sub(-1) == "/"
    local module = is_folder and ending:sub(1, 1) == "/" and name:sub(1, -2) or not is_folder and name:sub(-#ending) == ending
      and name:sub(1, -#ending - 1)
    if not module or module:find("[^%w_-]") then return end
    if not is_folder then set[parent .. module] = true
    elseif core.files.exists(root .. (parent .. module):gsub("%.", "/") .. ending) then set[parent .. module] = true end
  end)
end

local function module_candidates(start)
  local set = {}
  for name in pairs(package.preload) do set[name] = true end
  for name in pairs(package.loaded) do set[name] = true end
  for template in package.path:gmatch("[^;]+") do add_modules(set, template, start) end
  return sorted_matches(set, start, "")
end

local function string_candidates(text, from)
  local start = text:sub(from)
  if text:sub(1, from - 2):find("%f[%w_]require%s*%(?%s*$") then return module_candidates(start), text:sub(from - 1, from - 1) end
  local list = file_candidates(start)
  local folder = #list == 1 and list[1]:sub(-1) == "/"
  return list, not folder and text:sub(from - 1, from - 1) or nil
end

-- ---- names ----

local function global_candidates(start)
  local set = {}
  for _, name in ipairs(globals.names()) do set[name] = true end
  for _, word in ipairs(KEYWORDS) do set[word] = true end
  return sorted_matches(set, start, "")
end

local function code_candidates(text, open)
  local path = text:match("[%w_%.:]*$")
  if path:find("^[%d.:]") then return {}, path end -- a number, or a field of what only running the code would tell
  local base, separator, start = path:match("^(.*)([.:])([%w_]*)$")
  if base then return field_candidates(base, separator, start), path end
  local list = option_candidates(text, open, path)
  if path ~= "" or #list == 0 then
    local names = global_candidates(path)
    table.move(names, 1, #names, #list + 1, list)
  end
  return list, path
end

--- complete.complete(before, line, first, last) -> list, closing: what may stand from byte `first` of the line to the cursor
--- behind byte `last`, and a text for behind it; `before` are the statement's lines above.
function complete.complete(before, line, first, last)
  local text = (before ~= "" and before .. "\n" or "") .. line:sub(1, last)
  text = text:gsub("^%s*%?+", "") -- a question names what code names
  local state = read(text)
  if state.kind == "comment" then return {} end
  local list, closing, token
  if state.kind == "string" then
    list, closing = string_candidates(text, state.from)
    token = text:sub(state.from)
  else
    list, token = code_candidates(text, state.open)
  end
  local kept = #token - (last - first + 1) -- readline's word begins later than the token, or (below 0) sooner
  local sooner = line:sub(first, last - #token)
  for i, word in ipairs(list) do list[i] = sooner .. word:sub(math.max(kept, 0) + 1) end
  return list, closing
end

return complete
