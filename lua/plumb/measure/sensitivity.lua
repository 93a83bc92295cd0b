--- How strongly a network's output and its loss answer to the input.
local core = require "plumb.core"
local report = require "plumb.report"
local set = require "plumb.data.set"
local transform = require "plumb.transform"
local objective = require "plumb.measure.objective"

local sensitivity = {}

-- The squared norms (n) of the rows of a gradient by x (n, ...).
local function row_squares(g) return g:reshape(g:size(1), -1):square():sum(2) end

-- Per sample, the squared Frobenius norm (n) of d output / d input: in evaluation mode a sample's output depends on its own input
-- only, so the gradient of a sum over samples of output k holds row k of every sample's Jacobian.
local function jacobian_squares(network, x, outputs)
  local sum
  for k = 1, outputs do
    local _, g = core.value_and_grad(function(input)
      local y = network(input)
      return y:reshape(y:size(1), -1):slice(2, k, k):sum()
    end, 1, nil, x)
    sum = sum and sum + row_squares(g) or row_squares(g)
  end
  return sum
end

local function mean(list)
  local sum = 0
  for _, value in ipairs(list) do sum = sum + value end
  return sum / #list
end

--- measure.sensitivity(model, loss, data, {batch = 1000, theta = model.theta}) -> output, loss, details: means over the samples
--- of the Frobenius norm of d output / d input (Novak et al. 2018) and of the norm of d loss / d input, the loss that of the
--- sample alone. details: output and loss as lists, one number per sample. The samples are taken in evaluation mode, in which
--- each output depends on its own input alone; loss(output, y) must be a mean over samples.
function sensitivity.sensitivity(model, loss, data, options)
  local who = "measure.sensitivity"
  options = report.options(who, options, { batch = 1000, theta = report.none })
  local L = objective.loss(model, loss, data, { batch = options.batch })
  local self = objective.read(who, {}, L, options.theta)
  local dtype, outputs = self.dtype, nil
  local norms = transform.compile(function(theta, x, y)
    x = set.numbers(x, dtype):cast(dtype)
    local _, g = core.value_and_grad(function(input) return L:at_batch(theta, input, y) end, 1, nil, x)
    return jacobian_squares(objective.network(model, theta), x, outputs):sqrt(), row_squares(g):sqrt() * x:size(1)
  end)
  local details = { output = {}, loss = {} }
  local bar <close> = self:follow(1)
  for _, batch in ipairs(L.batches) do
    bar:step()
    outputs = outputs or objective.network(model, self.theta)(set.numbers(batch[1]:slice(1, 1, 1), dtype):cast(dtype)):numel()
    local by_output, by_loss = norms(self.theta, batch[1], batch[2])
    for name, t in pairs { output = by_output, loss = by_loss } do
      local list = self:check_finite("the gradient by the input", t):tolist()
      table.move(list, 1, #list, #details[name] + 1, details[name])
    end
  end
  return mean(details.output), mean(details.loss), details
end

return sensitivity
