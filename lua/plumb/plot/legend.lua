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

--- legend.write(set, made, canvas, longest, shown): where the legend stands.
function legend.write(set, made, canvas, longest, shown)
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
      axes.label(set, "xlabel", made.options.xlabel .. "\n", 0.7 * canvas.width / canvas.char_width, " offset 0,0.3")
    end
  end
end

return legend
