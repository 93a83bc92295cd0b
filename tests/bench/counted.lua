--- Four small workloads whose instructions counts.lua counts, each long enough that the program's start is a small part of it:
--- one argument, its name. Nothing here looks at a clock or draws on more than one thread.
local plumb = require "plumb"
local nn, optim, measure = plumb.nn, plumb.optim, plumb.measure

plumb.threads(1)
plumb.manual_seed(1)

local function train(model, set, loss, batch, epochs)
  plumb.fit(model, set, { loss = loss, optimizer = optim.Adam { lr = 1e-3 }, batch = batch, epochs = epochs, seed = 1,
    progress = false })
end

local function curve(points, dtype)
  local x = plumb.linspace(-1, 1, points, { dtype = dtype }):reshape(-1, 1)
  return { x = x, y = (x * 5):sin():evaluate() }
end

local function images(n)
  return { x = plumb.randint(0, 255, { n, 1, 28, 28 }):cast("uint8"):evaluate(), y = plumb.randint(1, 10, { n }):evaluate() }
end

local counted = {}

-- Nothing but the start.
function counted.start() end

-- 1-5-10-10-10-10-10-5-1 with LeakyReLU, 100 steps on all of 300 points.
function counted.deep()
  local widths, layers = { 1, 5, 10, 10, 10, 10, 10, 5, 1 }, {}
  for i = 2, #widths do
    layers[#layers + 1] = nn.Linear(widths[i - 1], widths[i])
    if i < #widths then layers[#layers + 1] = nn.LeakyReLU() end
  end
  train(nn.Sequential(layers), curve(300), nn.MSELoss(), 300, 100)
end

-- 784-512-10 with ReLU, 8 steps of batch 64.
function counted.mlp()
  train(nn.Sequential { nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10) }, images(512), nn.CrossEntropyLoss(),
    64, 1)
end

-- SimpleCNN of scripts/train_cnn.lua, 3 steps of batch 8.
function counted.cnn()
  local function stage(inputs, outputs)
    return nn.Sequential { nn.Conv2d(inputs, outputs, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2) }
  end
  train(nn.Sequential { stage(1, 32), stage(32, 64), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10) },
    images(24), nn.CrossEntropyLoss(), 8, 1)
end

-- The dense Hessian of 1-10-10-1 with tanh on 256 points, twice, with its eigenvalues.
function counted.hessian()
  local model = nn.Sequential { nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1) }:double()
  local L = measure.loss(model, nn.mse_loss, curve(256, "float64"))
  for _ = 1, 2 do plumb.linalg.eigvalsh((measure.hessian(L, model.theta))):evaluate() end
end

counted[arg[1]]()
