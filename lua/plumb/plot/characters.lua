--- Draws cells, images and fields with characters: small matrices as tables of numbers, larger ones as shades of
-- " .:-=+*#%@". Surfaces and contours are shades too, as seen from above, with letters for the points of series.

local text = require "plumb.plot.text"
local panel = require "plumb.plot.panel"
local field = require "plumb.plot.field"

local characters = {}

local LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
local RAMP = " .:-=+*#%@"
local NOTHING = "?"
local MOST_ROWS = 30            -- of a shaded map
local MOST_FIELD_ROWS = 22
local MOST_TABLE_ROWS = 40
local IMAGE_COLUMNS = 24        -- of one image; a character is twice as high as wide
local MOST_IMAGES = 12

local function clip(line, limit) return text.shorten(line, math.max(3, limit)) end

local function pad(value, width, is_left)
  local space = (" "):rep(width - text.width(value))
  return is_left and value .. space or space .. value
end

-- ---- shades ----------------------------------------------------------------------------------------------------

-- Red, green and blue as the eye weighs them.
local function brightness(value)
  return type(value) == "table" and (0.299 * value[1] + 0.587 * value[2] + 0.114 * value[3]) / 255 or value
end

-- The character for the mean of a rectangle of cells (position: where on the scale a value stands, 0 to 1).
local function shade_of(cells, area, position, nothing)
  local sum, count = 0, 0
  for r = area.top, area.bottom do
    for c = area.left, area.right do
      local value = brightness(cells[r][c])
      if value == value then sum, count = sum + position(value), count + 1 end
    end
  end
  if count == 0 then return nothing end
  local step = math.max(0, math.min(#RAMP - 1, math.floor(sum / count * #RAMP)))
  return RAMP:sub(step + 1, step + 1)
end

-- Lines of shades for the part of the cells at place {top, left, rows, columns}, in so many lines of so many characters.
local function shaded(cells, place, lines, columns, position, nothing)
  local drawn = {}
  for i = 1, lines do
    local row = {}
    local top = place.top + (i - 1) * place.rows // lines
    for k = 1, columns do
      local left = place.left + (k - 1) * place.columns // columns
      row[k] = shade_of(cells, {
        top = top, bottom = math.max(top, place.top + i * place.rows // lines - 1),
        left = left, right = math.max(left, place.left + k * place.columns // columns - 1),
      }, position, nothing)
    end
    drawn[i] = table.concat(row)
  end
  return drawn
end

local function position_on(made)
  if made.in_color then return function(value) return value end end
  return function(value) return panel.position(made.shade, value) end
end

local function scale_line(made)
  local label = made.options.zlabel and made.options.zlabel .. ": " or "shades: "
  return ('%s"%s" from %s to %s%s'):format(label, RAMP, text.number(made.shade.lo, 4), text.number(made.shade.hi, 4),
    made.shade.log and " (log scale)" or "")
end

-- ---- heat maps -------------------------------------------------------------------------------------------------

-- A table of numbers with its labels, or nil where it would be too wide or too long.
local function number_table(made, columns)
  if made.rows > MOST_TABLE_ROWS or made.row_step ~= 1 or made.column_step ~= 1 then return nil end
  local format, width, margin = made.format, 1, 0
  local rows = {}
  for r, row in ipairs(made.cells) do
    rows[r] = {}
    for c, value in ipairs(row) do
      rows[r][c] = value == value and text.clean(format:format(value)):gsub("\n", " ") or NOTHING
      width = math.max(width, text.width(rows[r][c]))
    end
    margin = math.max(margin, text.width(clip(made.row_labels and made.row_labels[r] or tostring(r), 16)))
  end
  local room = (columns - margin - 1) // made.columns - 2
  for _, label in ipairs(made.column_labels or {}) do width = math.max(width, math.min(room, text.width(label))) end
  if margin + 1 + made.columns * (width + 2) > columns then return nil end
  local head = {}
  for c = 1, made.columns do
    head[c] = pad(clip(made.column_labels and made.column_labels[c] or tostring(c), width), width + 2)
  end
  local lines = { pad("", margin + 1) .. table.concat(head) }
  for r, row in ipairs(rows) do
    for c, value in ipairs(row) do row[c] = pad(value, width + 2) end
    lines[#lines + 1] = pad(clip(made.row_labels and made.row_labels[r] or tostring(r), 16), margin) .. " " .. table.concat(row)
  end
  return lines
end

-- Puts series over a map: the k-th one's points as the k-th letter. Returns what the letters mean, or nil.
local function draw_series(lines, made, wide, high)
  local x, y, names = made.field.x, made.field.y, {}
  local function nth(value, list, count) return 1 + (value - list[1]) / (list[#list] - list[1]) * (count - 1) + 0.5 end
  for k, layer in ipairs(made.layers or {}) do
    local letter = LETTERS:sub((k - 1) % #LETTERS + 1, (k - 1) % #LETTERS + 1)
    for i, value in ipairs(layer.series.y) do
      local column, row = nth(layer.series.x[i], x, wide) // 1, (high + 1 - nth(value, y, high) + 0.5) // 1
      if column >= 1 and column <= wide and row >= 1 and row <= high then
        row, column = math.tointeger(row), math.tointeger(column)
        lines[row] = lines[row]:sub(1, column - 1) .. letter .. lines[row]:sub(column + 1)
      end
    end
    names[k] = letter .. " " .. (layer.series.name or "series " .. k)
  end
  return #names > 0 and table.concat(names, "   ") or nil
end

local function field_map(made, wide)
  local rising, cells, high = field.even_cells(made.field, wide, MOST_FIELD_ROWS), {}, MOST_FIELD_ROWS
  for i = 1, high do cells[i] = rising[high + 1 - i] end -- the largest y is on top
  local lines = shaded(cells, { top = 1, left = 1, rows = high, columns = wide }, high, wide, position_on(made), NOTHING)
  return lines, draw_series(lines, made, wide, high)
end

local function shaded_map(made, columns)
  local wide = math.min(columns - 2, made.field and columns or 2 * made.columns)
  local high = math.max(1, math.min(MOST_ROWS, made.rows, math.ceil(made.rows * wide / made.columns)))
  local place = { top = 1, left = 1, rows = made.rows, columns = made.columns }
  local lines, names
  if made.field then lines, names = field_map(made, wide)
  else lines = shaded(made.cells, place, high, wide, position_on(made), NOTHING) end
  local edge = "+" .. ("-"):rep(wide) .. "+"
  for i, line in ipairs(lines) do lines[i] = "|" .. line .. "|" end
  table.insert(lines, 1, edge)
  lines[#lines + 1] = edge
  lines[#lines + 1] = names
  lines[#lines + 1] = scale_line(made)
  return lines
end

-- ---- what stands around ----------------------------------------------------------------------------------------

local function extent(direction, label, first, last) return ("%s: %s from %s to %s"):format(direction, label, first, last) end

-- Where the rows and the columns of a shaded map begin and end.
local function extents(made)
  local xlabel, ylabel = made.options.xlabel, made.options.ylabel
  if made.field then
    local x, y = made.field.x, made.field.y
    return extent("up", ylabel or "y", text.number(y[1], 4), text.number(y[#y], 4)),
      extent("across", xlabel or "x", text.number(x[1], 4), text.number(x[#x], 4))
  end
  local rows = made.row_labels or { 1, [made.height] = made.height }
  local columns = made.column_labels or { 1, [made.width] = made.width }
  return extent("down", ylabel or "rows", rows[1], rows[made.height]),
    extent("across", xlabel or "columns", columns[1], columns[made.width])
end

local function heatmap(made, columns)
  local lines, options = not made.field and number_table(made, columns), made.options
  local down, across = options.ylabel and "down: " .. options.ylabel, options.xlabel and "across: " .. options.xlabel
  if lines then
    lines[#lines + 1] = options.zlabel and "numbers: " .. options.zlabel
  else
    lines, down, across = shaded_map(made, columns), extents(made)
  end
  if down then table.insert(lines, 1, down) end
  lines[#lines + 1] = across
  return lines
end

-- ---- images ----------------------------------------------------------------------------------------------------

local function images(made, columns)
  local position, lines = position_on(made), {}
  local wide = math.min(IMAGE_COLUMNS, columns)
  local across = math.min(made.across, math.max(1, columns // (wide + 2)))
  local shown = math.min(#made.places, math.max(across, MOST_IMAGES // across * across))
  for first = 1, shown, across do
    local parts, high = {}, 0
    for i = first, math.min(first + across - 1, shown) do
      local place = made.places[i]
      local height = math.max(1, math.min(2 * wide, (place.rows * wide / place.columns / 2 + 0.5) // 1))
      parts[#parts + 1] = shaded(made.cells, place, height, wide, position, " ")
      if made.titles then table.insert(parts[#parts], 1, pad(clip(made.titles[i], wide), wide, true)) end
      high = math.max(high, #parts[#parts])
    end
    for l = 1, high do
      local row = {}
      for k, part in ipairs(parts) do row[k] = part[l] or (" "):rep(wide) end
      lines[#lines + 1] = table.concat(row, "  ")
    end
    lines[#lines + 1] = ""
  end
  if shown < #made.places then lines[#lines + 1] = ("... and %d more images"):format(#made.places - shown) end
  local options = made.options
  if options.colorbar and not made.in_color then lines[#lines + 1] = scale_line(made) end
  if options.ylabel then lines[#lines + 1] = "down: " .. options.ylabel end
  if options.xlabel then lines[#lines + 1] = "across: " .. options.xlabel end
  return lines
end

-- ---- the panel -------------------------------------------------------------------------------------------------

--- characters.draw(made, columns): the panel in lines of at most so many characters.
function characters.draw(made, columns)
  local lines = { "no finite data" }
  if made.shade then lines = (made.kind == "images" and images or heatmap)(made, columns) end
  if made.options.title then table.insert(lines, 1, made.options.title) end
  for i, line in ipairs(lines) do
    line = text.clean(line):gsub("\n", " ")
    if text.width(line) > columns then line = clip(line, columns) end
    lines[i] = line:gsub("%s+$", "")
  end
  return (table.concat(lines, "\n"):gsub("%s+$", ""))
end

return characters
