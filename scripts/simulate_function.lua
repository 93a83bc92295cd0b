--- Deep against shallow: three networks with the same number of parameters learn a function.
--
-- Targets: sin(5 pi x) / (5 pi x), smooth, and sign(sin(5 pi x)), with four jumps, on even points of [1e-4, 1].
-- Networks: Deep 1-5-10-10-10-10-10-5-1 (571 parameters), Middle 1-10-18-15-4-1 (572), Shallow 1-190-1 (571).
-- The six trainings run side by side, one on each core.
-- summary.json: deep_parameters, ... (how many); per target sinc_deep_loss, ... (the median over the last tenth of the epochs
-- of the mean squared error in training) and sinc_shallow_over_deep (how many times larger Shallow's loss is than Deep's).
-- Verdict sinc_depth, sign_depth: Deep ends at half of Shallow's loss or less; 'not converged' where one of the two losses was
-- more than a tenth higher in the ninth tenth of the epochs than in the last.
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

local run = plumb.experiment.start {
  name = "simulate_function",
  description = "Three networks of equal size, deep, middle and shallow, learn two functions.",
  settings = {
    { name = "epochs", default = 20000, quick = 600, minimum = 1, help = "passes over the points" },
    { name = "points", default = 10000, minimum = 2, help = "even points of [1e-4, 1]" },
    { name = "batch", default = 128, minimum = 1, help = "points in a batch" },
    { name = "lr", default = 1e-3, minimum = 0, help = "Adam's learning rate" },
    { name = "activation", default = "LeakyReLU", choices = { "LeakyReLU", "SELU", "ReLU", "Tanh" },
      help = "between the layers" },
  },
}
local settings = run.settings

local sets = {}
for _, target in ipairs { "sinc", "sign" } do sets[target] = data.curve(target, { points = settings.points }) end
local networks = { "Deep", "Middle", "Shallow" }
local widths = { Deep = { 1, 5, 10, 10, 10, 10, 10, 5, 1 }, Middle = { 1, 10, 18, 15, 4, 1 }, Shallow = { 1, 190, 1 } }

local trials = {}
for _, target in ipairs { "sinc", "sign" } do
  for _, network in ipairs(networks) do trials[#trials + 1] = { target = target, network = network } end
end

local results = run:map(trials, function(trial)
  local layers, sizes = {}, widths[trial.network]
  plumb.manual_seed(run.seed)
  for i = 1, #sizes - 1 do
    layers[#layers + 1] = nn.Linear(sizes[i], sizes[i + 1])
    if i < #sizes - 1 then layers[#layers + 1] = nn[settings.activation]() end
  end
  local model = nn.Sequential(layers)
  local history = run:fit(model, sets[trial.target], {
    loss = nn.MSELoss(), optimizer = optim.Adam { lr = settings.lr }, epochs = settings.epochs, batch = settings.batch,
    seed = run.seed, row = { target = trial.target, network = trial.network } })
  return { losses = history.train_loss, prediction = model(sets[trial.target].x):flatten(), parameters = model.size }
end)

for i, name in ipairs(networks) do
  run:summary(name:lower() .. "_parameters", results[i].parameters, "parameters of " .. name)
end
for t, target in ipairs { "sinc", "sign" } do
  local set, formula, curves, final, fall = sets[target], sets[target].formula, {}, {}, {}
  local predictions = { { name = formula, x = set.x:flatten(), y = set.y:flatten(), color = "#7F7F7F", width = 4 } }
  for i, name in ipairs(networks) do
    local result = results[(t - 1) * #networks + i]
    final[name] = measure.median_of_tenth(result.losses, 10)
    fall[name] = 1 - final[name] / measure.median_of_tenth(result.losses, 9)
    curves[i] = plot.binned { name = name, y = result.losses }
    predictions[i + 1] = { name = name, x = set.x:flatten(), y = result.prediction, color = i }
    run:summary(target .. "_" .. name:lower() .. "_loss", final[name],
      "final loss on " .. formula .. ": median mean squared error of the last tenth of the epochs")
  end
  local ratio = final.Shallow / final.Deep
  run:summary(target .. "_shallow_over_deep", ratio, "Shallow's final loss divided by Deep's on " .. formula)
  run:verdict(target .. "_depth", "on " .. formula .. " Deep ends at half of Shallow's loss or less",
    math.max(fall.Deep, fall.Shallow) > 0.1 and "not converged" or ratio >= 2,
    ("Deep %.3g, Shallow %.3g, %.3g times as much; from the ninth to the last tenth they fell by %.0f %% and %.0f %%")
      :format(final.Deep, final.Shallow, ratio, 100 * fall.Deep, 100 * fall.Shallow))
  local xlabel = curves[1].band and "epoch (lines: medians of nearby epochs, bands: their 10 to 90 % range)" or "epoch"
  run:figure("loss_" .. target, plot.lines(curves, { title = "Learning " .. formula, xlabel = xlabel,
    ylabel = "training loss (mean squared error)", logy = true }),
    "Training loss of the three networks on " .. formula .. ": the lowest curve at the right end belongs to the best fit.")
  run:figure("prediction_" .. target, plot.lines(predictions, { xlabel = "x", ylabel = "y", legend = "right",
    title = ("Predictions of %s after %d epochs"):format(formula, settings.epochs) }), "What the three networks predict, over "
    .. "the target in grey: look at where they leave it, at jumps and at both ends.")
end
run:finish()
