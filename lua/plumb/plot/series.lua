--- From what users hand to plot.lines and plot.scatter to checked series.
--
-- A checked series is {name, x, y, lo, hi, axis, style, color, dash, width, marker, size, sizes, shades, labels}; x, y, lo,
-- hi, sizes and shades are plain lists of numbers of one length, copied, so that a figure never changes after it was made.

local report = require "plumb.report"
local look = require "plumb.plot.look"
local text = require "plumb.plot.text"

local series = {}

local fail = report.fail

local FIELDS = {
  name = true, x = true, y = true, band = true, axis = true, style = true, color = true, dash = true, width = true,
  marker = true, size = true, labels = true, group = true,
}
local FIELD_NAMES = "axis, band, color, dash, group, labels, marker, name, size, style, width, x, y"
local STYLES = { lines = true, points = true, linespoints = true, steps = true }

-- ---- lists of numbers ------------------------------------------------------------------------------------------

local function has_method(value, name)
  local ok, method = pcall(function() return value[name] end)
  return ok and type(method) == "function"
end

--- series.is_list(value): does it look like one list of numbers (or a tensor)?
function series.is_list(value)
  if type(value) == "string" then return false end
  return has_method(value, "tolist") or (type(value) == "table" and type(value[1]) == "number")
end

--- series.numbers(value, where): a fresh list of numbers from a list, or from anything with a tolist method (a tensor of
--- one axis, or with one column).
function series.numbers(value, where)
  if type(value) ~= "string" and has_method(value, "tolist") then
    value = value:tolist()
  end
  if type(value) ~= "table" then
    fail("%s is a %s, expected a list of numbers or a tensor of one axis", where, type(value))
  end
  local list = {}
  for i = 1, #value do
    local item = value[i]
    if type(item) == "table" and #item == 1 then item = item[1] end
    if type(item) == "table" then
      fail("%s is nested (its entry %d is a table), expected a flat list: flatten the tensor, or take one column", where, i)
    elseif type(item) ~= "number" then
      fail("%s[%d] is a %s, expected a number", where, i, type(item))
    end
    list[i] = item + 0.0 -- differences of integers could wrap
  end
  return list
end

local numbers = series.numbers

local function same_length(list, y, where)
  if #list ~= #y then
    fail("%s has %d values, but y has %d: give them the same length", where, #list, #y)
  end
  return list
end

local function count_up(count)
  local list = {}
  for i = 1, count do list[i] = i end
  return list
end

-- ---- one series ------------------------------------------------------------------------------------------------

--- series.check_color(color, where): color, if it is one.
function series.check_color(color, where)
  if color == nil or math.type(color) == "integer" and color >= 1 then return color end
  if type(color) == "string" and color:match("^#%x%x%x%x%x%x$") then return color end
  fail('%s: color must be a palette index (1, 2, ...), "#rrggbb", or a list with a number for each point', where)
end

local function check_size(size, where)
  if size ~= nil and not (type(size) == "number" and size > 0 and size <= 100) then
    fail("%s must be a number above 0 and at most 100", where)
  end
end

local function check_style(spec, where)
  if spec.dash ~= nil and not (math.type(spec.dash) == "integer" and spec.dash >= 1) then
    fail("%s: dash must be a dash index (1 is solid)", where)
  end
  check_size(spec.width, where .. ": width")
  if spec.style ~= nil and not STYLES[spec.style] then
    fail('%s: style must be "lines", "points", "linespoints" or "steps"', where)
  end
  if spec.axis ~= nil and spec.axis ~= 1 and spec.axis ~= 2 then
    fail("%s: axis must be 1 (left) or 2 (right)", where)
  end
  local marker = spec.marker
  if marker ~= nil and not look.is_marker(marker) and not (math.type(marker) == "integer" and marker >= 1) then
    fail("%s: marker must be an index (1, 2, ...) or one of %s", where, look.marker_names())
  end
end

-- {[i] = text}: a text for each point, or only for some.
local function check_labels(labels, y, where)
  if type(labels) ~= "table" then fail("%s: labels must be a table of texts, not a %s", where, type(labels)) end
  local copy = {}
  for i, label in pairs(labels) do
    if math.type(i) ~= "integer" or i < 1 or i > #y then
      fail("%s: labels has the key %s, but the points are numbered from 1 to %d", where, tostring(i), #y)
    elseif type(label) ~= "string" and type(label) ~= "number" then
      fail("%s: labels[%d] must be a text, not a %s", where, i, type(label))
    end
    if label ~= "" then copy[i] = text.clean(label) end
  end
  return next(copy) and copy or nil
end

-- color and size are one for all points, or a list with one for each.
local function add_point_looks(checked, spec, where)
  local y = checked.y
  if series.is_list(spec.color) then
    checked.shades = same_length(numbers(spec.color, where .. ".color"), y, where .. ".color")
  else
    checked.color = series.check_color(spec.color, where)
  end
  if series.is_list(spec.size) then
    checked.sizes = same_length(numbers(spec.size, where .. ".size"), y, where .. ".size")
    for i, size in ipairs(checked.sizes) do check_size(size, ("%s: size[%d]"):format(where, i)) end
  else
    check_size(spec.size, where .. ": size")
    checked.size = spec.size
  end
  if spec.labels ~= nil then checked.labels = check_labels(spec.labels, y, where) end
end

local function check_fields(spec, where)
  for field in pairs(spec) do
    if not FIELDS[field] then fail("%s: unknown field '%s' (known: %s)", where, tostring(field), FIELD_NAMES) end
  end
  if spec.y == nil then fail("%s has no field y (the list of numbers to draw)", where) end
end

local function check_one(spec, name, where, defaults)
  if series.is_list(spec) or (type(spec) == "table" and next(spec) == nil) then
    spec = { y = spec }
  elseif type(spec) ~= "table" then
    fail("%s is a %s, expected a list of numbers, a tensor, or a table with a field y", where, type(spec))
  end
  check_fields(spec, where)
  check_style(spec, where)
  local y = numbers(spec.y, where .. ".y")
  local x = spec.x
  if x == nil then x = defaults.x end
  local checked = {
    name = spec.name ~= nil and tostring(spec.name) or name, y = y,
    x = x == nil and count_up(#y) or same_length(numbers(x, where .. ".x"), y, where .. ".x"),
    axis = spec.axis or 1, style = spec.style or defaults.style, dash = spec.dash, width = spec.width, marker = spec.marker,
  }
  add_point_looks(checked, spec, where)
  if spec.band ~= nil then
    if type(spec.band) ~= "table" then fail("%s: band must be {lower, upper}, two lists as long as y", where) end
    checked.lo = same_length(numbers(spec.band[1], where .. ".band[1]"), y, where .. ".band[1]")
    checked.hi = same_length(numbers(spec.band[2], where .. ".band[2]"), y, where .. ".band[2]")
  end
  return checked
end

-- ---- groups ----------------------------------------------------------------------------------------------------

local BY_POINT = { "x", "y", "lo", "hi", "sizes", "shades" }

local function group_of(group, i, where)
  local key = group[i]
  if type(key) ~= "string" and type(key) ~= "number" then
    fail("%s: group[%d] must be a text or a number, not a %s", where, i, type(key))
  end
  return tostring(math.type(key) == "float" and math.tointeger(key) or key)
end

-- One series for each value in `group`, in the order in which they come; each gets a colour and a marker of its own.
local function split(checked, group, where)
  if type(group) ~= "string" and has_method(group, "tolist") then group = numbers(group, where .. ".group") end
  if type(group) ~= "table" then fail("%s: group must be a list with a text or a number for each point", where) end
  same_length(group, checked.y, where .. ".group")
  local parts, by_key = {}, {}
  for i = 1, #checked.y do
    local key = group_of(group, i, where)
    local part = by_key[key]
    if not part then
      part = setmetatable({ name = checked.name and checked.name .. " " .. key or key }, { __index = checked })
      part.labels = checked.labels and {}
      for _, field in ipairs(BY_POINT) do part[field] = checked[field] and {} end
      by_key[key], parts[#parts + 1] = part, part
    end
    for _, field in ipairs(BY_POINT) do
      if part[field] then part[field][#part[field] + 1] = checked[field][i] end
    end
    if checked.labels then part.labels[#part.y] = checked.labels[i] end
  end
  return parts
end

-- ---- all of them -----------------------------------------------------------------------------------------------

--- series.is_run(value): is it a run of plumb.fit?
function series.is_run(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and meta.__name == "plumb.Run"
end

-- The losses that plumb.fit recorded. Beside other runs a run has one colour, and its test loss is dashed.
local function add_run(checked, run, name, where, defaults)
  local is_first = true
  if name then checked.runs = (checked.runs or 0) + 1 end
  for dash, curve in ipairs { { "train_loss", "training" }, { "test_loss", "test" } } do
    if is_first or #run[curve[1]] > 0 then
      local spec = { y = run[curve[1]], color = checked.runs, dash = name and dash }
      checked[#checked + 1] = check_one(spec, (name and name .. ", " or "") .. curve[2], where, defaults)
    end
    is_first = false
  end
end

local function add(checked, item, name, where, defaults)
  if series.is_run(item) then return add_run(checked, item, name, where, defaults) end
  local one = check_one(item, name, where, defaults)
  if type(item) == "table" and item.group ~= nil then
    local parts = split(one, item.group, where)
    table.move(parts, 1, #parts, #checked + 1, checked)
  else
    checked[#checked + 1] = one
  end
end

-- {x =, y =, ...} is one series described by its fields; {train = ..., test = ...} is a table of named series.
local function is_description(value)
  if value.y == nil then return false end
  for field in pairs(value) do
    if not FIELDS[field] then return false end
  end
  return true
end

--- series.each(value, who, f): f(item, key) for each item of a list, or of a table of named ones in the order of the names.
function series.each(value, who, f)
  local names = {}
  for key in pairs(value) do
    if type(key) == "string" then
      names[#names + 1] = key
    elseif math.type(key) ~= "integer" or key < 1 or key > #value then
      fail("%s: a list of series can't have the key %s", who, tostring(key))
    end
  end
  if #names > 0 and #value > 0 then
    fail("%s: give either a list of series or a table of named ones, not both (key '%s')", who, names[1])
  end
  for i = 1, #value do f(value[i], i) end
  table.sort(names)
  for _, name in ipairs(names) do f(value[name], name) end
end

--- series.check(value, who, defaults): the list of checked series in any of the accepted forms: one list or tensor, one
--- description {y =, ...}, a run, a list of these, or a table of named ones (drawn in the order of their names).
--- `defaults` gives {style =, x =}; `who` is the function named in errors.
function series.check(value, who, defaults)
  local checked = {}
  if type(value) ~= "table" and not series.is_list(value) then
    fail("%s: expected a list of series, or a table of named ones, not a %s", who, type(value))
  end
  if series.is_list(value) or series.is_run(value) or is_description(value) then
    add(checked, value, nil, who .. ": series", defaults)
    return checked
  end
  series.each(value, who, function(item, key)
    local is_named = type(key) == "string"
    local name = is_named and key or series.is_run(item) and "run " .. key or nil
    add(checked, item, name, ("%s: series %s"):format(who, is_named and "'" .. key .. "'" or key), defaults)
  end)
  return checked
end

return series
