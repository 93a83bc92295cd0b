--- Buffers, training and evaluation mode, dropout, and what fit makes of them.
local plumb = require "plumb"
local folders = require "folders"
local support = require "support"
local nn, optim = plumb.nn, plumb.optim

local flat, fails_here, same_numbers, same_bits = support.flat, support.fails_here, support.same_numbers, support.same_bits

-- ---- buffers ----

describe("a model's buffers", function()
  local x = plumb.randn({ 6, 3 }, { seed = 1 })
  local function normal() return nn.Sequential { nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Tanh(), nn.BatchNorm1d(2) } end

  it("have PyTorch's names in the state dict, and are not in theta", function()
    local model = normal()
    local names = {}
    for name in pairs(model:state_dict()) do names[#names + 1] = name end
    table.sort(names)
    assert.same({ "0.bias", "0.weight", "1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var", "1.weight",
      "3.bias", "3.num_batches_tracked", "3.running_mean", "3.running_var", "3.weight" }, names)
    assert.equal(8 + 8, model.theta:numel())
    assert.equal(6, #model:parameters())
  end)

  it("go through a file and back, in either precision", function()
    local model, other = normal(), normal()
    model(x)
    model(x + 1)
    local folder = folders.new()
    plumb.files.save(folder .. "/model.safetensors", model:state_dict())
    local state = plumb.files.load(folder .. "/model.safetensors")
    folders.remove(folder)
    assert.same({ 2, "int64" }, { state["1.num_batches_tracked"]:item(), state["1.num_batches_tracked"]:dtype() })
    other:load_state_dict(state)
    same_bits(model.buffers, other.buffers, "buffers")
    same_bits(model:eval()(x), other:eval()(x), "what they compute")
    other:double():load_state_dict(state)
    assert.same(flat(model.buffers), flat(other.buffers))
    assert.equal("float64", other.buffers:dtype())
    same_bits(other:float().buffers, model.buffers, "there and back")
    state["1.running_mean"] = nil
    local before = { other.theta, other.buffers }
    fails_here(function() other:load_state_dict(state) end, "'1.running_mean' is missing")
    state["1.running_mean"] = plumb.zeros(3)
    fails_here(function() other:load_state_dict(state) end, "'1.running_mean' has shape (3), but the model's has (2)")
    same_bits(other.theta, before[1], "theta")
    same_bits(other.buffers, before[2], "buffers")
  end)

  it("are loaded together with theta or, when memory runs out, neither is", function()
    local _ <close> = setmetatable({}, { __close = function() plumb.core.memory_fail() end })
    local model = normal()
    local state = {}
    for name, value in pairs(model:state_dict()) do state[name] = (value * 0 + 3):cast(value:dtype()):evaluate() end
    local theta, buffers, n = model.theta:evaluate(), model.buffers:evaluate(), 0
    local loaded
    repeat
      n = n + 1
      plumb.core.memory_fail(n, 1 << 40)
      loaded = pcall(model.load_state_dict, model, state)
      plumb.core.memory_fail()
      same_bits(model.theta, loaded and theta * 0 + 3 or theta, "theta, allocation " .. n)
      same_bits(model.buffers, loaded and buffers * 0 + 3 or buffers, "buffers, allocation " .. n)
    until loaded
    assert.is_true(n > 20)
  end)

  it("can be assigned: all, a layer's, one", function()
    local model = normal()
    local kept = model.buffers
    model.buffers = plumb.arange(10):float()
    assert.same({ 3, 4 }, flat(model[2].running_var))
    model[4].buffers = plumb.zeros(5)
    model[2].running_mean = plumb.tensor { 8, 9 }
    model[2].num_batches_tracked = plumb.tensor(7, { dtype = "int64" })
    assert.same({ 8, 9, 3, 4, 7, 0, 0, 0, 0, 0 }, flat(model.buffers))
    assert.same({ 0, 0, 1, 1, 0, 0, 0, 1, 1, 0 }, flat(kept))
    fails_here(function() model.buffers = plumb.zeros(9) end, "buffers of shape (10)", "Sequential", "(9)")
    fails_here(function() model.buffers = 1 end, "buffers must be a tensor, not number")
    fails_here(function() model.buffers = plumb.zeros({ 10 }, { dtype = "float64" }) end, "float64", "float32")
    fails_here(function() model[2].running_var = plumb.zeros(3) end, "layer 2 of Sequential: BatchNorm1d(2)", "(3)", "(2)")
    assert.same({ 8, 9, 3, 4, 7, 0, 0, 0, 0, 0 }, flat(model.buffers))
  end)

  it("stay with a layer that becomes part of a model", function()
    local layer = nn.BatchNorm1d(3)
    layer(x)
    local before = layer.buffers
    local model = nn.Sequential { nn.BatchNorm1d(3, { affine = false }), layer }
    same_bits(model[2].buffers, before, "buffers")
    assert.same({ 0, 0, 0, 1, 1, 1, 0 }, flat(model[1].buffers))
    local bare = nn.BatchNorm1d(3, { affine = false })
    nn.Sequential { bare }
    fails_here(function() nn.Sequential { bare } end, "layer 1 (BatchNorm1d(3, affine = false))", "already part of a model")
  end)

  it("are updated by each pass in training mode, by model, at and forward alike", function()
    local ways = {
      function(m) return m(x) end, function(m) return m:forward(x) end, function(m) return m:at(m.theta)(x) end,
      function(m) return m[4](m[3](m[2](m[1](x)))) end,
      function(m) m.buffers = select(2, m:at(m.theta, { buffers = m.buffers })(x)) end,
      function(m) plumb.grad(function(theta) return m:at(theta)(x):sum() end)(m.theta) end,
      function(m) plumb.grad(function() return m(x):sum() end)(m.theta) end,
      function(m) plumb.hvp(function(theta) return m:at(theta)(x):sum() end)(m.theta, m.theta) end,
      function(m)
        local f = plumb.compile(function(theta, buffers) return select(2, m:at(theta, { buffers = buffers })(x)) end)
        m.buffers = f(m.theta, m.buffers)
      end,
    }
    local expected
    for i, way in ipairs(ways) do
      plumb.manual_seed(2)
      local model = normal()
      for _ = 1, 3 do way(model) end
      expected = expected or model.buffers
      assert.equal(3, model[4].num_batches_tracked:item())
      same_numbers(flat(model.buffers), flat(expected), 1e-6, "way " .. i)
    end
  end)

  it("see every pass inside one gradient, the second after the first", function()
    local model, other = normal(), normal()
    other:load_state_dict(model:state_dict())
    plumb.grad(function(theta)
      local a = model:at(theta)(x):sum()
      assert.equal(1, model[2].num_batches_tracked:item())
      return a + model:at(theta)(x * 2):square():sum()
    end)(model.theta)
    other(x)
    other(x * 2)
    same_numbers(flat(model.buffers), flat(other.buffers), 1e-6, "buffers")
  end)

  it("are computed along with loss and gradient, in the same run", function()
    local model, set = normal(), plumb.randn(6, 3)
    local loss_and_gradient = plumb.value_and_grad(function(theta) return model:at(theta)(set):square():sum() end)
    local theta = model.theta
    local function runs()
      local memory = plumb.memory()
      return memory.plans_made + memory.plans_reused
    end
    loss_and_gradient(theta)
    local before = runs()
    for _ = 1, 5 do loss_and_gradient(theta) end
    local buffers = flat(model.buffers)
    assert.equal(5, runs() - before)
    assert.equal(6, buffers[5])
  end)

  it("keep what they were when the function fails", function()
    local model = normal()
    local before = model.buffers
    fails_here(function()
      plumb.grad(function(theta)
        model:at(theta)(x)
        return 3
      end)(model.theta)
    end, "must return a tensor")
    fails_here(function()
      local labels = plumb.tensor({ 1, 2, 1, 2, 1, 3 }, { dtype = "int64" })
      plumb.grad(function(theta) return nn.cross_entropy(model:at(theta)(x), labels) end)(model.theta)
    end, "3")
    fails_here(function() model(plumb.zeros(6, 2)) end, "layer 1")
    same_bits(model.buffers, before, "buffers")
    model(x)
    assert.equal(1, model[2].num_batches_tracked:item())
  end)

  it("survive any failed allocation of a step", function()
    local model = normal()
    local f = plumb.value_and_grad(function(theta) return model:at(theta)(x):square():sum() end)
    f(model.theta)
    local theta, before, failed = model.theta, model.buffers, 0
    for nth = 1, 10000, 7 do
      plumb.core.memory_fail(nth, 1000)
      local ok = pcall(f, theta)
      plumb.core.memory_fail()
      if ok then break end
      failed = failed + 1
      same_bits(model.buffers, before, "buffers after failure " .. nth)
    end
    assert.is_true(failed > 10 and failed < 1400, failed)
    assert.equal(2, model[2].num_batches_tracked:item())
  end)

  it("hold no more memory after a thousand steps", function()
    local model, optimizer = normal(), optim.Adam()
    local f = plumb.value_and_grad(function(theta) return model:at(theta)(x):square():sum() end)
    local function steps(n)
      for _ = 1, n do
        local _, gradient = f(model.theta)
        model.theta = optimizer:step(model.theta, gradient)
      end
    end
    steps(50)
    local live = support.live_bytes()
    steps(1000)
    assert.is_true(support.live_bytes() - live < 4096)
    assert.equal(1050, model[2].num_batches_tracked:item())
  end)

  it("never become constants of a compiled function", function()
    local model = normal()
    local function compiled(options)
      return plumb.compile(function(theta, input) return model:at(theta, options)(input) end)(model.theta, x)
    end
    fails_here(function() compiled() end, "layer 2 of Sequential: BatchNorm1d(2)", "buffers = buffers, training = true",
      "the new ones")
    fails_here(function() compiled { training = false } end, "layer 2", "training = false")
    model:eval()
    fails_here(function() compiled() end, "training = false")
    assert.equal(0, model[2].num_batches_tracked:item())
  end)

  it("given to at must fit", function()
    local model = normal()
    local function at(options) return function() model:at(model.theta, options) end end
    fails_here(at { buffers = plumb.zeros(9) }, "at: buffers of shape (10)", "(9)")
    fails_here(at { buffers = plumb.zeros(10):long() }, "int64")
    fails_here(at { key = 3 }, "at: the key", "int64 tensor {seed, step}", "number")
    fails_here(at { key = plumb.zeros(2) }, "float32 of shape (2)")
    fails_here(at { training = 1 }, "training must be true or false")
    fails_here(at { train = true }, "no option 'train'", "training")
    fails_here(at(plumb.zeros(10)), "options are a table")
  end)
end)

-- ---- modes ----

describe("training and evaluation mode", function()
  local x = plumb.randn({ 5, 4 }, { seed = 3 })
  local function model_of_both()
    return nn.Sequential { nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Sequential { nn.Dropout(0.3) }, nn.Linear(6, 2) }
  end

  it("are set for all layers, and returned from", function()
    local model = model_of_both()
    assert.is_true(model.training and model[3][1].training)
    assert.equal(model, model:eval())
    assert.is_false(model.training or model[2].training or model[3].training or model[3][1].training)
    model[3]:train()
    assert.is_true(model[3][1].training and not model[2].training)
    assert.is_true(model:train().training and model[2].training)
    assert.is_false(model:train(false)[2].training)
    fails_here(function() model:train("yes") end, "train: the mode must be true or false")
  end)

  it("differ: evaluation changes nothing and draws nothing", function()
    local model = model_of_both()
    model(x)
    model:eval()
    local state, y = model:state_dict(), nil
    plumb.manual_seed(9)
    for _ = 1, 3 do
      local again = model(x)
      same_bits(again, y or again, "the same at every pass")
      y = again
      model:at(model.theta)(x * 5):sum():item()
      plumb.grad(function(theta) return model:at(theta)(x * 3):sum() end)(model.theta)
    end
    local drawn = plumb.rand(3)
    plumb.manual_seed(9)
    same_bits(drawn, plumb.rand(3), "the stream of random numbers")
    for name, value in pairs(model:state_dict()) do same_bits(value, state[name], name) end
    same_numbers(flat(model(x:slice(1, 2, 2))), flat(y[2]), 1e-5, "a sample alone")
    same_bits(model:train():at(model.theta, { training = false })(x), y, "training = false in training mode")
    assert.is_true(model.training)
  end)

  it("do not matter to predict, which works batch by batch", function()
    local model = model_of_both()
    local state = model:state_dict()
    local expected = model:at(model.theta, { training = false })(x)
    for _, batch in ipairs { 1, 2, 5, 100 } do
      local y = model:predict(x, { batch = batch })
      same_numbers(flat(y), flat(expected), 1e-5, "in batches of " .. batch)
    end
    same_bits(model:predict(x), expected, "at once")
    assert.same({ 0, 2 }, model:predict(x:slice(1, 1, 0)):shape())
    for name, value in pairs(model:state_dict()) do same_bits(value, state[name], name) end
    fails_here(function() model:predict(3) end, "predict: x must be a tensor", "number")
    fails_here(function() model:predict(x, { batch = 0 }) end, "batch")
    fails_here(function() model:predict(plumb.zeros(2, 3)) end, "layer 1 of Sequential: Linear(4, 6)")
  end)

  it("of single layers can be mixed", function()
    local model = model_of_both()
    model[2]:eval()
    local before = model.buffers
    local a, b = model(x), model(x)
    assert.is_false(a:equal(b))
    same_bits(model.buffers, before, "buffers of a layer in evaluation mode")
    local output, buffers = model:at(model.theta, { buffers = before })(x)
    assert.same({ 5, 2 }, output:shape())
    same_bits(buffers, before, "buffers")
  end)

  it("of a model are those it had when fit is over, however it ends", function()
    local model = model_of_both()
    local set = { x = x, y = plumb.tensor({ 1, 2, 1, 2, 1 }, { dtype = "int64" }) }
    local function train(options)
      options.loss, options.optimizer, options.progress = nn.CrossEntropyLoss(), optim.Adam {}, false
      return plumb.fit(model, set, options)
    end
    model:eval()
    model[2]:train()
    local seen
    train { validate = set, on_step = function() seen = model.training and model[3][1].training end }
    assert.is_true(seen)
    assert.is_false(model.training or model[3][1].training)
    assert.is_true(model[2].training)
    assert.equal(1, model[2].num_batches_tracked:item())
    fails_here(function() train { on_step = function() error("stop " .. tostring(model.training)) end } end, "stop true")
    assert.is_false(model.training)
    assert.is_true(model[2].training)
  end)
end)

-- ---- dropout ----

describe("dropout", function()
  local function key(seed, step) return plumb.tensor({ seed, step }, { dtype = "int64" }) end
  local function dropped(layer, x, seed, step)
    return layer:at(layer.theta, { training = true, key = key(seed, step) })(x)
  end

  for _, p in ipairs { 0.1, 0.5, 0.9 } do
    it(("with p = %g zeroes that share and keeps the mean"):format(p), function()
      local n = 200000
      local y = dropped(nn.Dropout(p), plumb.ones(n), 1, 1)
      local zeros = y:eq(0):mean():item()
      assert.is_true(math.abs(zeros - p) < 4 * math.sqrt(p * (1 - p) / n), zeros)
      assert.is_true(support.near(y:max():item(), 1 / (1 - p), 1e-6))
      assert.equal(0, (y * (y - 1 / (1 - p))):abs():gt(1e-5):sum():item())
      -- neighbours are dropped independently
      local both = (y:slice(1, 1, n - 1):eq(0) * y:slice(1, 2, n):eq(0)):mean():item()
      assert.is_true(math.abs(both - p * p) < 5 * math.sqrt(p * p / n), both)
    end)
  end

  it("of nothing and of all", function()
    local x = plumb.randn(50)
    same_bits(nn.Dropout(0)(x), x, "p = 0")
    assert.same({ 0, 0 }, flat(nn.Dropout(1)(plumb.tensor { 1 / 0, 3 })))
    local g = plumb.grad(function(t) return nn.Dropout(1)(t):sum() end)(x)
    assert.equal(0, g:abs():max():item())
  end)

  it("has a mask that depends on seed, step, place and element alone", function()
    local before, x = plumb.threads(), plumb.ones(300, 200)
    local model = nn.Sequential { nn.Dropout(0.4), nn.Dropout(0.4) }
    local first
    for _, threads in ipairs { 1, 2, 4 } do
      plumb.threads(threads)
      plumb.rand(3)
      local y = dropped(model, x, 5, 6)
      first = first or y
      same_bits(y, first, threads .. " threads")
      local compiled = plumb.compile(function(t, k) return model:at(model.theta, { training = true, key = k })(t) end)
      same_bits(compiled(x, key(5, 6)), first, "compiled")
    end
    plumb.threads(before)
    local kept = first:gt(0):mean():item()
    assert.is_true(math.abs(kept - 0.36) < 0.01, "the second mask is another: " .. kept)
    assert.is_false(dropped(model, x, 5, 7):equal(first))
    assert.is_false(dropped(model, x, 6, 6):equal(first))
    same_bits(dropped(model, x:slice(1, 1, 7), 5, 6), first:slice(1, 1, 7), "the first rows of a batch")
    same_bits(dropped(model, x:double(), 5, 6):float(), first, "in float64")
    local layer = nn.Dropout(0.4)
    local shared = nn.Sequential { layer, layer }
    same_bits(dropped(shared, x, 5, 6), first, "one layer in two places")
  end)

  it("draws from manual_seed's stream where no key is given", function()
    local layer, x = nn.Dropout(), plumb.ones(100)
    plumb.manual_seed(3)
    local a, b = layer(x), layer(x)
    plumb.manual_seed(3)
    same_bits(layer(x), a, "the same seed")
    assert.is_false(a:equal(b))
    local g = plumb.grad(function(t) return layer(t):sum() end)(x)
    for _, value in ipairs(flat(g)) do assert.is_true(value == 0 or value == 2) end
  end)

  it("refuses to draw the same at every call of a compiled function", function()
    local model = nn.Sequential { nn.Linear(2, 2), nn.Dropout() }
    fails_here(function() plumb.compile(function(t, x) return model:at(t)(x) end)(model.theta, plumb.ones(1, 2)) end,
      "layer 2 of Sequential: Dropout(0.5)", "key = key", "{seed, step}")
  end)

  it("in two dimensions drops whole channels", function()
    local y = dropped(nn.Dropout2d(0.5), plumb.ones(40, 50, 2, 3), 1, 2)
    local sums = y:sum({ 3, 4 })
    assert.equal(2000, (sums:eq(0) + sums:eq(12)):sum():item())
    local share = sums:eq(0):mean():item()
    assert.is_true(math.abs(share - 0.5) < 4 * 0.5 / math.sqrt(2000), share)
    fails_here(function() nn.Dropout2d()(plumb.ones(3, 4)) end, "Dropout2d(0.5)", "(n, channels, height, width)", "(3, 4)")
  end)

  it("in fit follows seed and step, for any number of threads", function()
    local before, results = plumb.threads(), {}
    local set = { x = plumb.rand({ 90, 1, 8, 8 }, { seed = 1 }), y = plumb.randint(1, 3, { 90 }, { seed = 2 }) }
    local function train(threads, seed)
      plumb.threads(threads)
      plumb.manual_seed(4)
      local model = nn.Sequential { nn.Conv2d(1, 8, 3, { padding = 1 }), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25), nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3) }
      plumb.rand(threads)
      local run = plumb.fit(model, set, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = 1e-2 }, batch = 20,
        epochs = 2, seed = seed, validate = set, shuffle = false, progress = false })
      return { model.theta, model.buffers, plumb.tensor(run.train_loss), plumb.tensor(run.test_loss) }
    end
    for i, threads in ipairs { 1, 2, 4, 1 } do results[i] = train(threads, 7) end
    plumb.threads(before)
    for i = 2, 4 do
      for k = 1, 4 do same_bits(results[i][k], results[1][k], ("run %d, result %d"):format(i, k)) end
    end
    assert.is_false(train(before, 8)[1]:equal(results[1][1]), "without shuffling the seed decides the masks alone")
  end)
end)

-- ---- fit ----

describe("fit", function()
  local function normal_set(n)
    local x = plumb.randn({ n, 3 }, { seed = 5 })
    return { x = x, y = x:sum(2, true) }
  end
  local function train(model, set, options)
    options.loss, options.optimizer = options.loss or nn.MSELoss(), options.optimizer or optim.Adam { lr = 1e-2 }
    options.progress = false
    return plumb.fit(model, set, options)
  end
  local function model_of(dtype)
    plumb.manual_seed(1)
    local model = nn.Sequential { nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1) }
    return dtype == "float64" and model:double() or model
  end

  it("measures the validation set in evaluation mode", function()
    local set, model = normal_set(50), model_of()
    local run = train(model, set, { epochs = 3, batch = 10, validate = set })
    local expected = nn.mse_loss(model:at(model.theta, { training = false })(set.x), set.y):item()
    assert.is_true(support.near(run.test_loss[3], expected, 1e-6))
    assert.equal(15, model[2].num_batches_tracked:item())
    assert.is_true(support.near(plumb.fit.evaluation(model, nn.mse_loss, false)(set), expected, 1e-6))
    assert.equal(15, model[2].num_batches_tracked:item())
    assert.is_true(model.training)
  end)

  it("leaves buffers as they were before a loss that is not finite", function()
    local set, model, buffers = normal_set(40), model_of(), {}
    local y = set.y + 0
    y[33] = 0 / 0
    fails_here(function()
      train(model, { x = set.x, y = y }, { batch = 10, shuffle = false,
        on_step = function(run) buffers[run.step] = model.buffers end })
    end, "loss is nan at step 4")
    same_bits(model.buffers, buffers[3], "buffers")
    assert.equal(3, model[2].num_batches_tracked:item())
  end)

  it("takes buffers back together with the parameters when a gradient was infinite", function()
    local model, set = model_of(), normal_set(20)
    local theta, buffers = model.theta, model.buffers
    fails_here(function()
      train(model, set, { epochs = 3, loss = function(output) return (output * 0):sqrt():sum() end })
    end, "gradient was not finite", "after step 0")
    same_bits(model.theta, theta, "theta")
    same_bits(model.buffers, buffers, "buffers")
  end)

  it("keeps tensors that were taken from buffers unchanged", function()
    local model, kept, values = model_of(), {}, {}
    train(model, normal_set(40), { batch = 10, epochs = 2, on_step = function(run)
      kept[run.step] = model.buffers
      values[run.step] = flat(model.buffers + 0)
    end })
    for k = 1, 8 do assert.same(values[k], flat(kept[k])) end
  end)

  it("names the layer when the last batch is too small to normalise", function()
    fails_here(function() train(model_of(), normal_set(21), { batch = 10, shuffle = false }) end,
      "layer 2 of Sequential: BatchNorm1d(4)", "(1, 4)", "one value per channel")
  end)

  it("checks labels with a layer that always takes the batch's statistics", function()
    local model = nn.Sequential { nn.Linear(3, 4), nn.BatchNorm1d(4, { track_running_stats = false }), nn.Linear(4, 2) }
    local set = { x = plumb.randn(20, 3), y = plumb.randint(1, 2, { 20 }) }
    assert.equal(1, train(model, set, { batch = 10, loss = nn.CrossEntropyLoss() }).epoch)
  end)

  it("notices a hook that gives the model other buffers", function()
    local model = model_of()
    fails_here(function() train(model, normal_set(40), { batch = 10, on_step = function() model:double() end }) end,
      "a hook gave the model other parameters")
  end)
end)
