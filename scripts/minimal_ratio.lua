--- What happens where the gradient is almost zero? The minimal ratio of 100 networks against their loss.
--
-- 1-10-10-1 networks with tanh (ReLU has exactly flat directions) learn sin(5 pi x) / (5 pi x) and sign(sin(5 pi x)). Each is
-- trained, then the gradient's norm is minimised (the near point, where courses measure), then it is polished (the critical
-- point). At both: the minimal ratio (positive eigenvalues of the Hessian / parameters) and its sampled form (the share of small
-- perturbations that raise the loss), of which a published version reports a correlation of -0.86 with the loss.
-- summary.json, per target: converged (networks whose gradient reached 1e-8); near_gradient, critical_gradient (median norms);
-- near_ratio, critical_ratio, near_sampled, critical_sampled: Spearman's rank correlation of the ratio and of its sampled form
-- with the loss (neither a log scale nor single outliers change it), 'none' where all are equal; pearson: Pearson's for
-- near_sampled, with log10 of the loss; along_training: the rank correlation of |gradient| / loss, also called minimal ratio,
-- with the validation loss in a training. Verdicts near_ratio_follows, near_sampled_follows, critical_ratio_follows,
-- critical_sampled_follows: -0.5 or less; at critical points 'not converged' where fewer than half of the networks got there.
local plumb = require "plumb"
local nn, optim, plot, data, measure = plumb.nn, plumb.optim, plumb.plot, plumb.data, plumb.measure

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

local function network(seed)
  plumb.manual_seed(seed)
  return nn.Sequential { nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1) }:double()
end
local function points_of(target, from, to) return data.curve(target, { from = from, to = to, dtype = "float64" }) end

local points = { "near", "critical" } -- what the second and the third stage of the search find
-- One network: what is measured at each of the points.
local function trial(target, seed)
  local L, at = measure.loss(network(seed), nn.mse_loss, points_of(target, 1e-4, 1)), {}
  local stages = measure.find_critical_point(L, nil, { minimise_steps = settings.steps, gradient_steps = settings.steps,
    polish_steps = settings.polish }).stages
  for i, name in ipairs(points) do
    local stage = stages[i + 1]
    at[name] = { target = target, network = seed, point = name, loss = stage.loss, gradient = stage.gradient_norm,
      converged = stage.ended == "converged" and 1 or 0, ratio = measure.minimal_ratio(L, stage.theta).ratio,
      sampled = measure.sampled_minimal_ratio(L, stage.theta, { scale = settings.scale, seed = seed }) }
    run:record(at[name])
  end
  return at
end

local labels = { ratio = "share of positive eigenvalues", sampled = "share of perturbations that raise the loss" }
local function rank_correlation(x, y) return measure.correlation(x, y, { rank = true }) end
for _, target in ipairs { "sinc", "sign" } do
  local function summary(name, value, meaning) run:summary(target .. "_" .. name, value, target .. ": " .. meaning) end
  local set, between = points_of(target, 1e-4, 1), points_of(target, 3e-3, 0.997)
  local found = run:map(run:seeds(settings.networks), function(seed) return trial(target, seed) end, { label = target })
  local columns = measure.columns(found) -- by point the rows of all networks, then their columns
  for _, point in ipairs(points) do
    columns[point] = measure.columns(columns[point])
    columns[point].arrived = plumb.tensor(columns[point].converged):sum():item()
    summary(point .. "_gradient", measure.median(columns[point].gradient), "median gradient norm at " .. point .. " points")
  end
  summary("converged", columns.critical.arrived, "networks whose gradient norm reached 1e-8")
  for _, name in ipairs { "ratio", "sampled" } do
    local clouds = {}
    for i, point in ipairs(points) do
      local at, key, words = columns[point], point .. "_" .. name, labels[name]
      local r = rank_correlation(at[name], at.loss)
      local said = r and ("rank correlation %.2f"):format(r)
      summary(key, r or "none", ("rank correlation of the %s with the loss at %s points"):format(words, point))
      run:verdict(target .. "_" .. key .. "_follows", ("%s, %s points: the smaller the loss, the larger the %s")
        :format(target, point, words), point == "critical" and 2 * at.arrived < #found and "not converged" or (r or 0) <= -0.5,
        ("%s; %d of %d gradients reached 1e-8"):format(said or "no correlation, all are equal", at.arrived, #found))
      clouds[i] = { x = at.loss, y = at[name], name = point .. " points" .. (said and ", " .. said or "") }
    end
    run:figure(target .. "_" .. name, plot.scatter(clouds, { logx = true, xlabel = "loss (mean squared error)",
      ylabel = labels[name], title = ("%d networks on %s"):format(#found, set.formula) }), "Each dot is a network, near a "
      .. "critical point and at one. Falling to the right means: the better the fit, the fewer directions lead further down.")
  end
  local near = columns.near
  summary("pearson", measure.correlation(near.sampled, plumb.tensor(near.loss, { dtype = "float64" }):log()) or "none",
    "Pearson's correlation of the sampled ratio at near points with log10 of the loss")

  local model = network(run.seed)
  local history = run:fit(model, set, { loss = nn.mse_loss, optimizer = optim.Adam { lr = 3e-3 }, epochs = settings.epochs,
    batch = 32, validate = between, seed = run.seed, progress = false,
    on_epoch = function(h) h.kept[h.epoch] = measure.gradient_loss_ratio(model, nn.mse_loss, set) end })
  summary("along_training", rank_correlation(history.kept, history.test_loss) or "none",
    "rank correlation of |gradient| / loss with the validation loss along a training")
  run:figure(target .. "_training", plot.lines({ { name = "validation loss", y = history.test_loss },
    { name = "|gradient| / loss", y = history.kept, axis = 2 } }, { title = "Learning " .. set.formula, xlabel = "epoch",
    ylabel = "validation loss (mean squared error)", y2label = "|gradient| / loss", logy = true, logy2 = true }),
    "One training: the validation loss (left axis) and the gradient's norm over the loss (right axis). Do they move together?")
end
run:finish()
