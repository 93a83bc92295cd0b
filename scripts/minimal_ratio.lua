--- What happens where the gradient is almost zero? The minimal ratio of 100 networks against their loss.
--
-- 1-10-10-1 networks with tanh (ReLU has exactly flat directions) learn sin(5 pi x) / (5 pi x) and sign(sin(5 pi x)). Each is
-- trained, then the gradient's norm is minimised (the near point, where courses measure), then it is polished (the
-- critical point). At both: the minimal ratio (positive eigenvalues of the Hessian / parameters) and its sampled form (the share
-- of small perturbations that raise the loss), of which a published version reports a correlation of -0.86 with the loss.
-- summary.json, per target: converged (networks whose gradient reached 1e-8); near_gradient, critical_gradient (median norms);
-- near_ratio, critical_ratio, near_sampled, critical_sampled: Pearson's correlation of the ratio and of its sampled form with
-- log10 of the loss over the networks, 'none' where all are equal; verdict: 'confirmed' when near_sampled is -0.5 or below, else
-- 'not confirmed'; along_training: the correlation of |gradient| / loss, a third quantity that is called minimal ratio, with the
-- validation loss along one training, both as log10.
local plumb = require "plumb"
local nn, optim, plot, measure = plumb.nn, plumb.optim, plumb.plot, plumb.measure

local run = plumb.experiment.start {
  name = "minimal_ratio", description = "The minimal ratio of networks where the gradient almost vanishes, against their loss.",
  settings = {
    { name = "networks", default = 100, quick = 4, minimum = 3, help = "networks for each target" },
    { name = "steps", default = 1000, quick = 300, minimum = 1, help = "Adam steps on the loss, and as many on the gradient" },
    { name = "polish", default = 200, quick = 15, minimum = 1, help = "Newton and Levenberg-Marquardt steps" },
    { name = "scale", default = 1e-3, minimum = 0, help = "standard deviation of the perturbations" },
    { name = "epochs", default = 400, quick = 60, minimum = 2, help = "of the training that is followed, in batches of 32" },
  },
}
local settings = run.settings

local function problem(target, seed)
  local function set(first, last)
    local x = plumb.linspace(first, last, 256, { dtype = "float64" }):reshape(-1, 1)
    local sine = (x * 5 * math.pi):sin()
    return { x = x, y = target == "sinc" and sine / (x * 5 * math.pi) or sine:sign() }
  end
  plumb.manual_seed(seed)
  local model = nn.Sequential { nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1) }:double()
  return model, set(1e-4, 1), set(3e-3, 0.997) -- the last one to validate on, between the points
end

local points = { -- in turn, each from where the one before was found
  { name = "near", search = { minimise_steps = settings.steps, gradient_steps = settings.steps, polish_steps = 0 } },
  { name = "critical", search = { minimise_steps = 0, gradient_steps = 0, polish_steps = settings.polish } },
}

-- One network: what is measured at each of the points, as rows of metrics.csv.
local function trial(target, seed)
  local model, set = problem(target, seed)
  local L, theta, rows = measure.loss(model, nn.mse_loss, set), model.theta, {}
  for i, point in ipairs(points) do
    local found = measure.find_critical_point(L, theta, point.search)
    theta = found.theta
    rows[i] = { target = target, network = seed, point = point.name, loss = found.loss, gradient = found.gradient_norm,
      converged = found.converged and 1 or 0, ratio = measure.minimal_ratio(L, theta).ratio,
      sampled = measure.sampled_minimal_ratio(L, theta, { scale = settings.scale, seed = seed }) }
  end
  return rows
end

local labels = { ratio = "positive eigenvalues / parameters", sampled = "share of perturbations that raise the loss" }
local function log10(list) return plumb.tensor(list, { dtype = "float64" }):log() / math.log(10) end

local seeds = {}
for i = 1, settings.networks do seeds[i] = run.seed + i - 1 end
for _, target in ipairs { "sinc", "sign" } do
  local results = plumb.experiment.map(seeds, function(seed) return trial(target, seed) end, { label = target })
  local clouds, correlations = { ratio = {}, sampled = {} }, {}
  local function summary(name, value, meaning) run:summary(target .. "_" .. name, value, target .. ": " .. meaning) end
  for i, point in ipairs(points) do
    local columns = { loss = {}, gradient = {}, converged = {}, ratio = {}, sampled = {} }
    for k, rows in ipairs(results) do
      run:record(rows[i])
      for name, column in pairs(columns) do column[k] = rows[i][name] end
    end
    for _, ratio in ipairs { "ratio", "sampled" } do
      local r = measure.correlation(columns[ratio], log10(columns.loss))
      correlations[point.name .. "_" .. ratio] = r or 0
      summary(point.name .. "_" .. ratio, r or "none", "correlation of " .. labels[ratio] .. " with log10 of the loss")
      clouds[ratio][i] = { x = columns.loss, y = columns[ratio], name = ("%s points, correlation %s"):format(point.name,
        r and ("%.2f"):format(r) or "none") }
    end
    summary(point.name .. "_gradient", measure.median(columns.gradient), "median gradient norm at " .. point.name .. " points")
    if i == 2 then summary("converged", plumb.tensor(columns.converged):sum(), "networks whose gradient norm reached 1e-8") end
  end
  summary("verdict", correlations.near_sampled <= -0.5 and "confirmed" or "not confirmed", "is near_sampled -0.5 or below?")
  for _, name in ipairs { "ratio", "sampled" } do
    run:figure(target .. "_" .. name, plot.scatter(clouds[name], { title = ("%d networks on %s"):format(#results, target),
      logx = true, xlabel = "loss (mean squared error)", ylabel = labels[name] }))
  end

  local model, set, between = problem(target, run.seed)
  local quotients = {}
  local history = plumb.fit(model, set, { loss = nn.mse_loss, optimizer = optim.Adam { lr = 3e-3 }, epochs = settings.epochs,
    batch = 32, validate = between, seed = run.seed, progress = false,
    on_epoch = function(h) quotients[h.epoch] = measure.gradient_loss_ratio(model, nn.mse_loss, set) end })
  summary("along_training", measure.correlation(log10(quotients), log10(history.test_loss)),
    "correlation of |gradient| / loss with the validation loss along a training, both as log10")
  run:figure(target .. "_training", plot.lines({ { name = "validation loss", y = history.test_loss },
    { name = "|gradient| / loss", y = quotients, axis = 2 } }, { title = "Along a training on " .. target, xlabel = "epoch",
    ylabel = "validation loss (mean squared error)", y2label = "|gradient| / loss", logy = true, logy2 = true }))
end
run:finish()
