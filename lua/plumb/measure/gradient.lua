--- The gradient's norm over a whole data set, for the whole model and for each of its parameters, and its ratio to the loss.
local core = require "plumb.core"
local report = require "plumb.report"
local objective = require "plumb.measure.objective"

local gradient = {}

-- The norm of each parameter's part of a gradient, by name.
local function norms_by_name(model, g)
  local names, squares, by_name = {}, {}, {}
  for i, parameter in ipairs(model:parameters()) do
    names[i] = parameter.name
    squares[i] = g:slice(1, parameter.first, parameter.first + parameter.count - 1):square():sum():reshape(1)
  end
  for i, square in ipairs(core.concat(squares, 1):tolist()) do by_name[names[i]] = math.sqrt(square) end
  return by_name
end

--- measure.gradient_norm(model, loss, data, {batch = 1000, layer =}) or (L, theta, {layer =}) -> norm, loss, norms by name:
--- (sum over all parameters of g^2)^(1/2), g the gradient of the mean loss over the whole data set; of one layer's parameters
--- where one is named. For a model also a table {["0.weight"] = norm, ...} with the names of model:parameters().
--- To log it at every step of a training: plumb.fit(..., {record = {"gradient_norm"}}),
--- with measure.recorder(model) for each parameter.
function gradient.gradient_norm(...)
  local self, options = objective.read("measure.gradient_norm", { layer = report.none }, ...)
  local first, last = self:range(options.layer)
  local _ <close> = self:follow(1)
  local loss, g = self:gradient()
  g = g:double()
  return g:slice(1, first, last):norm():item(), loss, self.model and norms_by_name(self.model, g)
end

--- measure.gradient_loss_ratio(model, loss, data) or (L, theta) -> |gradient| / loss, one of three quantities that courses call
--- "minimal ratio": the others are measure.minimal_ratio (the share of positive eigenvalues of the Hessian) and
--- measure.sampled_minimal_ratio (the share of perturbations that raise the loss). It falls when the gradient vanishes faster
--- than the loss; at a loss of 0 it is not defined (nan or inf). plumb.fit(..., {record = {"gradient_loss_ratio"}}) logs that
--- of each step's batch.
function gradient.gradient_loss_ratio(...)
  local self = objective.read("measure.gradient_loss_ratio", {}, ...)
  local _ <close> = self:follow(1)
  local loss, g = self:gradient()
  return g:double():norm():item() / loss
end

return gradient
