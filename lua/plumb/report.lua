--- How plumb's library reports a user's mistake: at the user's own line.
local report = {}

--- report.fail(format, ...): an error that names the innermost line outside plumb's library.
function report.fail(format, ...)
  local message = select("#", ...) > 0 and format:format(...) or format
  local level = 2
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then error(message, 0) end
    if info.currentline > 0 and not info.source:find("/lua/plumb/", 1, true) then
      error(("%s:%d: %s"):format(info.short_src, info.currentline, message), 0)
    end
    level = level + 1
  end
end

local function names_of(defaults)
  local names = {}
  for name in pairs(defaults) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

--- report.options(who, given, defaults): given over defaults; a name that defaults lacks is an error. A default of
--- report.none stands for nil.
function report.options(who, given, defaults)
  local options = {}
  for name, value in pairs(defaults) do
    if value ~= report.none then options[name] = value end
  end
  if given == nil then return options end
  if type(given) ~= "table" then report.fail("%s: options are a table, not %s", who, type(given)) end
  for name, value in pairs(given) do
    if defaults[name] == nil then
      report.fail("%s: there is no option '%s' (there are: %s)", who, tostring(name), names_of(defaults))
    end
    options[name] = value
  end
  return options
end

report.none = setmetatable({}, { __name = "none" })

--- report.number(who, name, value, low, high): value, if it is a number from low to high (both optional).
function report.number(who, name, value, low, high)
  if type(value) ~= "number" or value ~= value or (low and value < low) or (high and value > high) then
    local range = low and high and (" from %g to %g"):format(low, high) or low and (" of at least %g"):format(low) or ""
    report.fail("%s: %s must be a number%s, not %s", who, name, range,
      type(value) == "number" and tostring(value) or type(value) == "string" and ("the string %q"):format(value) or type(value))
  end
  return value
end

--- report.integer(who, name, value, low, high): the same for integers.
function report.integer(who, name, value, low, high)
  local integer = math.tointeger(report.number(who, name, value, low, high))
  if not integer then report.fail("%s: %s must be an integer, not %s", who, name, tostring(value)) end
  return integer
end

--- report.boolean(who, name, value): value, if it is true or false.
function report.boolean(who, name, value)
  if type(value) ~= "boolean" then report.fail("%s: %s must be true or false, not %s", who, name, tostring(value)) end
  return value
end

return report
