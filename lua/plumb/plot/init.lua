--- Figures: plot(x, y), plot.lines, plot.heatmap and the others, and ways to save and show them.
--
-- A figure is a value: making one computes and copies everything it needs, and drawing happens in figure:save and figure:show.
-- At the prompt a figure that a statement gives is shown.

-- From a call to a drawing the data goes through: options and series (checks), panel, grid, field or histogram (what is drawn,
-- decided), script with curves, cells and surface (gnuplot's language), or characters (text), and then gnuplot, or display for
-- windows and terminals.

local report = require "plumb.report"
local options_of = require "plumb.plot.options"
local series = require "plumb.plot.series"
local panel = require "plumb.plot.panel"
local grid = require "plumb.plot.grid"
local field = require "plumb.plot.field"
local histogram = require "plumb.plot.histogram"
local look = require "plumb.plot.look"
local figures = require "plumb.plot.figure"

local plot = {}

local fail = report.fail

-- ---- curves and points -----------------------------------------------------------------------------------------

local LEGENDS = { "best", "direct", "right", "below", "inside", "none" }

local CURVE_OPTIONS = options_of.table {
  y2label = "text", logx = "flag", logy = "flag", logy2 = "flag", xrange = "range", yrange = "range", y2range = "range",
  legend = LEGENDS, x = "any",
  zlabel = "text", zrange = "range", colors = look.MAP_NAMES, colorbar = "flag",
}

-- Is it series rather than options? A table of named series has a name that is no option, with a series behind it.
local function is_series(value)
  if series.is_list(value) then return true end
  if type(value) ~= "table" then return false end
  if value[1] ~= nil then return true end
  for name, item in pairs(value) do
    if not CURVE_OPTIONS[name] and type(item) ~= "string" and type(item) ~= "number" and type(item) ~= "boolean" then
      return true
    end
  end
  return false
end

-- (series, options) or (x, series, options)
local function make_curves(who, style, value, second, third)
  local given = second
  if third ~= nil or is_series(second) then
    given, value = {}, { value, second }
    for name, option in pairs(type(third) == "table" and third or {}) do given[name] = option end
    if third ~= nil and type(third) ~= "table" then fail("%s: options must be a table, not a %s", who, type(third)) end
    if given.x ~= nil then fail("%s: x is given twice, as an argument and as an option", who) end
    given.x, value = value[1], value[2]
  end
  local options = options_of.check(given, who, CURVE_OPTIONS)
  local checked = series.check(value, who, { style = style, x = options.x })
  options.x = nil
  return figures.single(panel.make(checked, options))
end

--- plot.lines(series, options) or plot.lines(x, series, options): a figure of curves.
--- series: a list of numbers or a tensor; a run of plumb.fit (its losses); or a table of named ones, {train = ..., test =
--- ...}, drawn in the order of their names; or a list of {y =, x = 1..n, name =, band = {lower, upper} (drawn as an area),
--- axis = 1 (left) or 2 (right), style = "lines", "points", "linespoints" or "steps", color = palette index, "#rrggbb" or a
--- number for each point (shown by a colour map), dash = index, width =, marker = index, "disc", "square", "triangle",
--- "diamond", "circle", "box", "delta", "rhomb", "cross", "plus" or "star", size = number or one for each point, labels = {[i] =
--- text at point i}, group = a text or number for each point: each group becomes a series with its own colour and marker}.
--- options: title, xlabel, ylabel, y2label, logx, logy, logy2, xrange = {from, to}, yrange, y2range, x (shared by all
--- series), legend = "best", "direct" (names at the ends of the lines), "right", "below", "inside" (a free corner, else
--- outside) or "none", width and height in pixels;
--- for points coloured by numbers zlabel, zrange, colorbar = true and colors = "sequential", "diverging" or "gray".
--- Values that are not finite, or not positive on a log axis, are gaps; figure:notes() tells how many.
function plot.lines(...)
  return make_curves("plot.lines", "lines", ...)
end

--- plot.scatter(series, options) or plot.scatter(x, series, options): a figure of points; arguments as for plot.lines. At most
--- 10,000 points of a series are drawn, evenly chosen.
function plot.scatter(...)
  return make_curves("plot.scatter", "points", ...)
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
  bins = report.integer("plot.binned", "bins", bins or 150, 1)
  local all = series.numbers(spec.y, "plot.binned: y")
  local made, n = {}, #all
  for name, value in pairs(spec) do made[name] = value end
  if n < 2 * bins then return made end
  local x, y, low, high = {}, {}, {}, {}
  for bin = 1, bins do
    local first, last = (bin - 1) * n // bins + 1, bin * n // bins
    local sorted = table.move(all, first, last, 1, {})
    table.sort(sorted)
    x[bin], y[bin] = (first + last) / 2, quantile(sorted, 0.5)
    low[bin], high[bin] = quantile(sorted, 0.1), quantile(sorted, 0.9)
  end
  made.x, made.y, made.band = x, y, { low, high }
  return made
end

local HISTOGRAM_OPTIONS = options_of.table {
  bins = "any", density = "flag", logx = "flag", logy = "flag", xrange = "range", yrange = "range",
  legend = LEGENDS,
}

--- plot.histogram(values, options): how often values occur. values: a list of numbers or a tensor of any shape; a table of
--- named ones, or a list of these or of {y = values, name =, color =}: they share their bins.
--- options: bins = how many, or a list of edges (by default the rule of Freedman and Diaconis, 1981, and for whole numbers one
--- bin each), density = false (true: the area of the bars is 1), logx (bins even on the log axis), logy, xrange (values outside
--- are not counted), yrange, title, xlabel, ylabel, legend, width, height. A bin holds its lower edge, the last one both.
function plot.histogram(values, options)
  options = options_of.check(options, "plot.histogram", HISTOGRAM_OPTIONS)
  return figures.single(histogram.panel(values, options, "plot.histogram"))
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
  local bar = made.options.colorbar and 140 or 0
  return { width = math.max(240, scale * made.columns // 1 + 60) + bar, height = math.max(200, scale * made.rows // 1 + 90) }
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

-- ---- functions of two variables --------------------------------------------------------------------------------

local SURFACE_OPTIONS = options_of.table {
  x = "any", y = "any", logz = "flag", zrange = "range", zlabel = "text", colors = look.MAP_NAMES, colorbar = "flag",
  elevation = "number", azimuth = "number",
}
local CONTOUR_OPTIONS = options_of.table {
  x = "any", y = "any", logz = "flag", zrange = "range", zlabel = "text", colors = look.MAP_NAMES, colorbar = "flag",
  levels = "any", series = "any", xrange = "range", yrange = "range", legend = LEGENDS,
}

--- plot.surface(z, options): a matrix (tensor of two axes, or a list of lists) as a surface over x, which numbers its
--- columns, and y, which numbers its rows.
--- options: x and y (lists or tensors of coordinates, rising or falling; by default 1, 2, ...), title, xlabel, ylabel, zlabel,
--- logz, zrange, colors and colorbar as for plot.heatmap, elevation = 55 and azimuth = 35 (degrees: whence it is seen; 0
--- is from above), width, height. More than 100 rows or columns are thinned.
function plot.surface(z, options)
  options = options_of.check(options, "plot.surface", SURFACE_OPTIONS)
  return figures.single(field.surface(z, options, "plot.surface"), { width = 720, height = 540 })
end

--- plot.contour(z, options): a matrix as colours with lines of equal height, over x (columns) and y (rows).
--- options: as for plot.surface without the angles, and levels = about how many lines (10), or a list of heights; series =
--- curves or points to draw over it, in any form that plot.lines takes (a path through a landscape, say); xrange, yrange.
function plot.contour(z, options)
  options = options_of.check(options, "plot.contour", CONTOUR_OPTIONS)
  options.series = options.series and series.check(options.series, "plot.contour: option series", { style = "lines" }) or {}
  return figures.single(field.contour(z, options, "plot.contour"), { width = 640, height = 500 })
end

-- ---- runs ------------------------------------------------------------------------------------------------------

--- plot.run(run, options): what plumb.fit recorded: the losses, and for classification the accuracies beside them. options: as
--- for plot.lines, for the panel of the losses (xlabel = "epoch", ylabel = "loss").
function plot.run(run, options)
  if not series.is_run(run) then fail("plot.run: expected a run, as plumb.fit returns it, not a %s", type(run)) end
  local given = { xlabel = "epoch", ylabel = "loss" }
  for name, value in pairs(options_of.check(options, "plot.run", CURVE_OPTIONS)) do given[name] = value end
  local losses = plot.lines(run, given)
  if #run.train_accuracy == 0 then return losses end
  local accuracies = { { name = "training", y = run.train_accuracy } }
  if #run.test_accuracy > 0 then accuracies[2] = { name = "test", y = run.test_accuracy } end
  return plot.figure { panels = { losses, plot.lines(accuracies, { xlabel = "epoch", ylabel = "accuracy" }) }, columns = 2 }
end

-- ---- figures ---------------------------------------------------------------------------------------------------

--- plot.figure{panels = {figure, ...}, title =, columns =, width =, height =}: several panels in one figure, row by row.
function plot.figure(settings) return figures.combine(settings) end

--- plot.save(path, figure): the same as figure:save(path).
function plot.save(path, figure, options)
  if not figures.is(figure) then fail("plot.save: expected (path, figure), the figure is a %s", type(figure)) end
  return figure:save(path, options)
end

plot.doc = [[
plot(series, options), plot(x, series, options) or plot(run): a figure of curves, as plot.lines draws them; of a run of
plumb.fit its losses, and its accuracies beside them. At the prompt a figure shows itself; elsewhere figure:show() does, and
figure:save("name.png") (or .svg, .pdf, .gp) keeps it. Kinds: plot.lines, plot.scatter, plot.histogram, plot.heatmap, plot.image,
plot.images, plot.surface, plot.contour, and plot.figure for several panels.]]

return setmetatable(plot, { __call = function(_, value, ...)
  if series.is_run(value) then return plot.run(value, ...) end
  return make_curves("plot", "lines", value, ...)
end })
