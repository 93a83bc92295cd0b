--- Writes a figure as a gnuplot script: data as here-documents, then one block of settings and one plot command per panel.
--
-- The look of all figures is decided here. The palette follows Okabe and Ito (jfly.uni-koeln.de/color), with a darker green,
-- and is ordered so that neighbours differ in lightness too; each colour has its own dash pattern for print in grey.

local text = require "plumb.plot.text"
local panel = require "plumb.plot.panel"
local series = require "plumb.plot.series"

local script = {}

local PALETTE = { "#0072B2", "#E69F00", "#00573F", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#7F7F7F" }
local DASHES = { "solid", "(12,4)", "(4,3)", "(12,3,3,3)", "(8,3)", "(12,3,3,3,3,3)", "(20,6)", "(2,3)" }
local POINTS = { 7, 5, 9, 13, 6, 4, 8, 12 } -- disc, square, triangle, diamond, then their outlines

-- Up to so many points a line also shows its points: they are epochs or measurements, not a curve.
local MOST_MARKED_POINTS = 25

local quote, number = text.quote, text.number

--- script.canvas(kind, figure, columns): the measures of what is drawn on. Sizes are in pixels, or in characters for
--- "text"; a character is then 1 by 1.
function script.canvas(kind, figure, columns)
  if kind == "text" then
    return { kind = kind, width = columns, height = math.max(16, math.min(30, columns * 3 // 10)),
      char_width = 1, line_height = 1 }
  end
  return { kind = kind, width = figure.width, height = figure.height, char_width = 7.6, line_height = 18 }
end

local function setter(lines)
  return function(format, ...) lines[#lines + 1] = format:format(...) end
end

-- ---- terminals -------------------------------------------------------------------------------------------------

local function size(canvas) return ("%d,%d"):format(canvas.width // 1, canvas.height // 1) end

local terminal = {}

function terminal.svg(canvas)
  return { ("set terminal svg size %s enhanced font 'sans-serif,10.5' fontscale 1.33 background '#ffffff'"):format(size(canvas)) }
end

function terminal.png(canvas)
  return {
    "if (strstrt(GPVAL_TERMINALS, ' pngcairo ')) {",
    ("  set terminal pngcairo size %s enhanced font 'Sans,10.5' background '#ffffff'"):format(size(canvas)),
    "} else {",
    ("  set terminal png size %s enhanced medium background '#ffffff'"):format(size(canvas)),
    "}",
  }
end

function terminal.pdf(canvas)
  return { ("set terminal pdfcairo size %sin,%sin enhanced font 'Sans,10.5' background '#ffffff'"):format(
    number(canvas.width / 96), number(canvas.height / 96)) }
end

function terminal.text(canvas)
  return { ("set terminal dumb size %s nofeed noenhanced mono"):format(size(canvas)) }
end

-- A script that draws on its own: the ending is its first argument, the file lies in the current folder.
local function standalone_terminal(canvas, name)
  local lines = {
    "# Redraws this figure in the current folder: gnuplot THIS-FILE  makes an svg,",
    "# gnuplot -c THIS-FILE png  (or pdf) makes the other kinds.",
    "ending = (exists('ARGC') && ARGC > 0) ? ARG1 : 'svg'",
  }
  for _, kind in ipairs{ "png", "pdf", "svg" } do
    lines[#lines + 1] = ("if (ending eq '%s') {"):format(kind)
    for _, line in ipairs(terminal[kind](canvas)) do lines[#lines + 1] = "  " .. line end
    lines[#lines + 1] = "}"
  end
  -- "./" keeps a name that begins with "|" from being a pipe.
  lines[#lines + 1] = ("set output './'.%s.'.'.ending"):format(quote(name))
  return lines
end

-- ---- data ------------------------------------------------------------------------------------------------------

-- One row per point: "x y", or "x lo hi" for a band. A blank line is a gap.
local function write_rows(lines, name, points, digits, x, y, z)
  lines[#lines + 1] = ("$%s << EOD"):format(name)
  local row = ("%%.%dg %%.%dg"):format(digits, digits)
  if z then row = ("%s %%.%dg"):format(row, digits) end
  for _, i in ipairs(points) do
    if i == 0 then
      lines[#lines + 1] = ""
    else
      local line = row:format(x[i], y[i], z and z[i])
      lines[#lines + 1] = line:find(",", 1, true) and line:gsub(",", ".") or line
    end
  end
  lines[#lines + 1] = "EOD"
end

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
    local whole = i ~= 0 and series.is_drawable(one.lo[i], log) and series.is_drawable(one.hi[i], log)
    if whole or points[#points] ~= 0 then points[#points + 1] = whole and i or 0 end
  end
  return points
end

local function write_data(lines, made, prefix)
  for k, layer in ipairs(made.layers) do
    local one, axis = layer.series, panel.y_axis(made, layer)
    if made.x and axis and not layer.is_empty then
      local name, digits = prefix .. "series" .. k, math.max(made.x.digits, axis.digits)
      write_rows(lines, name, layer.points, digits, one.x, one.y)
      local lonely = one.style == "lines" and lonely_points(layer.points) or {}
      if #lonely > 0 then write_rows(lines, name .. "_single", lonely, digits, one.x, one.y) end
      if one.lo then write_rows(lines, name .. "_band", band_points(layer, axis.log), digits, one.x, one.lo, one.hi) end
      layer.has_lonely = #lonely > 0
    end
  end
end

-- ---- axes ------------------------------------------------------------------------------------------------------

-- Powers of ten read best where the axis spans several of them.
local function tick_format(axis, canvas)
  if axis.digits > 9 then return "%.12g" end
  if canvas.kind == "text" then return "%g" end
  if axis.log and axis.hi / axis.lo >= 1e3 and (axis.lo < 1e-3 or axis.hi > 1e4) then return "10^{%T}" end
  return "%h"
end

local MANTISSAS = { { 1, 2, 5 }, { 1, 2, 3, 4, 5, 6, 7, 8, 9 } }

local function mantissa_ticks(axis, mantissas)
  local ticks = {}
  for exponent = math.floor(math.log(axis.lo, 10)), math.ceil(math.log(axis.hi, 10)) do
    for _, mantissa in ipairs(mantissas) do
      local tick = mantissa * 10.0 ^ exponent
      if tick >= axis.lo and tick <= axis.hi then ticks[#ticks + 1] = number(tick, 15) end
    end
  end
  return ticks
end

-- A log axis of less than two decades would show one or two labels; it gets a list of its own.
local function short_log_ticks(axis)
  if not axis.log or axis.hi / axis.lo >= 100 then return nil end
  for _, mantissas in ipairs(MANTISSAS) do
    local ticks = mantissa_ticks(axis, mantissas)
    if #ticks >= 3 then return ticks end
  end
  local step = 10.0 ^ math.floor(math.log((axis.hi - axis.lo) / 2, 10))
  local ticks = {}
  for k = math.ceil(axis.lo / step), math.floor(axis.hi / step) do ticks[#ticks + 1] = number(k * step, 15) end
  return #ticks >= 2 and ticks or nil
end

local function write_axis(set, name, axis, canvas)
  if axis.log then set("set logscale %s", name) end
  set("set %srange [%s:%s]", name, number(axis.lo, axis.digits), number(axis.hi, axis.digits))
  set("set format %s '%s'", name, tick_format(axis, canvas))
  local ticks = short_log_ticks(axis)
  if ticks then set("set %stics (%s)", name, table.concat(ticks, ", ")) end
end

local function write_label(set, which, value, limit, look)
  if value ~= nil and value ~= "" then
    set("set %s %s noenhanced%s", which, quote(text.wrap(value, math.max(10, limit // 1), 3)), look)
  end
end

-- Characters can't stand upright, so in text the labels of the y axes become lines below the title.
local function write_text_labels(set, options, canvas)
  local lines = { options.title }
  for _, side in ipairs{ { "ylabel", "vertical: " }, { "y2label", "right axis: " } } do
    local label = options[side[1]]
    if label ~= nil and label ~= "" then lines[#lines + 1] = side[2] .. label end
  end
  write_label(set, "title", table.concat(lines, "\n"), 0.8 * canvas.width, "")
  write_label(set, "xlabel", options.xlabel, 0.7 * canvas.width, "")
end

local function write_labels(set, options, canvas)
  if canvas.kind == "text" then return write_text_labels(set, options, canvas) end
  local across, along = canvas.width / canvas.char_width, canvas.height / canvas.char_width
  write_label(set, "title", options.title, 0.65 * across, " font ',14'")
  write_label(set, "xlabel", options.xlabel, 0.7 * across, " offset 0,0.3")
  write_label(set, "ylabel", options.ylabel, 0.7 * along, "")
  write_label(set, "y2label", options.y2label, 0.7 * along, "")
end

-- ---- legend ----------------------------------------------------------------------------------------------------

local function legend_names(made, canvas)
  local limit = math.max(10, (0.8 * canvas.width / canvas.char_width - 8) // 1)
  local names, longest, shown = {}, 0, 0
  for k, layer in ipairs(made.layers) do
    local name = layer.series.name or (#made.layers > 1 and ("series %d"):format(k) or "")
    if name ~= "" and layer.is_empty then name = name .. " (no finite data)" end
    if name ~= "" and layer.series.axis == 2 then name = name .. " (right axis)" end
    names[k] = text.shorten(name, limit)
    longest = math.max(longest, text.width(names[k]))
    if name ~= "" then shown = shown + 1 end
  end
  return names, longest, shown
end

local CORNERS = { { "right", "top" }, { "left", "top" }, { "right", "bottom" }, { "left", "bottom" } }

local function holds_a_point(made, corner, share_x, share_y)
  for _, layer in ipairs(made.layers) do
    local one = layer.series
    local axis = panel.y_axis(made, layer)
    for _, i in ipairs(axis and layer.points or {}) do
      if i ~= 0 then
        local px, py = panel.position(made.x, one.x[i]), panel.position(axis, one.y[i])
        if (corner[1] == "right" and 1 - px or px) < share_x and (corner[2] == "top" and 1 - py or py) < share_y then
          return true
        end
      end
    end
  end
  return false
end

-- A corner of the plot where the legend covers no point, or nil.
local function free_corner(made, canvas, longest, shown)
  local share_x = 1.3 * (longest + 8) * canvas.char_width / canvas.width
  local share_y = 1.5 * (shown + 1) * canvas.line_height / canvas.height
  for _, corner in ipairs(CORNERS) do
    if not holds_a_point(made, corner, share_x, share_y) then return corner end
  end
  return nil
end

local function write_legend(set, made, canvas, longest, shown)
  local place = made.options.legend or "best"
  if place == "none" or shown == 0 then
    set("unset key")
    return
  end
  local corner = place == "inside" and made.x and free_corner(made, canvas, longest, shown)
  if not corner and place ~= "below" and place ~= "right" then
    local fits = canvas.kind ~= "text" and canvas.width >= 600 and longest <= 22
    place = fits and "right" or "below"
  end
  local look = "Left reverse noenhanced samplen 3 spacing 1.2"
  if canvas.kind == "text" then look = "Left reverse noenhanced" end
  if corner then
    set("set key inside %s %s vertical %s", corner[1], corner[2], look)
  elseif place == "right" then
    set("set key outside right top vertical %s", look)
  else
    local columns = math.max(1, (0.85 * canvas.width / ((longest + 8) * canvas.char_width)) // 1)
    set("set key bmargin center horizontal maxcols %d %s", math.min(columns, shown), look)
    if made.options.xlabel and canvas.kind ~= "text" then -- an empty second line keeps the legend off the label
      write_label(set, "xlabel", made.options.xlabel .. "\n", 0.7 * canvas.width / canvas.char_width, " offset 0,0.3")
    end
  end
end

-- ---- plot commands ---------------------------------------------------------------------------------------------

local function nth(list, index) return list[(index - 1) % #list + 1] end

-- A noisy curve that turns at nearly every point fills an area; dashes would only fray it.
local function is_noise(layer)
  local y, points, turns = layer.series.y, layer.points, 0
  for k = 3, #points do
    local a, b, c = y[points[k - 2]], y[points[k - 1]], y[points[k]]
    if a and b and c and (b - a) * (c - b) < 0 then turns = turns + 1 end
  end
  return #points > 300 and turns > 0.4 * #points
end

local function pen(layer, k)
  local one = layer.series
  local color = one.color or k
  if math.type(color) == "integer" then color = nth(PALETTE, color) end
  local dash = one.dash or (is_noise(layer) and 1 or k)
  return ("lc rgb '%s'"):format(color), ("dt %s lw %s"):format(nth(DASHES, dash), number(one.width or 2))
end

local function marks(one, k, count, canvas)
  if canvas.kind == "text" then return ("pt %d"):format(k) end -- the k-th letter of the alphabet
  return ("pt %d ps %s"):format(nth(POINTS, k), number(one.size or (count > 500 and 0.35 or 0.8)))
end

local function layer_clauses(layer, axis, k, name, title, canvas)
  local one, count = layer.series, #layer.points
  local color, line = pen(layer, k)
  local style = one.style
  if style == "lines" and count <= MOST_MARKED_POINTS then style = "linespoints" end
  local marked = marks(one, k, count, canvas)
  local how = { lines = line, steps = line, points = marked, linespoints = line .. " " .. marked }
  local axes = one.axis == 2 and "axes x1y2 " or ""
  local shown = title == "" and "notitle" or "title " .. quote(title)
  if layer.is_empty or not axis then return { ("keyentry with %s %s %s %s"):format(style, color, how[style], shown) } end
  local clauses = {}
  if one.lo and canvas.kind ~= "text" then
    clauses[1] = ("$%s_band using 1:2:3 %swith filledcurves %s fill transparent solid 0.2 noborder notitle"):format(
      name, axes, color)
  end
  clauses[#clauses + 1] = ("$%s using 1:2 %swith %s %s %s %s"):format(name, axes, style, color, how[style], shown)
  if layer.has_lonely and style == "lines" then
    clauses[#clauses + 1] = ("$%s_single using 1:2 %swith points %s pt 7 ps 0.4 notitle"):format(name, axes, color)
  end
  return clauses
end

local function write_look(set, made, canvas)
  local is_text = canvas.kind == "text"
  set("set border %d%s", made.y2 and 11 or 3, is_text and "" or " lw 1 lc rgb '#555555'")
  set("set tics nomirror%s", is_text and "" or " out scale 0.6 textcolor rgb '#222222'")
  if not is_text then set("set grid back lt 1 lc rgb '#DDDDDD' lw 0.8 dt solid") end
end

local function write_empty(set, canvas)
  set("unset key; unset tics; unset grid; set xrange [0:1]; set yrange [0:1]")
  set("set label 1 'no finite data' at graph 0.5,0.5 center noenhanced%s",
    canvas.kind == "text" and "" or " textcolor rgb '#555555'")
  set("plot NaN notitle")
end

local function write_panel(lines, made, prefix, canvas)
  local set = setter(lines)
  write_look(set, made, canvas)
  write_labels(set, made.options, canvas)
  if not made.x then
    write_empty(set, canvas)
    return
  end
  write_axis(set, "x", made.x, canvas)
  if made.y then write_axis(set, "y", made.y, canvas) else set("unset ytics") end
  if made.y2 then
    set("set y2tics nomirror")
    write_axis(set, "y2", made.y2, canvas)
  end
  local names, longest, shown = legend_names(made, canvas)
  write_legend(set, made, canvas, longest, shown)
  local clauses = {}
  for k, layer in ipairs(made.layers) do
    local some = layer_clauses(layer, panel.y_axis(made, layer), k, prefix .. "series" .. k, names[k], canvas)
    table.move(some, 1, #some, #clauses + 1, clauses)
  end
  set("plot \\\n  %s", table.concat(clauses, ", \\\n  "))
end

-- ---- the whole -------------------------------------------------------------------------------------------------

local function write_multiplot(lines, figure, canvas)
  local columns = figure.columns
  local rows = (#figure.panels + columns - 1) // columns
  local title = ""
  if figure.title then
    title = (" title %s font ',15' noenhanced"):format(
      quote(text.wrap(figure.title, (0.6 * canvas.width / canvas.char_width) // 1, 2)))
  end
  lines[#lines + 1] = ("set multiplot layout %d,%d%s"):format(rows, columns, title)
  local part = setmetatable({ width = canvas.width / columns, height = canvas.height / rows }, { __index = canvas })
  for p, made in ipairs(figure.panels) do
    lines[#lines + 1] = "reset"
    write_panel(lines, made, "panel" .. p .. "_", part)
  end
  lines[#lines + 1] = "unset multiplot"
end

--- script.write(figure, canvas, name): the script as one string. With a `name` it is one that stands on its own and
--- draws into a file of that name in the current folder; without, it draws to gnuplot's standard output.
function script.write(figure, canvas, name)
  local lines = name and standalone_terminal(canvas, name) or terminal[canvas.kind](canvas)
  table.insert(lines, 1, "set encoding utf8")
  for p, made in ipairs(figure.panels) do
    write_data(lines, made, "panel" .. p .. "_")
  end
  if #figure.panels == 1 and not figure.title then
    write_panel(lines, figure.panels[1], "panel1_", canvas)
  else
    write_multiplot(lines, figure, canvas)
  end
  lines[#lines + 1] = "unset output"
  return table.concat(lines, "\n") .. "\n"
end

return script
