--- Which points of a series are drawn: what cannot be drawn becomes a gap, and more points than a figure can show are thinned.

local is_drawable = require("plumb.plot.options").is_drawable

local points = {}

local MOST_LINE_POINTS = 2000
local MOST_SCATTER_POINTS = 10000

-- In each bucket of neighbours the points at the extremes stay, in their order; so does one gap, if there was any.
-- `keys` are the lists whose extremes matter: y alone where x only grows, else x and y.
local function extremes(visible, keys, first, last)
  local chosen = {}
  local gap
  for i = first, last do
    if not visible[i] then
      gap = gap or i
    else
      for k, key in ipairs(keys) do
        local low, high = chosen[2 * k - 1], chosen[2 * k]
        if not low or key[i] < key[low] then chosen[2 * k - 1] = i end
        if not high or key[i] > key[high] then chosen[2 * k] = i end
      end
    end
  end
  chosen[#chosen + 1] = gap
  table.sort(chosen)
  return chosen
end

local function is_increasing(x, visible)
  local before = -math.huge
  for i = 1, #x do
    if visible[i] then
      if x[i] < before then return false end
      before = x[i]
    end
  end
  return true
end

local function thin_line(one, visible)
  local keys = is_increasing(one.x, visible) and { one.y } or { one.x, one.y }
  local buckets = MOST_LINE_POINTS // (2 * #keys)
  local count, kept = #one.y, {}
  for bucket = 1, buckets do
    local first, last = (bucket - 1) * count // buckets + 1, bucket * count // buckets
    local before = 0
    for _, i in ipairs(extremes(visible, keys, first, last)) do
      if i ~= before then kept[#kept + 1] = i end
      before = i
    end
  end
  if kept[#kept] ~= count then kept[#kept + 1] = count end
  return kept
end

local function thin_scatter(count)
  local kept = {}
  for k = 1, MOST_SCATTER_POINTS do
    kept[k] = (k - 1) * count // MOST_SCATTER_POINTS + 1
  end
  return kept
end

--- points.choose(one, log_x, log_y): what to draw of a series: a list of indices, where 0 stands for a gap in the line
--- (a value that is not finite, or not positive on a log axis). Long lines are thinned so that every peak stays.
--- Also returns the number of drawable points, and of points that thinning left out of a scatter.
function points.choose(one, log_x, log_y)
  local visible, drawable = {}, 0
  for i = 1, #one.y do
    visible[i] = is_drawable(one.x[i], log_x) and is_drawable(one.y[i], log_y)
      and (not one.shades or is_drawable(one.shades[i]))
    if visible[i] then drawable = drawable + 1 end
  end
  local kept, omitted = nil, 0
  if one.style == "points" then
    if #one.y > MOST_SCATTER_POINTS then
      kept, omitted = thin_scatter(#one.y), #one.y - MOST_SCATTER_POINTS
    end
  elseif #one.y > MOST_LINE_POINTS then
    kept = thin_line(one, visible)
  end
  local chosen = {}
  for k = 1, kept and #kept or #one.y do
    local i = kept and kept[k] or k
    if visible[i] then
      chosen[#chosen + 1] = i
    elseif #chosen > 0 and chosen[#chosen] ~= 0 then
      chosen[#chosen + 1] = 0
    end
  end
  return chosen, drawable, omitted
end

return points
