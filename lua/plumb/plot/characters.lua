--- Draws cells, images and fields with characters: small matrices as tables of numbers, larger ones as shades of
-- " .:-=+*#%@". Surfaces and contours are shades too, as seen from above.

local text = require "plumb.plot.text"
local panel = require "plumb.plot.panel"

local characters = {}

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
  local format, width, margin = made.numbers or "%.3g", 1, 0
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

local function shaded_map(made, columns)
  local wide = math.min(columns - 2, made.field and columns or 2 * made.columns)
  local high = math.max(1, math.min(MOST_ROWS, made.rows, math.ceil(made.rows * wide / made.columns)))
  if made.field then high = MOST_FIELD_ROWS end
  local place = { top = 1, left = 1, rows = made.rows, columns = made.columns }
  local lines = shaded(made.cells, place, high, wide, position_on(made), NOTHING)
  local edge = "+" .. ("-"):rep(wide) .. "+"
  for i, line in ipairs(lines) do lines[i] = "|" .. line .. "|" end
  table.insert(lines, 1, edge)
  lines[#lines + 1] = edge
  lines[#lines + 1] = scale_line(made)
  return lines
end

local function extent(direction, label, list)
  return ("%s: %s from %s to %s"):format(direction, label or (direction == "up" and "y" or "x"), text.number(list[1], 4),
    text.number(list[#list], 4))
end

local function heatmap(made, columns)
  local lines = not made.field and number_table(made, columns) or shaded_map(made, columns)
  local options = made.options
  local down, across = options.ylabel and "down: " .. options.ylabel, options.xlabel and "across: " .. options.xlabel
  if made.field then down, across = extent("up", options.ylabel, made.field.y), extent("across", options.xlabel, made.field.x) end
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
