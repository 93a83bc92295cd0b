--- The benchmark's second-order workloads: each makes a function step(n) that does its work n times, as a user would ask for it.
--
-- small: 1-10-10-1 with tanh (141 parameters) on 256 points in float64; mlp: 784-512-10 with ReLU on a batch of 64 in float32.
local plumb = require "plumb"
local nn, measure = plumb.nn, plumb.measure

local function small()
  local x = plumb.linspace(1e-4, 1, 256, { dtype = "float64" }):reshape(-1, 1)
  local set = { x = x, y = (x * 5 * math.pi):sin():sign():evaluate() }
  local model = nn.Sequential { nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1) }:double()
  return measure.loss(model, nn.mse_loss, set), model.theta
end

local function mlp()
  local set = { x = plumb.rand(64, 784):evaluate(), y = plumb.randint(1, 10, { 64 }):evaluate() }
  local model = nn.Sequential { nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10) }
  return measure.loss(model, nn.cross_entropy, set), model.theta
end

local function repeated(f)
  return function(n)
    for _ = 1, n do f() end
  end
end

local function products(L, theta)
  local product = measure.hvp(L, theta)
  local v = plumb.randn({ #theta }, { dtype = theta:dtype(), seed = 1 }):evaluate()
  return repeated(function() product(v) end)
end

local function gradients(L, theta)
  local gradient = plumb.compile(plumb.grad(L))
  return repeated(function() gradient(theta) end)
end

return {
  -- a step of Adam on |grad L|^2 / 2
  gradient_norm = function()
    local L, theta = small()
    return function(n)
      measure.find_critical_point(L, theta, { minimise_steps = 0, gradient_steps = n, polish_steps = 0, gradient_lr = 1e-4,
        tolerance = 0 })
    end
  end,
  -- the dense Hessian and its eigenvalues
  hessian = function()
    local L, theta = small()
    return repeated(function() plumb.linalg.eigvalsh((measure.hessian(L, theta))):evaluate() end)
  end,
  hvp = function() return products(small()) end,
  mlp_hvp = function() return products(mlp()) end,
  mlp_gradient = function() return gradients(mlp()) end,
}
