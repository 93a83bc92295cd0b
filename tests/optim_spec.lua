--- Optimisers, against loops over plain numbers.
local plumb = require "plumb"
local support = require "support"
local nn, optim = plumb.nn, plumb.optim

local flat, fails_here = support.flat, support.fails_here

local START = { 1.5, -0.3, 0, 2 }

-- The gradient at each step is a fixed function of theta and the step, so that nothing cancels.
local function slope(theta, step) return math.cos(3 * theta + step) + theta end

local function by_plumb(optimizer, steps, dtype)
  local theta = plumb.tensor(START, { dtype = dtype or "float64" })
  for step = 1, steps do
    theta = optimizer:step(theta, (theta * 3 + step):cos() + theta)
  end
  return flat(theta)
end

local function adam(o, steps)
  local theta, m, v = { table.unpack(START) }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }
  for t = 1, steps do
    for i = 1, #theta do
      local g = slope(theta[i], t) + o.weight_decay * theta[i]
      m[i] = o.betas[1] * m[i] + (1 - o.betas[1]) * g
      v[i] = o.betas[2] * v[i] + (1 - o.betas[2]) * g * g
      local m_hat, v_hat = m[i] / (1 - o.betas[1] ^ t), v[i] / (1 - o.betas[2] ^ t)
      theta[i] = theta[i] - o.lr * m_hat / (math.sqrt(v_hat) + o.eps)
    end
  end
  return theta
end

local function sgd(o, steps)
  local theta, b = { table.unpack(START) }, {}
  for t = 1, steps do
    for i = 1, #theta do
      local g = slope(theta[i], t) + o.weight_decay * theta[i]
      b[i] = b[i] and o.momentum * b[i] + (1 - o.dampening) * g or g
      local direction = o.momentum == 0 and g or o.nesterov and g + o.momentum * b[i] or b[i]
      theta[i] = theta[i] - o.lr * direction
    end
  end
  return theta
end

describe("optim.Adam", function()
  for _, o in ipairs {
    { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 0 },
    { lr = 0.05, betas = { 0.8, 0.95 }, eps = 1e-3, weight_decay = 0.1 },
    { lr = 0.1, betas = { 0, 0 }, eps = 1e-8, weight_decay = 0 },
    { lr = 0, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 1 },
  } do
    it(("follows its formula with lr %g, betas %g %g, weight decay %g"):format(o.lr, o.betas[1], o.betas[2], o.weight_decay),
      function()
        support.same_numbers(by_plumb(optim.Adam(o), 40), adam(o, 40), 1e-12, "float64")
        support.same_numbers(by_plumb(optim.Adam(o), 40, "float32"), adam(o, 40), 1e-4, "float32")
      end)
  end

  it("has PyTorch's defaults", function()
    local o = { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 0 }
    support.same_numbers(by_plumb(optim.Adam(), 5), adam(o, 5), 1e-14, "Adam()")
    assert.equal("Adam{lr = 0.001}", tostring(optim.Adam {}))
  end)

  it("has the right numbers at the first and at very late steps", function()
    local optimizer = optim.Adam { lr = 0.01 }
    local first, late, last = optimizer:numbers(1), optimizer:numbers(1000), optimizer:numbers(10 ^ 9)
    assert.is_true(support.near(first[1], 0.1, 1e-15) and support.near(first[2], math.sqrt(1000), 1e-11))
    assert.is_true(support.near(late[2], 1 / math.sqrt(1 - 0.999 ^ 1000), 1e-15))
    assert.same({ 0.01, 1 }, last)
  end)

  it("keeps a parameter where its gradient is 0", function()
    local theta = plumb.tensor { 1, 2 }
    local optimizer = optim.Adam()
    for _ = 1, 3 do theta = optimizer:step(theta, plumb.tensor { 0, 1 }) end
    assert.equal(1, theta[1]:item())
    assert.is_true(theta[2]:item() < 2)
  end)
end)

describe("optim.SGD", function()
  for name, o in pairs {
    plain = { lr = 0.1, momentum = 0, dampening = 0, weight_decay = 0, nesterov = false },
    ["with weight decay"] = { lr = 0.1, momentum = 0, dampening = 0, weight_decay = 0.3, nesterov = false },
    ["with momentum"] = { lr = 0.05, momentum = 0.9, dampening = 0, weight_decay = 0.1, nesterov = false },
    ["with momentum and dampening"] = { lr = 0.05, momentum = 0.9, dampening = 0.4, weight_decay = 0, nesterov = false },
    ["with Nesterov's momentum"] = { lr = 0.05, momentum = 0.9, dampening = 0, weight_decay = 0.01, nesterov = true },
  } do
    it(name .. " follows its formula", function()
      support.same_numbers(by_plumb(optim.SGD(o), 30), sgd(o, 30), 1e-12, "float64")
      support.same_numbers(by_plumb(optim.SGD(o), 30, "float32"), sgd(o, 30), 1e-4, "float32")
    end)
  end
end)

describe("optim.RMSprop, AdamW and Adagrad", function()
  it("have PyTorch's defaults", function()
    local expected = {
      RMSprop = { lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0, centered = false },
      AdamW = { lr = 1e-3, betas = { 0.9, 0.999 }, eps = 1e-8, weight_decay = 1e-2 },
      Adagrad = { lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10 },
    }
    for name, settings in pairs(expected) do
      local optimizer = optim[name]()
      for key, value in pairs(settings) do assert.same(value, optimizer[key], name .. "." .. key) end
      assert.equal(name, optim.name_of(optimizer))
    end
  end)

  it("stay finite where the centred variance is 0 but for rounding", function()
    local optimizer, theta = optim.RMSprop { centered = true, alpha = 0.1 }, plumb.ones(3)
    for _ = 1, 60 do theta = optimizer:step(theta, plumb.tensor { 0.1, 1 / 3, 1e4 }) end
    for _, value in ipairs(flat(theta)) do assert.equal(0, value - value, tostring(value)) end
  end)

  it("decay the weights apart from the gradient, or with it", function()
    local theta, zero = plumb.tensor({ 2, -4 }, { dtype = "float64" }), plumb.zeros({ 2 }, { dtype = "float64" })
    support.same_numbers(flat(optim.AdamW { lr = 0.5, weight_decay = 0.1 }:step(theta, zero)), { 1.9, -3.8 }, 1e-15, "AdamW")
    support.same_numbers(flat(optim.Adagrad { lr = 0.5, weight_decay = 0.1 }:step(theta, zero)), { 1.5, -3.5 }, 1e-8, "Adagrad")
  end)
end)

describe("an optimiser", function()
  it("starts again after reset, and obeys a changed learning rate", function()
    local optimizer = optim.Adam { lr = 0.1 }
    local once = by_plumb(optimizer, 7)
    optimizer:reset()
    assert.same(once, by_plumb(optimizer, 7))
    optimizer.lr = 0
    assert.same({ 1, 2, 3, 4 }, flat(optimizer:step(plumb.tensor { 1, 2, 3, 4 }:double(), plumb.ones(4):double())))
  end)

  it("ends with 0 where gradients have vanished, and not among numbers that processors are slow with", function()
    local averages = { [optim.Adam {}] = 1, [optim.AdamW {}] = 1, [optim.SGD { momentum = 0.9 }] = 1, [optim.RMSprop { alpha = 0.9 }] = 1,
      [optim.RMSprop { momentum = 0.9 }] = 2, [optim.RMSprop { alpha = 0.9, centered = true }] = 2 }
    for optimizer, average in pairs(averages) do
      local theta = optimizer:step(plumb.ones(20), plumb.full({ 20 }, 1e-3))
      for _ = 1, 1200 do theta = optimizer:step(theta, plumb.zeros(20)) end -- 0.9^1200 is below all numbers of float32
      assert.equal(0, optimizer.state[average]:get():max():item(), tostring(optimizer))
    end
  end)

  it("keeps small squares where nothing is added to their root", function()
    for _, optimizer in ipairs { optim.Adam { lr = 0.1, eps = 0 }, optim.RMSprop { lr = 0.1, eps = 1e-30 } } do
      local theta = plumb.ones(20)
      for _ = 1, 3 do theta = optimizer:step(theta, plumb.full({ 20 }, 1e-18)) end
      assert.is_true(theta:min():item() > -2, tostring(optimizer)) -- about 0.1 to 1 a step, whatever the gradient
    end
  end)

  it("keeps its states apart from another's", function()
    local a, b = optim.SGD { lr = 1, momentum = 0.5 }, optim.SGD { lr = 1, momentum = 0.5 }
    local zero, one = plumb.zeros(1), plumb.ones(1)
    assert.equal(-1, a:step(zero, one):item())
    assert.equal(-1.5, a:step(zero, one):item())
    assert.equal(-1, b:step(zero, one):item())
  end)

  it("takes a new rate or momentum without a new plan", function()
    for _, optimizer in ipairs { optim.Adam(), optim.AdamW(), optim.SGD { momentum = 0.9, nesterov = true }, optim.Adagrad(),
      optim.RMSprop { momentum = 0.5, centered = true } } do
      local theta, gradient = plumb.ones(5):evaluate(), plumb.ones(5):evaluate()
      optimizer:set_momentum(0.8)
      for _ = 1, 2 do theta = optimizer:step(theta, gradient) end
      local made, version = plumb.memory().plans_made, optimizer.version
      for i = 1, 5 do
        optimizer.lr = 0.1 / i
        optimizer:set_momentum(0.9 - 0.1 * i)
        theta = optimizer:step(theta, gradient):evaluate()
      end
      assert.same({ made, version }, { plumb.memory().plans_made, optimizer.version }, optimizer.name)
    end
    for _, o in ipairs { { "Adam" }, { "AdamW" }, { "SGD", { lr = 0.1, momentum = 0.9 } }, { "RMSprop", { momentum = 0.9 } } } do
      local constant, varies = optim[o[1]](o[2]), optim[o[1]](o[2])
      varies:set_momentum(0.9)
      assert.same(by_plumb(constant, 5), by_plumb(varies, 5), o[1])
    end
    local plain = optim.SGD { lr = 0.1 }
    plain:set_momentum(0.9)
    assert.equal(0, plain.momentum)
  end)

  it("has steps that can be compiled and differentiated", function()
    local optimizer = optim.Adam { lr = 0.1 }
    local theta, gradient = plumb.tensor({ 1, 2 }, { dtype = "float64" }), plumb.tensor({ 0.5, -1 }, { dtype = "float64" })
    local state, numbers = optimizer:start(theta), optimizer:numbers(1)
    local function update(t, g) return (optimizer:update(t, g, state, numbers)) end
    support.same_bits(plumb.compile(update)(theta, gradient), update(theta, gradient), "compiled")
    support.check_gradients(update, { theta, gradient }, "a step of Adam")
  end)

  it("never changes a tensor that was given or kept", function()
    for _, optimizer in ipairs { optim.Adam { lr = 0.1 }, optim.SGD { lr = 0.1, momentum = 0.9 } } do
      local model = nn.Linear(2, 2)
      local kept, lazy, values = {}, {}, {}
      for step = 1, 6 do
        kept[step], lazy[step], values[step] = model.theta, model.theta * 2, flat(model.theta + 0)
        local gradient = plumb.ones(6) * step
        local before = flat(gradient)
        model.theta = optimizer:step(model.theta, gradient)
        assert.same(before, flat(gradient))
      end
      for step = 1, 6 do
        assert.same(values[step], flat(kept[step]))
        assert.same(values[step], flat(lazy[step] / 2))
      end
    end
  end)

  it("refuses options that make no sense", function()
    fails_here(function() optim.Adam { learning_rate = 1 } end, "Adam: there is no option 'learning_rate'", "lr")
    fails_here(function() optim.Adam(0.1) end, "Adam: options are a table, not number")
    fails_here(function() optim.Adam { lr = -1 } end, "Adam: lr", "at least 0", "-1")
    fails_here(function() optim.Adam { lr = "0.1" } end, "Adam: lr must be a number")
    fails_here(function() optim.Adam { lr = 0 / 0 } end, "Adam: lr")
    fails_here(function() optim.Adam { betas = { 0.9 } } end, "Adam: betas", "two numbers")
    fails_here(function() optim.Adam { betas = { 0.9, 1 } } end, "betas[2]")
    fails_here(function() optim.Adam { betas = 0.9 } end, "Adam: betas")
    fails_here(function() optim.Adam { eps = -1 } end, "Adam: eps")
    fails_here(function() optim.SGD { weight_decay = -1 } end, "SGD: weight_decay")
    fails_here(function() optim.SGD { momentum = "x" } end, "SGD: momentum")
    fails_here(function() optim.SGD { nesterov = true } end, "nesterov needs a momentum")
    fails_here(function() optim.SGD { momentum = 0.9, dampening = 0.1, nesterov = true } end, "no dampening")
    fails_here(function() optim.SGD { momentum = 0.9, nesterov = "yes" } end, "true or false")
    fails_here(function() optim.RMSprop { alpha = 1.5 } end, "RMSprop: alpha", "from 0 to 1")
    fails_here(function() optim.RMSprop { centered = 1 } end, "RMSprop: centered must be true or false")
    fails_here(function() optim.RMSprop { momentum = -1 } end, "RMSprop: momentum")
    fails_here(function() optim.AdamW { betas = { 1, 2 } } end, "AdamW: betas[1]")
    fails_here(function() optim.Adagrad { lr_decay = -1 } end, "Adagrad: lr_decay")
    fails_here(function() optim.RMSprop().centered = true end, "RMSprop: the setting centered cannot be switched on or off")
  end)

  it("refuses tensors that do not fit, and goes on", function()
    local optimizer = optim.Adam()
    local theta = plumb.ones(3)
    fails_here(function() optimizer:step(theta) end, "Adam: optimizer:step(theta, gradient) takes two tensors", "(3) and nil")
    fails_here(function() optimizer.step(theta, theta) end, "two tensors")
    fails_here(function() optimizer:step(nn.Linear(1, 2), theta) end, "two tensors", "table")
    fails_here(function() optimizer:step(theta, plumb.ones(4)) end, "Adam", "one shape", "(3) and (4)")
    fails_here(function() optimizer:step(theta, plumb.ones(3):double()) end, "float64", "float32")
    assert.equal(1, optimizer:step(theta, plumb.zeros(3))[1]:item())
    fails_here(function() optimizer:step(plumb.ones(4), plumb.ones(4)) end, "(4)", "(3)", "reset()")
    assert.equal(1, optimizer.steps, "a step that fails does not count")
  end)
end)

describe("a schedule", function()
  it("is a pure function, for the optimiser of a loop written by hand too", function()
    local schedule, optimizer = optim.LambdaLR(function(done) return 1 / (1 + done) end), optim.SGD { lr = 0.5 }
    assert.same({ 0.5, 0.25, 0.125, 0.5 }, { schedule:lr(1, 0.5), schedule:lr(2, 0.5), schedule:lr(4, 0.5), schedule:lr(1, 0.5) })
    schedule:set(optimizer, 2, 0.5)
    assert.equal(0.25, optimizer.lr)
    assert.equal("LambdaLR per epoch", tostring(schedule))
    assert.equal("StepLR per step", tostring(optim.StepLR { step_size = 1, per = "step" }))
    local warm = optim.SequentialLR { milestones = { 2 }, schedulers = { optim.LinearLR { start_factor = 0.5, total_iters = 2 },
      optim.LambdaLR(function(done) return done + 1 end) } }
    assert.same({ 0.5, 0.75, 1, 2 }, { warm:lr(1, 1), warm:lr(2, 1), warm:lr(3, 1), warm:lr(4, 1) })
  end)

  it("of one cycle leaves an optimiser without momentum without, and cycles Adam's first beta", function()
    local cycle, with_beta, without = optim.OneCycleLR { max_lr = 1, total_steps = 10 }, optim.Adam(), optim.SGD()
    cycle:set(with_beta, 3)
    cycle:set(without, 3)
    assert.same({ 1, 0.85, 0.999, 1, 0 }, { with_beta.lr, with_beta.betas[1], with_beta.betas[2], without.lr, without.momentum })
  end)

  it("refuses what makes no sense", function()
    fails_here(function() optim.StepLR() end, "StepLR: step_size must be a number", "nil")
    fails_here(function() optim.StepLR { step_size = 0 } end, "StepLR: step_size", "at least 1")
    fails_here(function() optim.StepLR { step_size = 3, gama = 1 } end, "StepLR: there is no option 'gama'", "gamma")
    fails_here(function() optim.StepLR { step_size = 3, per = "day" } end, "StepLR: per must be \"epoch\" or \"step\"")
    fails_here(function() optim.MultiStepLR { milestones = 3 } end, "MultiStepLR: milestones is a list")
    fails_here(function() optim.MultiStepLR { milestones = { 5, 3 } } end, "milestones[2]", "at least 5")
    fails_here(function() optim.ExponentialLR { gamma = -1 } end, "ExponentialLR: gamma")
    fails_here(function() optim.CosineAnnealingLR { T_max = 0 } end, "CosineAnnealingLR: T_max")
    fails_here(function() optim.LinearLR { total_iters = 1.5 } end, "LinearLR: total_iters must be an integer")
    fails_here(function() optim.LambdaLR() end, "LambdaLR: lr_lambda must be a function")
    fails_here(function() optim.LambdaLR(function() return "x" end):lr(1, 1) end, "what lr_lambda returns must be a number")
    fails_here(function() optim.OneCycleLR { max_lr = 1 } end, "OneCycleLR: needs total_steps, or epochs and steps_per_epoch")
    fails_here(function() optim.OneCycleLR { total_steps = 9 } end, "OneCycleLR: max_lr must be a number")
    fails_here(function() optim.OneCycleLR { max_lr = 1, total_steps = 9, pct_start = 2 } end, "pct_start", "from 0 to 1")
    fails_here(function() optim.OneCycleLR { max_lr = 1, total_steps = 9, anneal_strategy = "x" } end, "\"cos\" or \"linear\"")
    fails_here(function() return (optim.OneCycleLR { max_lr = 1, total_steps = 9 }:lr(10)) end, "step 10 is beyond the 9 steps")
    fails_here(function() return (optim.StepLR { step_size = 3 }:lr(0, 1)) end, "StepLR: the epoch or step", "at least 1")
    fails_here(function() return (optim.StepLR { step_size = 3 }:lr(1)) end, "StepLR: the base learning rate", "nil")
    local step = optim.StepLR { step_size = 3 }
    fails_here(function() optim.SequentialLR { schedulers = { step }, milestones = { 1 } } end, "one schedule more")
    fails_here(function() optim.SequentialLR { schedulers = { step, 3 }, milestones = { 1 } } end, "schedulers[2] is not a schedule")
    fails_here(function() optim.SequentialLR { schedulers = { step, optim.OneCycleLR { max_lr = 1, total_steps = 9 } },
      milestones = { 1 } } end, "schedulers[2] counts steps, but the sequence counts epochs")
  end)
end)

describe("clipping", function()
  it("scales a gradient of a large norm, and leaves others", function()
    local g = plumb.tensor({ 3, -4 }, { dtype = "float64" })
    local clipped, norm = optim.clip_norm(g, 1)
    assert.equal(5, norm:item())
    support.same_numbers(flat(clipped), { 3 / 5.000001, -4 / 5.000001 }, 1e-15, "clipped")
    support.same_bits(optim.clip_norm(g, 5.1), g, "short enough")
    support.same_bits(optim.clip_norm(g * 0, 1), g * 0, "zero")
    assert.same({ 0.5, -0.5 }, flat(optim.clip_value(g, 0.5)))
    support.check_gradients(function(x) return (optim.clip_norm(x, 1)) end, { g }, "clip_norm")
  end)

  it("refuses what is not a gradient or a limit", function()
    fails_here(function() optim.clip_norm(3, 1) end, "clip_norm: the gradient must be a tensor, not number")
    fails_here(function() optim.clip_norm(plumb.ones(2), -1) end, "clip_norm: max", "at least 0")
    fails_here(function() optim.clip_value(plumb.ones(2)) end, "clip_value: limit must be a number", "nil")
  end)
end)
