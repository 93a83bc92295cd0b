--- Does the gradient vanish where the loss stops falling?
--
-- Two trainings, a 1-10-10-1 tanh network on sin(5 pi x) / (5 pi x) and a 784-128-10 network on images, with the gradient's norm
-- (over all parameters, of each step's batch) and the loss recorded at every step, and drawn apart and together.
-- summary.json, for function and images each: loss and gradient_norm (medians over the last tenth of the steps);
-- full_gradient_norm (of the whole data set at the end); loss_change and norm_change (the median of the last tenth divided by
-- that of the first). Verdicts function_vanishes, images_vanishes: norm_change is a tenth or less; 'not converged' where the
-- loss does not even halve.
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
    data.setting(),
  },
}
local settings = run.settings

plumb.manual_seed(run.seed)
local tasks = {
  { name = "function", title = "Function fit", epochs = settings.epochs, loss = nn.MSELoss(), unit = "mean squared error",
    set = data.curve("sinc", { points = settings.points }),
    model = nn.Sequential { nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1) } },
  { name = "images", title = "Images", epochs = settings.image_epochs, loss = nn.CrossEntropyLoss(), unit = "cross-entropy, nats",
    set = data[settings.dataset] { samples = settings.samples },
    model = nn.Sequential { nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10) } },
}

for _, task in ipairs(tasks) do
  local history = run:fit(task.model, task.set, { loss = task.loss, optimizer = optim.Adam { lr = settings.lr },
    epochs = task.epochs, batch = settings.batch, seed = run.seed, record = { "loss", "gradient_norm" }, progress = task.name })
  local losses, norms = history.recorded.loss, history.recorded.gradient_norm
  for step = 1, #losses do run:record { task = task.name, step = step, loss = losses[step], gradient_norm = norms[step] } end
  local loss, norm = measure.median_of_tenth(losses, 10), measure.median_of_tenth(norms, 10)
  local loss_change, norm_change = loss / measure.median_of_tenth(losses, 1), norm / measure.median_of_tenth(norms, 1)
  local function summary(name, value, meaning) run:summary(task.name .. "_" .. name, value, task.title .. ": " .. meaning) end
  summary("loss", loss, "median loss of the last tenth of the steps (" .. task.unit .. ")")
  summary("gradient_norm", norm, "median gradient norm of the last tenth of the steps")
  summary("full_gradient_norm", (measure.gradient_norm(task.model, task.loss, task.set)), "of the whole data set, at the end")
  summary("loss_change", loss_change, "median loss of the last tenth of the steps divided by that of the first")
  summary("norm_change", norm_change, "median gradient norm of the last tenth of the steps divided by that of the first")
  run:verdict(task.name .. "_vanishes", task.title .. ": the gradient vanishes, its norm falls to a tenth or less",
    loss_change > 0.5 and "not converged" or norm_change <= 0.1, ("medians of the last tenth of the steps as parts of "
    .. "those of the first: loss %.1f %%, gradient norm %.1f %%"):format(100 * loss_change, 100 * norm_change))

  local loss_curve = plot.binned { name = "loss", y = losses, color = 1 }
  local norm_curve = plot.binned { name = "gradient norm", y = norms, color = 2 }
  local xlabel = loss_curve.band and "step (lines: medians of nearby steps, bands: their 10 to 90 % range)" or "step"
  local loss_label, norm_label = "loss (" .. task.unit .. ")", "norm of the batch's gradient"
  run:figure(task.name .. "_norm", plot.lines({ norm_curve }, { title = task.title .. ": gradient norm", xlabel = xlabel,
    ylabel = norm_label, logy = true }), task.title .. ": the norm of each step's gradient. Does it go towards zero?")
  run:figure(task.name .. "_loss", plot.lines({ loss_curve }, { title = task.title .. ": loss", xlabel = xlabel,
    ylabel = loss_label, logy = true }), task.title .. ": the loss of each step's batch. Where does it stop falling?")
  norm_curve.axis = 2
  run:figure(task.name .. "_both", plot.lines({ loss_curve, norm_curve }, { title = task.title .. ": loss and gradient norm",
    xlabel = xlabel, ylabel = loss_label, y2label = norm_label, logy = true, logy2 = true }), task.title
    .. ": loss (left axis) and gradient norm (right axis) in one. Does the norm vanish where the loss stops falling?")
end
run:finish()
