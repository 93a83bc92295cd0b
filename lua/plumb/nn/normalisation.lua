--- Normalisation: over the batch, with running statistics for evaluation, or over the features of each sample.
local Module = require "plumb.nn.module"
local format = require "plumb.format"
local report = require "plumb.report"

local layers = {}

-- ---- batch normalisation ----

local WEIGHT, BIAS = 1, 2
local RUNNING_MEAN, RUNNING_VAR, BATCHES = 1, 2, 3

local BatchNorm = {}

local defaults = { eps = 1e-5, momentum = 0.1, affine = true, track_running_stats = true }

function BatchNorm:initialise(features, given)
  local who = self.name
  local options = report.options(who, given, defaults)
  self.features = report.integer(who, "features", features, 1)
  self.eps = report.number(who, "eps", options.eps, 0)
  self.momentum = options.momentum
  if self.momentum ~= false then report.number(who, "momentum", self.momentum, 0, 1) end
  self.affine = report.boolean(who, "affine", options.affine)
  self.track_running_stats = report.boolean(who, "track_running_stats", options.track_running_stats)
  if self.affine then
    self:declare("weight", { features }, 1)
    self:declare("bias", { features }, 0)
  end
  if self.track_running_stats then
    self:declare_buffer("running_mean", { features }, 0)
    self:declare_buffer("running_var", { features }, 1)
    self:declare_buffer("num_batches_tracked", {}, 0, "int64")
  end
end

function BatchNorm:details()
  local text = tostring(self.features)
  for _, name in ipairs { "eps", "momentum", "affine", "track_running_stats" } do
    if self[name] ~= defaults[name] then text = ("%s, %s = %s"):format(text, name, self[name]) end
  end
  return text
end

-- The axes that a channel's statistics go over, and how many numbers that are.
local function channel_axes(x)
  local axes, count = { 1 }, x:size(1)
  for axis = 3, x:dim() do axes[#axes + 1], count = axis, count * x:size(axis) end
  return axes, count
end

-- running = (1 - momentum) running + momentum batch's, where the variance is the unbiased one; without a momentum the mean
-- over all batches so far.
local function track(self, pass, mean, variance, count)
  local batches = pass:buffer(self, BATCHES) + 1
  local factor = self.momentum or 1 / batches
  for place, batch in pairs { [RUNNING_MEAN] = mean, [RUNNING_VAR] = variance * (count / (count - 1)) } do
    local running = pass:buffer(self, place)
    pass:update(self, place, running * (1 - factor) + batch:flatten():cast(running:dtype()) * factor)
  end
  pass:update(self, BATCHES, batches)
end

local function batch_statistics(self, x, pass)
  local axes, count = channel_axes(x)
  if count < 2 then
    self:fail("%s has %s value per channel, of which there is no variance%s", format.shape(x), count == 0 and "no" or "one",
      self.track_running_stats and "; in evaluation mode (model:eval()) any batch will do, and drop_last = true leaves a last "
      .. "short batch out of training" or "")
  end
  local mean = x:mean(axes, true)
  local centred = x - mean
  local variance = centred:square():mean(axes, true)
  if self.track_running_stats and pass:is_training(self) then track(self, pass, mean, variance, count) end
  return centred, variance
end

local function running_statistics(self, x, pass, shape)
  local mean = pass:buffer(self, RUNNING_MEAN):cast(x:dtype()):reshape(shape)
  return x - mean, pass:buffer(self, RUNNING_VAR):cast(x:dtype()):reshape(shape)
end

function BatchNorm:forward(x, pass)
  if not pass then return self(x) end
  self:check_real(x, pass)
  if not self.ranks[x:dim()] or x:size(2) ~= self.features then
    local wanted = self.shapes:gsub("features", self.features)
    self:fail("takes inputs of shape %s, not %s", wanted, format.shape(x))
  end
  local shape = { 1, self.features }
  for axis = 3, x:dim() do shape[axis] = 1 end
  local own = self.track_running_stats and not pass:is_training(self)
  local statistics = own and running_statistics or batch_statistics
  local centred, variance = statistics(self, x, pass, shape)
  local scale = (variance + self.eps):sqrt():reciprocal()
  if not self.affine then return centred * scale end
  return centred * (scale * self:weight_in(pass, WEIGHT):reshape(shape)) + self:weight_in(pass, BIAS):reshape(shape)
end

local function batch_norm(name, shapes, ranks)
  local class = Module.class(name, ([[
nn.%s(features, {eps = 1e-5, momentum = 0.1, affine = true, track_running_stats = true}) (Ioffe and Szegedy 2015):
y = (x - mean) / sqrt(variance + eps) weight + bias, for each channel of %s.
In training mode mean and (biased) variance are those of the batch, and running_mean and running_var (of unbiased variances),
which are buffers, become (1 - momentum) of themselves + momentum of the batch's; momentum = false averages all batches evenly.
In evaluation mode the running ones are used, unless track_running_stats is false. weight starts as 1, bias as 0.]]):format(
    name, shapes))
  for key, value in pairs(BatchNorm) do class[key] = value end
  class.shapes, class.ranks = shapes, ranks
  layers[name] = class
end

batch_norm("BatchNorm1d", "(n, features) or (n, features, length)", { [2] = true, [3] = true })
batch_norm("BatchNorm2d", "(n, features, height, width)", { [4] = true })

-- ---- layer normalisation ----

layers.LayerNorm = Module.class("LayerNorm", [[
nn.LayerNorm(shape, {eps = 1e-5, elementwise_affine = true}) (Ba, Kiros and Hinton 2016): y = (x - mean) / sqrt(variance + eps)
weight + bias, with mean and (biased) variance over the last axes, which have this shape (a number or a list). weight (shape)
starts as 1 and bias (shape) as 0.]])

function layers.LayerNorm:initialise(shape, given)
  local options = report.options("LayerNorm", given, { eps = 1e-5, elementwise_affine = true })
  shape = type(shape) == "table" and { table.unpack(shape) } or { shape }
  for i = 1, math.max(#shape, 1) do report.integer("LayerNorm", "shape", shape[i], 1) end
  self.shape, self.eps = shape, report.number("LayerNorm", "eps", options.eps, 0)
  self.elementwise_affine = report.boolean("LayerNorm", "elementwise_affine", options.elementwise_affine)
  if self.elementwise_affine then
    self:declare("weight", shape, 1)
    self:declare("bias", shape, 0)
  end
end

function layers.LayerNorm:details()
  local text = #self.shape == 1 and tostring(self.shape[1]) or "{" .. table.concat(self.shape, ", ") .. "}"
  if self.eps ~= 1e-5 then text = text .. ", eps = " .. self.eps end
  return self.elementwise_affine and text or text .. ", elementwise_affine = false"
end

-- The axes of x that have the layer's shape, counted from the end; or an error.
local function last_axes(self, x)
  local axes, fits = {}, x:dim() >= #self.shape
  for i, size in ipairs(self.shape) do
    axes[i] = i - #self.shape - 1
    fits = fits and x:size(axes[i]) == size
  end
  if not fits then
    self:fail("takes inputs of shape (..., %s), not %s", table.concat(self.shape, ", "), format.shape(x))
  end
  return axes
end

function layers.LayerNorm:forward(x, pass)
  if not pass then return self(x) end
  self:check_real(x, pass)
  local axes = last_axes(self, x)
  local centred = x - x:mean(axes, true)
  local y = centred * (centred:square():mean(axes, true) + self.eps):sqrt():reciprocal()
  if not self.elementwise_affine then return y end
  return y * self:weight_in(pass, WEIGHT) + self:weight_in(pass, BIAS)
end

return layers
