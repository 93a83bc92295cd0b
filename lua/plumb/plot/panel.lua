--- A panel: one pair of axes with the series on it, everything decided but not yet written in gnuplot's language.
--
-- A panel is {kind = "axes", options, layers, x, y, y2, shade, notes}. A layer is {series, points}; an axis is {lo, hi, log,
-- digits, whole}, or nil where no series uses it; shade is that of the points' colours. A panel without a single drawable
-- point has no x.

local choose_points = require("plumb.plot.points").choose
local is_drawable = require("plumb.plot.options").is_drawable

local panel = {}

-- Space between the outermost points and the border, as a share of the axis.
local MARGIN = 0.04

-- Widens {lo, hi} by the margin where the user has not fixed an end, and where both ends are the same.
local function widen(lo, hi, log, margin, fixed)
  if log then lo, hi = math.log(lo), math.log(hi) end
  local span = hi - lo
  if span <= 1e-9 * math.max(math.abs(lo), math.abs(hi)) or span == 0 then
    span = log and math.log(10) or (lo == 0 and 1 or math.abs(lo))
    margin = 0.5
  end
  lo, hi = lo - margin * span, hi + margin * span
  if log then lo, hi = math.max(math.exp(lo), 1e-305), math.min(math.exp(hi), 1e305) end
  return fixed[1] or lo, fixed[2] or hi
end

-- Nine significant digits are plenty, unless the axis shows a small stretch far from zero (times, or a flat loss).
local function digits_for(lo, hi)
  return hi - lo < 1e-4 * math.max(math.abs(lo), math.abs(hi)) and 15 or 9
end

-- The least and the largest of the values that `visit` shows to its argument, and whether all of them are whole numbers.
local function bounds(visit, fixed)
  local lo, hi, whole = math.huge, -math.huge, true
  visit(function(value)
    if value < lo then lo = value end
    if value > hi then hi = value end
    whole = whole and value % 1 == 0
  end)
  if lo > hi then lo, hi, whole = fixed[1] or fixed[2], fixed[2] or fixed[1], false end
  if not lo then return nil end
  return math.min(lo, fixed[1] or lo), math.max(hi, fixed[2] or hi), whole
end

--- panel.axis(visit, log, margin, fixed): the axis {lo, hi, log, digits, whole} for the values that `visit` shows to its
--- argument, or nil when there are none.
function panel.axis(visit, log, margin, fixed)
  fixed = fixed or {}
  local lo, hi, whole = bounds(visit, fixed)
  if not lo then return nil end
  lo, hi = widen(lo, hi, log, margin, fixed)
  if lo >= hi then -- the one fixed end lies beyond all data, and stays
    local step = math.max(1, math.abs(fixed[1] or fixed[2]))
    if fixed[1] then hi = lo + 9 * step elseif log then lo = hi / 10 else lo = hi - 9 * step end
  end
  local is_free = not (fixed[1] or fixed[2])
  return { lo = lo, hi = hi, log = log, digits = digits_for(lo, hi), whole = whole and (is_free or hi - lo >= 2) }
end

local function visit_x(layers)
  return function(see)
    for _, layer in ipairs(layers) do
      for _, i in ipairs(layer.points) do
        if i ~= 0 then see(layer.series.x[i]) end
        if i ~= 0 and layer.series.left then
          see(layer.series.left[i])
          see(layer.series.right[i])
        end
      end
    end
  end
end

-- The y values (bands too) of one axis that lie within the drawn part of x.
local function visit_y(layers, number, x, log)
  return function(see)
    for _, layer in ipairs(layers) do
      local one = layer.series
      for _, i in ipairs(one.axis == number and layer.points or {}) do
        if i ~= 0 and one.x[i] >= x.lo and one.x[i] <= x.hi then
          see(one.y[i])
          if one.lo and is_drawable(one.lo[i], log) then see(one.lo[i]) end
          if one.hi and is_drawable(one.hi[i], log) then see(one.hi[i]) end
        end
      end
    end
  end
end

-- Bars stand on 0 where the axis has one.
local function stand_on_zero(made, options)
  for _, layer in ipairs(made.layers) do
    if layer.series.left and made.y and not made.y.log and not (options.yrange and options.yrange[1]) then made.y.lo = 0 end
  end
end

local function visit_shades(layers)
  return function(see)
    for _, layer in ipairs(layers) do
      for _, i in ipairs(layer.series.shades and layer.points or {}) do
        if i ~= 0 then see(layer.series.shades[i]) end
      end
    end
  end
end

local function note_omissions(notes, one, number, drawable, omitted)
  local name = one.name and ("'%s'"):format(one.name) or ("number %d"):format(number)
  if drawable == 0 then
    notes[#notes + 1] = ("series %s has no point that can be drawn (no finite data, or none above 0 on a log axis)"):format(name)
  elseif drawable < #one.y then
    notes[#notes + 1] = ("series %s: %d of %d points left out (not finite, or not above 0 on a log axis)"):format(
      name, #one.y - drawable, #one.y)
  end
  if omitted > 0 then
    notes[#notes + 1] = ("series %s: every %.3g-th point is drawn"):format(name, #one.y / (#one.y - omitted))
  end
end

--- panel.make(checked_series, options): the panel; both arguments are already checked.
function panel.make(checked, options)
  local made = { kind = "axes", options = options, layers = {}, notes = {} }
  local margin = 0
  for number, one in ipairs(checked) do
    local log_y = one.axis == 2 and options.logy2 or one.axis == 1 and options.logy
    local points, drawable, omitted = choose_points(one, options.logx, log_y)
    made.layers[number] = { series = one, points = points, is_empty = drawable == 0 }
    note_omissions(made.notes, one, number, drawable, omitted)
    if one.style ~= "lines" or drawable < 30 then margin = MARGIN end
  end
  made.x = panel.axis(visit_x(made.layers), options.logx, margin, options.xrange)
  if made.x then
    made.y = panel.axis(visit_y(made.layers, 1, made.x, options.logy), options.logy, MARGIN, options.yrange)
    stand_on_zero(made, options)
    made.y2 = panel.axis(visit_y(made.layers, 2, made.x, options.logy2), options.logy2, MARGIN, options.y2range)
    made.shade = panel.axis(visit_shades(made.layers), nil, 0, options.zrange)
  end
  if not (made.y or made.y2) then
    made.x = nil
    made.notes[#made.notes + 1] = "no finite data: the panel is empty"
  end
  return made
end

--- panel.y_axis(made, layer): the axis that the layer's y values belong to; nil where none of them is in sight.
function panel.y_axis(made, layer)
  if layer.series.axis == 2 then return made.y2 end
  return made.y
end

--- panel.position(axis, value): where on the axis a value stands: 0 at its low end, 1 at its high end.
function panel.position(axis, value)
  if axis.log then return math.log(value / axis.lo) / math.log(axis.hi / axis.lo) end
  return (value - axis.lo) / (axis.hi - axis.lo)
end

return panel
