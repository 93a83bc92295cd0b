--- What experiments say about lists of numbers.
local core = require "plumb.core"
local report = require "plumb.report"

local statistics = {}

-- A list of finite numbers, of a list or a tensor.
local function numbers(who, name, values)
  if core.is_tensor(values) then values = values:flatten():tolist() end
  if type(values) ~= "table" then report.fail("%s: %s must be a list of numbers or a tensor, not %s", who, name, type(values)) end
  for i, value in ipairs(values) do
    report.number(who, ("%s[%d]"):format(name, i), value)
    if value - value ~= 0 then report.fail("%s: %s[%d] is not finite", who, name, i) end
  end
  return values
end

-- Places in ascending order from 1, equal values sharing the mean of theirs.
local function ranks(values)
  local order, rank = {}, {}
  for i = 1, #values do order[i] = i end
  table.sort(order, function(a, b) return values[a] < values[b] end)
  local first = 1
  while first <= #order do
    local last = first
    while last < #order and values[order[last + 1]] == values[order[first]] do last = last + 1 end
    for i = first, last do rank[order[i]] = (first + last) / 2 end
    first = last + 1
  end
  return rank
end

local function mean(values)
  local sum = 0
  for _, value in ipairs(values) do sum = sum + value end
  return sum / #values
end

--- measure.correlation(x, y, {rank = false}) -> Pearson's coefficient of two lists (or tensors) of equal length, -1 .. 1; with
--- rank = true Spearman's, that of the ranks. nil where one of them is constant: there is none.
function statistics.correlation(x, y, options)
  local who = "measure.correlation"
  options = report.options(who, options, { rank = false })
  x, y = numbers(who, "x", x), numbers(who, "y", y)
  if #x ~= #y or #x < 2 then report.fail("%s: two lists of one length, at least 2, not %d and %d", who, #x, #y) end
  if options.rank then x, y = ranks(x), ranks(y) end
  local mx, my, xx, yy, xy = mean(x), mean(y), 0, 0, 0
  for i = 1, #x do
    local dx, dy = x[i] - mx, y[i] - my
    xx, yy, xy = xx + dx * dx, yy + dy * dy, xy + dx * dy
  end
  if xx == 0 or yy == 0 then return nil end
  return xy / math.sqrt(xx) / math.sqrt(yy)
end

--- measure.median(values) -> the median of a list or tensor: of an even number of values the mean of the middle two.
function statistics.median(values)
  local sorted = numbers("measure.median", "values", values)
  if #sorted == 0 then report.fail("measure.median: there are no values") end
  sorted = table.move(sorted, 1, #sorted, 1, {})
  table.sort(sorted)
  return (sorted[(#sorted + 1) // 2] + sorted[#sorted // 2 + 1]) / 2
end

--- measure.median_of_tenth(values, tenth) -> the median of the first (1) to last (10) tenth of a list or tensor: where a
--- noisy curve is there. A tenth of a short list is one value at least.
function statistics.median_of_tenth(values, tenth)
  local who = "measure.median_of_tenth"
  local list = numbers(who, "values", values)
  report.integer(who, "tenth", tenth, 1, 10)
  if #list == 0 then report.fail("%s: there are no values", who) end
  local last = math.max(1, tenth * #list // 10)
  local first = math.min(last, (tenth - 1) * #list // 10 + 1)
  return statistics.median(table.move(list, first, last, 1, {}))
end

--- measure.columns(rows) -> the lists by name that a list of tables holds: {{loss = 1, size = 3}, {loss = 2, size = 4}} becomes
--- {loss = {1, 2}, size = {3, 4}}. Every row must have the same names.
function statistics.columns(rows)
  local who, columns = "measure.columns", {}
  if type(rows) ~= "table" then report.fail("%s: rows must be a list of tables, not %s", who, type(rows)) end
  for i, row in ipairs(rows) do
    if type(row) ~= "table" then report.fail("%s: row %d must be a table, not %s", who, i, type(row)) end
    for name in pairs(i == 1 and row or {}) do columns[name] = {} end
    for name, value in pairs(row) do
      if not columns[name] then report.fail("%s: '%s' of row %d is not in row 1", who, tostring(name), i) end
      columns[name][i] = value
    end
    for name, list in pairs(columns) do
      if list[i] == nil then report.fail("%s: '%s' is missing in row %d", who, tostring(name), i) end
    end
  end
  return columns
end

return statistics
