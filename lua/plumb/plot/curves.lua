--- Writes the panels of plot.lines and plot.scatter: their data, and one plot command.

local text = require "plumb.plot.text"
local look = require "plumb.plot.look"
local panel = require "plumb.plot.panel"
local axes = require "plumb.plot.axes"
local legend = require "plumb.plot.legend"
local surface = require "plumb.plot.surface"
local is_drawable = require("plumb.plot.options").is_drawable

local curves = {}

local quote, number = text.quote, text.number

-- Up to so many points a line also shows its points: they are epochs or measurements, not a curve.
local MOST_MARKED_POINTS = 25

-- ---- data ------------------------------------------------------------------------------------------------------

-- The points of a line that have a gap on both sides: no segment would show them.
local function lonely_points(points)
  local lonely = {}
  for k, i in ipairs(points) do
    if i ~= 0 and (points[k - 1] or 0) == 0 and (points[k + 1] or 0) == 0 then
      lonely[#lonely + 1] = i
    end
  end
  return lonely
end

-- Only where all three of x, lo and hi can be drawn.
local function band_points(layer, log)
  local one, points = layer.series, {}
  for _, i in ipairs(layer.points) do
    local whole = i ~= 0 and is_drawable(one.lo[i], log) and is_drawable(one.hi[i], log)
    if whole or points[#points] ~= 0 then points[#points + 1] = whole and i or 0 end
  end
  return points
end

--- curves.write_data(lines, made, prefix): the here-documents that the plot command names.
function curves.write_data(lines, made, prefix)
  if made.fill then surface.write_ground(lines, made, prefix .. "field") end
  for k, layer in ipairs(made.layers) do
    local one, axis = layer.series, panel.y_axis(made, layer)
    if made.x and axis and not layer.is_empty then
      local name, digits = prefix .. "series" .. k, math.max(made.x.digits, axis.digits)
      local columns = { one.x, one.y }
      for _, more in ipairs { "sizes", "shades", "left", "right" } do columns[#columns + 1] = one[more] end
      axes.write_rows(lines, name, columns, layer.points, digits)
      local lonely = one.style == "lines" and lonely_points(layer.points) or {}
      if #lonely > 0 then axes.write_rows(lines, name .. "_single", { one.x, one.y }, lonely, digits) end
      if one.lo then
        axes.write_rows(lines, name .. "_band", { one.x, one.lo, one.hi }, band_points(layer, axis.log), digits)
      end
      layer.has_lonely = #lonely > 0
    end
  end
end

-- ---- the plot command --------------------------------------------------------------------------------------------

-- A noisy curve that turns at nearly every point fills an area; dashes would only fray it.
local function is_noise(layer)
  local y, points, turns = layer.series.y, layer.points, 0
  for k = 3, #points do
    local a, b, c = y[points[k - 2]], y[points[k - 1]], y[points[k]]
    if a and b and c and (b - a) * (c - b) < 0 then turns = turns + 1 end
  end
  return #points > 300 and turns > 0.4 * #points
end

-- Characters have neither sizes nor colours.
local function varies(one, canvas, what) return canvas.kind ~= "text" and one[what] ~= nil end

local function pen(layer, k, canvas)
  local one = layer.series
  local dash = one.dash or (is_noise(layer) and 1 or k)
  local color = varies(one, canvas, "shades") and "lc palette" or ("lc rgb '%s'"):format(look.color(one.color, k))
  return color, ("dt %s lw %s"):format(look.dash(dash), number(one.width or 2))
end

local function marks(one, k, count, canvas)
  if canvas.kind == "text" then return ("pt %d"):format(k) end -- the k-th letter of the alphabet
  local size = one.sizes and "variable" or number(one.size or (count > 500 and 0.35 or 0.8))
  return ("pt %d ps %s"):format(look.marker(one.marker or k), size)
end

-- The entry of the legend for a series that has nothing to show, or whose points differ in size or colour.
local function key_entry(one, style, k, how, shown)
  local color = ("lc rgb '%s'"):format(one.shades and "#555555" or look.color(one.color, k))
  local look_alike = how[style]:gsub("variable", "0.8")
  return ("keyentry with %s %s %s %s"):format(style == "bars" and "boxes" or style, color, look_alike, shown)
end

-- Bars from the axis up, light (of characters: empty) so that those behind show.
local function bar_clause(one, axis, k, name, shown, canvas)
  return ("$%s using 1:2:3:4:(%s):2 with boxxyerror lc rgb '%s' lw 1.5 fill %s border %s"):format(name,
    number(axis.log and axis.lo or math.max(0, axis.lo), 15), look.color(one.color, k),
    canvas.kind == "text" and "empty" or "transparent solid 0.35", shown)
end

local function layer_clauses(layer, axis, k, name, title, canvas)
  local one, count = layer.series, #layer.points
  local color, line = pen(layer, k, canvas)
  local style = one.style
  if style == "lines" and (count <= MOST_MARKED_POINTS or one.sizes or one.marker) then style = "linespoints" end
  local marked = marks(one, k, count, canvas)
  local how = { bars = "", lines = line, steps = line, points = marked, linespoints = line .. " " .. marked }
  local on_axes = one.axis == 2 and "axes x1y2 " or ""
  local shown = title == "" and "notitle" or "title " .. quote(title)
  if layer.is_empty or not axis then return { key_entry(one, style, k, how, shown) } end
  if style == "bars" then return { bar_clause(one, axis, k, name, shown, canvas) } end
  local clauses = {}
  if one.lo and canvas.kind ~= "text" then
    clauses[1] = ("$%s_band using 1:2:3 %swith filledcurves lc rgb '%s' fill transparent solid 0.2 noborder notitle"):format(
      name, on_axes, look.color(one.color, k))
  end
  local has_sizes, has_shades = varies(one, canvas, "sizes"), varies(one, canvas, "shades")
  local is_varied = has_sizes or has_shades
  local columns = "1:2" .. (has_sizes and ":3" or "") .. (has_shades and (one.sizes and ":4" or ":3") or "")
  clauses[#clauses + 1] = ("$%s using %s %swith %s %s %s %s"):format(name, columns, on_axes, style, color, how[style],
    is_varied and "notitle" or shown)
  if is_varied and title ~= "" then clauses[#clauses + 1] = key_entry(one, style, k, how, shown) end
  if layer.has_lonely and style == "lines" then
    clauses[#clauses + 1] = ("$%s_single using 1:2 %swith points %s pt 7 ps 0.4 notitle"):format(name, on_axes, color)
  end
  return clauses
end

-- ---- labels at points ------------------------------------------------------------------------------------------

local MOST_LABELS = 1000
local LABEL_LENGTH = 40

-- Where the middle of a line's points stands in the panel.
local function middle(points, place)
  local sum_x, sum_y, count = 0, 0, 0
  for _, i in ipairs(points) do
    if i > 0 then -- 0 is a gap
      local x, y = place(i)
      sum_x, sum_y, count = sum_x + x, sum_y + y, count + 1
    end
  end
  return sum_x / count, sum_y / count
end

-- Where a label stands: at an end of a line on the far side of its points, as far as there is room; else right of its point, or
-- left of it in the right quarter of the panel.
local function side_of(made, layer, axis, k)
  local one, points = layer.series, layer.points
  local function place(i) return panel.position(made.x, one.x[i]), panel.position(axis, one.y[i]) end
  local x, y = place(points[k])
  if (one.style == "lines" or one.style == "linespoints") and (k == 1 or k == #points) and #points > 1 then
    local from_x, from_y = middle(points, place)
    local is_flat, is_right, is_up = math.abs(x - from_x) > math.abs(y - from_y), x >= from_x, y >= from_y
    local has_room_beside, has_room_above = is_right and x < 0.85 or not is_right and x > 0.15, not is_up and y > 0.1 or is_up
    if is_flat and has_room_beside or not has_room_above then
      return (is_right and x < 0.85 or x < 0.15) and "left offset char 0.8,0" or "right offset char -0.8,0"
    end
    return "center offset char 0," .. (is_up and 0.9 or -0.9)
  end
  return x > 0.75 and "right offset char -0.8,0" or "left offset char 0.8,0"
end

local function write_point_labels(set, made, canvas)
  local ink = made.fill and surface.ink(made) or "#222222"
  local how = canvas.kind == "text" and "" or (" font ',9.5' textcolor rgb '%s' front"):format(ink)
  local count = 0
  for _, layer in ipairs(made.layers) do
    local one, axis = layer.series, panel.y_axis(made, layer)
    for k, i in ipairs(axis and one.labels and layer.points or {}) do
      if one.labels[i] and count < MOST_LABELS then
        count = count + 1
        local place = ("first %s,%s %s"):format(number(one.x[i], 15), one.axis == 2 and "second" or "first", number(one.y[i], 15))
        axes.note(set, text.shorten(one.labels[i], LABEL_LENGTH), place, side_of(made, layer, axis, k) .. how)
      end
    end
  end
end

-- A name right of each line's end, joined to it by a piece of that line.
local function write_direct_names(set, made, direct, names, longest, canvas)
  set("unset key; set rmargin %s", number(longest + 5))
  for _, one in ipairs(direct) do
    local color, line = pen(made.layers[one.layer], one.layer, canvas)
    local at = number(one.at, 6)
    set("set arrow from first %s,%s to graph 1.03,%s nohead %s %s", number(one.x, 15), number(one.y, 15), at, color, line)
    axes.note(set, names[one.layer], "graph 1.04," .. at, "left textcolor rgb '#222222'")
  end
end

-- ---- the panel -------------------------------------------------------------------------------------------------

--- curves.write_panel(lines, made, prefix, canvas): the settings and the plot command.
function curves.write_panel(lines, made, prefix, canvas)
  local set = axes.setter(lines)
  axes.look(set, made, canvas)
  axes.labels(set, made.options, canvas)
  if not made.x then
    axes.empty(set, canvas)
    return
  end
  axes.write(set, "x", made.x, canvas)
  if made.y then axes.write(set, "y", made.y, canvas) else set("unset ytics") end
  if made.y2 then
    set("set y2tics nomirror")
    axes.write(set, "y2", made.y2, canvas)
  end
  if made.shade and canvas.kind ~= "text" then axes.color_bar(set, made, canvas) end
  local names, longest, shown = legend.names(made, canvas)
  local direct = legend.direct(made, canvas, names, longest)
  if direct then
    write_direct_names(set, made, direct, names, longest, canvas)
  else
    legend.write(set, made, canvas, longest, shown)
  end
  write_point_labels(set, made, canvas)
  local clauses = made.fill and surface.ground_clauses(made, prefix .. "field") or {}
  for k, layer in ipairs(made.layers) do
    local some = layer_clauses(layer, panel.y_axis(made, layer), k, prefix .. "series" .. k, names[k], canvas)
    table.move(some, 1, #some, #clauses + 1, clauses)
  end
  set("plot \\\n  %s", table.concat(clauses, ", \\\n  "))
end

return curves
