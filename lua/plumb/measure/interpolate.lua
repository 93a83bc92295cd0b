--- The straight line between two solutions.
local core = require "plumb.core"
local progress = require "plumb.progress"
local report = require "plumb.report"
local format = require "plumb.format"
local objective = require "plumb.measure.objective"
local Module = require "plumb.nn.module"

local interpolate = {}

local function check_ends(who, model, a, b)
  for name, theta in pairs { theta_a = a or false, theta_b = b or false } do
    if not core.is_tensor(theta) or theta:dim() ~= 1 or theta:numel() ~= model.size then
      report.fail("%s: %s must be a theta (%d) of %s, not %s", who, name, model.size, model:describe_self(),
        core.is_tensor(theta) and "of shape " .. format.shape(theta) or theta and type(theta) or "nil")
    end
  end
  if a:dtype() ~= b:dtype() then report.fail("%s: theta_a is %s, but theta_b %s", who, a:dtype(), b:dtype()) end
end

local function check_alphas(who, alphas)
  if core.is_tensor(alphas) then alphas = alphas:flatten():tolist() end
  if type(alphas) ~= "table" or #alphas == 0 then
    report.fail("%s: alphas must be a list of numbers such as {0, 0.5, 1}", who)
  end
  for i, alpha in ipairs(alphas) do
    if report.number(who, "alphas[" .. i .. "]", alpha) - alpha ~= 0 then report.fail("%s: alphas[%d] is not finite", who, i) end
  end
  return alphas
end

--- measure.interpolate(model, theta_a, theta_b, alphas, evaluate) -> a list of what evaluate(network, theta) returned at
--- theta = theta_a + alpha (theta_b - theta_a) for each alpha, network = the model at theta, a function of the input. At alpha
--- 0 and 1 theta is theta_a and theta_b themselves, so results there equal the models' own to the last bit; alphas beyond 0 .. 1
--- extrapolate. evaluate may also be what measure.loss makes: then a list of losses. A tensor of one element becomes a number.
--- The model is not changed; it is evaluated in evaluation mode (with the running statistics that it has).
function interpolate.interpolate(model, theta_a, theta_b, alphas, evaluate)
  local who = "measure.interpolate"
  if not Module.is(model) then report.fail("%s: the model must be a module, not %s", who, type(model)) end
  check_ends(who, model, theta_a, theta_b)
  alphas = check_alphas(who, alphas)
  local losses = objective.is_loss(evaluate) and objective.read(who, {}, evaluate, theta_a):values()
  if not losses and type(evaluate) ~= "function" then
    report.fail("%s: evaluate must be a function (network, theta) or a measure.loss, not %s", who, type(evaluate))
  end
  local results = {}
  local bar <close> = progress.new { label = who, total = #alphas, transient = true }
  for i, alpha in ipairs(alphas) do
    bar:step()
    local theta = alpha == 0 and theta_a or alpha == 1 and theta_b or (theta_a + (theta_b - theta_a) * alpha):evaluate()
    local result = losses and losses(theta)
    if not losses then result = evaluate(objective.network(model, theta), theta) end
    if result == nil then report.fail("%s: evaluate returned nothing at alpha = %g", who, alpha) end
    results[i] = core.is_tensor(result) and result:numel() == 1 and result:item() or result
  end
  return results
end

return interpolate
