--- The optimisers, with PyTorch's names, defaults and formulas. g is the gradient, t the step, counted from 1.
local Optimizer = require "plumb.optim.optimizer"
local core = require "plumb.core"
local report = require "plumb.report"

local rules = {}

-- PyTorch's weight decay: the gradient of weight_decay / 2 |theta|^2 is added.
local function decayed(self, theta, gradient)
  return self.weight_decay ~= 0 and gradient + theta * self.weight_decay or gradient
end

local function full_like(theta, value) return core.full(theta:shape(), value, theta:dtype()) end

local function check_flag(self, name)
  if type(self[name]) ~= "boolean" then
    report.fail("%s: %s must be true or false, not %s", self.name, name, tostring(self[name]))
  end
end

-- An average of what has become 0 should end at 0. It would stay among the smallest numbers, since 0.9 times these is rounded
-- up again, and processors are slow with them: each step would take twice as long. With eps the average is of squares, whose
-- root is added to it: then only where eps hides what goes.
local function flushed(average, eps)
  if eps and eps < 1e-12 then return average end
  return average:flush_subnormal()
end

-- ---- Adam, AdamW ----

local Adam = Optimizer.class("Adam", { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 0 }, [[
optim.Adam{lr = 1e-3, betas = {0.9, 0.999}, eps = 1e-8, weight_decay = 0} (Kingma and Ba 2015):
  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  theta = theta - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
Averages too small for all their digits become 0 (flush_subnormal), as those of SGD and RMSprop do.]])
rules.Adam = Adam

function Adam:check()
  if type(self.betas) ~= "table" or #self.betas ~= 2 then report.fail("%s: betas are two numbers, {0.9, 0.999}", self.name) end
  for i, beta in ipairs(self.betas) do report.number(self.name, "betas[" .. i .. "]", beta, 0, 1 - 1e-12) end
  report.number(self.name, "eps", self.eps, 0)
end

function Adam:is_number(key, before)
  return key == "lr" or key == "betas" and self.momentum_varies and before[2] == self.betas[2]
end

function Adam:set_momentum(value)
  self:let_momentum_vary()
  self.betas = { value, self.betas[2] }
end

function Adam:start(theta) return { full_like(theta, 0), full_like(theta, 0) } end

function Adam:numbers(step)
  local settings = self.settings -- faster than through self: this is asked for at every step
  local b1, b2 = settings.betas[1], settings.betas[2]
  local rate, scale = settings.lr / (1 - b1 ^ step), 1 / math.sqrt(1 - b2 ^ step)
  if self.momentum_varies then return { rate, scale, b1, 1 - b1 } end
  return { rate, scale }
end

-- theta - the step of Adam along the gradient
local function adam_update(self, theta, gradient, state, numbers)
  local b1, b2 = self.betas[1], self.betas[2]
  local keep, add = b1, 1 - b1
  if self.momentum_varies then keep, add = numbers[3], numbers[4] end
  local m = flushed(state[1] * keep + gradient * add)
  local v = flushed(state[2] * b2 + gradient * gradient * (1 - b2), self.eps)
  return theta - m / (v:sqrt() * numbers[2] + self.eps) * numbers[1], { m, v }
end

function Adam:update(theta, gradient, state, numbers)
  return adam_update(self, theta, decayed(self, theta, gradient), state, numbers)
end

local AdamW = Optimizer.class("AdamW", { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 1e-2 }, [[
optim.AdamW{lr = 1e-3, betas = {0.9, 0.999}, eps = 1e-8, weight_decay = 1e-2}: Adam with the weight decay apart from the
gradient (Loshchilov and Hutter 2019): theta = (1 - lr weight_decay) theta, then the step of Adam.]])
rules.AdamW = AdamW
AdamW.check, AdamW.start, AdamW.is_number, AdamW.set_momentum = Adam.check, Adam.start, Adam.is_number, Adam.set_momentum

function AdamW:numbers(step)
  local numbers = Adam.numbers(self, step)
  numbers[#numbers + 1] = 1 - self.lr * self.weight_decay
  return numbers
end

function AdamW:update(theta, gradient, state, numbers)
  return adam_update(self, theta * numbers[#numbers], gradient, state, numbers)
end

-- ---- SGD ----

local SGD = Optimizer.class("SGD", { lr = 1e-2, momentum = 0, dampening = 0, weight_decay = 0, nesterov = false }, [[
optim.SGD{lr = 1e-2, momentum = 0, dampening = 0, weight_decay = 0, nesterov = false}:
  b = momentum b + (1 - dampening) g (b = g at the first step);  theta = theta - lr b
With nesterov the step is g + momentum b (Sutskever et al. 2013).]])
rules.SGD, SGD.switches = SGD, { momentum = true }

function SGD:check()
  report.number("SGD", "momentum", self.momentum, 0)
  report.number("SGD", "dampening", self.dampening)
  check_flag(self, "nesterov")
  if self.nesterov and (self.momentum == 0 or self.dampening ~= 0) then
    report.fail("SGD: nesterov needs a momentum, such as 0.9, and no dampening")
  end
end

function SGD:is_number(key)
  return key == "lr" or key == "dampening" or key == "momentum" and self.momentum_varies
end

function SGD:start(theta) return self.momentum ~= 0 and { full_like(theta, 0) } or {} end

function SGD:numbers(step)
  return { self.lr, step == 1 and 1 or 1 - self.dampening, self.momentum_varies and self.momentum or nil }
end

function SGD:update(theta, gradient, state, numbers)
  gradient = decayed(self, theta, gradient)
  if self.momentum == 0 then return theta - gradient * numbers[1], {} end
  local momentum = self.momentum_varies and numbers[3] or self.momentum
  local b = flushed(state[1] * momentum + gradient * numbers[2])
  local direction = self.nesterov and gradient + b * momentum or b
  return theta - direction * numbers[1], { b }
end

-- ---- RMSprop ----

local RMSprop = Optimizer.class("RMSprop",
  { lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0, centered = false }, [[
optim.RMSprop{lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0, centered = false} (Tieleman and Hinton 2012):
  v = alpha v + (1 - alpha) g^2;  s = g / (sqrt(v) + eps);  theta = theta - lr s
With momentum the step is b = momentum b + s. With centered sqrt(v - a^2) stands in place of sqrt(v), with the mean gradient
a = alpha a + (1 - alpha) g (Graves 2013).]])
rules.RMSprop, RMSprop.switches = RMSprop, { momentum = true, centered = true }

function RMSprop:check()
  check_flag(self, "centered")
  report.number("RMSprop", "alpha", self.alpha, 0, 1)
  report.number("RMSprop", "eps", self.eps, 0)
  report.number("RMSprop", "momentum", self.momentum, 0)
end

function RMSprop:is_number(key) return key == "lr" or key == "momentum" and self.momentum_varies end

-- v, then b with momentum, then a when centered
function RMSprop:start(theta)
  local state = { full_like(theta, 0) }
  if self.momentum ~= 0 then state[#state + 1] = full_like(theta, 0) end
  if self.centered then state[#state + 1] = full_like(theta, 0) end
  return state
end

function RMSprop:numbers() return { self.lr, self.momentum_varies and self.momentum or nil } end

function RMSprop:update(theta, gradient, state, numbers)
  gradient = decayed(self, theta, gradient)
  local v = flushed(state[1] * self.alpha + gradient * gradient * (1 - self.alpha), self.eps)
  local new_state, variance = { v }, v
  if self.centered then
    local a = flushed(state[#state] * self.alpha + gradient * (1 - self.alpha))
    new_state[#state] = a
    variance = (v - a * a):clamp(0) -- rounding can take it below 0
  end
  local direction = gradient / (variance:sqrt() + self.eps)
  if self.momentum ~= 0 then
    direction = flushed(state[2] * (self.momentum_varies and numbers[2] or self.momentum) + direction)
    new_state[2] = direction
  end
  return theta - direction * numbers[1], new_state
end

-- ---- Adagrad ----

local Adagrad = Optimizer.class("Adagrad",
  { lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10 }, [[
optim.Adagrad{lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10} (Duchi et al. 2011):
  v = v + g^2 (from the initial value);  theta = theta - lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps)]])
rules.Adagrad = Adagrad

function Adagrad:check()
  for _, name in ipairs { "lr_decay", "initial_accumulator_value", "eps" } do report.number("Adagrad", name, self[name], 0) end
end

function Adagrad:is_number(key) return key == "lr" or key == "lr_decay" end

function Adagrad:start(theta) return { full_like(theta, self.initial_accumulator_value) } end

function Adagrad:numbers(step) return { self.lr / (1 + (step - 1) * self.lr_decay) } end

function Adagrad:update(theta, gradient, state, numbers)
  gradient = decayed(self, theta, gradient)
  local v = state[1] + gradient * gradient
  return theta - gradient / (v:sqrt() + self.eps) * numbers[1], { v }
end

return rules
