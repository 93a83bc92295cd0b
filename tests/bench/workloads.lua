--- What is measured: one table per row. The sides read how a network is built and what a step is from the same fields:
---
---   kind      "curve"         a network learns sign(sin(5 pi x)) at `points` points; a step of Adam takes `batch` of them
---             "images"        the same with 60,000 images of MNIST and the cross-entropy
---             "evaluation"    a step is the mean loss and accuracy of those images
---             "second_order"  a step is `task`, of the curve's network in `dtype` or of the images'
---             "matmul"        a step is a product of two square matrices of `size`, float32
---             "load"          a step reads MNIST from its gzipped files
---             "program"       a whole process from its start to its end: `task`
---   widths or network          of a dense network, or "simple" / "advanced", those of scripts/train_cnn.lua
---   asked     the project's goal for plumb's time / that of PyTorch 1.13; against later ones it is 1
---   share     the goal for the share of the physical limit
---   scales    shall two cores be at least 1.8 times as fast as one?
---   flops     of a step (see `costs`), bytes that a step must move at least, float64 = true where that is the arithmetic
---   tolerance of the numbers that both sides must agree on before the times count, relative to the largest of them
local IMAGES = 60000

local deep, middle, shallow = { 1, 5, 10, 10, 10, 10, 10, 5, 1 }, { 1, 10, 18, 15, 4, 1 }, { 1, 190, 1 }

local workloads = {}
local function add(name, fields)
  fields.name = name
  workloads[#workloads + 1] = fields
  workloads[name] = fields
end

-- ---- what a step costs at least ----

-- Multiplications and additions of a dense layer, or of a direct convolution at one place, for one sample: forward.
local function products(inputs, outputs) return 2 * inputs * outputs end

-- Forward flops of each layer, first layer first.
local function forward_flops(w)
  local flops = {}
  local function dense(...)
    local widths = { ... }
    for i = 2, #widths do flops[#flops + 1] = products(widths[i - 1], widths[i]) end
  end
  local function convolution(side, inputs, outputs) flops[#flops + 1] = side ^ 2 * products(9 * inputs, outputs) end
  if w.network then
    convolution(28, 1, 32)
    convolution(14, 32, 64)
    if w.network == "advanced" then convolution(7, 64, 128) end
    if w.network == "simple" then dense(3136, 128, 10) else dense(1152, 256, 10) end
  else
    dense(table.unpack(w.widths))
  end
  return flops
end

local function parameter_count(w)
  if w.network then return w.network == "simple" and 421642 or 390410 end
  local count = 0
  for i = 2, #w.widths do count = count + (w.widths[i - 1] + 1) * w.widths[i] end
  return count
end

-- Flops of a gradient: each layer's products forward, for its weights and, but for the first, for its input.
local function gradient_flops(w)
  local sum = 0
  for i, flops in ipairs(forward_flops(w)) do sum = sum + flops * (i == 1 and 2 or 3) end
  return sum
end

-- A training step reads the batch, and Adam reads and writes the parameters and two moments.
local function training(w)
  w.flops = w.batch * gradient_flops(w)
  w.bytes = 6 * 4 * parameter_count(w) + w.batch * (w.kind == "curve" and 8 or w.network and 784 or 4 * 784)
  w.tolerance = w.tolerance or 1e-4
  return w
end

-- ---- the rows ----

local function curve(name, widths, points, batch, asked)
  add(name, training { kind = "curve", widths = widths, points = points, batch = batch, asked = asked })
end
curve("deep300", deep, 300, 300, 1 / 20)
curve("middle300", middle, 300, 300, 1 / 15)
curve("shallow300", shallow, 300, 300, 1 / 10)
curve("deep2048", deep, 2048, 2048, 1 / 6)
curve("middle2048", middle, 2048, 2048, 1 / 6)
curve("shallow2048", shallow, 2048, 2048, 1 / 6)
curve("deep128", deep, 10000, 128)
curve("middle128", middle, 10000, 128)
curve("shallow128", shallow, 10000, 128)

local function dense(name, hidden, batch, asked)
  local large = batch >= 600
  add(name, training { kind = "images", widths = { 784, hidden, 10 }, batch = batch, asked = asked,
    share = large and 0.7 or nil, scales = large })
end
dense("mlp64", 512, 64, 1 / 3)
dense("mlp100", 512, 100)
dense("mlp1000", 512, 1000, 1 / 1.8)
for _, hidden in ipairs { 50, 100, 250, 500, 1000, 2000 } do
  dense("width" .. hidden, hidden, 600, (hidden == 50 or hidden == 2000) and 1 / 1.7 or nil)
end

-- Within 20 steps AdvancedCNN falls so steeply that rounding grows: its losses in float32 are 4e-4 from those in float64, of
-- plumb alone, while gradients agree to 4e-7.
local convolutional = { simple = 1e-4, advanced = 2e-3 } -- tolerance by network
for _, network in ipairs { "simple", "advanced" } do
  for _, batch in ipairs { 64, 600 } do
    add(network .. batch, training { kind = "images", network = network, batch = batch, asked = 1 / 2.5, share = 0.7,
      scales = true, tolerance = convolutional[network] })
  end
end

local function evaluation(name, fields)
  fields.kind, fields.tolerance, fields.scales = "evaluation", 1e-4, true
  local sum = 0
  for _, flops in ipairs(forward_flops(fields)) do sum = sum + flops end
  fields.flops, fields.bytes = IMAGES * sum, IMAGES * (fields.network and 784 or 4 * 784)
  add(name, fields)
end
evaluation("evaluate_mlp", { widths = { 784, 512, 10 }, batch = 1000 })
evaluation("evaluate_simple", { network = "simple", batch = 500 })

-- A product with the Hessian is the derivative of a gradient along a direction: as many products again, each of a sum of two.
-- The dense Hessian's columns share what does not depend on the direction.
local function second_order(name, task, gradients, fields)
  fields.kind, fields.task = "second_order", task
  fields.flops = gradients * fields.points * gradient_flops(fields)
  fields.tolerance = fields.dtype == "float64" and 1e-7 or 1e-4
  add(name, fields)
end
local function small(asked)
  return { widths = { 1, 10, 10, 1 }, points = 256, dtype = "float64", asked = asked }
end
local function classifier() return { widths = { 784, 512, 10 }, points = 64, dtype = "float32" } end
second_order("gradient_norm", "gradient_norm", 3, small(1 / 20))
second_order("hessian", "hessian", 2 * 141 + 1, small())
second_order("hessian_rows", "hessian_rows", 2 * 141 + 1, small(1 / 20)) -- of PyTorch row by row, its functional.hessian's default
second_order("hvp", "hvp", 3, small())
second_order("mlp_gradient", "gradient", 1, classifier())
second_order("mlp_hvp", "hvp", 3, classifier())

add("matmul", { kind = "matmul", size = 2048, flops = 2 * 2048 ^ 3, scales = true, tolerance = 1e-4 })
add("load_mnist", { kind = "load", bytes = 70000 * 785, tolerance = 0 })
add("start", { kind = "program", task = "start", tolerance = 0 })
add("seeds10", { kind = "program", task = "seeds", widths = deep, points = 300, batch = 300, steps = 2000, seeds = 10,
  flops = 10 * 2000 * 300 * gradient_flops { widths = deep }, tolerance = 1e-4 })

return workloads
