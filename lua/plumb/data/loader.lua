--- data.loader: batches of a data set, each made while the one before is used.
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"
local set = require "plumb.data.set"

local Loader = { doc = [[
A loader, as data.loader returns it: `for x, y in loader:epoch(e) do`; #loader and loader:batches() count an epoch's batches,
loader:samples() its samples. loader.set is the data set.]] }
Loader.__index = Loader
Loader.__name = "plumb.Loader"
Loader.__len = function(self) return self:batches() end
Loader.__tostring = function(self)
  return ("loader: %d batches of %d from %d samples"):format(#self, self.batch, #self.y)
end

local defaults = { batch = 64, shuffle = true, seed = 0, drop_last = false, mean = report.none, std = report.none, shift = 0,
  flip = false, dtype = report.none }

-- One number for each channel (the second axis of x), as a tensor.
local function check_scale(name, given, channels)
  local list = type(given) == "number" and {} or given
  if core.is_tensor(list) then list = list:flatten():tolist() end
  if type(list) ~= "table" then
    report.fail("loader: %s must be a number or a list of one for each channel, not %s", name, type(given))
  end
  if type(given) == "number" then
    for channel = 1, channels do list[channel] = given end
  end
  if #list ~= channels then
    report.fail("loader: %s has %d numbers, but the second axis of x has %d channels", name, #list, channels)
  end
  for i = 1, channels do
    if report.number("loader", ("%s[%d]"):format(name, i), list[i]) - list[i] ~= 0 then
      report.fail("loader: %s[%d] is not finite", name, i)
    end
    if name == "std" and not (list[i] > 0) then
      report.fail("loader: std[%d] is %g; a standard deviation is above 0", i, list[i])
    end
  end
  return core.from_nested(list, "float64")
end

local function check_normalisation(options, x)
  local channels = x:dim() > 1 and x:size(2) or 1
  if options.mean == nil and options.std == nil then return end
  options.mean = check_scale("mean", options.mean or 0, channels)
  options.std = check_scale("std", options.std or 1, channels)
end

local function check_augmentation(options, x)
  report.integer("loader", "shift", options.shift, 0)
  if options.shift == 0 and not options.flip then return end
  if x:dim() ~= 4 then
    report.fail("loader: shift and flip are for images of shape (n, channels, height, width), not %s", format.shape(x))
  end
  local smaller = math.min(x:size(3), x:size(4))
  if options.shift >= smaller then
    report.fail("loader: a shift of %d pixels is beyond images of shape (%d, %d)", options.shift, x:size(3), x:size(4))
  end
end

local function check_dtype(options, x)
  local dtype = x:dtype()
  if dtype == "int64" then
    report.fail("loader: x must be uint8 images or float, not int64 (convert it with :float())")
  end
  if dtype == "uint8" then
    options.dtype = options.dtype or "float32"
    if options.dtype ~= "float32" and options.dtype ~= "float64" then
      report.fail("loader: dtype must be \"float32\" or \"float64\", not %s", tostring(options.dtype))
    end
  elseif options.dtype ~= nil and options.dtype ~= dtype then
    report.fail("loader: dtype is for uint8 images; x is %s", dtype)
  end
  options.dtype = options.dtype or dtype
end

--- data.loader(set, {batch = 64, shuffle = true, seed = 0, drop_last = false, mean =, std =, shift = 0, flip = false,
---   dtype = "float32"}) -> loader
--- Batches of a data set {x =, y =}, each made by a thread beside the program while the one before is used:
---   for x, y in loader:epoch(e) do ... end      e = 1, 2, ...; #loader batches
--- The order depends on seed and epoch alone; the last batch may be short, or is left out with drop_last. uint8 images become
--- float (of `dtype`) in [0, 1]; float x stays float. mean and std (a number, or one for each channel, x's second axis) make
--- (x - mean) / std of it. Images (n, channels, h, w) are moved by up to `shift` pixels in each direction, black moving in, and
--- with flip half of them are mirrored, before they are normalised: as (seed, epoch, sample) decide, whatever the threads do.
--- The set is taken as it is now. With plumb.threads(1) batches are made when they are asked for.
function Loader.new(given_set, given)
  local self = report.options("loader", given, defaults)
  set.check("loader", "the set", given_set)
  local x = set.inputs(given_set)
  report.integer("loader", "batch", self.batch, 1)
  report.integer("loader", "seed", self.seed)
  for _, name in ipairs { "shuffle", "drop_last", "flip" } do
    if type(self[name]) ~= "boolean" then
      report.fail("loader: %s must be true or false, not %s", name, type(self[name]))
    end
  end
  check_dtype(self, x)
  check_normalisation(self, x)
  check_augmentation(self, x)
  self.set, self.x, self.y = given_set, core.contiguous(x), core.contiguous(given_set.y)
  setmetatable(self, Loader)
  if #self == 0 then
    report.fail("loader: drop_last leaves nothing of %d samples in batches of %d", #x, self.batch)
  end
  return self
end

--- Loader.is(value): is it a loader?
function Loader.is(value) return getmetatable(value) == Loader end

--- loader:samples() -> how many samples an epoch has.
function Loader:samples()
  local n = #self.y
  return self.drop_last and n - n % self.batch or n
end

--- loader:batches() -> how many batches an epoch has; also #loader.
function Loader:batches() return (self:samples() + self.batch - 1) // self.batch end

--- loader:epoch(e) -> the batches of epoch e = 1, 2, ...: for x, y in loader:epoch(e) do, x (k, ...) and y (k, ...).
function Loader:epoch(e)
  local pass = core.batches(self, report.integer("loader", "the epoch", e, 1))
  return pass, nil, nil, pass
end

return Loader
