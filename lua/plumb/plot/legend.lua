--- The names of a panel's series and where they stand.

local text = require "plumb.plot.text"
local panel = require "plumb.plot.panel"
local axes = require "plumb.plot.axes"

local legend = {}

--- legend.names(made, canvas): what the legend calls each layer, the length of the longest name, and how many are shown.
function legend.names(made, canvas)
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

-- ---- free corners ----------------------------------------------------------------------------------------------

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

-- ---- names at the ends of the lines ----------------------------------------------------------------------------

local MOST_DIRECT = 8
local DIRECT_LENGTH = 24
local SPACING = 1.1        -- between two names, in lines of text
local FARTHEST = 1.6       -- that "best" moves a name from its line, in lines of text

-- Where a line ends on the right, if it does so near the border: {x =, y =, wanted = position on the y axis}.
local function right_end(made, layer)
  local one, axis, last = layer.series, panel.y_axis(made, layer), layer.points[#layer.points]
  if last == 0 then last = layer.points[#layer.points - 1] end
  if not last or not axis or one.axis == 2 or one.style == "points" or one.style == "bars" or one.shades then return nil end
  for _, i in ipairs(layer.points) do
    if i ~= 0 and one.x[i] > one.x[last] then return nil end
  end
  local across, up = panel.position(made.x, one.x[last]), panel.position(axis, one.y[last])
  if across < 0.9 or across > 1 or up < 0 or up > 1 then return nil end
  return { x = one.x[last], y = one.y[last], wanted = up }
end

-- Moves the names, sorted from below, apart until none overlaps another: each stands at least `gap` above the one below it,
-- and the group around the mean of where its lines end. (Pool adjacent violators, on wanted - (k - 1) gap.)
local function spread(ends, gap)
  local groups = {}
  for k, one in ipairs(ends) do
    local group = { sum = one.wanted - (k - 1) * gap, count = 1 }
    while #groups > 0 and groups[#groups].sum / groups[#groups].count > group.sum / group.count do
      local before = table.remove(groups)
      group = { sum = group.sum + before.sum, count = group.count + before.count }
    end
    groups[#groups + 1] = group
  end
  local k = 0
  for _, group in ipairs(groups) do
    for _ = 1, group.count do
      k = k + 1
      ends[k].at = group.sum / group.count + (k - 1) * gap
    end
  end
end

--- legend.direct(made, canvas, names, longest): where names can stand right of the lines' ends: a list of {layer = index,
--- x, y = the line's end, at = height in the panel, 0 to 1}; nil where a legend is better, or was asked for.
function legend.direct(made, canvas, names, longest)
  local place = made.options.legend or "best"
  if canvas.kind == "text" or (place ~= "best" and place ~= "direct") or made.fill or made.y2 then return nil end
  local ends = {}
  for k, layer in ipairs(made.layers) do
    if names[k] ~= "" then
      local one = right_end(made, layer)
      if not one then return nil end
      one.layer = k
      ends[#ends + 1] = one
    end
  end
  if #ends == 0 then return nil end
  local fits = #ends >= 2 and #ends <= MOST_DIRECT and longest <= DIRECT_LENGTH and canvas.width >= 400
  table.sort(ends, function(a, b) return a.wanted < b.wanted or a.wanted == b.wanted and a.layer > b.layer end)
  local line = canvas.line_height / (0.8 * canvas.height)
  spread(ends, SPACING * line)
  for _, one in ipairs(ends) do
    fits = fits and math.abs(one.at - one.wanted) <= FARTHEST * line
  end
  return (fits or place == "direct") and ends or nil
end

-- ---- a list of names -------------------------------------------------------------------------------------------

--- legend.write(set, made, canvas, longest, shown): where the legend stands.
function legend.write(set, made, canvas, longest, shown)
  local place = made.options.legend or "best"
  if place == "none" or shown == 0 then
    set("unset key")
    return
  end
  local corner = place == "inside" and made.x and free_corner(made, canvas, longest, shown)
  if not corner and place ~= "below" and place ~= "right" then
    local has_bar = made.shade and made.options.colorbar ~= false
    local fits = canvas.kind ~= "text" and canvas.width >= 600 and longest <= 22 and not has_bar
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
      axes.label(set, "xlabel", made.options.xlabel .. "\n", 0.7 * canvas.width / canvas.char_width, " offset 0,0.3")
    end
  end
end

return legend
