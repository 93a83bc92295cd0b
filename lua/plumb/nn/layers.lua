--- The layers, with PyTorch's names, arguments, defaults and initialisation.
local Module = require "plumb.nn.module"
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"

local layers = {}

-- ---- linear ----

layers.Linear = Module.class("Linear", [[
nn.Linear(inputs, outputs, {bias = true}): y = x W^T + b for x (..., inputs), giving (..., outputs).
weight (outputs, inputs) and bias (outputs) start uniform in +-1/sqrt(inputs) (kaiming_uniform with a = sqrt 5).]])

function layers.Linear:initialise(inputs, outputs, options)
  self.inputs = report.integer("Linear", "inputs", inputs, 1)
  self.outputs = report.integer("Linear", "outputs", outputs, 1)
  self.has_bias = report.boolean("Linear", "bias", report.options("Linear", options, { bias = true }).bias)
  local bound = 1 / math.sqrt(inputs)
  self:declare("weight", { outputs, inputs }, -bound, bound)
  if self.has_bias then self:declare("bias", { outputs }, -bound, bound) end
end

function layers.Linear:details() return self.inputs .. ", " .. self.outputs end

function layers.Linear:forward(x, pass)
  if not pass then return self(x) end
  self:check_input(x, pass)
  if x:dim() == 0 or x:size(-1) ~= self.inputs then
    self:fail("takes inputs of shape (..., %d), not %s", self.inputs, format.shape(x))
  end
  local y = core.matmul(x, core.transpose(self:weight_in(pass, 1)))
  return self.has_bias and y + self:weight_in(pass, 2) or y
end

-- ---- shapes ----

layers.Flatten = Module.class("Flatten", "nn.Flatten(): (n, a, b, ...) becomes (n, a * b * ...).")
function layers.Flatten:initialise(...)
  if select("#", ...) > 0 then report.fail("Flatten: takes no arguments; it keeps the first axis alone") end
end
function layers.Flatten:forward(x)
  self:check_input(x)
  if x:dim() == 0 then self:fail("takes inputs with a batch axis, not a single number") end
  return core.reshape(x, x:size(1), x:size(1) > 0 and -1 or 0)
end

layers.Identity = Module.class("Identity", "nn.Identity(): the input itself.")
function layers.Identity:initialise() end
function layers.Identity:forward(x) return self:check_input(x) end

-- ---- activations ----

-- A layer that applies one operator with a fixed parameter: nn.LeakyReLU(0.01).
local function activation(name, operator, parameter, default)
  local row = core.operators[operator]
  local class = Module.class(name, ("nn.%s(%s): %s"):format(name, parameter and parameter .. " = " .. default or "", row.doc))
  function class:initialise(value)
    if value ~= nil and not parameter then report.fail("%s: takes no arguments", name) end
    if parameter then self.value = report.number(name, parameter, value == nil and default or value) end
  end
  function class:details() return parameter and tostring(self.value) or "" end
  function class:forward(x)
    self:check_input(x)
    if parameter then return row.call(x, self.value) end
    return row.call(x)
  end
  layers[name] = class
end

activation("ReLU", "relu")
activation("LeakyReLU", "leaky_relu", "negative_slope", 0.01)
activation("ELU", "elu", "alpha", 1)
activation("SELU", "selu")
activation("GELU", "gelu")
activation("Sigmoid", "sigmoid")
activation("Tanh", "tanh")
activation("Softplus", "softplus", "beta", 1)

-- The same along an axis: nn.Softmax(2).
local function along_axis(name, operator)
  local row = core.operators[operator]
  local class = Module.class(name, ("nn.%s(axis = -1): %s"):format(name, row.doc))
  function class:initialise(axis) self.axis = report.integer(name, "axis", axis == nil and -1 or axis) end
  function class:details() return tostring(self.axis) end
  function class:forward(x)
    self:check_input(x)
    if self.axis == 0 or math.abs(self.axis) > x:dim() then
      self:fail("shape %s has no such axis (they count from 1, or from the end with -1)", format.shape(x))
    end
    return row.call(x, self.axis)
  end
  layers[name] = class
end

along_axis("Softmax", "softmax")
along_axis("LogSoftmax", "log_softmax")

-- ---- containers ----

layers.Sequential = Module.class("Sequential", "nn.Sequential{layer, layer, ...}: each layer gets what the one before gives.")

-- Whatever is wrong with the list is found before any layer becomes part of the model.
local function check_layers(list)
  local seen = {}
  for name in pairs(list) do
    if not math.tointeger(name) then report.fail("Sequential: '%s' has no place in a list of layers", tostring(name)) end
  end
  for i = 1, #list do
    local layer = list[i]
    if Module.is_class(layer) then report.fail("Sequential: layer %d is nn.%s without its ()", i, layer.name) end
    if not Module.is(layer) then report.fail("Sequential: layer %d is not a layer but %s", i, type(layer)) end
    if layer:holds_state() and (rawget(layer, "owner") or seen[layer]) then
      report.fail("Sequential: layer %d (%s) is already part of a model; make one for each place", i, layer:describe_self())
    end
    seen[layer] = true
  end
end

function layers.Sequential:initialise(list, ...)
  if Module.is(list) or select("#", ...) > 0 then list = { list, ... } end
  if type(list) ~= "table" or #list == 0 then report.fail("Sequential: a list of layers, nn.Sequential{ ... }") end
  check_layers(list)
  for i = 1, #list do
    self:adopt(list[i])
    self[i] = list[i]
  end
end

function layers.Sequential:forward(x, pass)
  if not pass then return self(x) end
  for i = 1, #self do x = self[i]:forward(x, pass) end
  return x
end

function layers.Sequential:describe()
  local lines = { "Sequential {" }
  for i, layer in ipairs(self) do
    lines[#lines + 1] = ("  [%d] %s"):format(i, (layer:describe():gsub("\n", "\n  ")))
  end
  lines[#lines + 1] = ("}  %d parameters"):format(self.size)
  return table.concat(lines, "\n")
end

return layers
