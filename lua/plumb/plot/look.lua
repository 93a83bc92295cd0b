--- The look of all figures: colours, dashes, markers and colour maps.
--
-- The palette follows Okabe and Ito (jfly.uni-koeln.de/color), with a darker green, and is ordered so that neighbours differ
-- in lightness too; each colour has its own dash pattern and marker for print in grey.

local look = {}

local PALETTE = { "#0072B2", "#E69F00", "#00573F", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#7F7F7F" }
local DASHES = { "solid", "(12,4)", "(4,3)", "(12,3,3,3)", "(8,3)", "(12,3,3,3,3,3)", "(20,6)", "(2,3)" }
local MARKERS = { "disc", "square", "triangle", "diamond", "circle", "box", "delta", "rhomb", "cross", "plus", "star" }
local MARKER_NUMBERS = { disc = 7, square = 5, triangle = 9, diamond = 13, circle = 6, box = 4, delta = 8, rhomb = 12,
  cross = 2, plus = 1, star = 3 } -- as gnuplot counts them

-- Evenly spaced colours. "sequential" is viridis (van der Walt and Smith 2015), perceptually uniform and readable in grey;
-- "diverging" is lightest in the middle, for values around zero.
local MAPS = {
  sequential = { "#440154", "#472D7B", "#3B528B", "#2C728E", "#21918C", "#28AE80", "#5EC962", "#ADDC30", "#FDE725" },
  diverging = { "#053B6E", "#2B7BBA", "#9CC6E3", "#F7F7F7", "#F6B78A", "#D1641E", "#7A2E04" },
  gray = { "#000000", "#FFFFFF" },
}

--- look.MAP_NAMES: the names of the colour maps.
look.MAP_NAMES = { "sequential", "diverging", "gray" }

local function nth(list, index) return list[(index - 1) % #list + 1] end

--- look.color(value, k): "#rrggbb" of a palette index or of itself; by default the k-th colour.
function look.color(value, k)
  value = value or k
  return math.type(value) == "integer" and nth(PALETTE, value) or value
end

--- look.dash(index): gnuplot's pattern of the dash number `index`.
function look.dash(index) return nth(DASHES, index) end

--- look.is_marker(name): is it the name of a marker?
function look.is_marker(name) return MARKER_NUMBERS[name] ~= nil end

--- look.marker_names(): the names, for messages.
function look.marker_names() return '"' .. table.concat(MARKERS, '", "') .. '"' end

--- look.marker(name_or_index): gnuplot's number of a marker; the first eight come in turn.
function look.marker(value)
  return MARKER_NUMBERS[value] or MARKER_NUMBERS[MARKERS[(value - 1) % 8 + 1]]
end

--- look.palette(name): gnuplot's description of a colour map.
function look.palette(name)
  local parts = {}
  for i, color in ipairs(MAPS[name]) do parts[i] = ("%d '%s'"):format(i - 1, color) end
  return ("set palette defined (%s)"):format(table.concat(parts, ", "))
end

local function channels(color)
  return tonumber(color:sub(2, 3), 16), tonumber(color:sub(4, 5), 16), tonumber(color:sub(6, 7), 16)
end

--- look.is_dark(name, position): does the colour at `position` (0 .. 1) of a colour map need white text upon it?
function look.is_dark(name, position)
  local map = MAPS[name]
  local place = 1 + math.max(0, math.min(1, position)) * (#map - 1)
  local below = math.min(math.floor(place), #map - 1)
  local r, g, b = channels(map[below])
  local r2, g2, b2 = channels(map[below + 1])
  local share = place - below
  local luma = 0.299 * (r + share * (r2 - r)) + 0.587 * (g + share * (g2 - g)) + 0.114 * (b + share * (b2 - b))
  return luma < 140
end

return look
