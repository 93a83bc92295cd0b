--- The whole spectrum of a Hessian in outline, from random vectors: its trace and its density.
local core = require "plumb.core"
local report = require "plumb.report"
local objective = require "plumb.measure.objective"
local Krylov = require "plumb.measure.krylov"

local spectrum = {}

-- A vector of random signs.
local function rademacher(size, seed, stream)
  return core.random("uniform", { size }, "float64", seed, stream):lt(0.5) * 2 - 1
end

--- measure.trace(L, theta, options) or (model, loss, data, options) -> trace, standard error, samples: Hutchinson's estimate of
--- the sum of the Hessian's eigenvalues: the mean of v^T H v over `samples` = 100 vectors v of random signs (Hutchinson 1990).
--- The standard error is that of the mean; `samples` is the list of the values. options: samples, layer, seed = 0, batch.
function spectrum.trace(...)
  local self, options = objective.read("measure.trace", { samples = 100, seed = 0, layer = report.none }, ...)
  local samples = report.integer(self.who, "samples", options.samples, 2)
  local seed = report.integer(self.who, "seed", options.seed)
  local product, size = self:hessian_product(options.layer)
  local values, sum, squares = {}, 0, 0
  local _ <close> = self:follow(samples)
  for i = 1, samples do
    local v = rademacher(size, seed, i)
    values[i] = (v * product(v:cast(self.dtype)):double()):sum():item()
    sum = sum + values[i]
  end
  local mean = sum / samples
  if mean - mean ~= 0 then report.fail("%s: a product with the Hessian is not finite", self.who) end
  for _, value in ipairs(values) do squares = squares + (value - mean) ^ 2 end
  return mean, math.sqrt(squares / (samples - 1) / samples), values
end

-- ---- density ----

local Density = { doc = [[
What measure.density returns: nodes and weights (lists; the weights' sum is 1), an approximation of the spectrum by points;
:moment(p) is the sum of weight * node^p; :curve{points = 400, sigma =} -> x, density for a plot.]] }
Density.__index = Density
Density.__name = "measure.density"

--- density:moment(p): the sum of weight * node^p, an estimate of trace(H^p) / P.
function Density:moment(p)
  local sum = 0
  for i, node in ipairs(self.nodes) do sum = sum + self.weights[i] * node ^ p end
  return sum
end

--- density:curve{points = 400, sigma =} -> x, y (lists): the density of eigenvalues, each node a normal distribution of standard
--- deviation sigma (by default a hundredth of the spectrum's width); the area below is 1.
function Density:curve(options)
  options = report.options("density:curve", options, { points = 400, sigma = report.none })
  local points = report.integer("density:curve", "points", options.points, 2)
  local low, high = math.huge, -math.huge
  for _, node in ipairs(self.nodes) do low, high = math.min(low, node), math.max(high, node) end
  local width = high > low and high - low or math.max(1, math.abs(high))
  local sigma = report.number("density:curve", "sigma", options.sigma or width / 100, 1e-300)
  local x, y = {}, {}
  for i = 1, points do
    x[i] = low - 4 * sigma + (high - low + 8 * sigma) * (i - 1) / (points - 1)
    local sum = 0
    for j, node in ipairs(self.nodes) do sum = sum + self.weights[j] * math.exp(-((x[i] - node) / sigma) ^ 2 / 2) end
    y[i] = sum / (sigma * math.sqrt(2 * math.pi))
  end
  return x, y
end

-- One probe's quadrature: Ritz values as nodes, the squares of the eigenvectors' first elements as weights.
local function quadrature(krylov, steps)
  while true do
    krylov:multiply()
    if krylov.count == steps or krylov.beta == 0 then break end
    krylov:extend()
  end
  local values, vectors = krylov:ritz()
  return values, vectors:slice(1, 1, 1):square():flatten():tolist()
end

--- measure.density(L, theta, options) or (model, loss, data, options) -> density: how the Hessian's eigenvalues are spread, by
--- stochastic Lanczos quadrature (Ghorbani, Krishnan, Xiao 2019): `probes` = 10 random vectors v, from each `steps` = 80
--- products; the density has nodes and weights such that the sum of weight * f(node) estimates trace(f(H)) / P, exactly so for
--- the mean of v^T f(H) v / |v|^2 where f is a polynomial of degree below 2 steps. options: probes, steps, layer, seed = 0,
--- batch.
function spectrum.density(...)
  local self, options = objective.read("measure.density", { probes = 10, steps = 80, seed = 0, layer = report.none },
    ...)
  local product, size = self:hessian_product(options.layer)
  local probes = report.integer(self.who, "probes", options.probes, 1)
  local steps = math.min(report.integer(self.who, "steps", options.steps, 1), size)
  local seed = report.integer(self.who, "seed", options.seed)
  local krylov = Krylov.new(self.who, product, size, steps, self.dtype)
  local _ <close> = self:follow(probes * steps)
  local result = setmetatable({ nodes = {}, weights = {}, probes = probes, steps = steps }, Density)
  for probe = 1, probes do
    krylov:start(seed, probe, rademacher(size, seed, probe))
    local nodes, weights = quadrature(krylov, steps)
    for i, node in ipairs(nodes) do
      result.nodes[#result.nodes + 1], result.weights[#result.weights + 1] = node, weights[i] / probes
    end
  end
  return result
end

return spectrum
