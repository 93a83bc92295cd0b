-- Training traces made by PyTorch from the same weights (tests/golden/README.md): fit, the loop written by hand and the
-- compiled loop must each follow them.
local plumb = require "plumb"
local json = require "dkjson"
local nn, optim = plumb.nn, plumb.optim

local function read(name)
  local file = assert(io.open("tests/golden/" .. name .. ".json"))
  local text = file:read("a")
  file:close()
  return assert(json.decode(text))
end

local function tensor_of(record, dtype)
  return plumb.tensor(record.data, { dtype = dtype }):reshape(record.shape)
end

local activations = { leaky_relu = nn.LeakyReLU, relu = nn.ReLU, tanh = nn.Tanh }

local function build(network)
  local layers, sizes = {}, network.sizes
  for i = 1, #sizes - 1 do
    layers[#layers + 1] = nn.Linear(sizes[i], sizes[i + 1])
    if i < #sizes - 1 then layers[#layers + 1] = activations[network.activation:lower()](network.negative_slope) end
  end
  return nn.Sequential(layers)
end

-- The optimiser that a trace describes; clip_norm is told to fit, or applied by hand.
local function make_optimizer(o)
  local settings = {}
  for name, value in pairs(o) do
    if name ~= "name" and name ~= "clip_norm" then settings[name] = value end
  end
  return optim[o.name](settings)
end

-- The largest difference, relative for large numbers.
local function distance(a, b)
  local worst = 0
  for i = 1, #b do
    local d = math.abs(a[i] - b[i]) / math.max(1, math.abs(b[i]))
    if not (d <= worst) then worst = d end
  end
  return worst
end

local function problem(golden, dtype)
  local model = build(golden.network)
  if dtype == "float64" then model:double() end
  model.theta = plumb.tensor(golden.theta0, { dtype = dtype })
  local set = { x = tensor_of(golden.inputs, dtype),
    y = tensor_of(golden.targets, golden.loss == "mse" and dtype or "int64") }
  return model, set, golden.loss == "mse" and nn.mse_loss or nn.cross_entropy
end

local ways = {}

function ways.fit(golden, dtype)
  local model, set, loss = problem(golden, dtype)
  local losses = {}
  plumb.fit(model, set, { loss = loss, optimizer = make_optimizer(golden.optimizer), epochs = golden.steps,
    clip_norm = golden.optimizer.clip_norm, batch = #set.x, shuffle = false, progress = false,
    on_step = function(_, value) losses[#losses + 1] = value end })
  return losses, model.theta:tolist()
end

ways["a loop written by hand"] = function(golden, dtype)
  local model, set, loss = problem(golden, dtype)
  local optimizer, losses, gradient1 = make_optimizer(golden.optimizer), {}, nil
  local loss_and_gradient = plumb.value_and_grad(function(theta) return loss(model:at(theta)(set.x), set.y) end)
  for step = 1, golden.steps do
    local value, gradient = loss_and_gradient(model.theta)
    losses[step] = value:item()
    gradient1 = gradient1 or gradient:tolist()
    if golden.optimizer.clip_norm then gradient = optim.clip_norm(gradient, golden.optimizer.clip_norm) end
    model.theta = optimizer:step(model.theta, gradient)
  end
  return losses, model.theta:tolist(), gradient1
end

for _, name in ipairs { "trace_deep_adam", "trace_deep_sgd", "trace_mlp_adam", "trace_mlp_adamw", "trace_mlp_nesterov",
  "trace_mlp_nesterov_decayed", "trace_mlp_rmsprop", "trace_mlp_rmsprop_centered", "trace_mlp_adagrad", "trace_mlp_clipped" } do
  local golden = read(name)
  describe("the golden trace " .. name, function()
    for way, run in pairs(ways) do
      for dtype, tolerance in pairs { float64 = 1e-9, float32 = 1e-4 } do
        it(("is followed by %s in %s to %g"):format(way, dtype, tolerance), function()
          local losses, theta, gradient1 = run(golden, dtype)
          local expected = golden[dtype]
          assert.equal(#expected.losses, #losses)
          assert.is_true(distance(losses, expected.losses) < tolerance, "losses: " .. distance(losses, expected.losses))
          assert.is_true(distance(theta, expected.theta) < tolerance, "theta: " .. distance(theta, expected.theta))
          if gradient1 then assert.is_true(distance(gradient1, expected.gradient1) < tolerance) end
        end)
      end
    end
  end)
end

-- JSON has strings and numbers; schedules within a sequence are pairs of name and arguments.
local function make_schedule(name, arguments)
  local options = {}
  for key, value in pairs(arguments) do options[key] = value end
  for i, inner in ipairs(options.schedulers or {}) do options.schedulers[i] = make_schedule(inner[1], inner[2]) end
  return optim[name](options)
end

describe("the golden schedule", function()
  for number, case in ipairs(read("schedules").cases) do
    it(("%d, %s, is followed at every place, asked in any order"):format(number, case.name), function()
      local schedule = make_schedule(case.name, case.arguments)
      local optimizer = optim.SGD { lr = case.base, momentum = case.momentum[1] > 0 and case.momentum[1] or 0 }
      for i = #case.lr, 1, -1 do
        local rate = schedule:lr(i, case.base)
        assert.is_true(math.abs(rate - case.lr[i]) <= 1e-12 * case.base, ("%d: %.17g, not %.17g"):format(i, rate, case.lr[i]))
        schedule:set(optimizer, i, case.base)
        assert.equal(rate, optimizer.lr)
        assert.is_true(math.abs(optimizer.momentum - case.momentum[i]) < 1e-12, ("momentum %d: %.17g"):format(i, optimizer.momentum))
      end
    end)
  end
end)
