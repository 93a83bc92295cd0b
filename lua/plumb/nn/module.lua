--- What all layers and models have in common: one flat vector theta of parameters, and one of buffers.
--
-- A module lists its parameters (name, shape, how they start); the outermost module owns theta, a float tensor (P), and every
-- weight is a view into it, in PyTorch's order. A module is a function of theta: model(x) uses model.theta, model:at(theta)(x)
-- the same network at other parameters. What a module remembers beside its parameters, such as running statistics, stands in
-- a vector of the same kind, `buffers` (B), which training-mode passes update.
local core = require "plumb.core"
local flat = require "plumb.nn.flat"
local format = require "plumb.format"
local Pass = require "plumb.nn.pass"
local report = require "plumb.report"

local Module = { doc = [[
Module: what all layers and models have in common: theta, buffers, at, train, eval, predict, state_dict, float, double.]] }

-- ---- classes ----

local properties = {}  -- fields that are computed: module.theta

local function index(self, name)
  if properties[name] then return properties[name](self) end
  local value = getmetatable(self)[name]
  if value == nil and type(name) == "string" then
    local kind, entry = flat.find(self, name)
    if kind then return self:view(kind, entry) end
  end
  return value
end

local function newindex(self, name, value)
  if name == "theta" then return self:set_theta(value) end
  if name == "buffers" then return self:set_buffers(value) end
  local kind, entry = flat.find(self, name)
  if kind then return self:set_entry(kind, entry, value) end
  rawset(self, name, value)
end

--- Module.class(name, doc): a new kind of module. It defines :initialise(...), which declares parameters and buffers, and
--- :forward(x, pass), which hands `pass` on to its children's forward. One that draws random numbers has the field
--- is_random = true.
function Module.class(name, doc)
  local class = setmetatable({ name = name, doc = doc }, { __index = Module,
    __call = function(class, ...)
      local self = setmetatable({ training = true }, class)
      for _, kind in ipairs(flat.kinds) do rawset(self, kind, flat.new_part()) end
      self:initialise(...)
      return self
    end })
  class.__index, class.__newindex = index, newindex
  class.__call = function(self, x) return Pass.run(self, x) end
  class.__tostring = function(self) return self:describe() end
  class.__names = flat.names -- for completion at the prompt
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

-- ---- declaring ----

--- module:declare(name, shape, low, high): a parameter that starts uniform in [low, high), or without `high` as the number
--- `low`. For initialise.
function Module:declare(name, shape, low, high)
  local entry = { name = name, shape = shape, low = low, high = high }
  if high then entry.seed, entry.stream = require("plumb.tensor").next_key() end
  flat.declare(self.theta_part, entry)
end

--- module:declare_buffer(name, shape, value, dtype): a buffer that starts as a number. Among its siblings it is held in
--- theta's dtype; with a dtype such as "int64" it shows itself in that one. For initialise.
function Module:declare_buffer(name, shape, value, dtype)
  flat.declare(self.buffer_part, { name = name, shape = shape, low = value, dtype = dtype })
end

--- module:adopt(child): the child's parameters and buffers become part of this module's, with the values they have. For
--- initialise.
function Module:adopt(child)
  rawset(child, "owner", self)
  for _, kind in ipairs(flat.kinds) do flat.adopt(self, child, kind) end
end

--- module:holds_state(): has it parameters or buffers? Such a module has one place only.
function Module:holds_state() return self.size + self.buffer_size > 0 end

function Module:root()
  local module = self
  while rawget(module, "owner") do module = rawget(module, "owner") end
  return module
end

-- ---- the vectors ----

--- module.size, module.buffer_size: how many parameters and numbers in buffers there are.
function properties.size(self) return self.theta_part.size end
function properties.buffer_size(self) return self.buffer_part.size end

--- module:variable(), module:buffer_variable(): the variables that hold the root's theta and buffers; made when they are first
--- asked for.
function Module:variable() return flat.variable(self:root(), "theta_part") end
function Module:buffer_variable()
  local root = self:root()
  return root.buffer_part.variable or flat.variable(root, "buffer_part", self:variable():get():dtype())
end

local variable_of = { theta_part = Module.variable, buffer_part = Module.buffer_variable }

-- This module's part of the root's vector.
local function vector_of(self, kind)
  local vector, part = variable_of[kind](self):get(), self[kind]
  if self:root() == self then return vector end
  return vector:slice(1, part.offset + 1, part.offset + part.size)
end

--- module.theta: all parameters as one tensor (P); of a layer within a model, its part. A tensor taken from here never
--- changes; assigning gives the model new parameters.
function properties.theta(self) return vector_of(self, "theta_part") end

--- module.buffers: all buffers as one tensor (B), likewise.
function properties.buffers(self) return vector_of(self, "buffer_part") end

local function check_vector(self, who, name, vector, size)
  if not core.is_tensor(vector) then report.fail("%s: %s must be a tensor, not %s", who, name, type(vector)) end
  if vector:dim() ~= 1 or vector:numel() ~= size then
    report.fail("%s: %s of shape (%d) was expected, as %s has it, not one of shape %s", who, name, size, self:describe_self(),
      format.shape(vector))
  end
  if vector:dtype() ~= "float32" and vector:dtype() ~= "float64" then
    report.fail("%s: %s must be float32 or float64, not %s", who, name, vector:dtype())
  end
  return vector
end

-- variable, vector: the root's, and what it is with new values (n) from element `first` on.
local function replaced(self, kind, name, first, values)
  local variable = variable_of[kind](self)
  local whole = variable:get()
  if values:dtype() ~= whole:dtype() then
    report.fail("%s: %s for a %s model (see model:float(), model:double())", name, values:dtype(), whole:dtype())
  end
  return variable, flat.replaced(whole, first, values)
end

local function replace(...)
  local variable, vector = replaced(...)
  variable:set(vector)
end

function Module:set_theta(theta)
  check_vector(self, "theta", "theta", theta, self.size)
  replace(self, "theta_part", "theta", self.theta_part.offset + 1, theta)
end

function Module:set_buffers(buffers)
  check_vector(self, "buffers", "buffers", buffers, self.buffer_size)
  replace(self, "buffer_part", "buffers", self.buffer_part.offset + 1, buffers)
end

-- layer.weight = tensor
function Module:set_entry(kind, entry, value)
  local shape = "(" .. table.concat(entry.shape, ", ") .. ")"
  if not core.is_tensor(value) then self:fail("%s must be a tensor of shape %s, not %s", entry.name, shape, type(value)) end
  if format.shape(value) ~= shape then
    self:fail("%s has shape %s, not %s", entry.name, shape, format.shape(value))
  end
  if entry.dtype then value = value:cast(variable_of[kind](self):get():dtype()) end
  replace(self, kind, entry.name, self[kind].offset + entry.first, value:flatten())
end

--- module:own_theta() -> the root's theta, which a function that is compiled must not take for a constant.
function Module:own_theta()
  if core.is_compiling() and self.size > 0 then
    self:fail("the parameters would become constants of the function that is compiled; give it theta and call model:at(theta)(x)")
  end
  return self:variable():get()
end

-- layer.weight, layer.running_mean: a view into theta or buffers.
function Module:view(kind, entry)
  local vector = kind == "theta_part" and self:own_theta() or self:buffer_variable():get()
  return flat.view(vector, self[kind], entry, 0)
end

-- ---- forward passes ----

--- module:at(theta) -> the same network, as a function of its input, at other parameters: a float tensor (P).
--- module:at(theta, {buffers =, key =, training =}): also with other buffers (B); with random numbers that are a function of
--- an int64 key {seed, step} with a step below 2^32; in training or evaluation mode, whatever the modes of its layers. With
--- `buffers` nothing is changed in the model: in training mode the function returns the output and the new buffers. So all
--- of it can be compiled.
function Module:at(theta, options)
  check_vector(self, "at", "theta", theta, self.size)
  if options == nil then return function(x) return Pass.run(self, x, theta) end end
  options = report.options("at", options, { buffers = report.none, key = report.none, training = report.none })
  if options.buffers ~= nil then check_vector(self, "at", "buffers", options.buffers, self.buffer_size) end
  local key = options.key
  if key ~= nil and not (core.is_tensor(key) and key:dtype() == "int64" and key:dim() == 1 and #key == 2) then
    report.fail("at: the key must be an int64 tensor {seed, step}, not %s", core.is_tensor(key)
      and ("%s of shape %s"):format(key:dtype(), format.shape(key)) or type(key))
  end
  if options.training ~= nil and type(options.training) ~= "boolean" then
    report.fail("at: training must be true or false, not %s", tostring(options.training))
  end
  return function(x) return Pass.run(self, x, theta, options) end
end

--- module:predict(x, {batch = 500}) -> the outputs for x (n, ...), in evaluation mode whatever mode the module is in, and
--- batch by batch, which bounds the memory it takes.
function Module:predict(x, options)
  local size = report.integer("predict", "batch", report.options("predict", options, { batch = 500 }).batch, 1)
  if not core.is_tensor(x) or x:dim() == 0 then
    report.fail("predict: x must be a tensor with a batch axis, not %s", core.is_tensor(x) and "a single number" or type(x))
  end
  local f, parts = self:at(self.theta, { training = false }), {}
  for first = 1, math.max(#x, 1), size do
    parts[#parts + 1] = f(x:slice(1, first, math.min(first + size - 1, #x))):evaluate()
  end
  return #parts == 1 and parts[1] or core.concat(parts, 1)
end

-- For forward: this module's parameter number `place`, as the pass has it.
function Module:weight_in(pass, place)
  local theta, shift = pass:theta_of(self)
  return flat.view(theta, self.theta_part, self.theta_part.entries[place], shift)
end

-- ---- modes ----

--- module:each_module(f): calls f for the module itself, its children, and theirs.
function Module:each_module(f)
  f(self)
  for _, child in ipairs(self) do child:each_module(f) end
end

--- module:train(mode = true): puts the module and all below it into training mode (or out of it) and returns it. New modules
--- are in training mode: dropout drops, and batch normalisation uses the batch's statistics and updates the running ones at
--- every pass.
function Module:train(mode)
  if mode == nil then mode = true end
  if type(mode) ~= "boolean" then report.fail("train: the mode must be true or false, not %s", tostring(mode)) end
  self:each_module(function(module) rawset(module, "training", mode) end)
  return self
end

--- module:eval(): evaluation mode, the opposite of module:train(): passes change nothing and draw no random numbers.
function Module:eval() return self:train(false) end

--- module:draws(): does a pass in training mode draw random numbers?
function Module:draws()
  local draws = false
  self:each_module(function(module) draws = draws or module.is_random == true end)
  return draws
end

-- ---- state ----

--- module:parameters() -> list of {name =, value =, first =, count =}: every weight as a view, and its place in theta.
function Module:parameters()
  local list, theta, offset = {}, self.theta, self.theta_part.offset
  flat.each(self, "theta_part", function(path, module, entry)
    list[#list + 1] = { name = path, first = module.theta_part.offset - offset + entry.first, count = entry.count,
      value = flat.view(theta, module.theta_part, entry, offset) }
  end)
  return list
end

--- module:state_dict() -> {name = tensor}: parameters and buffers, with names as in PyTorch ("0.weight" counts layers from 0).
function Module:state_dict()
  local state = {}
  for _, kind in ipairs(flat.kinds) do
    local vector, offset = vector_of(self, kind), self[kind].offset
    flat.each(self, kind, function(path, module, entry)
      state[path] = flat.view(vector, module[kind], entry, offset)
    end)
  end
  return state
end

-- What a state dict says about one entry, as numbers of the vector's dtype.
local function checked_value(state, path, entry, dtype)
  local value, shape = state[path], "(" .. table.concat(entry.shape, ", ") .. ")"
  if value == nil then report.fail("load_state_dict: '%s' is missing", path) end
  if not core.is_tensor(value) then report.fail("load_state_dict: '%s' must be a tensor, not %s", path, type(value)) end
  if format.shape(value) ~= shape then
    report.fail("load_state_dict: '%s' has shape %s, but the model's has %s", path, format.shape(value), shape)
  end
  return value:cast(dtype):flatten()
end

--- module:load_state_dict(state): takes parameters and buffers from {name = tensor}; names and shapes must be the model's.
function Module:load_state_dict(state)
  if type(state) ~= "table" then report.fail("load_state_dict: a table {name = tensor}, not %s", type(state)) end
  local known, dtype, vectors = {}, self.theta:dtype(), {}
  for _, kind in ipairs(flat.kinds) do
    local values = {}
    flat.each(self, kind, function(path, _, entry)
      values[#values + 1], known[path] = checked_value(state, path, entry, dtype), true
    end)
    vectors[kind] = #values > 0 and core.concat(values, 1):evaluate() or nil
  end
  for name in pairs(state) do
    if not known[name] then report.fail("load_state_dict: the model has no parameter '%s', nor such a buffer", tostring(name)) end
  end
  local changes = {} -- of both vectors at once, so that an error leaves neither changed
  for kind, vector in pairs(vectors) do
    local at = #changes
    changes[at + 1], changes[at + 2] = replaced(self, kind, "load_state_dict", self[kind].offset + 1, vector)
  end
  if #changes > 0 then changes[1].set(table.unpack(changes)) end
end

local function convert(self, dtype)
  local root = self:root()
  if root:variable():get():dtype() == dtype then return self end
  for _, kind in ipairs(flat.kinds) do flat.convert(root, kind, dtype) end
  return self
end

--- module:double() and module:float() change the dtype of parameters and buffers and return the module.
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
function Module:check_input(x, pass)
  if not core.is_tensor(x) then self:fail("the input must be a tensor, not %s", type(x)) end
  if #self.theta_part.entries == 0 then return x end
  local dtype = pass:theta_of(self):dtype()
  if x:dtype() ~= dtype then
    self:fail("the input is %s of shape %s, but the parameters are %s (convert it with :%s())", x:dtype(),
      format.shape(x), dtype, dtype == "float32" and "float" or "double")
  end
  return x
end

-- check_input for layers that compute with real numbers, with or without parameters.
function Module:check_real(x, pass)
  self:check_input(x, pass)
  if x:dtype() ~= "float32" and x:dtype() ~= "float64" then
    self:fail("takes float32 or float64 inputs, not %s of shape %s (convert them with :float())", x:dtype(), format.shape(x))
  end
  return x
end

return Module
