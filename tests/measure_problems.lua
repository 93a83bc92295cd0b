--- What the specs of plumb.measure measure: small networks, quadratics with known eigenvalues, and PyTorch's numbers.
local plumb = require "plumb"
local json = require "dkjson"
local support = require "support"
local folders = require "folders"
local nn = plumb.nn

local problems = {}

problems.golden = assert(json.decode(folders.read("tests/golden/measure.json")))

local function chain(sizes)
  local layers = {}
  for i = 1, #sizes - 1 do
    layers[#layers + 1] = nn.Linear(sizes[i], sizes[i + 1])
    if i < #sizes - 1 then layers[#layers + 1] = nn.Tanh() end
  end
  return nn.Sequential(layers):double()
end

--- network(sizes, points) -> model, loss, set: a tanh network in float64 that is to learn a sine, with mse_loss.
function problems.network(sizes, points)
  plumb.manual_seed(3)
  local x = plumb.linspace(-1, 1, points or 16, { dtype = "float64" }):reshape(-1, 1)
  return chain(sizes), nn.mse_loss, { x = x, y = (x * 5):sin() }
end

--- from_golden(record) -> model, loss, set
function problems.from_golden(golden)
  local model = chain(golden.network.sizes)
  model.theta = plumb.tensor(golden.theta, { dtype = "float64" })
  local classes = golden.loss == "cross_entropy"
  return model, classes and nn.cross_entropy or nn.mse_loss, {
    x = support.make(golden.inputs.data, golden.inputs.shape),
    y = support.make(golden.targets.data, golden.targets.shape, classes and "int64" or "float64") }
end

--- rotation(n) -> an orthogonal matrix (n, n): a product of three reflections at the planes of random vectors
function problems.rotation(n)
  local q = plumb.arange(n):reshape(-1, 1):eq(plumb.arange(n)):double()
  for seed = 1, 3 do
    local v = plumb.randn({ n, 1 }, { dtype = "float64", seed = seed })
    q = q - v:matmul(v:t():matmul(q)) * (2 / v:square():sum())
  end
  return q:evaluate()
end

--- quadratic(values) -> A, L, theta: L(theta) = theta^T A theta / 2 with these eigenvalues of A, in directions that are no axes.
function problems.quadratic(values)
  local n = #values
  local q = problems.rotation(n)
  local a = q:matmul(q:t() * plumb.tensor(values, { dtype = "float64" }):reshape(-1, 1)):evaluate()
  local L = function(theta) return (theta * a:matmul(theta)):sum() / 2 end
  return a, L, plumb.randn({ n }, { dtype = "float64", seed = 9 })
end

return problems
