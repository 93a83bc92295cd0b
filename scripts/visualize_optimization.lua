--- Where do trainings go? Eight runs from eight starts, their parameters recorded and drawn in a plane.
--
-- A 784-64-32-10 network on images and a 1-18-15-1 tanh network on sin(5 pi x) / (5 pi x); the plane is that of the two principal
-- components of all recorded thetas, of the middle layer's weights and of all parameters.
-- summary.json, for images and function each: layer_variance, whole_variance (share of the variance that the plane shows);
-- result (mean over the runs of the final test accuracy or loss); travel (the largest distance of a run's end from its start) and
-- apart (the smallest distance between two runs' ends), over all parameters. Verdict images_far_apart, function_far_apart:
-- apart is larger than travel.
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "visualize_optimization", description = "Eight trainings as paths in the plane of their principal components.",
  settings = {
    { name = "runs", default = 8, minimum = 2, help = "trainings of each network" },
    { name = "image_epochs", default = 12, quick = 4, minimum = 1, help = "passes over the images" },
    { name = "function_epochs", default = 1500, quick = 150, minimum = 1, help = "passes over the function's points" },
    { name = "records", default = 6, quick = 4, minimum = 1, help = "how often theta is kept after the start" },
    { name = "samples", default = 20000, quick = 1000, minimum = 1, help = "training images used, the first so many" },
    data.setting(),
  },
}
local settings = run.settings

local tasks = {
  { name = "images", title = "images", epochs = settings.image_epochs, loss = nn.cross_entropy, layer = 4, format = "%.1f %%",
    result = "test accuracy, %", load = function() return data[settings.dataset] { samples = settings.samples } end,
    build = function()
      return nn.Sequential { nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10) }
    end },
  { name = "function", title = "sin(5πx) / (5πx)", epochs = settings.function_epochs, loss = nn.mse_loss, layer = 3,
    format = "%.0e", result = "mean squared error",
    load = function() return data.curve("sinc", { points = 500 }) end, build = function()
      return nn.Sequential { nn.Linear(1, 18), nn.Tanh(), nn.Linear(18, 15), nn.Tanh(), nn.Linear(15, 1) }
    end },
}

-- One training: the recorded thetas, how large their points are drawn, and the final result.
local function train(task, seed)
  plumb.manual_seed(seed)
  local model, set, test = task.build(), task.load()
  local evaluate, path = plumb.fit.evaluation(model, task.loss, test ~= nil), { thetas = {}, sizes = {} }
  local function record(into, epoch)
    local loss, accuracy = evaluate(test or set)
    into.thetas[#into.thetas + 1], into.sizes[#into.sizes + 1] = model.theta, 0.5 + epoch / task.epochs
    into.result = accuracy and 100 * accuracy or loss
    run:record { task = task.name, seed = seed, epoch = epoch, result = into.result }
  end
  record(path, 0)
  local every = math.max(1, task.epochs // settings.records)
  return run:fit(model, set, { loss = task.loss, optimizer = optim.Adam(), epochs = task.epochs, seed = seed,
    on_epoch = function(h)
      if h.epoch == every then h.kept = path end
      if h.epoch % every == 0 or h.epoch == task.epochs then record(h.kept, h.epoch) end
    end }).kept
end

for _, task in ipairs(tasks) do
  local function summary(name, value, meaning) run:summary(task.name .. "_" .. name, value, task.name .. ": " .. meaning) end
  local paths = run:map(run:seeds(settings.runs), function(seed) return train(task, seed) end, { label = task.name })
  local columns, thetas = measure.columns(paths), {}
  for _, path in ipairs(paths) do table.move(path.thetas, 1, #path.thetas, #thetas + 1, thetas) end
  for _, part in ipairs { "layer", "whole" } do
    local title = part == "layer" and "weights of the middle layer" or "all parameters"
    local pca, curves = measure.pca(thetas, 2, { layer = part == "layer" and task.build()[task.layer] or nil }), {}
    for i, path in ipairs(paths) do
      local across, up = pca:curve(path.thetas)
      curves[i] = { name = "run " .. i, x = across, y = up, color = i, style = "linespoints", size = path.sizes,
        labels = { [#up] = task.format:format(path.result) } }
    end
    local shares = pca.explained_variance_ratio
    summary(part .. "_variance", shares[1] + shares[2], "share of the variance that the plane shows, " .. title)
    run:figure(task.name .. "_" .. part, plot.lines(curves, { legend = "right",
      title = ("Trainings on %s: %s"):format(task.title, title), ylabel = pca:label(2), xlabel =
        ("%s; points grow from epoch 0 to %d; labels: %s"):format(pca:label(1), task.epochs, task.result) }),
      ("Each curve is a training, seen in the plane in which all of them together vary most (%s). Look at whether the large "
      .. "points, where they end, lie together."):format(title))
  end
  local travel, apart = measure.travel(columns.thetas)
  summary("result", plumb.tensor(columns.result, { dtype = "float64" }):mean(), "mean over the runs of the final " .. task.result)
  summary("travel", travel, "largest distance of a run's end from its start, all parameters")
  summary("apart", apart, "smallest distance between the ends of two runs, all parameters")
  run:verdict(task.name .. "_far_apart", task.name .. ": any two trainings end farther from each other than any of them went",
    apart > travel, ("smallest distance between two ends %.3g, longest way %.3g"):format(apart, travel))
end
run:finish()
