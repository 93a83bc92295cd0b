--- JSON by way of dkjson, made fit for files that are kept: keys in sorted order, so that equal values give equal
--- files; floats with as many digits as reading them back needs; errors that name the place in the value.
local dkjson = require "dkjson"

local json = {
  null = dkjson.null, -- null as a value, where nil would get lost
}

local function shortest(x)
  for digits = 15, 17 do
    local text = string.format("%." .. digits .. "g", x)
    if tonumber(text) == x then
      return text:find("[.e]") and text or text .. ".0"
    end
  end
end

local function float(x)
  if x ~= x or x == math.huge or x == -math.huge then return dkjson.null end -- JSON has no such numbers
  return setmetatable({}, { __tojson = function() return shortest(x) end })
end

local function valid_utf8(text)
  local parts, from = {}, 1
  local length, bad = utf8.len(text)
  while not length do
    parts[#parts + 1] = text:sub(from, bad - 1)
    from = bad + 1
    length, bad = utf8.len(text, from)
  end
  parts[#parts + 1] = text:sub(from)
  return table.concat(parts, "\u{FFFD}")
end

local prepared

local function prepared_array(array, place, inside)
  local result = setmetatable({}, { __jsontype = "array" })
  for i = 1, #array do result[i] = prepared(array[i], ("%s[%d]"):format(place, i), inside) end
  return result
end

local function prepared_object(object, place, inside)
  local result, keys = {}, {}
  for key, value in pairs(object) do
    if type(key) ~= "string" then
      error(("%s: a JSON object's keys are strings, not %s"):format(place, tostring(key)), 0)
    end
    local name = valid_utf8(key)
    result[name] = prepared(value, place .. "." .. name, inside)
    keys[#keys + 1] = name
  end
  table.sort(keys)
  return setmetatable(result, { __jsontype = "object", __jsonorder = keys })
end

local function is_array(value)
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__jsontype then return meta.__jsontype == "array" end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  return count == #value
end

-- A copy in which everything that dkjson would leave to chance is decided.
prepared = function(value, place, inside)
  local kind = type(value)
  if kind == "nil" or kind == "boolean" or value == dkjson.null then return value end
  if kind == "string" then return valid_utf8(value) end
  if kind == "number" then return math.type(value) == "integer" and value or float(value) end
  if kind ~= "table" then error(("%s: JSON has no place for a %s"):format(place, kind), 0) end
  if inside[value] then error(("%s: a table that contains itself can't be written as JSON"):format(place), 0) end
  inside[value] = true
  local result = (is_array(value) and prepared_array or prepared_object)(value, place, inside)
  inside[value] = nil
  return result
end

--- json.encode(value, {indent = false}) -> string
--- Tables with keys 1..n become arrays (so does an empty table, unless it came from json.object), others objects.
--- NaN and infinities become null; bytes that are not UTF-8 become U+FFFD. Raises an error that names the place of
--- what JSON can't hold.
function json.encode(value, options)
  return dkjson.encode(prepared(value, "value", {}), { indent = options and options.indent or nil })
end

--- json.object(table) -> the same table, written as an object also when it is empty
function json.object(object) return setmetatable(object or {}, { __jsontype = "object" }) end

-- dkjson takes `{1, 2}` for an object and `["a": 1]` for an array; finds the first table with such keys.
local function misplaced_key(value)
  if type(value) ~= "table" or value == dkjson.null then return nil end
  local expected = getmetatable(value).__jsontype == "object" and "string" or "number"
  for key, member in pairs(value) do
    if type(key) ~= expected then return key end
    local below = misplaced_key(member)
    if below ~= nil then return below end
  end
end

-- The metatable that dkjson gives an object before its first member: the object then gets one of its own, with its keys in
-- order.
local Ordered = { __jsontype = "object" }

function Ordered.__newindex(object, key, value)
  local order = {}
  local function add(into, name, member)
    if member ~= nil then order[#order + 1] = name end
    rawset(into, name, member)
  end
  setmetatable(object, { __jsontype = "object", __jsonorder = order, __newindex = add })
  add(object, key, value)
end

local function parse(text, null)
  local value, next_position, message = dkjson.decode(text, 1, null, Ordered, { __jsontype = "array" })
  if message then return nil, message end
  local rest = text:find("%S", next_position)
  if rest then return nil, ("byte %d follows the end of the value"):format(rest) end
  local key = misplaced_key(value)
  if key ~= nil then return nil, ("an object needs names and an array has none, near %s"):format(tostring(key)) end
  return value
end

--- json.decode(text, null) -> value
--- The whole text must be one JSON value; its nulls become `null`, by default nil. Raises an error that says what is
--- wrong and where; a missing comma, a comma too many and comments are let pass. Arrays and objects can be told apart
--- by json.kind.
function json.decode(text, null)
  local complete, value, message = pcall(parse, text, null)
  if not complete then error("not JSON: nested too deeply", 0) end -- the recursion ran out of stack
  if message then error("not JSON: " .. message, 0) end
  return value
end

--- json.keys(object) -> the list of its keys: of an object that came from json.decode in the order of the text, else sorted
function json.keys(object)
  local meta = getmetatable(object)
  local keys = {}
  for _, key in ipairs(meta and meta.__jsonorder or {}) do
    if object[key] ~= nil then keys[#keys + 1] = key end
  end
  if #keys > 0 then return keys end
  for key in pairs(object) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

--- json.kind(value) -> "object" or "array" for tables that came from json.decode, otherwise Lua's type
function json.kind(value)
  local meta = type(value) == "table" and getmetatable(value)
  return meta and meta.__jsontype or type(value)
end

return json
