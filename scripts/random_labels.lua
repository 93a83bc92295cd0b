--- Can a network fit labels that mean nothing? (Zhang et al. 2017)
--
-- 784-512-10 with ReLU is trained on images of which a share has random labels, for several shares side by side, and tested on
-- the true labels of the test set. Random labels can only be memorised.
-- summary.json: share_20_train_accuracy and share_20_test_accuracy for 20 % random labels, and so on; train_loss and test_loss
-- (mean cross-entropy in nats) with the largest share; all are measured after the last epoch. Verdicts: fitted, with the largest
-- share train_accuracy is at least the setting `fitted_at`, otherwise 'not converged'; overfits, there the training loss ends
-- below its first epoch's and the test loss above; harmful, with each larger share fewer test images are classified correctly,
-- 'not converged' where one of the shares was not fitted.
-- As it was published, more images and not fitted: --shares 1 --samples 60000 --epochs 200 --batch 64 --lr 1e-4
local plumb = require "plumb"
local nn, optim, plot, data = plumb.nn, plumb.optim, plumb.plot, plumb.data

local run = plumb.experiment.start {
  name = "random_labels",
  description = "A 784-512-10 network learns images with random labels, for several shares of them.",
  settings = {
    { name = "shares", default = { 0, 0.2, 0.4, 0.6, 0.8, 1 }, minimum = 0, maximum = 1, ascending = true,
      help = "shares of the training labels that are random" },
    { name = "epochs", default = 150, quick = 100, minimum = 1, help = "passes over the training images" },
    { name = "samples", default = 20000, quick = 1000, minimum = 1, help = "training images used, the first so many" },
    { name = "batch", default = 128, minimum = 1, help = "images in a batch" },
    { name = "lr", default = 1e-3, minimum = 0, help = "Adam's learning rate" },
    { name = "fitted_at", default = 0.99, minimum = 0, maximum = 1, help = "training accuracy that counts as fitted" },
    data.setting(),
  },
}
local settings = run.settings
local train, test = data[settings.dataset] { samples = settings.samples }
if run.quick then test = data.subset(test, 1000) end

local results = run:map(settings.shares, function(share)
  local set = data.random_labels(train, share, { seed = run.seed })
  plumb.manual_seed(run.seed)
  local model = nn.Sequential { nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10) }
  local history = run:fit(model, set, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = settings.lr },
    epochs = settings.epochs, batch = settings.batch, validate = test, seed = run.seed, row = { share = share } })
  local loss, accuracy = plumb.fit.evaluation(model, nn.cross_entropy, true)(set)
  return { loss = loss, train_accuracy = accuracy, test_accuracy = history.test_accuracy[settings.epochs],
    train_losses = history.train_loss, test_losses = history.test_loss }
end)

local columns, falls, percent, true_labels = plumb.measure.columns(results), true, {}, {}
local curves = { train_losses = {}, test_losses = {} }
for i, share in ipairs(settings.shares) do
  percent[i], true_labels[i] = ("%g"):format(100 * share), 1 - 0.9 * share
  falls = falls and (i == 1 or columns.test_accuracy[i] < columns.test_accuracy[i - 1])
  for name, list in pairs(curves) do list[i] = { name = percent[i] .. " % random", y = columns[name][i] } end
  local key, words = "share_" .. percent[i]:gsub("%W", "_"), " with " .. percent[i] .. " % random labels"
  run:summary(key .. "_train_accuracy", columns.train_accuracy[i], "share of the training images given their label" .. words)
  run:summary(key .. "_test_accuracy", columns.test_accuracy[i], "share of the test images given their true label" .. words)
end
local last, epochs = results[#results], settings.epochs
local worst, at_share = math.min(table.unpack(columns.train_accuracy)), ("with %s %% random labels "):format(percent[#percent])
run:summary("train_loss", last.loss, at_share .. "the final cross-entropy on the training images, in nats")
run:summary("test_loss", last.test_losses[epochs], at_share .. "the final cross-entropy on the test images, in nats")
run:verdict("fitted", at_share .. ("the network fits %g of the training labels"):format(settings.fitted_at),
  last.train_accuracy >= settings.fitted_at or "not converged", ("%.4f after %d epochs"):format(last.train_accuracy, epochs))
run:verdict("overfits", at_share .. "the test loss rises while the training loss falls",
  last.train_losses[epochs] < last.train_losses[1] and last.test_losses[epochs] > last.test_losses[1],
  ("from the first to the last epoch the training loss went from %.3g to %.3g, the test loss from %.3g to %.3g"):format(
    last.train_losses[1], last.train_losses[epochs], last.test_losses[1], last.test_losses[epochs]))
if #results > 1 then
  run:verdict("harmful", "with each larger share of random labels fewer test images are classified correctly",
    worst < settings.fitted_at and "not converged" or falls, ("%.3f to %.3f; the least training accuracy is %.4f"):format(
      columns.test_accuracy[1], last.test_accuracy, worst))
end

local function panel(name, title, legend)
  return plot.lines(curves[name], { title = title, legend = legend, xlabel = "epoch", ylabel = "cross-entropy", logy = true })
end
run:figure("loss", plot.figure { title = ("Memorising the labels of %d images (losses in nats)"):format(#train.y), panels = {
  panel("train_losses", "Training loss", "none"), panel("test_losses", "Test loss, true labels", "right") } },
  "Loss against epochs for each share of random labels, on the training images with the labels they were given and on the test "
  .. "images with the true ones: look at what the test loss does while the training loss falls.")
run:figure("accuracy", plot.lines({ { name = "training, given labels", y = columns.train_accuracy, style = "linespoints" },
  { name = "test, true labels", y = columns.test_accuracy, style = "linespoints" },
  { name = "training labels that are true", y = true_labels, color = "#7F7F7F", dash = 3 } },
  { x = settings.shares, title = ("Accuracy after %d epochs"):format(epochs), xlabel = "share of random labels", legend = "below",
    yrange = { 0, 1.02 }, ylabel = "share of images classified as labelled" }), "Accuracy against the share of random labels: "
  .. "what the training curve has above the grey line is memorised; what that costs is how far the test curve falls.")
run:finish()
