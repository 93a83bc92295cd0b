--- Do more parameters generalise worse? Networks 784-H-10 of growing width on images, all trained in the same way.
--
-- First the course's ten networks on all images; then networks so small that they can't fit even a few images with noisy labels,
-- up to ones that can: where a network just manages (about one parameter for each sample and class) the test loss is highest, and
-- falls again beyond (double descent: Belkin et al. 2019, Nakkiran et al. 2020). Losses and accuracies are measured after the last
-- epoch, mean cross-entropy in nats; metrics.csv has those of every network, a row each.
-- summary.json, for the ten networks (course) and the small ones (threshold): course_best_parameters and course_best_test_loss
-- (those of the network with the smallest test loss), course_largest_test_loss and course_test_accuracy (of the largest network),
-- course_rank (Spearman's rank correlation of parameters and test loss); likewise threshold_best_parameters and so on, and
-- threshold_peak (the parameters of the small network with the highest test loss, divided by samples x classes).
-- Verdicts: course_fits, threshold_fits (do all networks beyond samples x classes fit 99.9 % of the training labels?), course_beyond
-- (does no network beyond have a smaller test loss than the best below?), threshold_descent (the peak and the fall behind it).
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "capacity", description = "Networks of growing width: loss and accuracy against the number of parameters.",
  settings = {
    { name = "widths", default = { 50, 100, 250, 500, 550, 750, 1000, 1050, 1500, 2000 }, quick = { 10, 50, 250 }, minimum = 1,
      help = "hidden units of the networks" },
    { name = "epochs", default = 30, quick = 10, minimum = 1, help = "passes over the training images" },
    { name = "samples", default = 60000, quick = 2000, minimum = 1, help = "training images used, the first so many" },
    { name = "noise", default = 0.0, minimum = 0, maximum = 1, help = "share of the training labels that are random" },
    { name = "batch", default = 600, quick = 100, minimum = 1, help = "images in a batch in training" },
    { name = "threshold_widths", default = { 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128, 256, 512 },
      quick = { 1, 2, 4, 8, 16, 64, 256 }, minimum = 1, help = "the same settings for the small networks ..." },
    { name = "threshold_epochs", default = 400, quick = 200, minimum = 1, help = "..." },
    { name = "threshold_samples", default = 1000, quick = 500, minimum = 1, help = "..." },
    { name = "threshold_noise", default = 0.2, minimum = 0, maximum = 1, help = "..." },
    { name = "threshold_batch", default = 100, quick = 50, minimum = 1, help = "..." },
    { name = "test_batch", default = 100, minimum = 1, help = "images in a batch in testing" },
    { name = "lr", default = 1e-3, minimum = 0, help = "Adam's learning rate (twice that for the small networks)" },
    { name = "dataset", default = "mnist", choices = { "mnist", "fashion_mnist" }, help = "which images" },
  },
}
local settings = run.settings
local families = {
  { key = "course", widths = settings.widths, epochs = settings.epochs, samples = settings.samples, noise = settings.noise,
    batch = settings.batch, lr = settings.lr },
  { key = "threshold", widths = settings.threshold_widths, epochs = settings.threshold_epochs, noise = settings.threshold_noise,
    samples = settings.threshold_samples, batch = settings.threshold_batch, lr = 2 * settings.lr },
}

-- The training images of a family, a share of the labels replaced by random ones, and the test images with their true labels.
local function load(family)
  local train, test = data[settings.dataset]()
  train = data.subset(train, math.min(family.samples, #train.y))
  local chosen = plumb.rand({ #train.y }, { seed = run.seed }):lt(family.noise)
  train.y = chosen:where(plumb.randint(1, 10, { #train.y }, { seed = run.seed + 1 }), train.y)
  return train, data.loader(test, { batch = settings.test_batch, shuffle = false })
end

local function train(family, width)
  local images, test = load(family)
  plumb.manual_seed(run.seed)
  local model = nn.Sequential { nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10) }
  run:fit(model, images, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = family.lr }, epochs = family.epochs,
    batch = family.batch, seed = run.seed })
  local row, evaluate = { family = family.key, width = width, parameters = model.size }, nil
  evaluate = plumb.fit.evaluation(model, nn.cross_entropy, true)
  row.train_loss, row.train_accuracy = evaluate(images)
  row.test_loss, row.test_accuracy = evaluate(test)
  run:record(row)
  return row
end

local function columns_of(rows)
  local columns = {}
  for i, row in ipairs(rows) do
    for name, value in pairs(row) do
      columns[name] = columns[name] or {}
      columns[name][i] = value
    end
  end
  return columns
end

for _, family in ipairs(families) do
  table.sort(family.widths, function(a, b) return a > b end)
  local rows = run:map(family.widths, function(width) return train(family, width) end, { label = family.key })
  for _, r in ipairs(rows) do print(r.width, r.parameters, r.train_loss, r.test_loss, r.train_accuracy, r.test_accuracy) end
end
