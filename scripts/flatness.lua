--- What lies between two solutions? Trainings with other batch sizes, or learning rates, and the straight line through them.
--
-- Two pairs of trainings of a 784-128-128-10 network, each from its own start: with two batch sizes, and with two learning rates.
-- Then loss and accuracy at theta(alpha) = (1 - alpha) theta_1 + alpha theta_2, between the ends and beyond.
-- (Part 2, how flat the ends are, is scripts/flatness_batches.lua.)
-- summary.json, for batches and rates each: accuracy_1 and accuracy_2 (test accuracy at the two ends); accuracy_low and alpha_low
-- (the least between them, and where); loss_high (the highest training loss between them, mean cross-entropy in nats).
-- Verdicts: batches_barrier and rates_barrier: does the test accuracy fall by 0.05 or more between the ends? (Published runs went
-- from .96 down to .83 at alpha .47 for batches, and to .77 at alpha .59 for learning rates.)
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "flatness", description = "Loss and accuracy on the line through two solutions, of two batch sizes or learning rates.",
  settings = {
    { name = "epochs", default = 15, quick = 3, minimum = 1, help = "passes over the training images" },
    { name = "samples", default = 60000, quick = 2000, minimum = 1, help = "training images used, the first so many" },
    { name = "batches", default = { 64, 1000 }, quick = { 20, 250 }, minimum = 1, length = { 2, 2 }, help = "two batch sizes" },
    { name = "lr", default = 1.5e-3, minimum = 0, help = "Adam's learning rate where the batch sizes differ" },
    { name = "rates", default = { 1e-3, 1e-2 }, minimum = 0, length = { 2, 2 }, help = "two rates, at the first batch size" },
    { name = "steps", default = 20, quick = 17, minimum = 1, help = "steps of alpha for each 1, from -1 to 2" },
    data.setting(),
  },
}
local settings = run.settings
local train, test = data[settings.dataset] { samples = settings.samples }

local function network(seed)
  plumb.manual_seed(seed)
  return nn.Sequential { nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10) }
end

-- One training, in a worker process; its curves and where it ended.
local function training(trial)
  local model = network(trial.seed)
  local history = run:fit(model, train, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = trial.lr },
    epochs = settings.epochs, batch = trial.batch, validate = test, seed = trial.seed, row = { training = trial.name } })
  return { name = trial.name, theta = model.theta, train_loss = history.train_loss, test_loss = history.test_loss,
    train_accuracy = history.train_accuracy, test_accuracy = history.test_accuracy }
end

local trials = {}
local function add(name, batch, lr, seed) trials[#trials + 1] = { name = name, batch = batch, lr = lr, seed = seed } end
for i = 1, 2 do add("batch " .. settings.batches[i], settings.batches[i], settings.lr, run.seed + i) end
for i = 1, 2 do add(("learning rate %g"):format(settings.rates[i]), settings.batches[1], settings.rates[i], run.seed + i) end
local ends = run:map(trials, training, { label = "trainings", title = function(trial) return trial.name end })

local units = { loss = "cross-entropy (nats)", accuracy = "share of images classified correctly" }
local function over_epochs(key, kind, a, b)
  local curves = {}
  for i, one in ipairs { a, b } do
    curves[2 * i - 1] = { name = one.name .. ", training", y = one["train_" .. kind], color = i, dash = 3 }
    curves[2 * i] = { name = one.name .. ", test", y = one["test_" .. kind], color = i, dash = 1 }
  end
  run:figure(key .. "_" .. kind, plot.lines(curves, { title = ("%s and %s: %s"):format(a.name, b.name, kind), xlabel = "epoch",
    ylabel = units[kind], logy = kind == "loss" }), "The two trainings: " .. kind .. " against the epoch.")
end

local function line_between(key, a, b)
  local scores, alphas = plumb.fit.scores(network(run.seed), nn.cross_entropy, { train = train, test = test }), {}
  for i = 0, 3 * settings.steps do alphas[i + 1] = i / settings.steps - 1 end
  local at = measure.columns(measure.interpolate(network(run.seed), a.theta, b.theta, alphas,
    function(_, theta) return scores(theta) end))
  local first, last = settings.steps + 1, 2 * settings.steps + 1 -- where alpha is 0 and 1
  local accuracy, low = at.test_accuracy, first
  for i = first, last do if accuracy[i] < accuracy[low] then low = i end end
  local function summary(name, value, meaning) run:summary(key .. "_" .. name, value, meaning) end
  summary("accuracy_1", accuracy[first], "test accuracy at alpha = 0: " .. a.name)
  summary("accuracy_2", accuracy[last], "test accuracy at alpha = 1: " .. b.name)
  summary("accuracy_low", accuracy[low], "least test accuracy between the ends")
  summary("alpha_low", alphas[low], "the alpha where it is")
  summary("loss_high", math.max(table.unpack(at.train_loss, first, last)), "highest training loss between the ends, in nats")
  run:verdict(key .. "_barrier", ("between %s and %s the test accuracy falls by 0.05 or more"):format(a.name, b.name),
    math.min(accuracy[first], accuracy[last]) - accuracy[low] >= 0.05,
    ("%.4f and %.4f at the ends, %.4f at alpha %.2f"):format(accuracy[first], accuracy[last], accuracy[low], alphas[low]))
  run:figure(key .. "_line", plot.lines(alphas, { { name = "training loss", y = at.train_loss, color = 1, dash = 3 },
    { name = "test loss", y = at.test_loss, color = 1, dash = 1 },
    { name = "training accuracy", y = at.train_accuracy, color = 2, dash = 3, axis = 2 },
    { name = "test accuracy", y = accuracy, color = 2, dash = 1, axis = 2 } }, { logy = true, legend = "below", xlabel = "alpha",
    title = ("From %s (alpha 0) to %s (alpha 1)"):format(a.name, b.name), ylabel = units.loss, y2label = units.accuracy }),
    "Loss and accuracy along the straight line through the two solutions.")
end

over_epochs("batches", "loss", ends[1], ends[2])
over_epochs("batches", "accuracy", ends[1], ends[2])
over_epochs("rates", "loss", ends[3], ends[4])
line_between("batches", ends[1], ends[2])
line_between("rates", ends[3], ends[4])
run:finish()
