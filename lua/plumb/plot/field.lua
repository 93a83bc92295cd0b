--- Functions of two variables on a grid: the panels of plot.surface and plot.contour.
--
-- A field is {x, y, z}: x rises along the columns of the matrix z and y along its rows. A panel with one is a map like that of
-- plot.heatmap for characters ({cells, rows, columns, shade, map}, the largest y at the top), and for gnuplot
-- {kind = "surface", field} or {kind = "axes", field, fill, levels}, where curves can be drawn over the contour lines.

local report = require "plumb.report"
local grid = require "plumb.plot.grid"
local panel = require "plumb.plot.panel"
local series = require "plumb.plot.series"
local is_drawable = require("plumb.plot.options").is_drawable

local field = {}

local fail = report.fail

local MOST_SURFACE_LINES = 100 -- along each axis; more lie closer than a figure shows
local MOST_CONTOUR_LINES = 400
local FILL_CELLS = 200
local DEFAULT_LEVELS = 10

-- ---- the grid --------------------------------------------------------------------------------------------------

local function coordinates(given, count, where, what)
  local list = {}
  if given == nil then
    for i = 1, count do list[i] = i end
    return list
  end
  list = series.numbers(given, where)
  if #list ~= count then fail("%s has %d values, but the matrix has %d %s", where, #list, count, what) end
  local sign = #list > 1 and list[2] < list[1] and -1 or 1
  for i, value in ipairs(list) do
    if not is_drawable(value) or i > 1 and sign * (value - list[i - 1]) <= 0 then
      fail("%s must be finite numbers that rise or fall from each to the next", where)
    end
  end
  return list
end

local function reversed(list)
  local made = {}
  for i = #list, 1, -1 do made[#made + 1] = list[i] end
  return made
end

local function pick(list, most)
  local count, picked = #list, {}
  if count <= most then return list end
  for k = 1, most do picked[k] = list[1 + ((k - 1) * (count - 1) + (most - 1) // 2) // (most - 1)] end
  return picked
end

-- The field in rising x and y, with at most so many lines each way (evenly chosen, with those at the edges).
local function make_field(value, options, who, most, notes)
  local z = grid.matrix(value, who)
  if #z < 2 or #z[1] < 2 then fail("%s: the matrix has %d x %d elements; at least 2 x 2 are needed", who, #z, #z[1]) end
  local x = coordinates(options.x, #z[1], who .. ": option x", "columns")
  local y = coordinates(options.y, #z, who .. ": option y", "rows")
  if y[2] < y[1] then y, z = reversed(y), reversed(z) end
  for r, row in ipairs(z) do z[r] = pick(x[2] < x[1] and reversed(row) or row, most) end
  if #z > most or #x > most then notes[#notes + 1] = ("at most %d lines each way are drawn"):format(most) end
  return { x = pick(x[2] < x[1] and reversed(x) or x, most), y = pick(y, most), z = pick(z, most) }
end

local function as_map(made, options)
  local z = made.field.z
  grid.erase(z, options.logz, made.notes)
  made.cells, made.rows, made.columns, made.row_step, made.column_step = reversed(z), #z, #z[1], 1, 1
  made.map = options.colors or "sequential"
  made.shade = grid.shade(z, options, made.map)
  made.is_field = true
  return made
end

--- field.surface(value, options, who): the panel of plot.surface.
function field.surface(value, options, who)
  local made = { kind = "surface", options = options, notes = {} }
  made.field = make_field(value, options, who, MOST_SURFACE_LINES, made.notes)
  return as_map(made, options)
end

-- ---- contours --------------------------------------------------------------------------------------------------

-- Round numbers between lo and hi, about `count` of them: multiples of 1, 2 or 5 times a power of ten; where a log axis spans
-- decades, those numbers themselves.
local function round_levels(shade, count)
  local lo, hi, levels = shade.lo, shade.hi, {}
  if shade.log and hi / lo >= 10 then
    local digits = hi / lo > 10 ^ (count / 2) and { 1 } or { 1, 2, 5 }
    for exponent = math.floor(math.log(lo, 10)), math.ceil(math.log(hi, 10)) do
      for _, digit in ipairs(digits) do levels[#levels + 1] = digit * 10.0 ^ exponent end
    end
  else
    local rough = (hi - lo) / (count + 1)
    local power = 10.0 ^ math.floor(math.log(rough, 10))
    local step = power * (rough <= power and 1 or rough <= 2 * power and 2 or rough <= 5 * power and 5 or 10)
    for k = math.ceil(lo / step), math.floor(hi / step) do levels[#levels + 1] = k * step end
  end
  return levels
end

local function extremes(z)
  local lo, hi = math.huge, -math.huge
  for _, row in ipairs(z) do
    for _, value in ipairs(row) do
      if value < lo then lo = value end
      if value > hi then hi = value end
    end
  end
  return lo, hi
end

-- Only levels that the field crosses: gnuplot complains of others.
local function choose_levels(options, shade, z, who)
  local given, levels = options.levels or DEFAULT_LEVELS, {}
  if type(given) == "number" then
    if math.type(given) ~= "integer" or given < 1 or given > 100 then
      fail("%s: option levels must be a whole number from 1 to 100, or a list of numbers", who)
    end
    given = round_levels(shade, given)
  else
    given = series.numbers(given, who .. ": option levels")
  end
  local lo, hi = extremes(z)
  for _, level in ipairs(given) do
    if level > lo and level < hi then levels[#levels + 1] = level end
  end
  table.sort(levels)
  return levels
end

-- Where value stands between the elements of a rising list: the index below and the share of the way to the next.
local function place_in(list, value, below)
  while below < #list - 1 and list[below + 1] <= value do below = below + 1 end
  return below, (value - list[below]) / (list[below + 1] - list[below])
end

--- field.even_cells(one, columns, rows): the field {x =, y =, z =} on an even grid, by bilinear interpolation: a ground for
--- lines, also where x or y are uneven. Row 1 is at the smallest y.
function field.even_cells(one, columns, rows)
  local x, y, z, cells = one.x, one.y, one.z, {}
  local r, across, down = 1, (x[#x] - x[1]) / columns, (y[#y] - y[1]) / rows
  for i = 1, rows do
    local v, u, c
    r, v = place_in(y, y[1] + (i - 0.5) * down, r)
    c, cells[i] = 1, {}
    for k = 1, columns do
      c, u = place_in(x, x[1] + (k - 0.5) * across, c)
      cells[i][k] = (1 - v) * ((1 - u) * z[r][c] + u * z[r][c + 1]) + v * ((1 - u) * z[r + 1][c] + u * z[r + 1][c + 1])
    end
  end
  return cells
end

-- The range given by the user, its open ends closed by those of the field.
local function whole_range(given, list)
  return { given and given[1] or list[1], given and given[2] or list[#list] }
end

-- These differ from the colours of every map.
local COLORS_ABOVE = { sequential = { "#D55E00", "#000000", "#CC79A7" }, diverging = { "#00573F", "#CC79A7", "#000000" },
  gray = { "#E69F00", "#56B4E9", "#CC79A7" } }

local function color_above(drawn, map)
  local colors = COLORS_ABOVE[map or "sequential"]
  for k, one in ipairs(drawn) do one.color = one.color or colors[(k - 1) % #colors + 1] end
end

--- field.contour(value, options, who): the panel of plot.contour; options.series are checked series to draw over it.
function field.contour(value, options, who)
  local notes = {}
  local one = make_field(value, options, who, MOST_CONTOUR_LINES, notes)
  options.xrange, options.yrange = whole_range(options.xrange, one.x), whole_range(options.yrange, one.y)
  color_above(options.series, options.colors)
  local made = panel.make(options.series, options)
  table.move(made.notes, 1, #made.notes, #notes + 1, notes)
  made.field, made.notes = one, notes
  as_map(made, options)
  if not made.shade then
    made.x = nil
    return made
  end
  made.levels = choose_levels(options, made.shade, one.z, who)
  made.fill = field.even_cells(one, math.max(FILL_CELLS, #one.x), math.max(FILL_CELLS, #one.y))
  return made
end

return field
