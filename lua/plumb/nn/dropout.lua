--- Dropout: in training mode, elements or channels become 0 at random.
local Module = require "plumb.nn.module"
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"

local layers = {}

-- y = x / (1 - p) where a uniform number is at least p, else 0. The numbers are a function of the key and of the element's
-- place in `shape`, which broadcasts to x's.
local function drop(self, x, pass, shape)
  if self.p == 0 or not pass:is_training(self) then return x end
  local uniform = core.random_uniform(pass:key(self), shape)
  local scale = self.p < 1 and 1 / (1 - self.p) or 0
  return core.where(uniform:ge(self.p):cast(x:dtype()), x * scale, 0)
end

local function dropout(name, doc, shape_of)
  local class = Module.class(name, doc)
  class.is_random = true
  function class:initialise(p) self.p = report.number(name, "p", p == nil and 0.5 or p, 0, 1) end
  function class:details() return tostring(self.p) end
  function class:forward(x, pass)
    if not pass then return self(x) end
    self:check_real(x, pass)
    return drop(self, x, pass, shape_of(self, x))
  end
  layers[name] = class
end

dropout("Dropout", [[
nn.Dropout(p = 0.5) (Srivastava et al. 2014): in training mode each element becomes 0 with probability p, and the others are
divided by 1 - p; in evaluation mode x itself. Which ones is a function of the key (in fit: seed and step), of the layer's place
among those that draw, and of the element's place in the batch, so splitting a batch gives other masks.]],
  function(_, x) return x:shape() end)

dropout("Dropout2d", [[
nn.Dropout2d(p = 0.5) (Tompson et al. 2015): as nn.Dropout, but whole channels of images (n, c, h, w) become 0.]],
  function(self, x)
    if x:dim() ~= 4 then self:fail("takes inputs of shape (n, channels, height, width), not %s", format.shape(x)) end
    return { x:size(1), x:size(2), 1, 1 }
  end)

return layers
