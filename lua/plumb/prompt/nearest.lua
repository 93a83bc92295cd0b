--- nearest(name, candidates) -> the candidate that was probably meant, or nil.

-- The number of characters to insert, delete, change or swap with their neighbour that make b of a (Damerau 1964,
-- restricted); `limit` + 1 or more when it is above the limit.
local function distance(a, b, limit)
  if math.abs(#a - #b) > limit then return limit + 1 end
  local before_last, last, row = {}, {}, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    row[0] = i
    for j = 1, #b do
      local change = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + change)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before_last[j - 2] + 1)
      end
    end
    before_last, last, row = last, row, before_last
  end
  return last[#b]
end

-- Short names must be nearer than long ones; a difference in upper and lower case counts half.
local function nearest(name, candidates)
  if #name > 60 then return nil end
  local best, best_cost = nil, math.max(1, #name // 3) + 0.1
  for _, candidate in ipairs(candidates) do
    local limit = math.floor(best_cost)
    local cost = math.min(distance(name, candidate, limit), 0.5 + distance(name:lower(), candidate:lower(), limit))
    if candidate ~= name and (cost < best_cost or cost == best_cost and best and candidate < best) then
      best, best_cost = candidate, cost
    end
  end
  return best
end

return nearest
