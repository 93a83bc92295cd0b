--- What is measured: the loss over a whole data set as a function of theta, summed over batches in compiled functions.
--
-- A loss is given in one of two ways: as L and theta, L a function of theta or what measure.loss makes; or as a model, a loss
-- function and a data set. Both become an Objective, which knows how to add up over the batches what a function computes for
-- one. Nothing here changes a model: batches are evaluated at a theta that is passed along, in evaluation mode.
local core = require "plumb.core"
local format = require "plumb.format"
local progress = require "plumb.progress"
local report = require "plumb.report"
local set = require "plumb.data.set"
local transform = require "plumb.transform"
local Module = require "plumb.nn.module"

local objective = {}

local BATCH = 1000 -- samples at a time, where nothing else is asked for

-- ---- measure.loss ----

local Loss = { doc = "L = measure.loss(model, loss, data, {batch = 1000}): the mean loss over a data set, a function of theta." }
Loss.__index = Loss
Loss.__name = "measure.loss"
Loss.__tostring = function(self)
  return ("measure.loss of %s on %d samples in %d batches"):format(self.model.name, self.samples, #self.batches)
end

local function is_callable(f)
  local meta = getmetatable(f)
  return type(f) == "function" or type(meta) == "table" and meta.__call ~= nil
end

local function check_model(who, model)
  if not Module.is(model) then report.fail("%s: the model must be a module, not %s", who, type(model)) end
  if model.size == 0 then report.fail("%s: %s has no parameters", who, model:describe_self()) end
end

local function new_loss(who, model, loss, data, batch)
  check_model(who, model)
  if not is_callable(loss) then report.fail("%s: the loss must be a function such as nn.mse_loss, not %s", who, type(loss)) end
  set.check(who, "the data", data)
  report.integer(who, "batch", batch, 1)
  local x, y, list = set.inputs(data), data.y, {}
  for first = 1, #x, batch do
    local last = math.min(first + batch - 1, #x)
    list[#list + 1] = { share = (last - first + 1) / #x, x:slice(1, first, last), y:slice(1, first, last) }
  end
  return setmetatable({ model = model, loss = loss, samples = #x, batches = list }, Loss)
end

--- measure.loss(model, loss, data, {batch = 1000}) -> L: the mean of a loss over a data set {x =, y =} as a function of theta.
--- L(theta) is a number with a gradient. measure's functions go through L batch by batch, each batch weighted by its share of
--- the samples, so that results do not depend on `batch`. loss(output, y) must be a mean over samples. The data take theta's
--- dtype: measure.hessian(L, model.theta:double()) computes in float64 throughout.
function objective.loss(model, loss, data, options)
  return new_loss("measure.loss", model, loss, data, report.options("measure.loss", options, { batch = BATCH }).batch)
end

--- objective.is_loss(value): was it made by measure.loss?
function objective.is_loss(value) return getmetatable(value) == Loss end

-- Real numbers take theta's dtype; integers are labels.
local function with_dtype(t, dtype)
  local is_real = t:dtype() == "float32" or t:dtype() == "float64"
  return is_real and t:dtype() ~= dtype and t:cast(dtype) or t
end

--- L:at_batch(theta, x, y): the loss of one batch; images that are uint8 are numbers in [0, 1] to the model.
function Loss:at_batch(theta, x, y)
  local dtype = theta:dtype()
  return self.loss(objective.network(self.model, theta)(with_dtype(set.numbers(x, dtype), dtype)), with_dtype(y, dtype))
end

function Loss:__call(theta)
  local sum
  for _, batch in ipairs(self.batches) do
    local part = self:at_batch(theta, batch[1], batch[2]) * batch.share
    sum = sum and sum + part or part
  end
  return sum
end

--- objective.network(model, theta) -> the network as a function of its input at theta, in evaluation mode, with the running
--- statistics that the model has: neither its mode nor anything else in it is changed.
function objective.network(model, theta)
  return model:at(theta, { training = false, buffers = model.buffers:cast(theta:dtype()) })
end

-- ---- objectives ----

local Objective = {}
Objective.__index = Objective

--- objective.count_not_finite(t) -> how many elements of a float tensor are infinite or NaN
function objective.count_not_finite(t) return t:numel() - math.floor(t:isfinite():double():sum():item()) end

local function check_theta(who, theta)
  if not core.is_tensor(theta) then
    report.fail("%s: theta must be a tensor of the parameters, such as model.theta, not %s", who, type(theta))
  end
  if theta:dtype() ~= "float32" and theta:dtype() ~= "float64" then
    report.fail("%s: theta must be float32 or float64, not %s", who, theta:dtype())
  end
  if theta:dim() ~= 1 or theta:numel() == 0 then
    report.fail("%s: theta must be a vector (P) of parameters, not of shape %s", who, format.shape(theta))
  end
  local bad = objective.count_not_finite(theta)
  if bad > 0 then report.fail("%s: theta has %d elements that are not finite", who, bad) end
end

local function new_objective(who, L, theta)
  local self = setmetatable({ who = who, L = L }, Objective)
  if getmetatable(L) == Loss then
    self.model, self.batches = L.model, L.batches
    if theta == nil then theta = L.model.theta end
  elseif is_callable(L) and not Module.is(L) then
    self.batches = { { share = 1 } }
  else
    report.fail("%s: needs a loss as a function of theta (see measure.loss), or a model, a loss and a data set; not %s", who,
      type(L))
  end
  check_theta(who, theta)
  if self.model and theta:numel() ~= self.model.size then
    report.fail("%s: theta has %d elements, but %s has %d parameters", who, theta:numel(), self.model:describe_self(),
      self.model.size)
  end
  self.theta, self.size, self.dtype = theta:evaluate(), theta:numel(), theta:dtype()
  return self
end

--- objective.read(who, defaults, ...) -> an objective and the options of a measure function that is called as
--- f(model, loss, data, options) or f(L, theta, options).
function objective.read(who, defaults, first, second, third, fourth)
  local names = { batch = report.none }
  for name, value in pairs(defaults) do names[name] = value end
  if Module.is(first) then
    local options = report.options(who, fourth, names)
    return new_objective(who, new_loss(who, first, second, third, options.batch or BATCH)), options
  end
  local options = report.options(who, third, names)
  if options.batch ~= nil then
    report.fail("%s: the option batch goes with a model, a loss and a data set; else give it to measure.loss", who)
  end
  return new_objective(who, first, second), options
end

--- objective:sum(build) -> a function (theta, ...) of tensors. build(f, theta, ...) returns tensors computed from f, the loss of
--- one batch as a function of theta; the function returns their means over the data set. Compiled once, when it is first called.
function Objective:sum(build)
  local parts = #self.batches[1]
  -- arguments: theta, share, the batch's tensors, then what the caller gave
  local function of_batch(theta, share, ...)
    local arguments = table.pack(...)
    local function f(parameters) return self:batch_loss(parameters, table.unpack(arguments, 1, parts)) end
    local results = { build(f, theta, table.unpack(arguments, parts + 1, arguments.n)) }
    for i, result in ipairs(results) do results[i] = result * share end
    return results
  end
  local function added(count, ...)
    local arguments = table.pack(...)
    local results = of_batch(table.unpack(arguments, count + 1, arguments.n))
    for i, result in ipairs(results) do results[i] = arguments[i] + result end
    return table.unpack(results)
  end
  local start, add = transform.compile(function(...) return table.unpack(of_batch(...)) end), nil
  return function(theta, ...)
    local sums
    for _, batch in ipairs(self.batches) do
      if self.bar then self.bar:step() end
      local arguments = table.move(batch, 1, parts, 3, { theta, batch.share })
      table.move({ ... }, 1, select("#", ...), parts + 3, arguments)
      if not sums then
        sums = { start(table.unpack(arguments)) }
      else
        local count = #sums
        add = add or transform.compile(function(...) return added(count, ...) end)
        sums = { add(table.unpack(table.move(arguments, 1, #arguments, #sums + 1, sums))) }
      end
    end
    return table.unpack(sums)
  end
end

-- The loss of a batch, checked: a single number.
function Objective:batch_loss(theta, ...)
  local value = self.model and self.L:at_batch(theta, ...) or self.L(theta)
  if not core.is_tensor(value) then report.fail("%s: the loss must return a tensor, not %s", self.who, type(value)) end
  if value:numel() ~= 1 then
    report.fail("%s: the loss must be a single number, not of shape %s", self.who, format.shape(value))
  end
  return value:dim() == 0 and value or value:reshape({})
end

--- objective:follow(passes) -> a progress line for so many passes over the data set (nil: nobody knows), to be closed.
function Objective:follow(passes)
  self.bar = progress.new { label = self.who, total = passes and math.ceil(passes) * #self.batches, transient = true }
  return self.bar
end

--- objective:check_finite(what, t) -> t, or an error that names what is not finite.
function Objective:check_finite(what, t)
  local bad = objective.count_not_finite(t)
  if bad == 0 then return t end
  if t:numel() == 1 then
    local text = tostring(t:item()):gsub("^-(nan)", "%1") -- nan has a sign in C's text, which means nothing
    report.fail("%s: %s is not finite but %s", self.who, what, text)
  end
  report.fail("%s: %d of the %d elements of %s are not finite", self.who, bad, t:numel(), what)
end

--- objective:value_and_gradient() -> a function theta -> loss, gradient (P), both tensors.
function Objective:value_and_gradient()
  return self:sum(function(f, theta) return core.value_and_grad(f, 1, nil, theta) end)
end

--- objective:values() -> a function theta -> loss, a tensor.
function Objective:values()
  return self:sum(function(f, theta) return f(theta) end)
end

--- objective:gradient() -> the loss, a number, and the gradient (P) at the objective's theta; both finite.
function Objective:gradient()
  local loss, gradient = self:value_and_gradient()(self.theta)
  return self:check_finite("the loss", loss):item(), self:check_finite("the gradient", gradient)
end

-- ---- a part of the parameters ----

local function layer_by_name(self, name)
  local first, last
  for _, parameter in ipairs(self.model:parameters()) do
    if parameter.name == name or parameter.name:sub(1, #name + 1) == name .. "." then
      first, last = first or parameter.first, parameter.first + parameter.count - 1
    end
  end
  if not first then
    local names = {}
    for i, parameter in ipairs(self.model:parameters()) do names[i] = parameter.name end
    report.fail("%s: the model has no layer '%s' (its parameters: %s)", self.who, name, table.concat(names, ", "))
  end
  return first, last
end

--- objective:range(layer) -> the first and last place in theta of what `layer` means: nil for all; {first, last}; a layer of
--- the model; the name of a parameter ("0.weight") or of a layer ("0") as in model:parameters().
function Objective:range(layer)
  if layer == nil then return 1, self.size end
  if Module.is(layer) then return objective.module_range(self.who, layer, self.size) end
  if type(layer) == "string" and self.model then return layer_by_name(self, layer) end
  if type(layer) == "table" and #layer == 2 then
    local first = report.integer(self.who, "layer[1]", layer[1], 1, self.size)
    return first, report.integer(self.who, "layer[2]", layer[2], first, self.size)
  end
  report.fail("%s: layer must be {first, last} in theta%s, not %s", self.who,
    self.model and ", a layer of the model or a name such as '0.weight'" or "", type(layer))
end

--- objective.module_range(who, layer, size) -> the first and last place of a layer's parameters in its model's theta (size).
function objective.module_range(who, layer, size)
  if layer:root().size ~= size then
    report.fail("%s: %s belongs to a model of %d parameters, not of %d", who, layer:place(), layer:root().size, size)
  end
  if layer.size == 0 then report.fail("%s: %s has no parameters", who, layer:place()) end
  local offset = layer.theta_part.offset
  return offset + 1, offset + layer.size
end

--- objective.padded(v, first, last, size): v (n) of a layer as a vector (size) that is zero elsewhere.
function objective.padded(v, first, last, size)
  if first == 1 and last == size then return v end
  local function zeros(count) return core.full({ count }, 0, v:dtype()) end
  return core.concat({ zeros(first - 1), v, zeros(size - last) }, 1)
end

--- objective:hessian_product(layer) -> f, n: f(v, theta) is the Hessian at theta (by default the objective's) times v (n); of the
--- layer's n parameters alone (a diagonal block of the Hessian) where a layer is named.
function Objective:hessian_product(layer)
  local first, last = self:range(layer)
  local multiply = self:sum(function(f, theta, v)
    return transform.hvp(f)(theta, objective.padded(v, first, last, self.size)):slice(1, first, last)
  end)
  return function(v, theta) return multiply(theta or self.theta, v) end, last - first + 1
end

return objective
