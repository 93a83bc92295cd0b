--- The fields and methods of values, looked up without computing anything: through tables, never through a function
--- __index. What objects compute when it is asked for they name by the function __names of their metatable.
local fields = {}

local MAX_KEYS = 10000 -- of a table that are looked at

-- Where __index is a function, for objects that compute some of their fields, the methods stand in the metatable itself or in
-- its field __methods.
local function methods_of(meta) return rawget(meta, "__methods") or meta end

--- fields.look_up(value, name) -> the field: a raw one, or through __index where that is a table
function fields.look_up(value, name)
  for _ = 1, 20 do
    if type(value) == "table" then
      local found = rawget(value, name)
      if found ~= nil then return found end
    end
    local meta = debug.getmetatable(value)
    local index = type(meta) == "table" and rawget(meta, "__index") or nil
    if type(index) == "function" then index = methods_of(meta) end
    if type(index) ~= "table" or index == value then return nil end
    value = index
  end
end

local function add_keys(set, t)
  local count = 0
  for key in next, t do
    if type(key) == "string" and key:find("^[%a_][%w_]*$") and not key:find("^__") then set[key] = true end
    count = count + 1
    if count > MAX_KEYS then return end
  end
end

--- fields.names(value) -> the names of a value's fields and methods, as a set {name = true}
function fields.names(value)
  local set, seen = {}, {}
  while value ~= nil and not seen[value] do
    seen[value] = true
    if type(value) == "table" then add_keys(set, value) end
    local meta = debug.getmetatable(value)
    if type(meta) ~= "table" then break end
    local names = rawget(meta, "__names")
    if type(names) == "function" then
      local ok, list = pcall(names, value)
      for _, name in ipairs(ok and list or {}) do set[name] = true end
    end
    local index = rawget(meta, "__index")
    value = type(index) == "table" and index or type(index) == "function" and methods_of(meta) or nil
  end
  return set
end

return fields
