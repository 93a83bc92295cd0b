--- Deep against shallow: three networks with the same number of parameters learn a function.
--
-- Targets: sin(5 pi x) / (5 pi x), smooth, and sign(sin(5 pi x)), with four jumps, on even points of [1e-4, 1].
-- Networks: Deep 1-5-10-10-10-10-10-5-1 (571 parameters), Middle 1-10-18-15-4-1 (572), Shallow 1-190-1 (571).
-- summary.json: deep_parameters, ... (how many); per target sinc_deep_loss, ... (the median over the last tenth of the epochs
-- of the mean squared error in training) and sinc_shallow_over_deep (how many times larger Shallow's loss is than Deep's).
local plumb = require "plumb"
local nn, optim, plot = plumb.nn, plumb.optim, plumb.plot

local run = plumb.experiment.start {
  name = "simulate_function",
  description = "Three networks of equal size, deep, middle and shallow, learn two functions.",
  settings = {
    { name = "epochs", default = 5000, quick = 600, minimum = 1, help = "passes over the points (the published runs: 20000)" },
    { name = "points", default = 10000, minimum = 2, help = "even points of [1e-4, 1]" },
    { name = "batch", default = 128, minimum = 1, help = "points in a batch" },
    { name = "lr", default = 1e-3, minimum = 0, help = "Adam's learning rate" },
    { name = "activation", default = "LeakyReLU", choices = { "LeakyReLU", "SELU", "ReLU", "Tanh" },
      help = "between the layers" },
  },
}
local settings = run.settings

local targets = {
  { name = "sinc", formula = "sin(5πx) / (5πx)", f = function(x) return (x * 5 * math.pi):sin() / (x * 5 * math.pi) end },
  { name = "sign", formula = "sign(sin(5πx))", f = function(x) return (x * 5 * math.pi):sin():sign() end },
}
local networks = {
  { name = "Deep", widths = { 1, 5, 10, 10, 10, 10, 10, 5, 1 } },
  { name = "Middle", widths = { 1, 10, 18, 15, 4, 1 } },
  { name = "Shallow", widths = { 1, 190, 1 } },
}

local function build(widths)
  local layers = {}
  for i = 1, #widths - 1 do
    layers[#layers + 1] = nn.Linear(widths[i], widths[i + 1])
    if i < #widths - 1 then layers[#layers + 1] = nn[settings.activation]() end
  end
  return nn.Sequential(layers)
end

-- The median over the last tenth of a list.
local function settled(list)
  local sorted = table.move(list, #list - math.max(1, #list // 10) + 1, #list, 1, {})
  table.sort(sorted)
  return (sorted[(#sorted + 1) // 2] + sorted[#sorted // 2 + 1]) / 2
end

-- In double precision: in single, sin(5 pi) is below 0 and the sign target would end with a point of -1.
local exact_x = plumb.linspace(1e-4, 1, settings.points, { dtype = "float64" }):reshape(-1, 1)
local x = exact_x:float()
for _, target in ipairs(targets) do
  local set = { x = x, y = target.f(exact_x):float() }
  local curves, final = {}, {}
  local predictions = { { name = target.formula, x = x:flatten(), y = set.y:flatten(), color = "#7F7F7F", width = 3 } }
  for color, network in ipairs(networks) do
    plumb.manual_seed(run.seed)
    local model = build(network.widths)
    local history = run:fit(model, set, {
      loss = nn.MSELoss(), optimizer = optim.Adam { lr = settings.lr }, epochs = settings.epochs, batch = settings.batch,
      seed = run.seed, progress = target.name .. ", " .. network.name,
      on_epoch = function(h)
        run:record { target = target.name, network = network.name, epoch = h.epoch, train_loss = h.train_loss[h.epoch] }
      end,
    })
    final[network.name] = settled(history.train_loss)
    curves[#curves + 1] = plot.binned { name = network.name, y = history.train_loss }
    predictions[#predictions + 1] = { name = network.name, x = x:flatten(), y = model(x):flatten(), color = color }
    if target == targets[1] then
      run:summary(network.name:lower() .. "_parameters", model.theta:numel(), "parameters of " .. network.name)
    end
    run:summary(target.name .. "_" .. network.name:lower() .. "_loss", final[network.name],
      "final loss on " .. target.formula .. ": median mean squared error of the last tenth of the epochs")
  end
  run:summary(target.name .. "_shallow_over_deep", final.Shallow / final.Deep,
    "Shallow's final loss divided by Deep's on " .. target.formula)
  local xlabel = curves[1].band and "epoch (lines: medians of nearby epochs, bands: their 10 to 90 % range)" or "epoch"
  run:figure("loss_" .. target.name, plot.lines(curves, {
    title = "Learning " .. target.formula, xlabel = xlabel, ylabel = "training loss (mean squared error)", logy = true }))
  run:figure("prediction_" .. target.name, plot.lines(predictions, {
    title = ("Predictions after %d epochs"):format(settings.epochs), xlabel = "x", ylabel = "y" }))
end
run:finish()
