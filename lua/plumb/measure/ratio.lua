--- The minimal ratio: how much of the neighbourhood of theta lies higher.
--
-- Courses call three different quantities by this name; here they have three: minimal_ratio (positive eigenvalues),
-- sampled_minimal_ratio (perturbations that raise the loss), and gradient_loss_ratio (gradient.lua).
local core = require "plumb.core"
local report = require "plumb.report"
local transform = require "plumb.transform"
local format = require "plumb.format"
local linalg = core.linalg
local objective = require "plumb.measure.objective"
local hessian = require "plumb.measure.hessian"

local ratio = {}

local EPSILON = 2.0 ^ -52

--- ratio.inertia(values, c) -> {ratio, positive, zero, negative, tolerance} of a Hessian with these eigenvalues, a list.
local function inertia(values, c)
  local largest, counts = 0, { positive = 0, zero = 0, negative = 0 }
  for _, value in ipairs(values) do largest = math.max(largest, math.abs(value)) end
  local tolerance = c * EPSILON * #values * largest
  for _, value in ipairs(values) do
    local kind = value > tolerance and "positive" or value < -tolerance and "negative" or "zero"
    counts[kind] = counts[kind] + 1
  end
  counts.ratio, counts.tolerance = counts.positive / #values, tolerance
  return counts
end

--- measure.minimal_ratio(L, theta, {c = 10, layer =}) or (model, loss, data, options) -> {ratio, positive, zero, negative,
--- tolerance, eigenvalues, gradient_norm, loss, asymmetry}: the share of the Hessian's P eigenvalues that are positive, 1 at a
--- strict minimum. positive, zero and negative count the eigenvalues above, within and below +- tolerance = c eps P |lambda|max,
--- with eps = 2^-52: the rounding error of a symmetric eigenvalue problem (c = 1 is numpy's and LAPACK's usual bound for a rank)
--- times a margin. The gradient norm and the loss at theta say how near to a critical point this is: the Hessian tells minima
--- from saddles only where the gradient vanishes. eigenvalues: a tensor, ascending. theta in float64.
--- Not the same: measure.sampled_minimal_ratio, and measure.gradient_loss_ratio.
function ratio.minimal_ratio(...)
  local self, options = objective.read("measure.minimal_ratio", { c = 10, layer = report.none }, ...)
  report.number(self.who, "c", options.c, 0)
  local _ <close> = self:follow(hessian.passes(self, options.layer) + 1)
  local h, asymmetry = hessian.dense(self, options.layer)(self.theta)
  local eigenvalues = linalg.eigvalsh(h)
  local result = inertia(eigenvalues:tolist(), options.c)
  local loss, g = self:gradient()
  result.eigenvalues, result.loss, result.gradient_norm, result.asymmetry = eigenvalues, loss, g:norm():item(), asymmetry
  return result
end

-- ---- by sampling ----

-- f(count, size, seed, stream) -> perturbations (count, size), float64
local distributions = {
  normal = function(count, size, seed, stream) return core.random("normal", { count, size }, "float64", seed, stream) end,
  uniform = function(count, size, seed, stream)
    return core.random("uniform", { count, size }, "float64", seed, stream) * 2 - 1
  end,
  sphere = function(count, size, seed, stream)
    local directions = core.random("normal", { count, size }, "float64", seed, stream)
    return directions / directions:norm(2, true)
  end,
}

local function draw(self, options, size, count, stream)
  local distribution = options.distribution
  if distributions[distribution] then
    return distributions[distribution](count, size, options.seed, stream) * options.scale
  end
  local deltas = distribution(count, size, stream)
  if not core.is_tensor(deltas) or format.shape(deltas) ~= ("(%d, %d)"):format(count, size) then
    report.fail("%s: distribution(count, size, block) must return a tensor of shape (%d, %d), not %s", self.who, count,
      size, core.is_tensor(deltas) and "shape " .. format.shape(deltas) or type(deltas))
  end
  return deltas
end

local ROWS = 64           -- perturbations at a time
local ROW_BYTES = 2.0 ^ 26 -- of their parameters

--- measure.sampled_minimal_ratio(L, theta, options) or (model, loss, data, options) -> ratio, standard error: the share of
--- `samples` = 1000 perturbations delta with L(theta + delta) > L(theta): the minimal ratio as experiments without a Hessian
--- measure it. options: distribution = "normal" (each element N(0, scale^2)), "uniform" (in +-scale), "sphere" (of length scale)
--- or a function (count, size, block) that returns perturbations (count, size); scale = 1e-3; samples; seed = 0; layer =
--- (only its parameters are perturbed); batch.
--- It is near 1 at a minimum and 1/2 where the gradient dominates (either sign of delta); along -g L falls however small the
--- scale. It is not the share of positive eigenvalues: measure.minimal_ratio is. Use float64: in float32 small changes vanish.
function ratio.sampled_minimal_ratio(...)
  local self, options = objective.read("measure.sampled_minimal_ratio", { samples = 1000, scale = 1e-3,
    distribution = "normal", seed = 0, layer = report.none }, ...)
  report.integer(self.who, "samples", options.samples, 1)
  report.number(self.who, "scale", options.scale, 0)
  report.integer(self.who, "seed", options.seed)
  if not distributions[options.distribution] and type(options.distribution) ~= "function" then
    report.fail("%s: distribution must be 'normal', 'uniform', 'sphere' or a function, not '%s'", self.who,
      tostring(options.distribution))
  end
  local from, to = self:range(options.layer)
  local size = to - from + 1
  local losses = self:sum(function(f, theta, deltas)
    return transform.vmap(function(delta) return f(theta + objective.padded(delta, from, to, self.size)) end)(deltas)
  end)
  local rows, higher = math.max(1, math.min(ROWS, ROW_BYTES // (8 * self.size))), 0
  local _ <close> = self:follow(1 + options.samples / rows)
  local base = self:check_finite("the loss", self:values()(self.theta))
  for first = 1, options.samples, math.tointeger(rows) do
    local count = math.tointeger(math.min(rows, options.samples - first + 1))
    local deltas = draw(self, options, size, count, first):cast(self.dtype)
    higher = higher + self:check_finite("the loss at theta + delta", losses(self.theta, deltas)):gt(base):sum():item()
  end
  local share = higher / options.samples
  return share, math.sqrt(share * (1 - share) / options.samples)
end

return ratio
