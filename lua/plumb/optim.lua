--- plumb.optim: optimisers. A step is made of ordinary operators: (theta, gradient, state) -> (theta', state'), so it can be
--- compiled and differentiated.
--
-- The contract: optimizer:start(theta) -> list of state tensors; optimizer:numbers(step) -> list of numbers for step 1, 2, ...;
-- optimizer:update(theta, gradient, state, numbers) -> theta', list of state tensors'. The numbers (learning rate, bias
-- corrections) are computed in double precision outside of the graph, so that they can change without a new plan.
-- optimizer:step(theta, gradient) -> theta' keeps the state inside, for loops written by hand.
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"

local optim = {}

local Optimizer = {}

-- optim.NAME{lr = ...}. The settings stand apart from the rest, so that a change of them is checked and noticed: all but lr
-- are part of the compiled update, which `version` tells from that of other settings.
local function class(name, defaults, doc)
  local new = { name = name, doc = doc }
  for key, value in pairs(Optimizer) do new[key] = value end
  local function check(self)
    report.number(name, "lr", self.lr, 0)
    report.number(name, "weight_decay", self.weight_decay, 0)
    self:check()
  end
  new.__name = "optim." .. name
  new.__tostring = function(self) return ("%s{lr = %g}"):format(name, self.lr) end
  new.__index = function(self, key)
    local value = rawget(self, "settings")[key]
    if value == nil then value = new[key] end
    return value
  end
  new.__newindex = function(self, key, value)
    if defaults[key] == nil then return rawset(self, key, value) end
    local before = self.settings[key]
    self.settings[key] = value
    local fits, message = pcall(check, self)
    if not fits then
      self.settings[key] = before
      error(message, 0)
    end
    if key ~= "lr" then rawset(self, "version", self.version + 1) end
  end
  optim[name] = setmetatable(new, { __call = function(_, options)
    local self = setmetatable({ settings = report.options(name, options, defaults), version = 0 }, new)
    check(self)
    return self
  end })
  return new
end

--- optim.name_of(value) -> "Adam", "SGD", ... for an optimiser, otherwise nil.
function optim.name_of(value)
  local made_by = getmetatable(value)
  return type(made_by) == "table" and made_by.step == Optimizer.step and made_by.name or nil
end

-- The update as a compiled function of variables (the state), theta, gradient and numbers.
local function compile_update(self, count)
  return core.compile(function(...)
    local arguments = { ... }
    local state = table.move(arguments, 1, count, 1, {})
    local numbers = table.move(arguments, count + 3, #arguments, 1, {})
    local theta, new_state = self:update(arguments[count + 1], arguments[count + 2], state, numbers)
    new_state[count + 1] = theta
    return table.unpack(new_state)
  end)
end

--- optimizer:step(theta, gradient) -> theta': one step with the state kept in the optimiser.
function Optimizer:step(theta, gradient)
  if not core.is_tensor(theta) or not core.is_tensor(gradient) or format.shape(theta) ~= format.shape(gradient) then
    report.fail("%s: optimizer:step(theta, gradient) takes two tensors of one shape, not %s and %s",
      optim.name_of(self) or "optim", core.is_tensor(theta) and format.shape(theta) or type(theta),
      core.is_tensor(gradient) and format.shape(gradient) or type(gradient))
  end
  if not self.state then
    self.state, self.steps, self.shape = {}, 0, format.shape(theta)
    for i, tensor in ipairs(self:start(theta)) do self.state[i] = core.variable(tensor) end
  end
  if self.compiled_version ~= self.version then
    self.compiled, self.compiled_version = compile_update(self, #self.state), self.version
  end
  if format.shape(theta) ~= self.shape then
    report.fail("%s: theta has shape %s, but the state is that of earlier steps with shape %s; see optimizer:reset()",
      self.name, format.shape(theta), self.shape)
  end
  local arguments, numbers = table.move(self.state, 1, #self.state, 1, {}), self:numbers(self.steps + 1)
  local at = #arguments
  arguments[at + 1], arguments[at + 2] = theta, gradient
  table.move(numbers, 1, #numbers, at + 3, arguments)
  local new_theta = self.compiled(table.unpack(arguments))
  self.steps = self.steps + 1 -- a step that failed does not count
  return new_theta
end

--- optimizer:reset(): forgets the state that :step has gathered.
function Optimizer:reset() self.state, self.steps, self.compiled_version = nil, nil, nil end

-- PyTorch's weight decay: the gradient of weight_decay / 2 |theta|^2 is added.
local function decayed(self, theta, gradient)
  return self.weight_decay ~= 0 and gradient + theta * self.weight_decay or gradient
end

local function zeros_like(theta) return core.full(theta:shape(), 0, theta:dtype()) end

-- ---- Adam ----

local Adam = class("Adam", { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 0 }, [[
optim.Adam{lr = 1e-3, betas = {0.9, 0.999}, eps = 1e-8, weight_decay = 0} (Kingma and Ba 2015):
  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  theta = theta - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)]])

function Adam:check()
  if type(self.betas) ~= "table" or #self.betas ~= 2 then report.fail("Adam: betas are two numbers, {0.9, 0.999}") end
  for i, beta in ipairs(self.betas) do report.number("Adam", "betas[" .. i .. "]", beta, 0, 1 - 1e-12) end
  report.number("Adam", "eps", self.eps, 0)
end

function Adam:start(theta) return { zeros_like(theta), zeros_like(theta) } end

function Adam:numbers(step)
  return { self.lr / (1 - self.betas[1] ^ step), 1 / math.sqrt(1 - self.betas[2] ^ step) }
end

function Adam:update(theta, gradient, state, numbers)
  local b1, b2 = self.betas[1], self.betas[2]
  gradient = decayed(self, theta, gradient)
  local m = state[1] * b1 + gradient * (1 - b1)
  local v = state[2] * b2 + gradient * gradient * (1 - b2)
  return theta - m / (v:sqrt() * numbers[2] + self.eps) * numbers[1], { m, v }
end

-- ---- SGD ----

local SGD = class("SGD", { lr = 1e-2, momentum = 0, dampening = 0, weight_decay = 0, nesterov = false }, [[
optim.SGD{lr = 1e-2, momentum = 0, dampening = 0, weight_decay = 0, nesterov = false}:
  b = momentum b + (1 - dampening) g (b = g at the first step);  theta = theta - lr b
With nesterov the step is g + momentum b (Sutskever et al. 2013).]])

function SGD:check()
  if self.has_state ~= nil and self.has_state ~= (self.momentum ~= 0) then
    report.fail("SGD: the momentum cannot be switched on or off; make a new optimiser")
  end
  report.number("SGD", "momentum", self.momentum, 0)
  report.number("SGD", "dampening", self.dampening)
  if type(self.nesterov) ~= "boolean" then
    report.fail("SGD: nesterov must be true or false, not %s", tostring(self.nesterov))
  end
  if self.nesterov and (self.momentum == 0 or self.dampening ~= 0) then
    report.fail("SGD: nesterov needs a momentum, such as 0.9, and no dampening")
  end
  rawset(self, "has_state", self.momentum ~= 0)
end

function SGD:start(theta) return self.momentum ~= 0 and { zeros_like(theta) } or {} end

function SGD:numbers(step) return { self.lr, step == 1 and 1 or 1 - self.dampening } end

function SGD:update(theta, gradient, state, numbers)
  gradient = decayed(self, theta, gradient)
  if self.momentum == 0 then return theta - gradient * numbers[1], {} end
  local b = state[1] * self.momentum + gradient * numbers[2]
  local direction = self.nesterov and gradient + b * self.momentum or b
  return theta - direction * numbers[1], { b }
end

return optim
