--- Writes the panels of plot.heatmap, plot.image and plot.images: the cells as one matrix, and one plot command.

local text = require "plumb.plot.text"
local look = require "plumb.plot.look"
local panel = require "plumb.plot.panel"
local axes = require "plumb.plot.axes"

local cells = {}

local number = text.number

-- Viewers of svg and pdf blur an enlarged bitmap, so few cells are drawn as rectangles there.
local MOST_RECTANGLES = 16384
local SQUARE_UP_TO = 3 -- cells are squares unless one side of the matrix is so many times longer

-- ---- data ------------------------------------------------------------------------------------------------------

-- gnuplot draws grids of at least 2 x 2: a single row or column is written twice, each half as wide.
local function copies(made) return made.rows == 1 and 2 or 1, made.columns == 1 and 2 or 1 end

local function write_matrix(lines, made)
  local one = ("%%.%dg"):format(made.shade.digits)
  local down, across = copies(made)
  for _, values in ipairs(made.cells) do
    local row = {}
    for c, value in ipairs(values) do row[c] = value == value and one:format(value) or "NaN" end
    if across == 2 then row[2] = row[1] end
    for _ = 1, down do lines[#lines + 1] = table.concat(row, " "):gsub(",", ".") end
  end
end

-- Columns x y red green blue; the gaps between images are white.
local function write_pixels(lines, made)
  local down, across = copies(made)
  for r, row in ipairs(made.cells) do
    for c, rgb in ipairs(row) do
      if type(rgb) ~= "table" then rgb = { 255, 255, 255 } end
      for k = 0, down * across - 1 do
        lines[#lines + 1] = ("%d %d %d %d %d"):format(across * (c - 1) + k % across, down * (r - 1) + k // across,
          rgb[1], rgb[2], rgb[3])
      end
    end
  end
end

--- cells.write_data(lines, made, prefix): the here-document that the plot command names.
function cells.write_data(lines, made, prefix)
  if not made.shade then return end
  lines[#lines + 1] = ("$%scells << EOD"):format(prefix)
  if made.in_color then write_pixels(lines, made) else write_matrix(lines, made) end
  lines[#lines + 1] = "EOD"
end

-- ---- where things stand ----------------------------------------------------------------------------------------

-- About how many pixels a cell takes, across and down.
local function cell_size(made, canvas)
  local across, down = 0.72 * canvas.width / made.columns, 0.76 * canvas.height / made.rows
  if made.is_square then return math.min(across, down), math.min(across, down) end
  return across, down
end

local function write_ranges(set, made)
  set("set xrange [0.5:%s]", number(made.columns + 0.5))
  set("set yrange [%s:0.5]", number(made.rows + 0.5))
  if made.is_square then set("set size ratio -1") end
end

-- gnuplot takes the text of a tick for a format of its number.
local function choose_labels(labels, step, limit)
  local parts = {}
  for i = 1, #labels, step do
    parts[#parts + 1] = ("%s %d"):format(text.quote(text.shorten(labels[i], limit):gsub("%%", "%%%%")), i)
  end
  return table.concat(parts, ", ")
end

local function longest_of(labels, limit)
  local longest = 0
  for _, label in ipairs(labels) do longest = math.max(longest, math.min(limit, text.width(label))) end
  return longest
end

-- Steps of 1, 2 or 5 times a power of ten, such that at most `most` ticks stand on `count` rows or columns.
local function tick_step(count, most)
  local power = 1
  while true do
    for _, digit in ipairs { 1, 2, 5 } do
      if count / (digit * power) <= most then return digit * power end
    end
    power = 10 * power
  end
end

-- The rows or columns of the matrix are numbered; a cell may stand for a block of them.
local function write_index_ticks(set, name, count, block, room)
  local step, parts = tick_step(count * block, math.max(2, room)), {}
  for i = 1, count * block do
    if i % step == 0 or (i == 1 and step >= 5) then
      parts[#parts + 1] = ("'%d' %s"):format(i, number((i - 0.5) / block + 0.5))
    end
  end
  set("set %stics (%s)", name, table.concat(parts, ", "))
end

local LABEL_LIMIT = 24

local function write_ticks(set, made, canvas)
  local across, down = cell_size(made, canvas)
  local row_step = math.max(1, math.ceil(canvas.line_height / down))
  if made.row_labels then
    set("set ytics noenhanced (%s)", choose_labels(made.row_labels, row_step, LABEL_LIMIT))
  else
    write_index_ticks(set, "y", made.rows, made.row_step, 0.76 * canvas.height / (1.6 * canvas.line_height))
  end
  if made.column_labels then
    local longest = longest_of(made.column_labels, LABEL_LIMIT)
    local fits = (longest + 1) * canvas.char_width <= across
    local step = fits and 1 or math.max(1, math.ceil(canvas.line_height / across))
    set("set xtics noenhanced%s (%s)", fits and "" or " rotate by 45 right",
      choose_labels(made.column_labels, step, LABEL_LIMIT))
  else
    write_index_ticks(set, "x", made.columns, made.column_step, 0.72 * canvas.width / (5 * canvas.char_width))
  end
end

-- ---- numbers in cells ------------------------------------------------------------------------------------------

local LEAST_FONT, LARGEST_FONT = 5, 11

-- The font that lets the longest number fit its cell, or nil where none could be read.
local function number_font(made, canvas, longest)
  local across, down = cell_size(made, canvas)
  local font = math.min(LARGEST_FONT, 0.9 * across / (longest * canvas.char_width) * 10.5, 0.8 * down / canvas.line_height * 10.5)
  return font >= LEAST_FONT and font or nil
end

local function write_numbers(set, made, canvas)
  local texts, longest = {}, 1
  for r, row in ipairs(made.cells) do
    for c, value in ipairs(row) do
      if value == value then
        local shown = text.clean(made.numbers:format(value)):gsub("^%-(0%.?0*)$", "%1")
        texts[#texts + 1] = { shown, r, c, value }
        longest = math.max(longest, text.width(shown))
      end
    end
  end
  local font = number_font(made, canvas, longest)
  if not font then
    set("# the cells are too small for numbers")
    return
  end
  for _, one in ipairs(texts) do
    local position = math.max(0, math.min(1, panel.position(made.shade, one[4])))
    axes.note(set, one[1], ("first %d,%d"):format(one[3], one[2]), ("center font ',%s' textcolor rgb '%s' front"):format(
      number(font, 3), look.is_dark(made.map, position) and "#ffffff" or "#000000"))
  end
end

-- ---- titles of images ------------------------------------------------------------------------------------------

local function write_titles(set, made, canvas)
  local across = cell_size(made, canvas)
  local font = math.max(6, math.min(10, (made.step_down - made.height) * across / canvas.line_height * 10.5))
  local limit = math.max(3, (made.step_right * across / (canvas.char_width * font / 10.5)) // 1)
  for i, title in ipairs(made.titles) do
    local place = made.places[i]
    axes.note(set, text.shorten(title, limit), ("first %s,%s"):format(number(place.left + (place.columns - 1) / 2),
      number(place.top - 0.5)), ("center offset char 0,0.55 font ',%s' front"):format(number(font, 3)))
  end
end

-- ---- the panel -------------------------------------------------------------------------------------------------

-- Cell number c, from 0 in the data, has its middle at c + 1 on the axis, or half as far where each is there twice.
local function plot_command(made, prefix)
  local down, across = copies(made)
  local places = ("($1/%d.+%s):($2/%d.+%s)"):format(across, across == 2 and "0.75" or "1", down, down == 2 and "0.75" or "1")
  if made.in_color then return ("plot $%scells using %s:3:4:5 with rgbimage notitle"):format(prefix, places) end
  local style = made.rows * made.columns <= MOST_RECTANGLES and "@cells" or "image"
  return ("plot $%scells matrix using %s:3 with %s notitle"):format(prefix, places, style)
end

--- cells.write_panel(lines, made, prefix, canvas): the settings and the plot command.
function cells.write_panel(lines, made, prefix, canvas)
  local set = axes.setter(lines)
  local is_images = made.kind == "images"
  local shape = made.columns / made.rows
  made.is_square = is_images or (shape <= SQUARE_UP_TO and shape >= 1 / SQUARE_UP_TO)
  axes.labels(set, made.options, canvas)
  if not made.shade then
    axes.empty(set, canvas)
    return
  end
  set("unset key")
  write_ranges(set, made)
  axes.color_bar(set, made, canvas)
  if is_images then
    set("unset border; unset xtics; unset ytics")
    if made.titles then write_titles(set, made, canvas) end
  else
    set("set border 0")
    set("set tics out scale 0 nomirror textcolor rgb '#222222'")
    write_ticks(set, made, canvas)
    if made.numbers then write_numbers(set, made, canvas) end
  end
  set("%s", plot_command(made, prefix))
end

return cells
