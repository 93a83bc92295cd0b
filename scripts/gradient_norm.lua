--- Does the gradient vanish where the loss stops falling?
--
-- Two trainings, a 1-10-10-1 tanh network on sin(5 pi x) / (5 pi x) and a 784-128-10 network on images, with the gradient's norm
-- (over all parameters, of each step's batch) and the loss recorded at every step, and drawn apart and together.
-- summary.json, for function and images each: loss and gradient_norm (medians over the last tenth of the steps);
-- full_gradient_norm (of the whole data set at the end); loss_change and norm_change (the median of the last tenth divided by
-- that of the first); verdict: 'falls with the loss' when the norm at least halves, 'rises while the loss falls' when it at
-- least doubles, otherwise 'stays while the loss falls'; where the loss does not halve, 'the loss hardly falls'.
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "gradient_norm",
  description = "Gradient norm and loss at every step, for a function fit and for images.",
  settings = {
    { name = "epochs", default = 1000, quick = 150, minimum = 1, help = "passes over the function's points" },
    { name = "points", default = 1000, minimum = 2, help = "even points of [1e-4, 1] for the function" },
    { name = "image_epochs", default = 10, quick = 5, minimum = 1, help = "passes over the images" },
    { name = "samples", default = 60000, quick = 3000, minimum = 1, help = "training images used, the first so many" },
    { name = "batch", default = 128, minimum = 1, help = "points or images in a batch" },
    { name = "lr", default = 1e-3, minimum = 0, help = "Adam's learning rate" },
    { name = "dataset", default = "mnist", choices = { "mnist", "fashion_mnist" }, help = "which images" },
  },
}
local settings = run.settings

local x = plumb.linspace(1e-4, 1, settings.points):reshape(-1, 1)
local images = data[settings.dataset]()
plumb.manual_seed(run.seed)
local tasks = {
  { name = "function", title = "Function fit", epochs = settings.epochs, loss = nn.MSELoss(), unit = "mean squared error",
    set = { x = x, y = (x * 5 * math.pi):sin() / (x * 5 * math.pi) },
    model = nn.Sequential { nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1) } },
  { name = "images", title = "Images", epochs = settings.image_epochs, loss = nn.CrossEntropyLoss(), unit = "cross-entropy, nats",
    set = data.subset(images, math.min(settings.samples, #images.y)),
    model = nn.Sequential { nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10) } },
}

-- The median of the first (or last) tenth of a list.
local function median_of_tenth(list, last)
  local count = math.max(1, #list // 10)
  return measure.median(table.move(list, last and #list - count + 1 or 1, last and #list or count, 1, {}))
end

local function verdict(loss_change, norm_change)
  if loss_change > 0.5 then return "the loss hardly falls" end
  return norm_change <= 0.5 and "falls with the loss" or norm_change >= 2 and "rises while the loss falls"
    or "stays while the loss falls"
end

for _, task in ipairs(tasks) do
  local history = plumb.fit(task.model, task.set, { loss = task.loss, optimizer = optim.Adam { lr = settings.lr },
    epochs = task.epochs, batch = settings.batch, seed = run.seed, record = { "loss", "gradient_norm" }, progress = task.name })
  local losses, norms = history.recorded.loss, history.recorded.gradient_norm
  for step = 1, #losses do run:record { task = task.name, step = step, loss = losses[step], gradient_norm = norms[step] } end
  local loss_change = median_of_tenth(losses, true) / median_of_tenth(losses)
  local norm_change = median_of_tenth(norms, true) / median_of_tenth(norms)
  local function summary(name, value, meaning) run:summary(task.name .. "_" .. name, value, task.title .. ": " .. meaning) end
  summary("loss", median_of_tenth(losses, true), "median loss of the last tenth of the steps (" .. task.unit .. ")")
  summary("gradient_norm", median_of_tenth(norms, true), "median gradient norm of the last tenth of the steps")
  summary("full_gradient_norm", (measure.gradient_norm(task.model, task.loss, task.set)), "of the whole data set, at the end")
  summary("loss_change", loss_change, "median loss of the last tenth of the steps divided by that of the first")
  summary("norm_change", norm_change, "median gradient norm of the last tenth of the steps divided by that of the first")
  summary("verdict", verdict(loss_change, norm_change), "what the gradient norm does in training")

  local loss_curve = plot.binned { name = "loss", y = losses, color = 1 }
  local norm_curve = plot.binned { name = "gradient norm", y = norms, color = 2 }
  local xlabel = loss_curve.band and "step (lines: medians of nearby steps, bands: their 10 to 90 % range)" or "step"
  local loss_label, norm_label = "loss (" .. task.unit .. ")", "norm of the batch's gradient"
  run:figure(task.name .. "_norm", plot.lines({ norm_curve }, { title = task.title .. ": gradient norm", xlabel = xlabel,
    ylabel = norm_label, logy = true }))
  run:figure(task.name .. "_loss", plot.lines({ loss_curve }, { title = task.title .. ": loss", xlabel = xlabel,
    ylabel = loss_label, logy = true }))
  norm_curve.axis = 2
  run:figure(task.name .. "_both", plot.lines({ loss_curve, norm_curve }, { title = task.title .. ": loss and gradient norm",
    xlabel = xlabel, ylabel = loss_label, y2label = norm_label, logy = true, logy2 = true }))
end
run:finish()
