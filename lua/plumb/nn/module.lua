--- What all layers and models have in common: one flat vector theta of parameters.
--
-- A module lists its parameters (name, shape, how they start); the outermost module owns theta, a float tensor (P), and every
-- weight is a view into it, in PyTorch's order. A module is a function of theta: model(x) uses model.theta, model:at(theta)(x)
-- the same network at other parameters.
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"

local Module = { doc = "Module: what all layers and models have in common: theta, at, parameters, state_dict, float, double." }

-- ---- classes ----

local properties = {}  -- fields that are computed: module.theta

local function index(self, name)
  local class = getmetatable(self)
  if properties[name] then return properties[name](self) end
  local value = class[name]
  if value == nil and type(name) == "string" then return Module.parameter_view(self, name) end
  return value
end

local function newindex(self, name, value)
  if name == "theta" then return self:set_theta(value) end
  for _, specification in ipairs(self.specifications or {}) do
    if specification.name == name then return self:set_parameter(specification, value) end
  end
  rawset(self, name, value)
end

--- Module.class(name, doc): a new kind of module. It defines :initialise(...) and :forward(x, context).
function Module.class(name, doc)
  local class = setmetatable({ name = name, doc = doc }, { __index = Module,
    __call = function(class, ...)
      local self = setmetatable({ offset = 0, size = 0, specifications = {} }, class)
      self:initialise(...)
      return self
    end })
  class.__index, class.__newindex = index, newindex
  class.__call = function(self, x) return self:forward(x) end
  class.__tostring = function(self) return self:describe() end
  class.__name = "nn." .. name
  return class
end

--- Module.is(value): is it a module?
function Module.is(value)
  local class = getmetatable(value)
  return type(class) == "table" and getmetatable(class) ~= nil and getmetatable(class).__index == Module
end

--- Module.is_class(value): is it a kind of module, such as nn.ReLU without its ()?
function Module.is_class(value)
  local meta = getmetatable(value)
  return type(value) == "table" and type(meta) == "table" and meta.__index == Module
end

-- ---- parameters ----

--- module:declare(name, shape, low, high): a parameter that starts uniform in [low, high). For initialise.
function Module:declare(name, shape, low, high)
  local count = 1
  for _, size in ipairs(shape) do count = count * size end
  local seed, stream = require("plumb.tensor").next_key()
  local list = self.specifications
  list[#list + 1] = { name = name, shape = shape, first = self.size + 1, count = count, low = low, high = high,
    seed = seed, stream = stream }
  self.size = self.size + count
end

--- module:adopt(child): the child's parameters become part of this module's, with the values they have. For initialise.
function Module:adopt(child)
  local cell = rawget(child, "cell")
  if cell then
    rawset(child, "known", cell:get())
    rawset(child, "cell", nil)
  end
  rawset(child, "owner", self)
  child:move(self.offset + self.size)
  self.size = self.size + child.size
end

-- Children move along when a module becomes part of a larger one.
function Module:move(offset)
  local shift = offset - self.offset
  self.offset = offset
  for _, child in ipairs(self) do
    if child.size > 0 or rawget(child, "owner") == self then child:move(child.offset + shift) end
  end
end

function Module:root()
  local module = self
  while rawget(module, "owner") do module = rawget(module, "owner") end
  return module
end

-- Calls f(path, module, specification) for each parameter, in theta's order.
function Module:each_parameter(f, path)
  path = path or ""
  for _, specification in ipairs(self.specifications) do f(path .. specification.name, self, specification) end
  for i, child in ipairs(self) do child:each_parameter(f, path .. (i - 1) .. ".") end
end

-- Adds the first values of a module's parameters to parts, in float64. Those that it had before it became part of a larger
-- model stay; `known` holds them until the root's theta is made.
local function initial_parts(module, parts, dtypes)
  local known = rawget(module, "known")
  if known then
    parts[#parts + 1], dtypes[known:dtype()] = known:cast("float64"), true
    return rawset(module, "known", nil)
  end
  for _, s in ipairs(module.specifications) do
    local uniform = core.random("uniform", { s.count }, "float64", s.seed, s.stream)
    parts[#parts + 1] = uniform * (s.high - s.low) + s.low
  end
  for _, child in ipairs(module) do initial_parts(child, parts, dtypes) end
end

-- float64 when one of the parts had been made so, else the default.
local function initial_theta(module)
  local parts, dtypes = {}, {}
  initial_parts(module, parts, dtypes)
  local dtype = dtypes.float64 and "float64" or next(dtypes) or require("plumb.tensor").get_default_dtype()
  if #parts == 0 then return core.full({ 0 }, 0, dtype) end
  return core.concat(parts, 1):cast(dtype)
end

--- module:variable(): the variable that holds the root's theta; made when it is first asked for.
function Module:variable()
  local root = self:root()
  if not rawget(root, "cell") then rawset(root, "cell", core.variable(initial_theta(root):evaluate())) end
  return rawget(root, "cell")
end

--- module.theta: all parameters as one tensor (P); of a layer within a model, its part. A tensor taken from here never
--- changes; assigning gives the model new parameters.
function properties.theta(self)
  local theta = self:variable():get()
  if self:root() == self then return theta end
  return theta:slice(1, self.offset + 1, self.offset + self.size)
end

local function check_theta(self, theta, who)
  if not core.is_tensor(theta) then report.fail("%s: theta must be a tensor, not %s", who, type(theta)) end
  if theta:dim() ~= 1 or theta:numel() ~= self.size then
    report.fail("%s: a theta of shape (%d) was expected, the parameters of %s, not one of shape %s", who, self.size,
      self:describe_self(), format.shape(theta))
  end
  if theta:dtype() ~= "float32" and theta:dtype() ~= "float64" then
    report.fail("%s: theta must be float32 or float64, not %s", who, theta:dtype())
  end
  return theta
end

-- The root's theta with new values (n) from element `first` on.
local function replace_part(self, name, first, values)
  local variable = self:variable()
  local whole, count = variable:get(), values:numel()
  if values:dtype() ~= whole:dtype() then
    report.fail("%s: %s for a %s model (see model:float(), model:double())", name, values:dtype(), whole:dtype())
  end
  if count < whole:numel() then
    values = core.concat({ whole:slice(1, 1, first - 1), values, whole:slice(1, first + count) }, 1)
  end
  variable:set(values)
end

function Module:set_theta(theta)
  replace_part(self, "theta", self.offset + 1, check_theta(self, theta, "theta"))
end

-- layer.weight = tensor
function Module:set_parameter(s, value)
  local shape = "(" .. table.concat(s.shape, ", ") .. ")"
  if not core.is_tensor(value) then self:fail("%s must be a tensor of shape %s, not %s", s.name, shape, type(value)) end
  if format.shape(value) ~= shape then self:fail("%s has shape %s, not %s", s.name, shape, format.shape(value)) end
  replace_part(self, s.name, self.offset + s.first, value:flatten())
end

--- module:at(theta) -> the same network, as a function of its input, at other parameters: a float tensor (P).
function Module:at(theta)
  check_theta(self, theta, "at")
  local context = { theta = theta, shift = self.offset }
  return function(x) return self:forward(x, context) end
end

-- What a forward pass computes with: the theta given to at, or that of the model.
local function in_context(self, context)
  if context then return context end
  if core.is_compiling() and self.size > 0 then
    self:fail("the parameters would become constants of the function that is compiled; give it theta and call model:at(theta)(x)")
  end
  return { theta = self:variable():get() }
end

-- The view of one of this module's parameters in the theta of a forward pass.
function Module:weight_in(context, place)
  context = in_context(self, context)
  local s = self.specifications[place]
  local first = self.offset - (context.shift or 0) + s.first
  return context.theta:slice(1, first, first + s.count - 1):reshape(s.shape)
end

-- module.weight, module.bias: a view into theta.
function Module:parameter_view(name)
  for place, s in ipairs(rawget(self, "specifications") or {}) do
    if s.name == name then return self:weight_in(nil, place) end
  end
  return nil
end

--- module:parameters() -> list of {name =, value =, first =, count =}: every weight as a view, and its place in theta.
function Module:parameters()
  local list, theta = {}, self.theta
  self:each_parameter(function(path, module, s)
    local first = module.offset - self.offset + s.first
    list[#list + 1] = { name = path, first = first, count = s.count,
      value = theta:slice(1, first, first + s.count - 1):reshape(s.shape) }
  end)
  return list
end

--- module:state_dict() -> {name = tensor}: names as in PyTorch ("0.weight" counts layers from 0).
function Module:state_dict()
  local state = {}
  for _, parameter in ipairs(self:parameters()) do state[parameter.name] = parameter.value end
  return state
end

--- module:load_state_dict(state): takes the parameters from {name = tensor}; names and shapes must be the model's.
function Module:load_state_dict(state)
  if type(state) ~= "table" then report.fail("load_state_dict: a table {name = tensor}, not %s", type(state)) end
  local parts, known, dtype = {}, {}, self.theta:dtype()
  for _, parameter in ipairs(self:parameters()) do
    local value = state[parameter.name]
    known[parameter.name] = true
    if value == nil then report.fail("load_state_dict: '%s' is missing", parameter.name) end
    if not core.is_tensor(value) then
      report.fail("load_state_dict: '%s' must be a tensor, not %s", parameter.name, type(value))
    end
    if format.shape(value) ~= format.shape(parameter.value) then
      report.fail("load_state_dict: '%s' has shape %s, but the model's has %s", parameter.name, format.shape(value),
        format.shape(parameter.value))
    end
    parts[#parts + 1] = value:cast(dtype):flatten()
  end
  for name in pairs(state) do
    if not known[name] then report.fail("load_state_dict: the model has no parameter '%s'", tostring(name)) end
  end
  if #parts > 0 then self.theta = core.concat(parts, 1) end
end

local function convert(self, dtype)
  local root = self:root()
  if root:variable():get():dtype() == dtype then return self end
  rawset(root, "cell", core.variable(root:variable():get():cast(dtype):evaluate()))
  return self
end

--- module:double() and module:float() change the parameters' dtype and return the module.
function Module:double() return convert(self, "float64") end
function Module:float() return convert(self, "float32") end

-- ---- description and errors ----

function Module:describe_self() return self.name .. "(" .. (self.details and self:details() or "") .. ")" end
Module.describe = Module.describe_self

-- "layer 2 of Sequential: Linear(784, 10)"
function Module:place()
  local owner = rawget(self, "owner")
  if not owner then return self:describe_self() end
  local number = 0
  for i, child in ipairs(owner) do
    if child == self then number = i end
  end
  local outer = rawget(owner, "owner") and owner:place():gsub(": .*$", "") or owner.name
  return ("layer %d of %s: %s"):format(number, outer, self:describe_self())
end

--- module:fail(format, ...): an error that starts with the module's place in its model.
function Module:fail(message, ...) report.fail("%s: %s", self:place(), message:format(...)) end

-- The input must be a tensor, and of theta's dtype where the module has parameters.
function Module:check_input(x, context)
  if not core.is_tensor(x) then self:fail("the input must be a tensor, not %s", type(x)) end
  if #self.specifications == 0 then return x end
  local dtype = in_context(self, context).theta:dtype()
  if x:dtype() ~= dtype then
    self:fail("the input is %s of shape %s, but the parameters are %s (convert it with :%s())", x:dtype(),
      format.shape(x), dtype, dtype == "float32" and "float" or "double")
  end
  return x
end

return Module
