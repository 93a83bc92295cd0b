--- Two convolutional networks on images of digits or of clothing.
--
-- SimpleCNN: two convolutions (1-32-64, 3x3), each with ReLU and max pooling, then 3136-128-10 with ReLU.
-- AdvancedCNN: three convolutions (1-32-64-128), dropout 0.25, then 1152-256-10 with ReLU and dropout 0.5.
-- Both learn by Adam with a learning rate that falls to 0 along a cosine.
-- summary.json: simple_train_loss and simple_test_loss (mean cross-entropy in nats), simple_train_accuracy and
-- simple_test_accuracy, measured in evaluation mode after the last epoch; simple_seconds_per_epoch (training and measuring
-- the test images); simple_parameters. Likewise advanced_train_loss, advanced_test_loss, advanced_train_accuracy,
-- advanced_test_accuracy, advanced_seconds_per_epoch, advanced_parameters. Verdicts: advanced_ahead, it classifies more test
-- images correctly; dropout_closes, its test loss exceeds its training loss by less than SimpleCNN's does.
local plumb = require "plumb"
local nn, optim, plot, data = plumb.nn, plumb.optim, plumb.plot, plumb.data

local run = plumb.experiment.start {
  name = "train_cnn", description = "Two convolutional networks learn what is on images.",
  settings = {
    data.setting(),
    { name = "epochs", default = 10, quick = 3, minimum = 1, help = "passes over the training images" },
    { name = "batch", default = 64, minimum = 1, help = "images in a batch" },
    { name = "lr", default = 1e-3, minimum = 0, help = "Adam's learning rate at the start" },
    { name = "samples", default = 60000, quick = 2000, minimum = 1, help = "training images used, the first so many" },
  },
}
local settings = run.settings
local train, test = data[settings.dataset] { samples = settings.samples }
if run.quick then test = data.subset(test, 1000) end

local function stage(inputs, outputs)
  return nn.Sequential { nn.Conv2d(inputs, outputs, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2) }
end
local function simple()
  return nn.Sequential { stage(1, 32), stage(32, 64), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10) }
end
local function advanced()
  return nn.Sequential { stage(1, 32), stage(32, 64), stage(64, 128), nn.Flatten(), nn.Dropout(0.25), nn.Linear(1152, 256),
    nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10) }
end

local steps = math.ceil(#train.y / settings.batch) * settings.epochs
local losses, accuracies, matrices, hits, gaps = {}, {}, {}, {}, {}
for i, network in ipairs { { "simple", "SimpleCNN", simple }, { "advanced", "AdvancedCNN", advanced } } do
  plumb.manual_seed(run.seed)
  local key, name, model = network[1], network[2], network[3]()
  local history = run:fit(model, train, {
    loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = settings.lr }, epochs = settings.epochs,
    batch = settings.batch, validate = test, seed = run.seed, progress = name, row = { network = name },
    on_step = function(h) h.optimizer.lr = settings.lr * (1 + math.cos(math.pi * h.step / steps)) / 2 end })
  local function summary(what, value, meaning) run:summary(key .. "_" .. what, value, name .. ": " .. meaning) end
  local train_loss, train_accuracy = plumb.fit.evaluation(model, nn.cross_entropy, true)(train)
  summary("train_loss", train_loss, "cross-entropy on the training images at the end, in nats")
  summary("test_loss", history.test_loss[settings.epochs], "cross-entropy on the test images at the end, in nats")
  summary("train_accuracy", train_accuracy, "share of the training images classified correctly")
  summary("test_accuracy", history.test_accuracy[settings.epochs], "share of the test images classified correctly")
  summary("seconds_per_epoch", history.seconds / settings.epochs, "seconds for an epoch")
  summary("parameters", model.size, "how many numbers were learnt")
  hits[i], gaps[i] = history.test_accuracy[settings.epochs], history.test_loss[settings.epochs] - train_loss
  losses[i] = { name = name, y = history.train_loss }
  accuracies[2 * i - 1] = { name = name .. ", training", y = history.train_accuracy, color = i, dash = 3 }
  accuracies[2 * i] = { name = name .. ", test", y = history.test_accuracy, color = i, dash = 1 }
  local logits, names = model:predict(test.x), test.classes
  matrices[i] = plot.heatmap(nn.confusion_matrix(logits, test.y), { title = name, xlabel = "predicted", ylabel = "true",
    row_labels = names, column_labels = names, numbers = "%.0f", logz = true, zlabel = "test images" })

  local wrong, titles, truth, guess = {}, {}, test.y:tolist(), logits:argmax(2):tolist()
  for k = 1, #truth do
    if truth[k] ~= guess[k] and #wrong < 24 then
      wrong[#wrong + 1], titles[#titles + 1] = test.x[k][1], ("%s → %s"):format(names[truth[k]], names[guess[k]])
    end
  end
  if #wrong > 0 then
    run:figure("mistakes_" .. key, plot.images(wrong, { titles = titles, columns = 6, width = 1200, height = 940,
      title = name .. " is wrong about these test images (true → predicted)" }), "Test images that " .. name
      .. " takes for something else, at most 24. Would you have known?")
  end
end

run:verdict("advanced_ahead", "AdvancedCNN classifies more test images correctly than SimpleCNN", hits[2] > hits[1],
  ("%.2f %% against %.2f %% of %d"):format(100 * hits[2], 100 * hits[1], #test.y))
run:verdict("dropout_closes", "AdvancedCNN's test loss exceeds its training loss by less than SimpleCNN's", gaps[2] < gaps[1],
  ("by %.4f against %.4f nats"):format(gaps[2], gaps[1]))
run:figure("confusion", plot.figure { panels = matrices, title = "Test images by their true and their predicted class" },
  "How many test images of each class (rows) were taken for which (columns): off the diagonal are the mistakes.")
run:figure("loss", plot.lines(losses, { title = "Training loss (AdvancedCNN: with dropout)", xlabel = "epoch",
  ylabel = "cross-entropy (nats)", logy = true }), "Training loss of both networks. AdvancedCNN's is measured with dropout, "
  .. "which makes it larger than it is without: compare the shapes, not the heights.")
run:figure("accuracy", plot.lines(accuracies, { title = "Accuracy (AdvancedCNN trains with dropout)", xlabel = "epoch",
  ylabel = "share of images classified correctly" }), "Accuracy on training (dotted) and test images: where a network's "
  .. "training curve lies above its test curve, it overfits.")
run:finish()
