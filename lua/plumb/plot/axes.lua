--- Writes what panels of every kind have: labels, axes with their ticks, the bar of colours.

local text = require "plumb.plot.text"
local look = require "plumb.plot.look"

local axes = {}

local quote, number = text.quote, text.number

--- axes.setter(lines): f(format, ...) adds a line.
function axes.setter(lines)
  return function(format, ...) lines[#lines + 1] = format:format(...) end
end

-- ---- ticks -----------------------------------------------------------------------------------------------------

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

-- There is no epoch 1.5: between whole numbers stand no ticks. From ten on gnuplot sees to that by itself.
local function has_whole_ticks(axis)
  return axis.whole and not axis.log and axis.hi - axis.lo < 10
end

--- axes.write(set, name, axis, canvas): range, scale and ticks of the axis "x", "y", "y2" or "cb".
function axes.write(set, name, axis, canvas)
  if axis.log then set("set logscale %s", name) end
  set("set %srange [%s:%s]", name, number(axis.lo, axis.digits), number(axis.hi, axis.digits))
  set("set format %s '%s'", name, tick_format(axis, canvas))
  local ticks = short_log_ticks(axis)
  if ticks then set("set %stics (%s)", name, table.concat(ticks, ", ")) end
  if has_whole_ticks(axis) then set("set %stics 1", name) end
end

--- axes.label(set, which, value, limit, how): a text, wrapped to `limit` characters; nothing where there is none.
function axes.label(set, which, value, limit, how)
  if value ~= nil and value ~= "" then
    set("set %s %s noenhanced%s", which, quote(text.wrap(value, math.max(10, limit // 1), 3)), how)
  end
end

-- Characters can't stand upright, so in text the labels of the y axes become lines below the title.
local function write_text_labels(set, options, canvas)
  local lines = { options.title }
  for _, side in ipairs{ { "ylabel", "vertical: " }, { "y2label", "right axis: " } } do
    local label = options[side[1]]
    if label ~= nil and label ~= "" then lines[#lines + 1] = side[2] .. label end
  end
  axes.label(set, "title", table.concat(lines, "\n"), 0.8 * canvas.width, "")
  axes.label(set, "xlabel", options.xlabel, 0.7 * canvas.width, "")
end

--- axes.labels(set, options, canvas): the title and the labels of the axes.
function axes.labels(set, options, canvas)
  if canvas.kind == "text" then return write_text_labels(set, options, canvas) end
  local across, along = canvas.width / canvas.char_width, canvas.height / canvas.char_width
  axes.label(set, "title", options.title, 0.65 * across, " font ',14'")
  axes.label(set, "xlabel", options.xlabel, 0.7 * across, " offset 0,0.3")
  axes.label(set, "ylabel", options.ylabel, 0.7 * along, "")
  axes.label(set, "y2label", options.y2label, 0.7 * along, "")
end

--- axes.look(set, made, canvas): border, ticks and grid of a panel.
function axes.look(set, made, canvas)
  local is_text = canvas.kind == "text"
  set("set border %d%s", made.y2 and 11 or 3, is_text and "" or " lw 1 lc rgb '#555555'")
  set("set tics nomirror%s", is_text and "" or " out scale 0.6 textcolor rgb '#222222'")
  if not is_text then set("set grid back lt 1 lc rgb '#DDDDDD' lw 0.8 dt solid") end
end

--- axes.empty(set, canvas): a panel that says there is nothing to draw.
function axes.empty(set, canvas)
  set("unset key; unset tics; unset grid; set xrange [0:1]; set yrange [0:1]")
  set("set label 1 'no finite data' at graph 0.5,0.5 center noenhanced%s",
    canvas.kind == "text" and "" or " textcolor rgb '#555555'")
  set("plot NaN notitle")
end

--- axes.color_bar(set, made, canvas): the colours of made.shade, and the bar that explains them, with the label zlabel.
function axes.color_bar(set, made, canvas)
  set("%s", look.palette(made.map or made.options.colors or "sequential"))
  axes.write(set, "cb", made.shade, canvas)
  if made.options.colorbar == false or made.in_color then
    set("unset colorbox")
    return
  end
  set("set colorbox noborder; set cbtics out scale 0.5 textcolor rgb '#222222'")
  local label = made.options.zlabel
  if label == nil or label == "" then return end
  local digits = math.min(5, math.max(#number(made.shade.lo, 3), #number(made.shade.hi, 3)))
  if made.kind ~= "surface" then -- gnuplot keeps room for short numbers only
    set("set rmargin %s", number(0.07 * canvas.width / canvas.char_width + digits + 3, 3))
  end
  axes.label(set, "cblabel", label, 0.7 * canvas.height / canvas.char_width, (" offset %s,0"):format(math.max(0, digits - 2)))
end

--- axes.note(set, value, place, how): a text of the user's at a place in gnuplot's coordinates.
function axes.note(set, value, place, how)
  set("set label %s at %s noenhanced %s", quote(value), place, how)
end

--- axes.write_rows(lines, name, columns, chosen, digits): data as a here-document, one row for each index in `chosen` with the
--- values of the `columns` there; 0 stands for a gap, a blank line.
function axes.write_rows(lines, name, columns, chosen, digits)
  lines[#lines + 1] = ("$%s << EOD"):format(name)
  local one, row = ("%%.%dg"):format(digits), {}
  for _, i in ipairs(chosen) do
    for k, column in ipairs(columns) do row[k] = i == 0 and "" or one:format(column[i]) end
    local line = i == 0 and "" or table.concat(row, " ")
    lines[#lines + 1] = line:find(",", 1, true) and line:gsub(",", ".") or line
  end
  lines[#lines + 1] = "EOD"
end

return axes
