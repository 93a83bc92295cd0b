--- Histograms: from samples to panels of bars.

local report = require "plumb.report"
local core = require "plumb.core"
local series = require "plumb.plot.series"
local panel = require "plumb.plot.panel"
local is_drawable = require("plumb.plot.options").is_drawable

local histogram = {}

local fail = report.fail

local MOST_SAMPLES = 1000000
local MOST_BINS = 1000
local MOST_CHOSEN_BINS = 100

-- ---- samples ---------------------------------------------------------------------------------------------------

-- The numbers of one sample: of a tensor of any shape all elements, of a very large one evenly chosen ones.
local function sample(value, where, notes)
  if core.is_tensor(value) then
    local count = value:numel()
    value = value:flatten()
    if count > MOST_SAMPLES then
      local step = math.ceil(count / MOST_SAMPLES)
      value = value:index_select(1, core.arange((count - 1) // step + 1, 1, step, "int64"))
      notes[#notes + 1] = ("every %d-th of %d values is counted"):format(step, count)
    end
  end
  return series.numbers(value, where)
end

local function is_description(value) return type(value) == "table" and not core.is_tensor(value) and value.y ~= nil end

local function add(samples, value, name, where, notes)
  local given = is_description(value) and value or { y = value }
  for field in pairs(given) do
    if field ~= "y" and field ~= "name" and field ~= "color" then
      fail("%s: unknown field '%s' (known: color, name, y)", where, tostring(field))
    end
  end
  samples[#samples + 1] = {
    name = given.name ~= nil and tostring(given.name) or name, color = series.check_color(given.color, where),
    values = sample(given.y, where, notes),
  }
end

-- One sample, a list of samples, or a table of named ones.
local function check_samples(value, who, notes)
  local samples = {}
  if series.is_list(value) or is_description(value) then
    add(samples, value, nil, who .. ": the sample", notes)
  elseif type(value) == "table" then
    series.each(value, who, function(item, key)
      add(samples, item, type(key) == "string" and key or nil, ("%s: sample %s"):format(who, key), notes)
    end)
  else
    fail("%s: expected a list of numbers, a tensor, or a table of named ones, not a %s", who, type(value))
  end
  return samples
end

-- ---- bins ------------------------------------------------------------------------------------------------------

local function quantile(sorted, share) return sorted[1 + math.floor(share * (#sorted - 1) + 0.5)] end

-- The rule of Freedman and Diaconis (1981), width = 2 IQR / n^(1/3), which outliers do not mislead; Sturges' (1926) where
-- half of the values are the same.
local function choose_count(values, lo, hi)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local width = 2 * (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / (#sorted) ^ (1 / 3)
  local count = width > 0 and (hi - lo) / width or math.log(#sorted, 2) + 1
  return math.tointeger(math.max(1, math.min(MOST_CHOSEN_BINS, math.ceil(count))))
end

local function drawable_values(samples, log, range)
  local values = {}
  for _, one in ipairs(samples) do
    for _, value in ipairs(one.values) do
      if is_drawable(value, log) and value >= (range[1] or -math.huge) and value <= (range[2] or math.huge) then
        values[#values + 1] = log and math.log(value) or value
      end
    end
  end
  return values
end

local function extremes(values)
  local lo, hi = math.huge, -math.huge
  for _, value in ipairs(values) do lo, hi = math.min(lo, value), math.max(hi, value) end
  return lo, hi
end

-- Integers of a small range (labels, counts) get a bin each, centred on them.
local function integer_edges(values, lo, hi)
  if hi - lo > MOST_CHOSEN_BINS then return nil end
  for _, value in ipairs(values) do
    if value % 1 ~= 0 then return nil end
  end
  local edges = {}
  for k = lo, hi + 1 do edges[#edges + 1] = k - 0.5 end
  return edges
end

-- The edges of the bins, even ones on the axis; {} where there is nothing to count.
local function make_edges(samples, options)
  if type(options.bins) == "table" then return options.bins end
  local log, range = options.logx, options.xrange or {}
  local values = drawable_values(samples, log, range)
  if #values == 0 then return {} end
  local lo, hi = extremes(values)
  local whole = not options.bins and not log and integer_edges(values, lo, hi)
  if whole then return whole end
  if lo == hi then lo, hi = lo - 0.5, hi + 0.5 end
  if range[1] then lo = log and math.log(range[1]) or range[1] end
  if range[2] then hi = log and math.log(range[2]) or range[2] end
  local count, edges = options.bins or choose_count(values, lo, hi), {}
  for k = 0, count do
    local edge = k == count and hi or lo + k * ((hi - lo) / count)
    edges[k + 1] = log and math.exp(edge) or edge
  end
  if log then -- exp(log(x)) may miss an extreme value by one bit
    edges[1], edges[#edges] = edges[1] * (1 - 1e-12), edges[#edges] * (1 + 1e-12)
  end
  return edges
end

local function check_bins(bins, who)
  if bins == nil then return nil end
  if type(bins) == "table" then
    local edges = series.numbers(bins, who .. ": option bins")
    if #edges < 2 then fail("%s: option bins as a list needs at least two edges", who) end
    for i, edge in ipairs(edges) do
      if not is_drawable(edge) or i > 1 and edge <= edges[i - 1] then fail("%s: option bins: the edges must rise", who) end
    end
    return edges
  end
  if math.type(bins) ~= "integer" or bins < 1 or bins > MOST_BINS then
    fail("%s: option bins must be a whole number from 1 to %d, or a list of edges", who, MOST_BINS)
  end
  return bins
end

-- The bin [edges[k], edges[k + 1]) of a value (the last one has both ends), or nil.
local function bin_of(value, edges)
  local low, high = 1, #edges
  if not (edges[1] and value >= edges[1] and value <= edges[high]) then return nil end
  while high - low > 1 do
    local middle = (low + high) // 2
    if value >= edges[middle] then low = middle else high = middle end
  end
  return low
end

-- Series of bars; empty bins have none.
local function bars(one, edges, density)
  local counts, total = {}, 0
  for _, value in ipairs(one.values) do
    local k = bin_of(value, edges)
    if k then counts[k], total = (counts[k] or 0) + 1, total + 1 end
  end
  local made = { name = one.name, color = one.color, style = "bars", axis = 1, x = {}, y = {}, left = {}, right = {} }
  for k = 1, #edges - 1 do
    if counts[k] then
      local at = #made.x + 1
      made.left[at], made.right[at] = edges[k], edges[k + 1]
      made.x[at] = (edges[k] + edges[k + 1]) / 2
      made.y[at] = density and counts[k] / (total * (edges[k + 1] - edges[k])) or counts[k]
    end
  end
  return made, #one.values - total
end

--- histogram.panel(value, options, who): the panel of plot.histogram; the options are checked but for bins.
function histogram.panel(value, options, who)
  local notes, list = {}, {}
  local samples = check_samples(value, who, notes)
  options.bins = check_bins(options.bins, who)
  local edges = make_edges(samples, options)
  for i, one in ipairs(samples) do
    local outside
    list[i], outside = bars(one, edges, options.density)
    if outside > 0 then
      notes[#notes + 1] = ("sample %s: %d of %d values are not finite or in no bin"):format(
        one.name and "'" .. one.name .. "'" or i, outside, #one.values)
    end
  end
  if options.ylabel == nil then options.ylabel = options.density and "density" or "count" end
  local made = panel.make(list, options)
  table.move(notes, 1, #notes, #made.notes + 1, made.notes)
  return made
end

return histogram
