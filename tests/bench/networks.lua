--- The networks and data of the benchmark's workloads, as users would write them.
local plumb = require "plumb"
local nn, data, files = plumb.nn, plumb.data, plumb.files

local networks = {}

local function stage(inputs, outputs)
  return nn.Sequential { nn.Conv2d(inputs, outputs, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2) }
end

-- The networks of scripts/train_cnn.lua. Dropout can be left out: its random numbers differ from PyTorch's.
local function convolutional(network, dropout)
  if network == "simple" then
    return nn.Sequential { stage(1, 32), stage(32, 64), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10) }
  end
  return nn.Sequential { stage(1, 32), stage(32, 64), stage(64, 128), nn.Flatten(), nn.Dropout(dropout and 0.25 or 0),
    nn.Linear(1152, 256), nn.ReLU(), nn.Dropout(dropout and 0.5 or 0), nn.Linear(256, 10) }
end

local function activation(w)
  if w.widths[1] > 1 then return nn.ReLU() end
  return w.kind == "second_order" and nn.Tanh() or nn.LeakyReLU()
end

--- networks.build(w, {dropout = true}) -> the workload's network, its weights drawn anew
function networks.build(w, options)
  if w.network then return convolutional(w.network, not options or options.dropout) end
  local layers = { w.widths[1] > 1 and nn.Flatten() or nil }
  for i = 2, #w.widths do
    layers[#layers + 1] = nn.Linear(w.widths[i - 1], w.widths[i])
    if i < #w.widths then layers[#layers + 1] = activation(w) end
  end
  local model = nn.Sequential(layers)
  return w.dtype == "float64" and model:double() or model
end

--- networks.loss(w) -> its loss
function networks.loss(w) return (w.network or w.widths[1] > 1) and nn.CrossEntropyLoss() or nn.MSELoss() end

-- Every 73rd point of n, modulo n: small batches in order see the whole interval. n has no divisor 73.
local function scattered(x)
  local n = #x
  return x:index_select(1, plumb.arange(0, n - 1) * 73 % n + 1):evaluate()
end

--- networks.curve(w) -> {x =, y =}: the points of a curve, made once for both sides: where it jumps a rounding error decides
function networks.curve(w)
  local x = scattered(plumb.linspace(1e-4, 1, w.points, { dtype = w.dtype or "float32" })):reshape(-1, 1)
  return { x = x, y = (x * 5 * math.pi):sin():sign():evaluate() }
end

--- networks.set(w) -> the training set: a curve's points, or MNIST's images, uint8
function networks.set(w)
  if w.set then return (files.load(w.set)) end
  local train = data.mnist { root = w.data }
  return w.points and data.subset(train, w.points) or train
end

return networks
