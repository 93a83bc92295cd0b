--- How far the loss rises around a point: flat and sharp minima.
local core = require "plumb.core"
local report = require "plumb.report"
local objective = require "plumb.measure.objective"

local sharpness = {}

-- The box of Keskar et al.: |z_i| <= epsilon (|theta_i| + 1), as its half widths.
local function box_of(self, epsilon) return ((self.theta:abs() + 1) * epsilon):evaluate() end

-- (max L - L(theta)) / (1 + L(theta)) * 100, Keskar's metric 2.1
local function percent(highest, loss) return 100 * (highest - loss) / (1 + loss) end

local function result_of(self, loss, best)
  return percent(best.loss, loss), { loss = loss, highest = best.loss, theta = best.theta or self.theta, steps = best.steps }
end

-- One ascent in u = z / box, |u_i| <= 1: a step along box * g, scaled so that its largest element is `size`; sizes shrink when
-- the loss does not rise and grow when it does.
local function ascend(self, ascent, box, u, steps, best)
  local size = 0.5
  local loss, g = ascent(self.theta, box, u)
  local height = self:check_finite("the loss within the box", loss):item()
  for _ = 1, steps do
    local scale = self:check_finite("the gradient within the box", g):abs():max():item()
    if scale == 0 or size < 1e-6 then break end
    local next_u = (u + g * (size / scale)):clamp(-1, 1):evaluate()
    local next_loss, next_g = ascent(self.theta, box, next_u)
    best.steps = best.steps + 1
    local next_height = self:check_finite("the loss within the box", next_loss):item()
    if next_height > height then
      u, g, height, size = next_u, next_g, next_height, math.min(2 * size, 2)
    else
      size = size / 4
    end
  end
  if height > best.loss then best.loss, best.theta = height, (self.theta + box * u):evaluate() end
end

--- measure.sharpness(L, theta, options) or (model, loss, data, options) -> sharpness in percent, details: Keskar et al. 2017,
--- 100 (max L(theta + z) - L(theta)) / (1 + L(theta)) over the box |z_i| <= epsilon (|theta_i| + 1). The maximum is looked for
--- by projected gradient ascent (they use L-BFGS-B) from the centre and from starts - 1 random points, `steps` each; what is
--- found is a lower bound. options: epsilon = 1e-3, steps = 20, starts = 3, seed = 0, batch. details: loss, highest,
--- theta (where), steps. Losses below 0 have no place in the formula: keep to losses such as MSE and cross-entropy.
function sharpness.sharpness(...)
  local self, options = objective.read("measure.sharpness", { epsilon = 1e-3, steps = 20, starts = 3, seed = 0 }, ...)
  local box = box_of(self, report.number(self.who, "epsilon", options.epsilon, 0))
  report.integer(self.who, "steps", options.steps, 1)
  report.integer(self.who, "starts", options.starts, 1)
  report.integer(self.who, "seed", options.seed)
  local ascent = self:sum(function(f, theta, half_widths, u)
    return core.value_and_grad(function(v) return f(theta + half_widths * v) end, 1, nil, u)
  end)
  local _ <close> = self:follow(1 + options.starts * (1 + options.steps))
  local loss = self:check_finite("the loss", self:values()(self.theta)):item()
  local best = { loss = loss, steps = 0 }
  for start = 1, options.starts do
    local u = start == 1 and core.full({ self.size }, 0, self.dtype)
      or core.random("uniform", { self.size }, self.dtype, options.seed, start) * 2 - 1
    ascend(self, ascent, box, u, options.steps, best)
  end
  return result_of(self, loss, best)
end

--- measure.sampled_sharpness(L, theta, options) or (model, loss, data, options) -> sharpness in percent, details: as
--- measure.sharpness, with the maximum taken over `samples` = 100 random points, uniform in the box: cheaper, and far lower in
--- high dimensions, where random directions hardly meet the steep ones. options: epsilon = 1e-3, samples, seed = 0, batch.
function sharpness.sampled_sharpness(...)
  local self, options = objective.read("measure.sampled_sharpness", { epsilon = 1e-3, samples = 100, seed = 0 }, ...)
  local box = box_of(self, report.number(self.who, "epsilon", options.epsilon, 0))
  report.integer(self.who, "samples", options.samples, 1)
  report.integer(self.who, "seed", options.seed)
  local values = self:values()
  local _ <close> = self:follow(1 + options.samples)
  local loss = self:check_finite("the loss", values(self.theta)):item()
  local best = { loss = loss, steps = options.samples }
  for sample = 1, options.samples do
    local u = core.random("uniform", { self.size }, self.dtype, options.seed, sample) * 2 - 1
    local theta = (self.theta + box * u):evaluate()
    local height = self:check_finite("the loss within the box", values(theta)):item()
    if height > best.loss then best.loss, best.theta = height, theta end
  end
  return result_of(self, loss, best)
end

return sharpness
