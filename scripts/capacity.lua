--- Do more parameters generalise worse? Networks 784-H-10 of growing width, all trained in the same way.
--
-- By themselves the course's ten networks on all images. With few images, noisy labels and small networks the test loss has a
-- peak where a network just manages to fit them, at about one parameter for each sample and class, and falls again behind it
-- (double descent: Belkin et al. 2019, Nakkiran et al. 2020): that is the section capacity_threshold of scripts/report.lua.
-- All is measured after the last epoch, losses are mean cross-entropy in nats; metrics.csv has a row for each network.
-- summary.json: best_parameters and best_test_loss (least test loss), largest_test_loss and largest_test_accuracy (largest
-- network), peak (parameters where the test loss is highest / (samples x classes)).
-- Verdicts: fits (do all networks of more than samples x classes parameters fit 99.9 % of the training labels?), beyond (has none
-- of them a smaller test loss than the best of the others?), descent (has the test loss a peak within a factor of 3 of that many
-- parameters, 5 % higher than the best of the smaller and of the larger networks?).
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
    { name = "lr", default = 1e-3, minimum = 0, help = "Adam's learning rate" },
    data.setting(),
  },
}
local settings = run.settings
local train, test = data[settings.dataset] { samples = settings.samples }
train = data.random_labels(train, settings.noise, { seed = run.seed }) -- the test images keep their true labels
local limit = #train.y * #train.classes -- about so many parameters can fit any labels

local function trial(width)
  plumb.manual_seed(run.seed)
  local model = nn.Sequential { nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10) }
  run:fit(model, train, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = settings.lr }, epochs = settings.epochs,
    batch = settings.batch, seed = run.seed })
  local sets = { train = train, test = data.loader(test, { batch = 100, shuffle = false }) }
  local row = plumb.fit.scores(model, nn.cross_entropy, sets)()
  row.width, row.parameters = width, model.size
  run:record(row)
  return row
end

table.sort(settings.widths, function(a, b) return a > b end) -- the longest trainings first
local at = measure.columns(run:map(settings.widths, trial))
local p, loss, count = at.parameters, at.test_loss, #settings.widths
local best, peak, beyond, fitted = 1, 1, 0, 0 -- beyond: how many networks have more than `limit` parameters
for i = 1, count do
  if loss[i] < loss[best] then best = i end
  if loss[i] > loss[peak] then peak = i end
  if p[i] > limit then beyond, fitted = beyond + 1, fitted + (at.train_accuracy[i] >= 0.999 and 1 or 0) end
end
local function least(first, last) return first <= last and math.min(table.unpack(loss, first, last)) or math.huge end
local function words(value) return value < math.huge and ("%.4f"):format(value) or "none" end
run:summary("best_parameters", p[best], "parameters of the network with the smallest test loss")
run:summary("best_test_loss", loss[best], "that loss: mean cross-entropy, in nats")
run:summary("largest_test_loss", loss[1], "test loss of the largest network")
run:summary("largest_test_accuracy", at.test_accuracy[1], "share of the test images that it classifies correctly")
run:summary("peak", p[peak] / limit, "parameters where the test loss is highest / (samples x classes)")
run:verdict("fits", ("networks with more than samples x classes = %d parameters fit the training labels"):format(limit),
  beyond == 0 and "not converged" or fitted == beyond,
  ("%d of %d have a training accuracy of at least 0.999"):format(fitted, beyond))
run:verdict("beyond", ("the test loss does not fall with parameters beyond %d"):format(limit),
  (beyond == 0 or beyond == count) and "not converged" or least(1, beyond) >= least(beyond + 1, count),
  ("smallest test loss: %s beyond, %s below"):format(words(least(1, beyond)), words(least(beyond + 1, count))))
local smaller, larger = least(peak + 1, count), least(1, peak - 1)
run:verdict("descent", ("the test loss rises to a peak near %d parameters and falls behind it"):format(limit),
  at.train_accuracy[1] < 0.999 and "not converged"
    or math.abs(math.log(p[peak] / limit)) <= math.log(3) and loss[peak] >= 1.05 * math.max(smaller, larger),
  ("%.4f with %d parameters; the smallest with fewer: %s, with more: %s"):format(loss[peak], p[peak], words(smaller),
    words(larger)))

local what = ("%d images, %.0f %% random labels"):format(#train.y, 100 * settings.noise)
local function figure(kind, unit, logy)
  local training, tested = at["train_" .. kind], at["test_" .. kind]
  local low = math.min(math.min(table.unpack(training)), table.unpack(tested))
  local high = math.max(math.max(table.unpack(training)), table.unpack(tested))
  run:figure(kind, plot.lines({ { name = "training", x = p, y = training }, { name = "test", x = p, y = tested },
    { name = "samples x classes", x = { limit, limit }, y = { low, high }, dash = 3, width = 1, color = "#555555",
      style = "steps" } }, { title = ("Networks 784-H-10 on %s: %s"):format(what, kind), logx = true, logy = logy,
    xlabel = "parameters", ylabel = unit, legend = "right" }), ("Final %s of networks of growing width, on %s. "
    .. "The dashed line stands at one parameter for each sample and class."):format(kind, what))
end
figure("loss", "cross-entropy (nats)", settings.noise == 0) -- with noise the test losses are alike: a linear axis shows a peak
figure("accuracy", "share of images classified as labelled", false)
run:finish()
