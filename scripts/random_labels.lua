--- Can a network fit labels that mean nothing? (Zhang et al. 2017)
--
-- 784-512-10 with ReLU is trained on images whose labels were (in part) replaced by random ones, and tested on the true
-- labels of the test set. Random labels can only be memorised: the training loss falls, the test loss does not.
-- summary.json: train_loss and test_loss (mean cross-entropy in nats) and train_accuracy and test_accuracy, all measured
-- after the last epoch; fitted: yes when train_accuracy is at least the setting `fitted_at`, otherwise 'not converged'.
local plumb = require "plumb"
local nn, optim, plot, data = plumb.nn, plumb.optim, plumb.plot, plumb.data

local run = plumb.experiment.start {
  name = "random_labels",
  description = "A 784-512-10 network learns images with random labels.",
  settings = {
    { name = "epochs", default = 200, quick = 300, minimum = 1, help = "passes over the training images" },
    { name = "share", default = 1.0, minimum = 0, maximum = 1, help = "share of the training labels that are random" },
    { name = "samples", default = 60000, quick = 700, minimum = 1, help = "training images used, the first so many" },
    { name = "batch", default = 64, minimum = 1, help = "images in a batch" },
    { name = "lr", default = 1e-4, minimum = 0, help = "Adam's learning rate" },
    { name = "fitted_at", default = 0.99, minimum = 0, maximum = 1, help = "training accuracy that counts as fitted" },
    { name = "dataset", default = "mnist", choices = { "mnist", "fashion_mnist" }, help = "which images" },
  },
}
local settings = run.settings

local train, test = data[settings.dataset]()
train = data.subset(train, math.min(settings.samples, #train.y))

-- A label is replaced where a uniform number falls below the share; the new one may by chance be the true one.
local chosen = plumb.rand({ #train.y }, { seed = run.seed }):lt(settings.share)
local random = plumb.randint(1, 10, { #train.y }, { seed = run.seed + 1 })
train.y = chosen:where(random, train.y)

plumb.manual_seed(run.seed)
local model = nn.Sequential { nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10) }
local history = run:fit(model, train, {
  loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = settings.lr }, epochs = settings.epochs,
  batch = settings.batch, validate = test, seed = run.seed, progress = "random labels",
  on_epoch = function(h)
    local e = h.epoch
    run:record { epoch = e, train_loss = h.train_loss[e], test_loss = h.test_loss[e],
      train_accuracy = h.train_accuracy[e], test_accuracy = h.test_accuracy[e] }
  end,
})

local last = settings.epochs
local train_loss, train_accuracy = plumb.fit.evaluation(model, nn.cross_entropy, true)(train)
run:summary("train_loss", train_loss, "final cross-entropy on the training images, in nats")
run:summary("test_loss", history.test_loss[last], "final cross-entropy on the test images with their true labels, in nats")
run:summary("train_accuracy", train_accuracy, "share of the training images given their (random) label")
run:summary("test_accuracy", history.test_accuracy[last], "share of the test images given their true label")
run:summary("fitted", train_accuracy >= settings.fitted_at and "yes" or "not converged",
  ("did the network fit the labels (training accuracy of at least %g)?"):format(settings.fitted_at))

local function curves(training, testing)
  return { { name = "training", y = training }, { name = "test", y = testing } }
end
local labels = ("%.0f %% random labels on %d images"):format(100 * settings.share, #train.y)
run:figure("loss", plot.lines(curves(history.train_loss, history.test_loss), {
  title = "Loss with " .. labels, xlabel = "epoch", ylabel = "cross-entropy (nats)", logy = true }))
run:figure("accuracy", plot.lines(curves(history.train_accuracy, history.test_accuracy), {
  title = "Accuracy with " .. labels, xlabel = "epoch", ylabel = "share of images classified as labelled", yrange = { 0, 1 } }))
run:finish()
