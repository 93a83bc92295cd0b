--- One forward pass through a module: which parameters and buffers it computes with, in which mode, and with which random
--- numbers. Layers get it as the second argument of forward and hand it on to their children.
local core = require "plumb.core"
local flat = require "plumb.nn.flat"

local Pass = {}
Pass.__index = Pass

-- Streams below 2^32 are for whoever makes the keys; a pass counts in the bits above.
local DRAW = 1 << 32

-- ---- what layers ask for ----

-- The layer's place in the vectors means something only in the model that is run.
local function check_member(self, layer)
  if layer:root() == self.root then return end
  layer:fail("is not part of the model that is run, which so has none of its parameters; %s", self.root.name == "Sequential"
    and "make a new nn.Sequential{...} of all layers" or "call self:adopt(layer) in initialise, and set self[1], self[2], ...")
end

--- pass:theta_of(layer) -> theta, and where it begins in the root's: the one given to module:at, or the model's own.
function Pass:theta_of(layer)
  check_member(self, layer)
  if not self.theta then self.theta, self.theta_shift = layer:own_theta(), 0 end
  return self.theta, self.theta_shift
end

--- pass:is_training(layer): in training mode? What module:at was told holds for all layers, else each has its own.
function Pass:is_training(layer)
  if self.training == nil then return layer.training end
  return self.training
end

-- The vector of buffers as it was before the pass.
local function old_buffers(self, layer)
  if not self.buffers then
    if core.is_compiling() then
      layer:fail("the running statistics would become constants of the function that is compiled; give it buffers and call "
        .. "model:at(theta, {buffers = buffers, training = %s})(x)%s", self:is_training(layer),
        self:is_training(layer) and ", which also returns the new ones" or "")
    end
    self.buffers, self.buffer_shift = layer:buffer_variable():get(), 0
  end
  return self.buffers
end

local function place_of(self, layer, entry)
  check_member(self, layer)
  local vector = old_buffers(self, layer)
  return vector, layer.buffer_part.offset - self.buffer_shift + entry.first
end

--- pass:buffer(layer, place) -> the layer's buffer number `place`, as this pass has it so far.
function Pass:buffer(layer, place)
  local entry = layer.buffer_part.entries[place]
  local vector, first = place_of(self, layer, entry)
  local update = self.updates and self.updates[first]
  return update and update:reshape(entry.shape) or flat.view(vector, layer.buffer_part, { first = entry.first,
    count = entry.count, shape = entry.shape }, self.buffer_shift)
end

--- pass:update(layer, place, value): the buffer's new value, through which no gradient flows.
function Pass:update(layer, place, value)
  local vector, first = place_of(self, layer, layer.buffer_part.entries[place])
  self.updates = self.updates or {}
  self.updates[first] = value:detach():cast(vector:dtype()):flatten()
end

--- pass:key(layer) -> an int64 key (2) for random numbers that nothing else draws: from the key given to module:at and the
--- number of draws before it in this pass, otherwise the next of manual_seed's stream.
function Pass:key(layer)
  if self.given_key then
    self.draws = (self.draws or 0) + 1
    return self.given_key + core.from_nested({ 0, self.draws * DRAW }, "int64")
  end
  if core.is_compiling() then
    layer:fail("its random numbers would be the same at every call of the function that is compiled; give that a key and call "
      .. "model:at(theta, {key = key})(x), where key is an int64 tensor {seed, step}")
  end
  return core.from_nested({ require("plumb.tensor").next_key() }, "int64")
end

-- ---- the end of a pass ----

-- The vector of buffers with what the layers have updated.
local function new_buffers(self)
  local places, parts, next_first = {}, {}, 1
  for first in pairs(self.updates or {}) do places[#places + 1] = first end
  if #places == 0 then return self.buffers end
  table.sort(places)
  for _, first in ipairs(places) do
    if first > next_first then parts[#parts + 1] = self.buffers:slice(1, next_first, first - 1) end
    parts[#parts + 1] = self.updates[first]
    next_first = first + self.updates[first]:numel()
  end
  if next_first <= self.buffers:numel() then parts[#parts + 1] = self.buffers:slice(1, next_first) end
  return core.concat(parts, 1)
end

-- The model's own buffers change: along with the gradient under way, or else now, with the output.
local function keep_buffers(self, module, ...)
  if core.is_mapping() then
    module:fail("a mapped function has running statistics for every value, and the model can keep only one; call "
      .. "model:eval(), or give them and get the new ones: model:at(theta, {buffers = buffers, training = true})(x)")
  end
  local variable, buffers = module:buffer_variable(), new_buffers(self)
  if variable:defer(buffers) then return end
  local wanted = { buffers }
  for i = 1, select("#", ...) do
    local output = select(i, ...)
    if core.is_tensor(output) then wanted[#wanted + 1] = output end
  end
  core.evaluate(table.unpack(wanted))
  variable:set(buffers)
end

-- With buffers that were given, a pass in training mode gives the new ones back behind its results.
local function finish(self, module, ...)
  if not self.given then
    if self.updates then keep_buffers(self, module, ...) end
    return ...
  end
  if not self.updates and not self:is_training(module) then return ... end
  local results = table.pack(...)
  results[results.n + 1] = new_buffers(self)
  return table.unpack(results, 1, results.n + 1)
end

-- What nn.summary may know of the inputs: the shape of one sample.
local function remember(module, x, ...)
  if core.is_tensor(x) and x:dim() > 1 then rawset(module, "sample_shape", { table.unpack(x:shape(), 2) }) end
  return ...
end

--- Pass.run(module, x) or Pass.run(module, x, theta, options): what the module makes of x, with the options of module:at.
function Pass.run(module, x, theta, options)
  local pass = setmetatable({ root = module:root() }, Pass)
  if theta then pass.theta, pass.theta_shift = theta, module.theta_part.offset end
  if options then
    pass.training, pass.given_key = options.training, options.key
    if options.buffers then
      pass.buffers, pass.buffer_shift, pass.given = options.buffers, module.buffer_part.offset, true
    end
  end
  return remember(module, x, finish(pass, module, module:forward(x, pass)))
end

return Pass
