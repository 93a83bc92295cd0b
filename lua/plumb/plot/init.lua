--- Figures: plot.lines, plot.scatter, plot.heatmap, plot.images, plot.figure, and ways to save and show them.
--
-- A figure is a value: making one computes and copies everything it needs, and drawing happens in save and show. Nothing
-- here is global, so figures can be made anywhere and in any order.

local report = require "plumb.report"
local options_of = require "plumb.plot.options"
local series = require "plumb.plot.series"
local panel = require "plumb.plot.panel"
local grid = require "plumb.plot.grid"
local look = require "plumb.plot.look"
local figures = require "plumb.plot.figure"

local plot = {}

local fail = report.fail

-- ---- curves and points -----------------------------------------------------------------------------------------

local CURVE_OPTIONS = options_of.table {
  y2label = "text", logx = "flag", logy = "flag", logy2 = "flag", xrange = "range", yrange = "range", y2range = "range",
  legend = { "best", "right", "below", "inside", "none" }, x = "any",
  zlabel = "text", zrange = "range", colors = look.MAP_NAMES, colorbar = "flag",
}

local function make_curves(value, given, who, style)
  local options = options_of.check(given, who, CURVE_OPTIONS)
  local checked = series.check(value, who, { style = style, x = options.x })
  options.x = nil
  return figures.single(panel.make(checked, options))
end

--- plot.lines(series, options): a figure of curves.
--- series: a list of numbers or a tensor; a run of plumb.fit (its losses); or a table of named ones, {train = ..., test =
--- ...}, drawn in the order of their names; or a list of {y =, x = 1..n, name =, band = {lower, upper} (drawn as an area),
--- axis = 1 (left) or 2 (right), style = "lines", "points", "linespoints" or "steps", color = palette index, "#rrggbb" or a
--- number for each point (shown by a colour map), dash = index, width =, marker = index, "disc", "square", "triangle",
--- "diamond", "circle", "box", "delta", "rhomb", "cross", "plus" or "star", size = number or one for each point, labels = {[i] =
--- text at point i}, group = a text or number for each point: each group becomes a series with its own colour and marker}.
--- options: title, xlabel, ylabel, y2label, logx, logy, logy2, xrange = {from, to}, yrange, y2range, x (shared by all
--- series), legend = "best", "right", "below", "inside" (a free corner, else outside) or "none", width and height in pixels;
--- for points coloured by numbers zlabel, zrange, colorbar = true and colors = "sequential", "diverging" or "gray".
--- Values that are not finite, or not positive on a log axis, are gaps; figure:notes() tells how many.
function plot.lines(value, options)
  return make_curves(value, options, "plot.lines", "lines")
end

--- plot.scatter(series, options): a figure of points; arguments as for plot.lines. At most 10,000 points of a series are
--- drawn, evenly chosen.
function plot.scatter(value, options)
  return make_curves(value, options, "plot.scatter", "points")
end

local function quantile(sorted, share)
  local place = 1 + share * (#sorted - 1)
  local below = math.floor(place)
  local next_one = sorted[math.min(below + 1, #sorted)]
  return sorted[below] + (place - below) * (next_one - sorted[below])
end

--- plot.binned(series, bins = 150): a long noisy curve {y =, name =, ...} made readable: its values in even bins (in order,
--- x = 1..n), each drawn as the median, with a band from the 10 % to the 90 % quantile. Short curves come back unchanged.
--- Give the result to plot.lines, in a list.
function plot.binned(spec, bins)
  if type(spec) ~= "table" or spec.y == nil then fail("plot.binned: a series {y = list of numbers, name = ...} was expected") end
  bins = bins or 150
  local made, n = {}, #spec.y
  for field, value in pairs(spec) do made[field] = value end
  if n < 2 * bins then return made end
  local x, y, low, high = {}, {}, {}, {}
  for bin = 1, bins do
    local first, last = (bin - 1) * n // bins + 1, bin * n // bins
    local sorted = table.move(spec.y, first, last, 1, {})
    table.sort(sorted)
    x[bin], y[bin] = (first + last) / 2, quantile(sorted, 0.5)
    low[bin], high[bin] = quantile(sorted, 0.1), quantile(sorted, 0.9)
  end
  made.x, made.y, made.band = x, y, { low, high }
  return made
end

-- ---- matrices and images ---------------------------------------------------------------------------------------

local HEATMAP_OPTIONS = options_of.table {
  row_labels = "texts", column_labels = "texts", numbers = "any", logz = "flag", zrange = "range", zlabel = "text",
  colors = look.MAP_NAMES, colorbar = "flag",
}
local IMAGE_OPTIONS = options_of.table {
  titles = "texts", columns = "count", zrange = "range", zlabel = "text", colors = look.MAP_NAMES, colorbar = "flag",
}

--- plot.heatmap(matrix, options): a matrix (tensor of two axes, or a list of lists) as coloured cells, row 1 at the top.
--- options: title, xlabel, ylabel, row_labels and column_labels (lists of texts), numbers = true or a format such as "%.2f"
--- (the values stand in the cells), logz (a log scale of colours), zrange = {from, to}, zlabel (at the bar of colours),
--- colorbar = true, colors = "sequential" (viridis), "diverging" (centred on 0) or "gray", width and height in pixels.
--- Cells that are not finite, or not positive with logz, stay empty; more than 512 rows or columns are shown as means.
function plot.heatmap(matrix, options)
  options = options_of.check(options, "plot.heatmap", HEATMAP_OPTIONS)
  return figures.single(grid.heatmap(matrix, options, "plot.heatmap"), { width = 640, height = 540 })
end

local function image_size(made)
  local scale = math.max(1, math.min(math.max(12, 140 / made.width), 900 / made.columns, 700 / made.rows))
  return { width = math.max(240, scale * made.columns // 1 + 60), height = math.max(200, scale * made.rows // 1 + 90) }
end

--- plot.images(images, options): images side by side in rows: a tensor (n, height, width) or (n, channels, height, width)
--- with 1 channel or 3 (red, green, blue), or a list of such images. At most 100 are drawn.
--- options: titles (a text for each image), columns (how many in a row), zrange = {black, white} (by default 0 to 1, 0 to 255
--- where all values are whole numbers of that range, else least to largest), colors = "gray", "sequential" or "diverging"
--- (centred on 0), colorbar = false, zlabel, title, xlabel, ylabel, width, height.
function plot.images(images, options)
  options = options_of.check(options, "plot.images", IMAGE_OPTIONS)
  if options.colorbar == nil then options.colorbar = false end
  local made = grid.images(images, options, "plot.images")
  return figures.single(made, image_size(made))
end

--- plot.image(image, options): one image (height, width), (1, height, width) or (3, height, width); see plot.images.
function plot.image(image, options)
  options = options_of.check(options, "plot.image", IMAGE_OPTIONS)
  if options.colorbar == nil then options.colorbar = false end
  local made = grid.images({ image }, options, "plot.image")
  return figures.single(made, image_size(made))
end

-- ---- figures ---------------------------------------------------------------------------------------------------

--- plot.figure{panels = {figure, ...}, title =, columns =, width =, height =}: several panels in one figure, row by row.
function plot.figure(settings) return figures.combine(settings) end

--- plot.save(path, figure): the same as figure:save(path).
function plot.save(path, figure, options)
  if not figures.is(figure) then fail("plot.save: expected (path, figure), the figure is a %s", type(figure)) end
  return figure:save(path, options)
end

return plot
