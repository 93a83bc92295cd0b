--- What all optimisers have in common. A step is made of ordinary operators: (theta, gradient, state) -> (theta', state'),
--- so it can be compiled and differentiated.
--
-- The contract: optimizer:start(theta) -> list of state tensors; optimizer:numbers(step) -> list of numbers for step 1, 2, ...;
-- optimizer:update(theta, gradient, state, numbers) -> theta', list of state tensors'. The numbers (learning rate, bias
-- corrections) are computed in double precision outside of the graph, so that they can change without a new plan.
-- optimizer:step(theta, gradient) -> theta' keeps the state inside, for loops written by hand.
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"

-- switches: the settings that decide how many state tensors there are, by being off (0, false) or on.
local Optimizer = { switches = {} }

local function is_on(value) return value ~= 0 and value ~= false end

--- Optimizer.class(name, defaults, doc): a new kind, optim.NAME{lr = ...}. It defines :check(), :start, :numbers and :update.
--- The settings stand apart from the rest, so that a change of them is checked and noticed: those that are part of the
--- compiled update rather than of its numbers make another `version`.
function Optimizer.class(name, defaults, doc)
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
    local value = self.settings[key]
    if value == nil then value = new[key] end
    return value
  end
  new.__newindex = function(self, key, value)
    if defaults[key] == nil then return rawset(self, key, value) end
    local before = self.settings[key]
    if new.switches[key] and is_on(before) ~= is_on(value) then
      report.fail("%s: the setting %s cannot be switched on or off; make a new optimiser", name, key)
    end
    self.settings[key] = value
    local fits, message = pcall(check, self)
    if not fits then
      self.settings[key] = before
      error(message, 0)
    end
    if not self:is_number(key, before) then rawset(self, "version", self.version + 1) end
  end
  return setmetatable(new, { __call = function(_, options)
    local self = setmetatable({ settings = report.options(name, options, defaults), version = 0, momentum_varies = false }, new)
    check(self)
    return self
  end })
end

-- Has the setting `key`, which was `before`, changed in :numbers alone?
function Optimizer:is_number(key) return key == "lr" end

-- The momentum is a constant of the compiled update, which is the fastest, until something changes it at every step: from then
-- on it is one of the numbers.
function Optimizer:let_momentum_vary()
  if self.momentum_varies then return end
  rawset(self, "momentum_varies", true)
  rawset(self, "version", self.version + 1)
end

--- optimizer:set_momentum(value): what a schedule that cycles the momentum sets at each step. An optimiser without momentum
--- stays without.
function Optimizer:set_momentum(value)
  if (self.momentum or 0) == 0 then return end
  self:let_momentum_vary()
  self.momentum = value
end

--- name_of(value) -> "Adam", "SGD", ... for an optimiser, otherwise nil.
function Optimizer.name_of(value)
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
      Optimizer.name_of(self) or "optim", core.is_tensor(theta) and format.shape(theta) or type(theta),
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

return Optimizer
