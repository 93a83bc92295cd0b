--- Checks the options of the plot functions: every name is known, every value has the kind that the name asks for.

local report = require "plumb.report"

local options = {}

local fail = report.fail

-- Beyond this a double leaves no room for gnuplot's margins and ticks; such values count as infinite.
local LARGEST = 1e300

--- options.is_drawable(value, log): finite, and positive where the axis is logarithmic.
function options.is_drawable(value, log)
  return value == value and value <= LARGEST and value >= (log and 1e-300 or -LARGEST)
end

-- ---- kinds of values ----

local check = {}

function check.text(value, where)
  if type(value) ~= "string" and type(value) ~= "number" then
    fail("%s must be a text, not a %s", where, type(value))
  end
end

function check.flag(value, where)
  if type(value) ~= "boolean" then fail("%s must be true or false, not a %s", where, type(value)) end
end

function check.range(value, where, log)
  if type(value) ~= "table" then fail("%s must be {from, to}, not a %s", where, type(value)) end
  for k = 1, 2 do
    local bound = value[k]
    if bound ~= nil and (type(bound) ~= "number" or not options.is_drawable(bound, log)) then
      fail("%s[%d] must be a finite number%s", where, k, log and " above 0, since the axis is logarithmic" or "")
    end
  end
  if value[1] and value[2] and value[1] >= value[2] then
    fail("%s must rise: its first value has to be below the second", where)
  end
end

function check.pixels(value, where)
  if type(value) ~= "number" or not (value >= 100 and value <= 10000) then
    fail("%s must be a number of pixels from 100 to 10000", where)
  end
end

function check.number(value, where)
  if type(value) ~= "number" or not options.is_drawable(value) then fail("%s must be a finite number", where) end
end

function check.seconds(value, where)
  if type(value) ~= "number" or value ~= value or value <= 0 then fail("%s must be a positive number of seconds", where) end
end

function check.count(value, where)
  if not (type(value) == "number" and math.tointeger(value) and value >= 1) then
    fail("%s must be a whole number above 0", where)
  end
end

function check.texts(value, where)
  if type(value) ~= "table" then fail("%s must be a list of texts, not a %s", where, type(value)) end
  for i = 1, #value do check.text(value[i], ("%s[%d]"):format(where, i)) end
end

-- One of the texts in `kind`, a list.
local function check_choice(value, where, kind)
  for _, choice in ipairs(kind) do
    if value == choice then return end
  end
  fail('%s must be "%s" or "%s"', where, table.concat(kind, '", "', 1, #kind - 1), kind[#kind])
end

function check.any() end -- checked with what it belongs to

-- ---- whole tables ----

local function names_of(known)
  local names = {}
  for name in pairs(known) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

--- options.check(given, who, known): a copy of the options after checking names and values. `known` maps each name to its
--- kind: "text", "flag", "range", "pixels", "seconds", "number", "count", "texts", "any", or a list of the texts it may be.
function options.check(given, who, known)
  if given == nil then return {} end
  if type(given) ~= "table" then fail("%s: options must be a table, not a %s", who, type(given)) end
  local copy = {}
  for name, value in pairs(given) do
    local kind = known[name]
    if not kind then fail("%s: unknown option '%s' (known: %s)", who, tostring(name), names_of(known)) end
    local where = who .. ": option " .. name
    if type(kind) == "table" then
      check_choice(value, where, kind)
    else
      local axis = kind == "range" and name:match("^(.-)range$")
      check[kind](value, where, axis and given["log" .. axis])
    end
    copy[name] = value
  end
  return copy
end

local COMMON = { title = "text", width = "pixels", height = "pixels", xlabel = "text", ylabel = "text" }

--- options.table(more): a table of known options: `more`, and those of every panel (title, labels, width and height).
function options.table(more)
  for name, kind in pairs(COMMON) do more[name] = kind end
  return more
end

return options
