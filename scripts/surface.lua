--- What does the loss look like around a solution, and on the way to it?
--
-- A network is trained on images, its parameters kept at each epoch. Then its loss is drawn on lines and on a plane of random
-- directions, scaled filter by filter so that networks can be compared (Li et al. 2018), and on the plane through the solution
-- along the two principal components of the training's path, with the path projected onto it.
-- summary.json: loss (of the solution, on the training images that all surfaces are made of: cross-entropy in nats) and accuracy
-- (share of the test images classified correctly); rise (how much higher the loss is at the ends of the random lines, their
-- mean); path_variance (share of the path's variance that its plane shows) and random_variance (... the random plane).
-- Verdicts: convex (is the loss convex on the random lines?), lowest (is no point of the random plane below the solution?),
-- downhill (in the plane of the path, does each epoch end lower than the one before?), shown (does that plane hold 90 % of the
-- path's variance?), blind (does the random plane hold less than 1 %?).
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "surface", description = "The loss around a solution, in random directions and in the plane of the training's path.",
  settings = {
    { name = "network", default = "mlp", choices = { "mlp", "cnn" },
      help = "784-128-128-10, or SimpleCNN of train_cnn.lua, whose loss takes 50 times as long: use --measured 1000" },
    { name = "epochs", default = 15, quick = 6, minimum = 2, help = "passes over the training images" },
    { name = "batch", default = 64, minimum = 1, help = "images in a batch; Adam at 1e-3" },
    { name = "samples", default = 60000, quick = 2000, minimum = 1, help = "training images used, the first so many" },
    { name = "measured", default = 5000, quick = 500, minimum = 1, help = "training images that the loss is measured on" },
    { name = "points", default = 51, quick = 21, minimum = 3, help = "points along each side of a plane" },
    { name = "lines", default = 5, minimum = 2, help = "random lines; the first two span the plane" },
    { name = "range", default = 1.0, minimum = 1e-6, help = "how far random directions go, in lengths of the filters" },
    data.setting(),
  },
}
local settings = run.settings
local train, test = data[settings.dataset] { samples = settings.samples }
local few = data.subset(train, math.min(settings.measured, #train.y))

plumb.manual_seed(run.seed)
local model = settings.network == "mlp"
  and nn.Sequential { nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10) }
  or nn.Sequential { nn.Conv2d(1, 32, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, { padding = 1 }),
    nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10) }
local start = model.theta
local history = run:fit(model, train, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam(), epochs = settings.epochs,
  batch = settings.batch, validate = test, seed = run.seed, progress = settings.network, row = {}, on_epoch = function(h)
    h.kept.thetas = h.kept.thetas or { start }
    h.kept.thetas[h.epoch + 1] = h.model.theta
  end })
local L, theta, thetas = measure.loss(model, nn.cross_entropy, few), model.theta, history.kept.thetas
local solution = measure.surface(L, theta, { x = theta, along_x = { 0 } })[1]
run:summary("loss", solution, ("cross-entropy of the solution on %d training images, in nats"):format(#few.y))
run:summary("accuracy", history.test_accuracy[settings.epochs], "share of the test images that it classifies correctly")

local UNIT = "cross-entropy (nats)"
local function plane(label, x, y, along_x, along_y) -- its rows are spread over the cores
  return measure.surface(L, theta, { x = x, y = y, along_x = along_x, along_y = along_y,
    map = function(rows, f) return run:map(rows, f, { label = label }) end })
end
local directions, at = {}, plumb.linspace(-settings.range, settings.range, settings.points, { dtype = "float64" }):tolist()
for i, seed in ipairs(run:seeds(settings.lines)) do
  directions[i] = measure.filter_normalised_direction(model, { seed = seed })
end

local curves, rise, concave = {}, 0, 0
for i, losses in ipairs(run:map(directions, function(direction)
  return measure.surface(L, theta, { x = direction, along_x = at })
end, { label = "lines", title = function(_, i) return "line " .. i end })) do
  curves[i] = { name = "direction " .. i, x = at, y = losses }
  rise = rise + ((losses[1] + losses[#at]) / 2 - solution) / settings.lines
  for k = 2, #at - 1 do
    if losses[k - 1] + losses[k + 1] < 2 * losses[k] then concave = concave + 1 end
  end
end
run:summary("rise", rise, ("how much higher the loss is at distance %g on random lines, in nats"):format(settings.range))
run:verdict("convex", ("the loss is convex on all %d random lines"):format(settings.lines), concave == 0,
  ("%d of %d second differences are negative"):format(concave, settings.lines * (#at - 2)))
run:figure("lines", plot.lines(curves, { title = "Loss on random lines through the solution", logy = true, ylabel = UNIT,
  xlabel = "distance from the solution, in lengths of the filters" }),
  "Random directions, each filter as long as the network's own: how alike are they, and how flat is the middle?")

local random, least = plane("random plane", directions[1], directions[2], at, at), math.huge
for _, row in ipairs(random) do least = math.min(least, table.unpack(row)) end
run:verdict("lowest", "no point of the random plane lies lower than the solution", least >= solution,
  ("least %.6g, solution %.6g"):format(least, solution))
run:figure("plane", plot.contour(random, { x = at, y = at, logz = true, zlabel = UNIT, xlabel = "random direction 1",
  ylabel = "random direction 2", title = "Loss on a random plane through the solution", levels = 12,
  series = { { x = { 0 }, y = { 0 }, style = "points", marker = "star", name = "solution", size = 1.5 } } }),
  "Lines of equal loss around the solution, in two random directions scaled filter by filter.")

local way = measure.path_plane(thetas, { points = settings.points })
local x, y, last, shares = way.path.x, way.path.y, #thetas, way.pca.explained_variance_ratio
local heights, falls = {}, 0
for i = 1, last do
  heights[i] = L(theta + way.x * x[i] + way.y * y[i]):item()
  if i > 1 and heights[i] < heights[i - 1] then falls = falls + 1 end
end
local seen = measure.variance_share(thetas, { directions[1], directions[2] })
run:summary("path_variance", shares[1] + shares[2], "share of the path's variance that its plane shows")
run:summary("random_variance", seen, "share of the path's variance that the random plane shows")
run:verdict("downhill", "in the plane of the path each epoch ends lower than the one before", falls == last - 1,
  ("%d of %d do; %.4g at the start, %.4g at the end"):format(falls, last - 1, heights[1], heights[last]))
run:verdict("shown", "two components hold 90 % of the path's variance", shares[1] + shares[2] >= 0.9,
  ("%.1f %% and %.1f %%"):format(100 * shares[1], 100 * shares[2]))
run:verdict("blind", "a random plane shows less than 1 % of the path's variance", seen < 0.01, ("%.3g %%"):format(100 * seen))
run:figure("path", plot.contour(plane("plane of the path", way.x, way.y, way.along_x, way.along_y), { x = way.along_x,
  y = way.along_y, logz = true, zlabel = UNIT, xlabel = way.pca:label(1), ylabel = way.pca:label(2), levels = 12,
  title = "Loss on the plane of the training's path", series = { { x = x, y = y, style = "linespoints", marker = "disc",
    name = "training, a point for each epoch", labels = { "start", [last] = "solution" } } } }),
  "The path of the training, projected onto its two principal components, and the loss on that plane.")
run:finish()
