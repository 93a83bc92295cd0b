--- Do more parameters generalise worse? Networks 784-H-10 of growing width, all trained in the same way.
--
-- First the course's ten networks on all images; then small ones on a few images with noisy labels, from networks that can't fit
-- them to those that can. Where a network just manages, at about one parameter for each sample and class, the test loss has its
-- peak; behind it falls again (double descent: Belkin et al. 2019, Nakkiran et al. 2020). All is measured after the last epoch,
-- losses are mean cross-entropy in nats; metrics.csv has a row for each network.
-- summary.json, for ten networks (course) and small ones (threshold): best_parameters and best_test_loss (least test loss),
-- largest_test_loss and largest_test_accuracy (largest network), peak (parameters at the highest / (samples x classes)).
-- Verdicts, for both: fits (do all networks of more than samples x classes parameters fit 99.9 % of the training labels?), beyond
-- (has none of them a smaller test loss than the best of the others?), descent (has the test loss a peak within a factor of 3 of
-- that many parameters, 5 % higher than the best of the smaller and of the larger networks?).
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "capacity", description = "Networks of growing width: loss and accuracy against the number of parameters.",
  settings = {
    { name = "widths", default = { 50, 100, 250, 500, 550, 750, 1000, 1050, 1500, 2000 }, quick = { 5, 20, 100 }, minimum = 1,
      help = "hidden units" },
    { name = "epochs", default = 30, quick = 40, minimum = 1, help = "passes over the training images" },
    { name = "samples", default = 60000, quick = 1000, minimum = 1, help = "training images used, the first so many" },
    { name = "noise", default = 0.0, minimum = 0, maximum = 1, help = "share of the training labels that are random" },
    { name = "batch", default = 600, quick = 100, minimum = 1, help = "images in a batch in training" },
    { name = "threshold_widths", default = { 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128, 256, 512 },
      quick = { 1, 2, 4, 8, 16, 64, 256 }, minimum = 1,
      help = "of the small networks, whose batches are a tenth of the samples" },
    { name = "threshold_epochs", default = 400, quick = 200, minimum = 1, help = "of the small networks" },
    { name = "threshold_samples", default = 1000, quick = 500, minimum = 1, help = "of the small networks" },
    { name = "threshold_noise", default = 0.2, minimum = 0, maximum = 1, help = "of the small networks" },
    { name = "lr", default = 1e-3, minimum = 0, help = "Adam's learning rate (twice that for the small networks)" },
    data.setting(),
  },
}
local settings, UNITS = run.settings, { loss = "cross-entropy (nats)", accuracy = "share of images classified as labelled" }
local families = {
  { key = "course", logy = true, lr = settings.lr, widths = settings.widths, epochs = settings.epochs, batch = settings.batch,
    samples = settings.samples, noise = settings.noise },
  { key = "threshold", lr = 2 * settings.lr, widths = settings.threshold_widths, epochs = settings.threshold_epochs,
    batch = math.max(1, settings.threshold_samples // 10), samples = settings.threshold_samples,
    noise = settings.threshold_noise },
}

-- The training images of a family, a share of the labels replaced by random ones, and the test images with their true labels.
local function load(family)
  local train, test = data[settings.dataset] { samples = family.samples }
  local chosen = plumb.rand({ #train.y }, { seed = run.seed }):lt(family.noise)
  train.y = chosen:where(plumb.randint(1, 10, { #train.y }, { seed = run.seed + 1 }), train.y)
  return train, data.loader(test, { batch = 100, shuffle = false })
end

local function train(family, width)
  local images, test = load(family)
  plumb.manual_seed(run.seed)
  local model = nn.Sequential { nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10) }
  run:fit(model, images, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = family.lr }, epochs = family.epochs,
    batch = family.batch, seed = run.seed })
  local evaluate, row = plumb.fit.evaluation(model, nn.cross_entropy, true), { family = family.key, width = width,
    parameters = model.size }
  row.train_loss, row.train_accuracy = evaluate(images)
  row.test_loss, row.test_accuracy = evaluate(test)
  run:record(row)
  return row
end

for _, family in ipairs(families) do
  local function named(name) return family.key .. "_" .. name end
  table.sort(family.widths, function(a, b) return a > b end) -- the longest trainings first
  local at = measure.columns(run:map(family.widths, function(width) return train(family, width) end, { label = family.key }))
  local p, loss, limit, count = at.parameters, at.test_loss, 10 * family.samples, #family.widths
  local best, peak, beyond, fitted = 1, 1, 0, 0 -- beyond: how many networks have more than `limit` parameters
  for i = 1, count do
    if loss[i] < loss[best] then best = i end
    if loss[i] > loss[peak] then peak = i end
    if p[i] > limit then beyond, fitted = beyond + 1, fitted + (at.train_accuracy[i] >= 0.999 and 1 or 0) end
  end
  local function least(first, last) return first <= last and math.min(table.unpack(loss, first, last)) or math.huge end
  local function words(value) return value < math.huge and ("%.4f"):format(value) or "none" end
  run:summary(named "best_parameters", p[best], "parameters of the network with the smallest test loss")
  run:summary(named "best_test_loss", loss[best], "that loss: mean cross-entropy, in nats")
  run:summary(named "largest_test_loss", loss[1], "test loss of the largest network")
  run:summary(named "largest_test_accuracy", at.test_accuracy[1], "share of the test images that it classifies correctly")
  run:summary(named "peak", p[peak] / limit, "parameters where the test loss is highest / (samples x classes)")
  run:verdict(named "fits", ("networks with more than samples x classes = %d parameters fit the training labels"):format(limit),
    beyond == 0 and "not converged" or fitted == beyond, ("%d of %d have a training accuracy of at least 0.999"):format(fitted,
      beyond))
  run:verdict(named "beyond", ("the test loss does not fall with parameters beyond %d"):format(limit),
    (beyond == 0 or beyond == count) and "not converged" or least(1, beyond) >= least(beyond + 1, count),
    ("smallest test loss: %s beyond, %s below"):format(words(least(1, beyond)), words(least(beyond + 1, count))))
  run:verdict(named "descent", ("the test loss rises to a peak near %d parameters and falls behind it"):format(limit),
    at.train_accuracy[1] < 0.999 and "not converged" or math.abs(math.log(p[peak] / limit)) <= math.log(3)
      and loss[peak] >= 1.05 * math.max(least(1, peak - 1), least(peak + 1, count)),
    ("%.4f with %d parameters; the smallest with fewer: %s, with more: %s"):format(loss[peak], p[peak],
      words(least(peak + 1, count)), words(least(1, peak - 1))))

  local what = ("%d images, %.0f %% random labels"):format(family.samples, 100 * family.noise)
  for _, kind in ipairs { "loss", "accuracy" } do
    local training, test = at["train_" .. kind], at["test_" .. kind]
    local both = table.move(test, 1, count, count + 1, table.move(training, 1, count, 1, {}))
    local curves = { { name = "training", x = p, y = training }, { name = "test", x = p, y = test },
      { name = "samples x classes", x = { limit, limit }, y = { math.min(table.unpack(both)), math.max(table.unpack(both)) },
        dash = 3, width = 1, color = "#555555", style = "steps" } }
    run:figure(named(kind), plot.lines(curves, { title = ("Networks 784-H-10 on %s: %s"):format(what, kind), logx = true,
      logy = kind == "loss" and family.logy, xlabel = "parameters", ylabel = UNITS[kind], legend = "right" }),
      ("Final %s of networks of growing width, on %s. The dashed line stands at one parameter for each sample and class."):format(
        kind, what))
  end
end
run:finish()
