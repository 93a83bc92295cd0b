--- From what users hand to plot.lines and plot.scatter to checked series, and from series to the points that are drawn.
--
-- A checked series is {name, x, y, lo, hi, axis, style, color, dash, width, size}; x, y, lo, hi are plain lists of
-- numbers of one length, copied, so that a figure never changes after it was made.

local series = {}

-- Beyond this a double leaves no room for gnuplot's margins and ticks; such values count as infinite.
local LARGEST = 1e300
local MOST_LINE_POINTS = 2000
local MOST_SCATTER_POINTS = 10000

local FIELDS = {
  name = true, x = true, y = true, band = true, axis = true, style = true,
  color = true, dash = true, width = true, size = true,
}
local STYLES = { lines = true, points = true, linespoints = true, steps = true }

local FOLDER = debug.getinfo(1, "S").source:match("^(.*[/\\])") or "@"

--- series.fail(format, ...): raises an error that blames the nearest caller outside of this folder.
function series.fail(format, ...)
  local level = 2
  local info = debug.getinfo(level, "S")
  while info and (info.what == "C" or info.source:sub(1, #FOLDER) == FOLDER) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  error(format:format(...), level)
end

local fail = series.fail

local function has_method(value, name)
  local ok, method = pcall(function() return value[name] end)
  return ok and type(method) == "function"
end

local function is_list_like(value)
  if type(value) == "string" then return false end
  return has_method(value, "tolist") or (type(value) == "table" and type(value[1]) == "number")
end

-- A fresh list of numbers from a list or from anything with a tolist method (a tensor).
local function numbers(value, where)
  if type(value) ~= "string" and has_method(value, "tolist") then
    value = value:tolist()
  end
  if type(value) ~= "table" then
    fail("%s is a %s, expected a list of numbers or a tensor of one axis", where, type(value))
  end
  local list = {}
  for i = 1, #value do
    local item = value[i]
    if type(item) == "table" then
      fail("%s is nested (its entry %d is a table), expected a flat list: flatten the tensor, or take one column", where, i)
    elseif type(item) ~= "number" then
      fail("%s[%d] is a %s, expected a number", where, i, type(item))
    end
    list[i] = item
  end
  return list
end

local function same_length(list, y, where)
  if #list ~= #y then
    fail("%s has %d values, but y has %d: give them the same length", where, #list, #y)
  end
  return list
end

local function check_style(spec, where)
  local color = spec.color
  if color ~= nil and not (math.type(color) == "integer" and color >= 1)
    and not (type(color) == "string" and color:match("^#%x%x%x%x%x%x$")) then
    fail('%s: color must be a palette index (1, 2, ...) or "#rrggbb"', where)
  end
  if spec.dash ~= nil and not (math.type(spec.dash) == "integer" and spec.dash >= 1) then
    fail("%s: dash must be a dash index (1 is solid)", where)
  end
  for _, field in ipairs{ "width", "size" } do
    local value = spec[field]
    if value ~= nil and not (type(value) == "number" and value > 0 and value <= 100) then
      fail("%s: %s must be a number above 0 and at most 100", where, field)
    end
  end
  if spec.style ~= nil and not STYLES[spec.style] then
    fail('%s: style must be "lines", "points", "linespoints" or "steps"', where)
  end
  if spec.axis ~= nil and spec.axis ~= 1 and spec.axis ~= 2 then
    fail("%s: axis must be 1 (left) or 2 (right)", where)
  end
end

local function count_up(count)
  local list = {}
  for i = 1, count do list[i] = i end
  return list
end

local function check_one(spec, name, where, defaults)
  if is_list_like(spec) or (type(spec) == "table" and next(spec) == nil) then
    spec = { y = spec }
  elseif type(spec) ~= "table" then
    fail("%s is a %s, expected a list of numbers, a tensor, or a table with a field y", where, type(spec))
  end
  for field in pairs(spec) do
    if not FIELDS[field] then
      fail("%s: unknown field '%s' (known: axis, band, color, dash, name, size, style, width, x, y)", where, tostring(field))
    end
  end
  if spec.y == nil then fail("%s has no field y (the list of numbers to draw)", where) end
  check_style(spec, where)
  local y = numbers(spec.y, where .. ".y")
  local x = spec.x
  if x == nil then x = defaults.x end
  local checked = {
    name = spec.name ~= nil and tostring(spec.name) or name, y = y,
    x = x == nil and count_up(#y) or same_length(numbers(x, where .. ".x"), y, where .. ".x"),
    axis = spec.axis or 1, style = spec.style or defaults.style,
    color = spec.color, dash = spec.dash, width = spec.width, size = spec.size,
  }
  if spec.band ~= nil then
    if type(spec.band) ~= "table" then fail("%s: band must be {lower, upper}, two lists as long as y", where) end
    checked.lo = same_length(numbers(spec.band[1], where .. ".band[1]"), y, where .. ".band[1]")
    checked.hi = same_length(numbers(spec.band[2], where .. ".band[2]"), y, where .. ".band[2]")
  end
  return checked
end

-- {x =, y =, ...} is one series described by its fields; {train = ..., test = ...} is a table of named series.
local function is_description(value)
  if value.y == nil then return false end
  for field in pairs(value) do
    if not FIELDS[field] then return false end
  end
  return true
end

--- series.check(value, who, defaults): the list of checked series in any of the accepted forms: one list or tensor, one
--- description {y =, ...}, a list of these, or a table of named ones (drawn in the order of their names).
--- `defaults` gives {style =, x =}; `who` is the function named in errors.
function series.check(value, who, defaults)
  if is_list_like(value) then return { check_one(value, nil, who .. ": series", defaults) } end
  if type(value) ~= "table" then
    fail("%s: expected a list of series, or a table of named ones, not a %s", who, type(value))
  end
  if is_description(value) then return { check_one(value, nil, who .. ": series", defaults) } end
  local checked = {}
  for i, item in ipairs(value) do
    checked[i] = check_one(item, nil, ("%s: series %d"):format(who, i), defaults)
  end
  local names = {}
  for key in pairs(value) do
    if type(key) == "string" then
      names[#names + 1] = key
    elseif math.type(key) ~= "integer" or key < 1 or key > #checked then
      fail("%s: a list of series can't have the key %s", who, tostring(key))
    end
  end
  if #names > 0 and #checked > 0 then
    fail("%s: give either a list of series or a table of named ones, not both (key '%s')", who, names[1])
  end
  table.sort(names)
  for i, name in ipairs(names) do
    checked[i] = check_one(value[name], name, ("%s: series '%s'"):format(who, name), defaults)
  end
  return checked
end

--- series.is_drawable(value, log): finite, and positive where the axis is logarithmic.
function series.is_drawable(value, log)
  return value == value and value <= LARGEST and value >= (log and 1e-300 or -LARGEST)
end

-- In each bucket of neighbours the points at the extremes stay, in their order; so does one gap, if there was any.
-- `keys` are the lists whose extremes matter: y alone where x only grows, else x and y.
local function extremes(visible, keys, first, last)
  local chosen = {}
  local gap
  for i = first, last do
    if not visible[i] then
      gap = gap or i
    else
      for k, key in ipairs(keys) do
        local low, high = chosen[2 * k - 1], chosen[2 * k]
        if not low or key[i] < key[low] then chosen[2 * k - 1] = i end
        if not high or key[i] > key[high] then chosen[2 * k] = i end
      end
    end
  end
  chosen[#chosen + 1] = gap
  table.sort(chosen)
  return chosen
end

local function is_increasing(x, visible)
  local before = -math.huge
  for i = 1, #x do
    if visible[i] then
      if x[i] < before then return false end
      before = x[i]
    end
  end
  return true
end

local function thin_line(one, visible)
  local keys = is_increasing(one.x, visible) and { one.y } or { one.x, one.y }
  local buckets = MOST_LINE_POINTS // (2 * #keys)
  local count, kept = #one.y, {}
  for bucket = 1, buckets do
    local first, last = (bucket - 1) * count // buckets + 1, bucket * count // buckets
    local before = 0
    for _, i in ipairs(extremes(visible, keys, first, last)) do
      if i ~= before then kept[#kept + 1] = i end
      before = i
    end
  end
  if kept[#kept] ~= count then kept[#kept + 1] = count end
  return kept
end

local function thin_scatter(count)
  local kept = {}
  for k = 1, MOST_SCATTER_POINTS do
    kept[k] = (k - 1) * count // MOST_SCATTER_POINTS + 1
  end
  return kept
end

--- series.points(one, log_x, log_y): what to draw of a series: a list of indices, where 0 stands for a gap in the line
--- (a value that is not finite, or not positive on a log axis). Long lines are thinned so that every peak stays.
--- Also returns the number of drawable points, and of points that thinning left out of a scatter.
function series.points(one, log_x, log_y)
  local visible, drawable = {}, 0
  for i = 1, #one.y do
    visible[i] = series.is_drawable(one.x[i], log_x) and series.is_drawable(one.y[i], log_y)
    if visible[i] then drawable = drawable + 1 end
  end
  local kept, omitted = nil, 0
  if one.style == "points" then
    if #one.y > MOST_SCATTER_POINTS then
      kept, omitted = thin_scatter(#one.y), #one.y - MOST_SCATTER_POINTS
    end
  elseif #one.y > MOST_LINE_POINTS then
    kept = thin_line(one, visible)
  end
  local points = {}
  for k = 1, kept and #kept or #one.y do
    local i = kept and kept[k] or k
    if visible[i] then
      points[#points + 1] = i
    elseif #points > 0 and points[#points] ~= 0 then
      points[#points + 1] = 0
    end
  end
  return points, drawable, omitted
end

return series
