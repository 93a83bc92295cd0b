--- plumb's side of each kind of workload: steps[kind](w, weights) -> run, check.
--- run(n) does about n steps and returns how many they were and how long they took; check() gives the numbers that both sides
--- must agree on.
local plumb = require "plumb"
local networks = require "networks"
local nn, optim, measure, data = plumb.nn, plumb.optim, plumb.measure, plumb.data
local clock = plumb.core.process.time

local CHECKED_STEPS = 20 -- of training

local steps = {}

local function timed(step)
  return function(n)
    local started = clock()
    for _ = 1, n do step() end
    return n, clock() - started
  end
end

local function model_of(w, weights, options)
  local model = networks.build(w, options)
  model:load_state_dict(weights)
  return model
end

-- plumb.fit as its users call it, also what it plans at its start.
local function training(w, weights)
  local set, loss = networks.set(w), networks.loss(w)
  local count = #set.y
  local model = model_of(w, weights)
  local function fit(network, examples, options)
    options.loss, options.optimizer, options.batch, options.progress = loss, optim.Adam { lr = 1e-3 }, w.batch, false
    return plumb.fit(network, examples, options)
  end

  local function run(n)
    local epochs, examples = 1, set
    if n * w.batch < count then
      examples = data.subset(set, n * w.batch)
    else
      epochs = math.max(1, math.floor(n * w.batch / count + 0.5))
    end
    local started = clock()
    local history = fit(model, examples, { epochs = epochs, shuffle = #examples.y > w.batch })
    return history.step, clock() - started
  end

  local function check()
    local losses = {}
    fit(model_of(w, weights, { dropout = false }), set, { epochs = CHECKED_STEPS, shuffle = false,
      on_step = function(history, value)
        losses[history.step] = value
        return history.step < CHECKED_STEPS
      end })
    return losses
  end
  return run, check
end
steps.curve, steps.images = training, training

function steps.evaluation(w, weights)
  local set, model = networks.set(w), model_of(w, weights)
  local evaluate = plumb.fit.evaluation(model, nn.cross_entropy, true)
  return timed(function() evaluate(set) end), function() return { evaluate(set) } end
end

-- ---- second order ----

local tasks = {}

-- A step of Adam on |grad L|^2 / 2.
function tasks.gradient_norm(_, L, theta)
  local function descend(n)
    return measure.find_critical_point(L, theta, { minimise_steps = 0, gradient_steps = n, polish_steps = 0,
      gradient_lr = 1e-4, tolerance = 0 })
  end
  return function(n)
    local started = clock()
    descend(n)
    return n, clock() - started
  end, function()
    local point = descend(CHECKED_STEPS)
    return { (measure.gradient_norm(L, theta)), point.gradient_norm, point.loss }
  end
end

function tasks.hessian(_, L, theta)
  local function spectrum() return plumb.linalg.eigvalsh((measure.hessian(L, theta))):evaluate() end
  return timed(spectrum), function() return spectrum():tolist() end
end

tasks.hessian_rows = tasks.hessian

function tasks.hvp(_, L, theta, direction)
  local product = measure.hvp(L, theta)
  return timed(function() product(direction) end), function() return product(direction):slice(1, -20):tolist() end
end

function tasks.gradient(_, L, theta)
  local gradient = plumb.compile(plumb.grad(L))
  return timed(function() gradient(theta) end), function() return gradient(theta):slice(1, -20):tolist() end
end

function steps.second_order(w, weights)
  local set = networks.set(w)
  if set.images then set = { x = set.x:evaluate(), y = set.y } end
  local direction = weights.direction
  weights.direction = nil
  local model = model_of(w, weights)
  return tasks[w.task](w, measure.loss(model, networks.loss(w), set), model.theta, direction)
end

-- ---- the rest ----

function steps.matmul(_, weights)
  local x, y = weights.x, weights.y
  local function product() return x:matmul(y):evaluate() end
  return timed(product), function() return { product():square():mean():sqrt():item() } end
end

function steps.load(w)
  local function load() return data.mnist { root = w.data } end
  return timed(load), function()
    local train, test = load()
    return { train.images:long():sum():item(), test.images:long():sum():item(), (train.y - 1):sum():item() }
  end
end

return steps
