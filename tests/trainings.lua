-- Trainings of every kind for the spec of Ctrl-C in a terminal: `./plumb -i tests/trainings.lua` leaves these functions.
-- luacheck: globals begin kinds_count look fingerprint finish run
local plumb = require "plumb"
local nn, optim, data = plumb.nn, plumb.optim, plumb.data

local function points(count) -- (count, 3) -> (count, 2)
  local x = plumb.rand({ count, 3 }, { seed = 1 })
  return { x = x, y = (x * 4):sin():slice(2, 1, 2) }
end

local function images(count, seed)
  return { x = plumb.randint(0, 255, { count, 1, 8, 8 }, { seed = seed }):cast("uint8"),
    y = plumb.randint(1, 4, { count }, { seed = seed + 1 }) }
end

-- Each gives a model, a data set and options, anew.
local kinds = {
  function() -- dropout and layer norm; a rate for each step
    return nn.Sequential { nn.Linear(3, 16), nn.LayerNorm(16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 2) }, points(300),
      { loss = nn.MSELoss(), optimizer = optim.Adam { lr = 0.01 }, batch = 20, epochs = 1500, validate = points(50),
        schedule = optim.OneCycleLR { max_lr = 0.02, total_steps = 15 * 1500 } }
  end,
  function() -- convolution, batch norm, pooling, dropout of channels; augmented uint8 images; a rate for each epoch
    return nn.Sequential { nn.Conv2d(1, 4, 3, { padding = 1 }), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.2),
      nn.Flatten(), nn.Linear(64, 4) }, images(200, 1), { loss = nn.CrossEntropyLoss(), batch = 16, epochs = 300,
      optimizer = optim.SGD { lr = 0.05, momentum = 0.9, nesterov = true }, schedule = optim.StepLR { step_size = 100 },
      augment = { shift = 1, flip = true }, normalize = { mean = 0.5, std = 0.25 }, validate = images(60, 3) }
  end,
  function() -- a loader; other pooling, batch norm of vectors
    return nn.Sequential { nn.Conv2d(1, 4, 3, { padding = 1, padding_mode = "reflect" }), nn.GELU(), nn.AvgPool2d(2),
      nn.Conv2d(4, 6, 3, { stride = 2 }), nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(6), nn.Linear(6, 4) },
      data.loader(images(200, 1), { batch = 24, shift = 1, mean = 0.5, std = 0.25, seed = 7 }),
      { loss = nn.CrossEntropyLoss(), optimizer = optim.AdamW { lr = 0.01 }, epochs = 300,
        schedule = optim.CosineAnnealingLR { T_max = 300 } }
  end,
  function() -- the other activations; clipped gradients, and their norms recorded
    return nn.Sequential { nn.Linear(3, 12), nn.LeakyReLU(0.1), nn.Linear(12, 12), nn.SELU(), nn.Linear(12, 12), nn.Softplus(),
      nn.Linear(12, 12), nn.Sigmoid(), nn.Linear(12, 2) }, points(300), { loss = nn.MSELoss(), batch = 32, epochs = 1500,
      optimizer = optim.RMSprop { lr = 0.002 }, clip_norm = 0.5, record = { "gradient_norm" },
      schedule = optim.ExponentialLR { gamma = 0.999 } }
  end,
  function() -- float64, and hooks that draw random numbers and keep what they see
    local set = points(300)
    return nn.Sequential { nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 2) }:double(), { x = set.x:double(), y = set.y:double() },
      { loss = nn.MSELoss(), optimizer = optim.Adagrad { lr = 0.05 }, batch = 30, epochs = 3000, on_epoch = function(r)
        r.kept[r.epoch] = plumb.rand(1):item() + r.model.theta:norm():item()
      end }
  end,
}

-- begin(kind, {progress = ...}): starts the training of a kind.
function begin(kind, more)
  plumb.manual_seed(kind)
  local model, set, options = kinds[kind]()
  for name, value in pairs(more or {}) do options[name] = value end
  return plumb.fit(model, set, options)
end

kinds_count = #kinds

-- look(run): what a user may do meanwhile: use the model, draw the run, try other parameters and put the old ones back.
function look(run)
  assert(tostring(run):find("stopped by Ctrl-C; run:resume() goes on", 1, true), tostring(run))
  local model, kept = run.model, run.model:state_dict()
  assert(#plumb.nn.summary(model) > 0 and model.theta:isfinite():min():item() == 1)
  if run.epoch > 0 then assert(#plumb.plot.run(run):text(80) > 0) end
  plumb.rand(3):evaluate()
  model.theta = model.theta * 0
  assert(model.theta:abs():max():item() == 0)
  model:load_state_dict(kept)
  return ("looked at step %d"):format(run.step)
end

local function text(list)
  local parts = {}
  for i, number in ipairs(list) do parts[i] = ("%a"):format(number) end
  return table.concat(parts, " ")
end

local bytes = plumb.core.files.bytes

-- fingerprint(run): every bit of what a run has come to.
function fingerprint(run)
  local model = run.model
  local parts = { run.step, run.epoch, tostring(run.stopped), bytes(model.theta),
    model.buffer_size > 0 and bytes(model.buffers) or "", text(run.kept) }
  for _, name in ipairs { "train_loss", "test_loss", "train_accuracy", "test_accuracy" } do parts[#parts + 1] = text(run[name]) end
  for _, list in pairs(run.recorded) do parts[#parts + 1] = text(list) end
  for _, state in ipairs(run:state().optimizer) do parts[#parts + 1] = bytes(state) end
  return table.concat(parts, "\n")
end

-- finish(): compares `run` with a training that nobody interrupted.
function finish(kind)
  local stopped = run.stopped
  assert(stopped == nil, stopped)
  return fingerprint(run) == fingerprint(begin(kind, { progress = false })) and "the same bits" or "DIFFERENT bits"
end
