-- A figure of every kind, by name, for the specs of plots.
local plumb = require "plumb"
local plot = plumb.plot

local function wave(count, phase)
  local list = {}
  for i = 1, count do list[i] = 1.5 + math.sin(i / count * 20 + (phase or 0)) end
  return list
end

local function wave_x(count)
  local list = {}
  for i = 1, count do list[i] = i ^ 1.5 end
  return list
end

local function letters(count)
  local list = {}
  for i = 1, count do list[i] = i % 3 == 0 and "c" or i % 3 == 1 and "a" or "b" end
  return list
end

return function()
  local band = { wave(60, 0.2), wave(60, -0.2) }
  local lines = plot.lines({ train = wave(60), test = wave(60, 1) }, { title = "loss", xlabel = "epoch", logy = true })
  local scatter = plot.scatter({ { name = "a", x = wave(300), y = wave(300, 2) }, { y = { 1, 2, 3 } } }, { ylabel = "y" })
  return {
    lines = lines,
    scatter = scatter,
    band = plot.lines({ { name = "median", y = wave(60), band = band } }, { legend = "inside" }),
    two_axes = plot.lines({ { name = "l", y = wave(9) }, { name = "r", y = wave(9, 3), axis = 2 } }, { y2label = "right" }),
    styles = plot.lines{ { y = wave(9), style = "steps" }, { y = wave(9, 1), style = "linespoints", color = "#112233" },
      { y = wave(9, 2), style = "points", size = 2 }, { y = wave(9, 3), dash = 4, width = 3, color = 7 } },
    legend_right = plot.lines({ a = wave(5), b = wave(5) }, { legend = "right" }),
    legend_below = plot.lines({ a = wave(5), b = wave(5) }, { legend = "below" }),
    legend_none = plot.lines({ a = wave(5), b = wave(5) }, { legend = "none" }),
    single = plot.lines({ 3 }),
    gaps = plot.lines({ 1, 0 / 0, 2, 3, math.huge, 4 }),
    log_log = plot.lines({ 1e-30, 1, 1e30 }, { logx = true, logy = true }),
    narrow = plot.lines({ 1e9 + 1, 1e9 + 2, 1e9 + 3 }),
    empty = plot.lines({ name = "gone", y = { 0 / 0, -1 } }, { logy = true }),
    many = plot.lines((function()
      local all = {}
      for i = 1, 40 do all[i] = { name = "run " .. i, y = wave(30, i) } end
      return all
    end)()),
    groups = plot.scatter({ x = wave(30), y = wave(30, 1), group = letters(30), size = wave(30), labels = { [3] = "third" } }),
    shades = plot.scatter({ { name = "a", x = wave(30), y = wave(30, 1), color = wave(30, 2), marker = "star" } }, { zlabel = "z" }),
    heatmap = plot.heatmap({ { 1, 2 }, { 3, 0 / 0 } }, { numbers = true, row_labels = { "up", "down" }, title = "matrix" }),
    log_heatmap = plot.heatmap(plumb.rand(20, 70), { logz = true, colors = "gray" }),
    large_heatmap = plot.heatmap(plumb.randn(1030, 9), { colors = "diverging" }),
    empty_heatmap = plot.heatmap{ { 0 / 0 } },
    images = plot.images(plumb.rand(7, 1, 8, 8), { titles = { "a", "b", "c", "d", "e", "f", "g" } }),
    color_images = plot.images(plumb.rand(2, 3, 5, 4)),
    image = plot.image(plumb.randn(9, 9), { colors = "diverging", colorbar = true, zlabel = "weight" }),
    direct = plot.lines({ first = wave(60), second = wave(60, 2) }, { legend = "direct" }),
    histogram = plot.histogram({ a = plumb.randn(500), b = plumb.randn(20, 20) + 1 }, { title = "samples" }),
    log_histogram = plot.histogram(plumb.rand(500), { logx = true, logy = true, density = true }),
    surface = plot.surface(plumb.rand(9, 12), { zlabel = "z" }),
    contour = plot.contour(plumb.rand(9, 12), { x = wave_x(12), levels = 4, series = { path = { x = { 2, 3 }, y = { 4, 5 } } } }),
    flat_contour = plot.contour({ { 1, 1 }, { 1, 1 } }),
    panels = plot.figure{ title = "all", panels = { lines, scatter, plot.heatmap{ { 1, 2 } }, plot.image{ { 1, 2 } } }, columns = 2 },
  }
end
