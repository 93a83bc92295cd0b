--- Do large batches lead to sharp minima that generalise worse? (Keskar et al. 2017)
--
-- A 784-128-128-10 network is trained with growing batch sizes, from the same start and for as many epochs. At the ends: loss,
-- accuracy, sharpness (Keskar's, in percent, within epsilon = 1e-3, on training images) and sensitivity (mean Frobenius norm of
-- d output / d input over test images, Novak et al. 2018).
-- summary.json: accuracy_smallest and accuracy_largest (test accuracy of the smallest and of the largest batch size), likewise
-- sharpness_smallest, sharpness_largest, sensitivity_smallest, sensitivity_largest, and fitted (the least training accuracy).
-- Verdicts: sharpness_grows and sensitivity_grows (with the batch size, a rank correlation of 0.5 or more), generalise (is the
-- smallest batch size better on the test images than the largest?): 'not converged' where a training accuracy is below 0.98,
-- since sharpness is defined at a minimum.
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "flatness_batches", description = "How flat solutions are, and how well they generalise, by batch size.",
  settings = {
    { name = "sizes", default = { 32, 64, 128, 256, 512, 1024, 2048 }, quick = { 20, 50, 100, 200, 400 }, minimum = 1,
      ascending = true, length = { 2 }, help = "batch sizes" },
    { name = "epochs", default = 30, quick = 30, minimum = 1, help = "passes over the training images" },
    { name = "samples", default = 60000, quick = 1000, minimum = 1, help = "training images used, the first so many" },
    { name = "lr", default = 1.5e-3, minimum = 0, help = "Adam's learning rate" },
    { name = "measured", default = 10000, quick = 500, minimum = 1, help = "images that sharpness and sensitivity take" },
    data.setting(),
  },
}
local settings = run.settings
local train, test = data[settings.dataset] { samples = settings.samples }

-- One training, in a worker process, and what is measured at its end.
local function training(batch)
  plumb.manual_seed(run.seed)
  local model = nn.Sequential { nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10) }
  run:fit(model, train, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = settings.lr }, epochs = settings.epochs,
    batch = batch, seed = run.seed })
  local row = plumb.fit.scores(model, nn.cross_entropy, { train = train, test = test })()
  row.batch = batch
  row.sharpness = measure.sharpness(model, nn.cross_entropy, data.subset(train, math.min(settings.measured, #train.y)))
  row.sensitivity = measure.sensitivity(model, nn.cross_entropy, data.subset(test, math.min(settings.measured, #test.y)))
  run:record(row)
  return row
end

local by = measure.columns(run:map(settings.sizes, training, { label = "batch sizes",
  title = function(batch) return "batch " .. batch end }))
local batch, count = by.batch, #by.batch
local fitted = math.min(table.unpack(by.train_accuracy))
run:summary("fitted", fitted, "the least training accuracy: share of the training images classified correctly")

local labels = { loss = "cross-entropy (nats)", accuracy = "share of images classified correctly",
  sharpness = "sharpness (percent)", sensitivity = "sensitivity (norm of d output / d input)" }
for _, what in ipairs { "sharpness", "sensitivity" } do
  local panels = {}
  for i, kind in ipairs { "loss", "accuracy" } do
    panels[i] = plot.lines(batch, { { name = "training", y = by["train_" .. kind], color = 1, dash = 3 },
      { name = "test", y = by["test_" .. kind], color = 1, dash = 1 },
      { name = what, y = by[what], color = 2, axis = 2, dash = 1 } }, { logx = true, logy = kind == "loss", legend = "below",
      xlabel = "batch size", ylabel = labels[kind], y2label = labels[what] })
  end
  run:figure(what, plot.figure { panels = panels, columns = 2, title = "Loss, accuracy and " .. what .. " by batch size" },
    ("The ends of trainings with %d batch sizes: loss (left), accuracy (right), each with %s."):format(count, what))
  run:summary(what .. "_smallest", by[what][1], what .. " with batch size " .. batch[1])
  run:summary(what .. "_largest", by[what][count], what .. " with batch size " .. batch[count])
  local r = measure.correlation(batch, by[what], { rank = true }) or 0
  run:verdict(what .. "_grows", what .. " grows with the batch size (rank correlation of 0.5 or more)",
    fitted < 0.98 and "not converged" or r >= 0.5, ("rank correlation %.2f over %d sizes, least training accuracy %.4f"):format(r,
      count, fitted))
end
local accuracy = by.test_accuracy
run:summary("accuracy_smallest", accuracy[1], "test accuracy with batch size " .. batch[1])
run:summary("accuracy_largest", accuracy[count], "test accuracy with batch size " .. batch[count])
run:verdict("generalise", ("batch size %d generalises better than %d"):format(batch[1], batch[count]),
  fitted < 0.98 and "not converged" or accuracy[1] > accuracy[count],
  ("test accuracy %.4f against %.4f, least training accuracy %.4f"):format(accuracy[1], accuracy[count], fitted))
run:finish()
