--- What does the loss look like around a solution, and on the way to it?
--
-- A network is trained on images, its parameters kept at each epoch. Then its loss is drawn on lines and on a plane of random
-- directions, scaled filter by filter so that networks can be compared (Li et al. 2018), and on the plane through the solution
-- along the two principal components of the training's path, with the path projected onto it.
-- summary.json: loss (of the solution, on the training images that all surfaces are made of: cross-entropy in nats) and accuracy
-- (share of the test images classified correctly); rise (how much higher the loss is at the ends of the random lines, their
-- mean); path_variance (share of the path's variance that its plane shows) and random_variance (... the random plane).
-- Verdicts: convex (is the loss convex on the random lines?), lowest (is no point of the random plane below the solution?), shown
-- (does the plane of the path hold 90 % of the path's variance?), blind (does the random plane hold less than 1 %?).
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "surface", description = "The loss around a solution, in random directions and in the plane of the training's path.",
  settings = {
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
local settings, UNIT = run.settings, "cross-entropy (nats)"
local train, test = data[settings.dataset] { samples = settings.samples }
local few = data.subset(train, math.min(settings.measured, #train.y))

plumb.manual_seed(run.seed)
local model = nn.Sequential { nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10) }
local start = model.theta
local history = run:fit(model, train, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam(), epochs = settings.epochs,
  batch = settings.batch, validate = test, seed = run.seed, row = {},
  on_epoch = function(h) h.kept[h.epoch] = h.model.theta end })
local L, theta, thetas = measure.loss(model, nn.cross_entropy, few), model.theta, { start, table.unpack(history.kept) }
local solution = measure.surface(L, theta, { x = theta, along_x = { 0 } })[1]
run:summary("loss", solution, ("cross-entropy of the solution on %d training images, in nats"):format(#few.y))
run:summary("accuracy", history.test_accuracy[settings.epochs], "share of the test images that it classifies correctly")

local directions, at = {}, plumb.linspace(-settings.range, settings.range, settings.points, { dtype = "float64" }):tolist()
for i, seed in ipairs(run:seeds(settings.lines)) do
  directions[i] = measure.filter_normalised_direction(model, { seed = seed })
end
local function along(direction) return measure.surface(L, theta, { x = direction, along_x = at }) end
local lines, curves = run:map(directions, along, { label = "lines" }), {}
for i, losses in ipairs(lines) do curves[i] = { name = "direction " .. i, y = losses } end
run:figure("lines", plot.lines(at, curves, { title = "Loss on random lines through the solution", logy = true, ylabel = UNIT,
  xlabel = "distance from the solution, in lengths of the filters" }),
  "Random directions, each filter as long as the network's own: how alike are they, and how flat is the middle?")
local y, last = plumb.tensor(lines, { dtype = "float64" }), #at -- (lines, points)
local rise = ((y:slice(2, 1, 1) + y:slice(2, last, last)) / 2 - solution):mean()
local bends = y:slice(2, 1, last - 2) - 2 * y:slice(2, 2, last - 1) + y:slice(2, 3, last) -- second differences
local concave = bends:lt(0):sum():item()
run:summary("rise", rise, ("how much higher the loss is at distance %g on random lines, in nats"):format(settings.range))
run:verdict("convex", ("the loss is convex on all %d random lines"):format(settings.lines), concave == 0,
  ("%d of %d second differences are negative"):format(concave, bends:numel()))

-- The losses on a plane, whose rows are spread over the cores, drawn with what lies on it.
local function draw(name, plane, options, caption)
  plane.map = function(rows, f) return run:map(rows, f, { label = name }) end
  local losses = measure.surface(L, theta, plane)
  options.x, options.y, options.logz, options.zlabel, options.levels = plane.along_x, plane.along_y, true, UNIT, 12
  run:figure(name, plot.contour(losses, options), caption)
  return losses
end
local random = draw("plane", { x = directions[1], y = directions[2], along_x = at, along_y = at }, {
  title = "Loss on a random plane through the solution", xlabel = "random direction 1", ylabel = "random direction 2",
  series = { { name = "solution", x = { 0 }, y = { 0 }, style = "points", marker = "star", size = 1.5 } } },
  "Lines of equal loss around the solution, in two random directions scaled filter by filter.")
local least = plumb.tensor(random, { dtype = "float64" }):min():item()
run:verdict("lowest", "no point of the random plane lies lower than the solution", least >= solution,
  ("least %.6g, solution %.6g"):format(least, solution))

local plane, path, pca = measure.path_plane(thetas, { points = settings.points })
draw("path", plane, { title = "Loss on the plane of the training's path", xlabel = pca:label(1), ylabel = pca:label(2),
  series = { { name = "training, a point for each epoch", x = path.x, y = path.y, style = "linespoints", marker = "disc",
    labels = { "start", [#thetas] = "solution" } } } },
  "The path of the training, projected onto its two principal components, and the loss on that plane.")
local shares, seen = pca.explained_variance_ratio, measure.variance_share(thetas, { directions[1], directions[2] })
run:summary("path_variance", shares[1] + shares[2], "share of the path's variance that its plane shows")
run:summary("random_variance", seen, "share of the path's variance that the random plane shows")
run:verdict("shown", "two components hold 90 % of the path's variance", shares[1] + shares[2] >= 0.9,
  ("%.1f %% and %.1f %%"):format(100 * shares[1], 100 * shares[2]))
run:verdict("blind", "a random plane shows less than 1 % of the path's variance", seen < 0.01, ("%.3g %%"):format(100 * seen))
run:finish()
