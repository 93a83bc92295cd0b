--- Layers for images (n, channels, height, width): convolution and pooling. Sizes, strides and the like are numbers, or
--- {vertical, horizontal}.
local Module = require "plumb.nn.module"
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"
local tensor = require "plumb.tensor"

local layers = {}

local SIDES = { "high", "wide" }

-- 3 or {3, 5} -> {3, 3} or {3, 5}
local function pair(who, name, value, low)
  if type(value) ~= "table" then
    report.integer(who, name, value, low)
    return { value, value }
  end
  if #value ~= 2 then report.fail("%s: %s must be a number or two, {vertical, horizontal}, not %d", who, name, #value) end
  return { report.integer(who, name, value[1], low), report.integer(who, name, value[2], low) }
end

local function pair_text(value)
  return value[1] == value[2] and tostring(value[1]) or ("{%d, %d}"):format(value[1], value[2])
end

-- ", stride = 2, padding = 1": the options that are not what they are by default.
local function options_text(self, defaults)
  local text = ""
  for _, default in ipairs(defaults) do
    local name, usual = default[1], default[2]
    local value = self[name]
    value = type(value) == "table" and pair_text(value) or tostring(value)
    if value ~= tostring(usual) then text = ("%s, %s = %s"):format(text, name, value) end
  end
  return text
end

-- An input must be a batch of images with these channels (any, if nil), of which at least one is there.
local function check_images(self, x, pass, channels)
  self:check_real(x, pass)
  if x:dim() ~= 4 or channels and x:size(2) ~= channels then
    self:fail("takes inputs of shape (n, %s, height, width), not %s%s", channels or "channels", format.shape(x),
      x:dim() == 3 and " (one image becomes a batch by x:unsqueeze(1))" or "")
  end
  if x:size(1) == 0 then self:fail("the batch is empty: shape %s", format.shape(x)) end
  if x:numel() == 0 then self:fail("the images are empty: shape %s", format.shape(x)) end
end

-- The window must fit into the image with its padding on both sides; in ceil_mode it may reach beyond by less than a stride.
local function check_window(self, x, window, padding, dilation)
  for i = 1, 2 do
    local reach = (dilation and dilation[i] or 1) * (window[i] - 1) + 1
    local size = x:size(2 + i)
    local beyond = self.ceil_mode and self.stride[i] - 1 or 0
    if reach > size + 2 * padding[i] + beyond then
      self:fail("a kernel %d %s%s does not fit into images of shape %s, which are %d %s%s", reach, SIDES[i],
        dilation and dilation[i] > 1 and " (with its dilation)" or "", format.shape(x), size + 2 * padding[i], SIDES[i],
        padding[i] > 0 and " with their padding" or "")
    end
  end
end

-- ---- convolution ----

layers.Conv2d = Module.class("Conv2d", [[
nn.Conv2d(inputs, outputs, kernel, {stride = 1, padding = 0, dilation = 1, groups = 1, bias = true, padding_mode = "zeros"}):
the cross-correlation of images (n, inputs, h, w) with `outputs` kernels, giving (n, outputs, h', w') with
h' = (h + 2 padding - dilation (kernel - 1) - 1) // stride + 1. Sizes are numbers or {vertical, horizontal}; padding may also
be "valid" (0) or "same" (h' = h, with stride 1), and is filled with zeros, or as padding_mode says with the image as a mirror at
its edge shows it ("reflect"), its nearest pixel ("replicate"), or its other side ("circular"). Each of the `groups` sees its
share of the inputs.
weight (outputs, inputs / groups, kh, kw) and bias (outputs) start uniform in +-1/sqrt(inputs / groups kh kw)
(kaiming_uniform with a = sqrt 5).]])

-- padding -> the padding on both sides of each axis, and what "same" asks for behind the last row and column beyond that.
local function read_padding(self, padding)
  local behind = { 0, 0 }
  if padding == "valid" then return { 0, 0 }, behind end
  if padding ~= "same" then
    if type(padding) == "string" then
      report.fail("Conv2d: padding must be a number, two, 'same' or 'valid', not '%s'", padding)
    end
    return pair("Conv2d", "padding", padding, 0), behind
  end
  local sides = {}
  for i = 1, 2 do
    if self.stride[i] ~= 1 then report.fail("Conv2d: padding 'same' needs a stride of 1") end
    local total = self.dilation[i] * (self.kernel[i] - 1)
    sides[i], behind[i] = total // 2, total % 2
  end
  return sides, behind
end

-- padding_mode -> the pixel (1 .. size) that stands at place i, which may lie outside of the image.
local fillings = {
  reflect = function(i, size) return i < 1 and 2 - i or i > size and 2 * size - i or i end,
  replicate = function(i, size) return math.max(1, math.min(i, size)) end,
  circular = function(i, size) return (i - 1) % size + 1 end,
}

-- How far a mode can look: all pixels but the edge, or all.
local function check_filling(self, x, axis, sides)
  local size, most = x:size(2 + axis), math.max(table.unpack(sides))
  local room = self.padding_mode == "reflect" and size - 1 or self.padding_mode == "circular" and size or math.huge
  if most > room then
    self:fail("a padding of %d is beyond images of shape %s, which are %d %s; padding_mode %q takes at most %d", most,
      format.shape(x), size, SIDES[axis], self.padding_mode, room)
  end
end

-- The images with the padding that conv2d does not add by itself (of zeros: what "same" asks for behind), and what it has to add.
local function padded(self, x)
  local fill = fillings[self.padding_mode]
  for i = 1, 2 do
    local before, behind, size = self.padding[i], self.padding[i] + self.behind[i], x:size(2 + i)
    if not fill and self.behind[i] > 0 then x = core.pad(x, 2 + i, 0, self.behind[i]) end
    if fill and behind > 0 then
      check_filling(self, x, i, { before, behind })
      local places = {}
      for place = 1 - before, size + behind do places[#places + 1] = fill(place, size) end
      x = core.index_select(x, 2 + i, core.from_nested(places, "int64"))
    end
  end
  return x, fill and { 0, 0 } or self.padding
end

function layers.Conv2d:initialise(inputs, outputs, kernel, given)
  local options = report.options("Conv2d", given, { stride = 1, padding = 0, dilation = 1, groups = 1, bias = true,
    padding_mode = "zeros" })
  self.inputs = report.integer("Conv2d", "inputs", inputs, 1)
  self.outputs = report.integer("Conv2d", "outputs", outputs, 1)
  self.kernel = pair("Conv2d", "kernel", kernel, 1)
  self.stride = pair("Conv2d", "stride", options.stride, 1)
  self.dilation = pair("Conv2d", "dilation", options.dilation, 1)
  self.groups = report.integer("Conv2d", "groups", options.groups, 1)
  self.padding, self.behind = read_padding(self, options.padding)
  self.is_same, self.padding_mode = options.padding == "same", options.padding_mode
  if self.padding_mode ~= "zeros" and not fillings[self.padding_mode] then
    report.fail("Conv2d: padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', not '%s'",
      tostring(self.padding_mode))
  end
  self.has_bias = report.boolean("Conv2d", "bias", options.bias)
  if inputs % self.groups ~= 0 or outputs % self.groups ~= 0 then
    report.fail("Conv2d: %d groups do not divide %d inputs and %d outputs", self.groups, inputs, outputs)
  end
  local share = inputs // self.groups
  local bound = 1 / math.sqrt(share * self.kernel[1] * self.kernel[2])
  self:declare("weight", { outputs, share, self.kernel[1], self.kernel[2] }, -bound, bound)
  if self.has_bias then self:declare("bias", { outputs }, -bound, bound) end
end

function layers.Conv2d:details()
  local text = ("%d, %d, %s"):format(self.inputs, self.outputs, pair_text(self.kernel))
  local rest = { { "dilation", 1 }, { "groups", 1 }, { "padding_mode", "zeros" } }
  if self.is_same then return text .. ", padding = same" .. options_text(self, rest) end
  return text .. options_text(self, { { "stride", 1 }, { "padding", 0 }, table.unpack(rest) })
end

function layers.Conv2d:forward(x, pass)
  if not pass then return self(x) end
  check_images(self, x, pass, self.inputs)
  local image, padding = padded(self, x)
  check_window(self, image, self.kernel, padding, self.dilation)
  local y = core.conv2d(image, self:weight_in(pass, 1), self.stride, padding, self.dilation, self.groups)
  return self.has_bias and y + self:weight_in(pass, 2):reshape(1, self.outputs, 1, 1) or y
end

-- ---- pooling ----

-- What pooling layers have in common: kernel, stride (by default the kernel's), padding of at most half the kernel.
local function read_pooling(self, kernel, options)
  local who = self.name
  self.kernel = pair(who, "kernel", kernel, 1)
  self.stride = options.stride and pair(who, "stride", options.stride, 1) or self.kernel
  self.padding = pair(who, "padding", options.padding, 0)
  self.ceil_mode = report.boolean(who, "ceil_mode", options.ceil_mode)
  for i = 1, 2 do
    if self.padding[i] > self.kernel[i] // 2 then
      report.fail("%s: padding must be at most half the kernel, not %s for a kernel of %s", who, pair_text(self.padding),
        pair_text(self.kernel))
    end
  end
end

local function pooling_details(self, ...)
  return pair_text(self.kernel) .. options_text(self, { { "stride", pair_text(self.kernel) }, { "padding", 0 },
    { "ceil_mode", false }, ... })
end

layers.MaxPool2d = Module.class("MaxPool2d", [[
nn.MaxPool2d(kernel, {stride = kernel, padding = 0, dilation = 1, ceil_mode = false}): the largest of each window of images
(n, c, h, w), giving (n, c, h', w') with h' = (h + 2 padding - dilation (kernel - 1) - 1) // stride + 1. The padding never
wins. With ceil_mode the quotient is rounded up, so that a last window may reach beyond the image.]])

function layers.MaxPool2d:initialise(kernel, given)
  local options = report.options("MaxPool2d", given, { stride = report.none, padding = 0, dilation = 1, ceil_mode = false })
  read_pooling(self, kernel, options)
  self.dilation = pair("MaxPool2d", "dilation", options.dilation, 1)
end

function layers.MaxPool2d:details() return pooling_details(self, { "dilation", 1 }) end

function layers.MaxPool2d:forward(x, pass)
  check_images(self, x, pass)
  check_window(self, x, self.kernel, self.padding, self.dilation)
  return core.max_pool2d(x, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)
end

layers.AvgPool2d = Module.class("AvgPool2d", [[
nn.AvgPool2d(kernel, {stride = kernel, padding = 0, count_include_pad = true, ceil_mode = false}): the mean of each window of
images (n, c, h, w), giving (n, c, h', w') with h' = (h + 2 padding - kernel) // stride + 1. The padding is zeros, which count
unless count_include_pad is false. With ceil_mode the quotient is rounded up; what a last window finds beyond does not count.]])

function layers.AvgPool2d:initialise(kernel, given)
  local options = report.options("AvgPool2d", given, { stride = report.none, padding = 0, count_include_pad = true,
    ceil_mode = false })
  read_pooling(self, kernel, options)
  self.count_include_pad = report.boolean("AvgPool2d", "count_include_pad", options.count_include_pad)
end

function layers.AvgPool2d:details() return pooling_details(self, { "count_include_pad", true }) end

function layers.AvgPool2d:forward(x, pass)
  check_images(self, x, pass)
  check_window(self, x, self.kernel, self.padding)
  return tensor.avg_pool2d(x, self.kernel, self.stride, self.padding, self.count_include_pad, self.ceil_mode)
end

layers.AdaptiveAvgPool2d = Module.class("AdaptiveAvgPool2d", [[
nn.AdaptiveAvgPool2d(size) or nn.AdaptiveAvgPool2d{height, width}: images (n, c, h, w) become (n, c, height, width), each
element the mean of rows floor((i - 1) h / height) + 1 .. ceil(i h / height) and of columns likewise. A size of nil is kept.]])

function layers.AdaptiveAvgPool2d:initialise(size)
  if type(size) == "table" then self.sizes = { size[1], size[2] } else self.sizes = { size, size } end
  if size == nil or #self.sizes < (type(size) == "table" and #size or 0) then
    report.fail("AdaptiveAvgPool2d: a size, or {height, width}")
  end
  for i = 1, 2 do
    if self.sizes[i] ~= nil then report.integer("AdaptiveAvgPool2d", "size", self.sizes[i], 1) end
  end
end

function layers.AdaptiveAvgPool2d:details()
  if self.sizes[1] and self.sizes[1] == self.sizes[2] then return tostring(self.sizes[1]) end
  return ("{%s, %s}"):format(self.sizes[1], self.sizes[2])
end

function layers.AdaptiveAvgPool2d:forward(x, pass)
  check_images(self, x, pass)
  return tensor.adaptive_avg_pool2d(x, { self.sizes[1] or x:size(3), self.sizes[2] or x:size(4) })
end

return layers
