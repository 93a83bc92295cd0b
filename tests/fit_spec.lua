--- plumb.fit: the training loop.
local plumb = require "plumb"
local support = require "support"
local fits = require "fits"
local nn, optim = plumb.nn, plumb.optim

local flat, fails_here = support.flat, support.fails_here
local network, train = fits.network, fits.train

local function regression(n)
  local x = plumb.linspace(-1, 1, n or 50):reshape(-1, 1)
  return { x = x, y = (x * 3):sin() }
end

-- Points above and below a line, labels 1 and 2.
local function classification(n)
  local x = plumb.randn({ n or 60, 2 }, { seed = 1 })
  return { x = x, y = (x:sum(2):gt(0):long() + 1) }
end

-- ---- what a run is ----

describe("plumb.fit", function()
  it("records one entry per epoch", function()
    local model = network { 1, 8, 1 }
    local run = train(model, regression(), { epochs = 5, validate = regression(30) })
    assert.equal(5, run.epoch)
    assert.equal(5 * 4, run.step)
    assert.equal(5, #run.train_loss)
    assert.equal(5, #run.test_loss)
    assert.equal(0, #run.train_accuracy)
    assert.is_true(run.seconds > 0)
    assert.is_nil(run.stopped)
    assert.equal(model, run.model)
    assert.is_true(run.train_loss[5] < run.train_loss[1])
    assert.is_truthy(tostring(run):find("5 epochs, 20 steps", 1, true))
    local still = train(model, regression(), { epochs = 0 })
    assert.same({ 0, 0, {} }, { still.epoch, still.step, still.train_loss })
  end)

  it("measures the mean over the samples, in batches of any size", function()
    local set, model = regression(50), network { 1, 8, 1 }
    local frozen = { optimizer = optim.SGD { lr = 0 }, validate = set }
    local expected = nn.mse_loss(model(set.x), set.y):item()
    for _, batch in ipairs { 1, 7, 16, 50, 1000 } do
      frozen.batch = batch
      local run = train(model, set, frozen)
      assert.is_true(support.near(run.train_loss[1], expected, 1e-6), "training, batch " .. batch)
      assert.is_true(support.near(run.test_loss[1], expected, 1e-6), "validation")
      assert.equal(math.ceil(50 / batch), run.step)
    end
    local large = regression(2500) -- more than one batch of the evaluation
    local run = train(model, large, { optimizer = optim.SGD { lr = 0 }, validate = large, batch = 2500 })
    assert.is_true(support.near(run.test_loss[1], run.train_loss[1], 1e-6))
  end)

  it("measures accuracy where there are classes", function()
    local set, model = classification(), network { 2, 8, 2 }
    local options = { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = 0.05 }, epochs = 30, validate = set }
    local run = train(model, set, options)
    local right = 0
    for i, row in ipairs(model(set.x):tolist()) do
      if (row[1] >= row[2] and 1 or 2) == set.y[i]:item() then right = right + 1 end
    end
    assert.is_true(support.near(run.test_accuracy[30], right / 60, 1e-6))
    assert.is_true(run.test_accuracy[30] > 0.95)
    assert.equal(30, #run.train_accuracy)
    options.loss = nn.cross_entropy
    assert.equal(30, #train(model, set, options).train_accuracy)
  end)

  it("gives the scores of several sets by name, at any theta", function()
    local set, model = classification(), network { 2, 8, 2 }
    local two = plumb.data.subset(set, 2)
    local scores = plumb.fit.scores(model, nn.cross_entropy, { train = set, test = two })
    for _, theta in ipairs { model.theta, model.theta * 3 } do
      local there = model:at(theta)
      local expected, found = {}, scores(theta)
      for name, given in pairs { train = set, test = two } do
        expected[name .. "_loss"] = nn.cross_entropy(there(given.x), given.y):item()
        expected[name .. "_accuracy"] = nn.accuracy(there(given.x), given.y):item()
      end
      for name, value in pairs(expected) do assert.is_true(support.near(found[name], value, 1e-6), name) end
      for name in pairs(found) do assert.is_truthy(expected[name], name) end
    end
    assert.same(scores(model.theta), scores())
  end)

  it("says what it can't evaluate, and on what", function()
    local model = network { 2, 8, 2 }
    local evaluation, scores = plumb.fit.evaluation, plumb.fit.scores
    support.fails_here(function() evaluation(3) end, "fit.evaluation: the model must be a module, not number")
    support.fails_here(function() evaluation(model, 5) end, "fit.evaluation: the loss must be a function")
    support.fails_here(function() scores(model, nn.CrossEntropyLoss, {}) end, "the loss is nn.CrossEntropyLoss without its ()")
    support.fails_here(function() scores(model, nn.cross_entropy, 7) end, "fit.scores: the sets are a table")
    support.fails_here(function() evaluation(model, nn.cross_entropy)(3) end, "the set must be a data set")
    local wide = { x = plumb.zeros(2, 2):double(), y = plumb.tensor({ 1, 2 }) }
    support.fails_here(function() scores(model, nn.cross_entropy, { test = wide })() end, "x of the set is float64, but")
  end)

  it("takes the batches in order, or all samples once in a random order", function()
    local n = 10
    local x = plumb.arange(n):reshape(-1, 1):float()
    local function sum_of_x(options) -- the loss names the batch: 0 * output + 1 / samples * sum of 2^x
      local list = {}
      options.loss = function(output, y) return (output * 0).sum(output) * 0 + y:sum() end
      options.optimizer, options.batch = optim.SGD { lr = 0 }, 3
      options.on_step = function(_, loss) list[#list + 1] = math.tointeger(loss) end
      train(nn.Linear(1, 1), { x = x, y = plumb.tensor(2) ^ x }, options)
      return list
    end
    local in_order = sum_of_x { shuffle = false, epochs = 2 }
    assert.same({ 2 + 4 + 8, 16 + 32 + 64, 128 + 256 + 512, 1024, 14, 112, 896, 1024 }, in_order)
    local shuffled = sum_of_x { epochs = 2, seed = 3 }
    assert.equal(2046, shuffled[1] + shuffled[2] + shuffled[3] + shuffled[4])
    assert.equal(2046, shuffled[5] + shuffled[6] + shuffled[7] + shuffled[8])
    assert.is_not.same({ table.unpack(shuffled, 1, 4) }, { table.unpack(shuffled, 5, 8) })
    assert.same(shuffled, sum_of_x { epochs = 2, seed = 3 })
    assert.is_not.same(shuffled, sum_of_x { epochs = 2, seed = 4 })
  end)

  it("gives the same numbers as the loop written by hand", function()
    local set = regression(50)
    local function by_hand()
      local model, optimizer, losses = network { 1, 8, 1 }, optim.Adam { lr = 0.01 }, {}
      for epoch = 1, 3 do
        local order = plumb.core.permutation(50, 11, epoch)
        for first = 1, 50, 16 do
          local index = order:slice(1, first, math.min(first + 15, 50))
          local x, y = set.x:index_select(1, index), set.y:index_select(1, index)
          local loss, gradient = plumb.value_and_grad(function(theta) return nn.mse_loss(model:at(theta)(x), y) end)(model.theta)
          model.theta = optimizer:step(model.theta, gradient)
          losses[#losses + 1] = loss:item()
        end
      end
      return losses, flat(model.theta)
    end
    local model, losses = network { 1, 8, 1 }, {}
    train(model, set, { epochs = 3, seed = 11, on_step = function(_, loss) losses[#losses + 1] = loss end })
    local expected, theta = by_hand()
    support.same_numbers(losses, expected, 1e-6, "losses")
    support.same_numbers(flat(model.theta), theta, 1e-5, "theta")
  end)

  it("gives the same bits for any number of threads, and at every run", function()
    local before = plumb.threads()
    local set, results = { x = plumb.rand({ 300, 64 }, { seed = 1 }), y = plumb.randint(1, 10, { 300 }, { seed = 2 }) }, {}
    for i, threads in ipairs { 1, 2, 4, 1 } do
      plumb.threads(threads)
      local model = network { 64, 128, 10 }
      local run = train(model, set, { loss = nn.CrossEntropyLoss(), batch = 128, epochs = 3, validate = set })
      results[i] = { theta = model.theta, run = run }
    end
    plumb.threads(before)
    for i = 2, 4 do
      support.same_bits(results[i].theta, results[1].theta, "theta")
      assert.same(results[1].run.train_loss, results[i].run.train_loss)
      assert.same(results[1].run.test_loss, results[i].run.test_loss)
    end
  end)

  it("trains in float64 with data of float64", function()
    local set = regression()
    local model = network({ 1, 8, 1 }, "float64")
    local run = train(model, { x = set.x:double(), y = set.y:double() }, { epochs = 2 })
    assert.equal("float64", model.theta:dtype())
    assert.is_true(run.train_loss[2] > 0)
  end)

  it("takes an optimiser of the user's own and a plain function as loss", function()
    local sign_descent = { start = function() return {} end, numbers = function() return { 0.5 } end,
      update = function(_, theta, gradient, _, numbers) return theta - gradient:sign() * numbers[1], {} end }
    local model = nn.Linear(1, 1)
    model.theta = plumb.tensor { 3, 0 }
    train(model, { x = plumb.ones(4, 1), y = plumb.zeros(4, 1) },
      { optimizer = sign_descent, loss = function(output, y) return (output - y):abs():mean() end })
    assert.same({ 2.5, -0.5 }, flat(model.theta))
  end)
end)

-- ---- schedules and limits ----

describe("fit's schedule", function()
  local function rates_of(options)
    local rates, model = {}, network { 1, 4, 1 }
    options.on_step = function(run) rates[#rates + 1] = run.optimizer.lr end
    train(model, regression(40), options)
    return rates, model.theta
  end

  it("sets the rate of each epoch or step, and gives the optimiser its own back", function()
    local sgd = optim.SGD { lr = 0.5, momentum = 0.9 }
    local options = { epochs = 3, batch = 20, optimizer = sgd, schedule = optim.StepLR { step_size = 1, gamma = 0.5 } }
    local per_epoch, theta = rates_of(options)
    assert.same({ 0.5, 0.5, 0.25, 0.25, 0.125, 0.125 }, per_epoch)
    assert.equal(0.5, sgd.lr)
    local _, again = rates_of(options)
    support.same_bits(theta, again, "theta")
    options.schedule = optim.StepLR { step_size = 1, gamma = 0.5, per = "step" }
    assert.same({ 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625 }, (rates_of(options)))
    options.schedule = optim.OneCycleLR { max_lr = 1, epochs = 3, steps_per_epoch = 2 }
    local cycled = rates_of(options)
    for i, rate in ipairs(cycled) do assert.equal(options.schedule:lr(i), rate) end
    assert.same({ 0.5, 0.9 }, { sgd.lr, sgd.momentum })
  end)

  it("trains as a hook that sets the same rates does, on the same plan", function()
    local function thetas(options)
      local model = network { 1, 4, 1 }
      train(model, regression(40), options)
      return model.theta
    end
    local adam = optim.Adam { lr = 0.1 }
    local scheduled = thetas { epochs = 4, optimizer = adam, schedule = optim.ExponentialLR { gamma = 0.5 } }
    local hooked = thetas { epochs = 4, optimizer = adam, on_epoch = function(run) run.optimizer.lr = adam.lr * 0.5 end }
    support.same_bits(scheduled, hooked, "theta")
    local made = {}
    train(network { 1, 4, 1 }, regression(40), { epochs = 4, batch = 20, optimizer = optim.Adam(),
      schedule = optim.OneCycleLR { max_lr = 0.1, total_steps = 8 },
      on_step = function(run) made[run.step] = plumb.memory().plans_made end })
    assert.equal(made[3], made[8])
  end)

  it("gives the rate back when the training breaks off", function()
    local sgd = optim.SGD { lr = 0.5 }
    assert.is_false(pcall(train, network { 1, 4, 1 }, regression(), { optimizer = sgd, schedule = optim.LambdaLR(function() return 0.1 end),
      on_step = function(run) assert.equal(0.05, run.optimizer.lr) error "stop" end }))
    assert.equal(0.5, sgd.lr)
  end)
end)

describe("fit's clip_norm and clip_value", function()
  it("limit the step", function()
    local function step_of(options)
      local model = nn.Linear(1, 1)
      model.theta = plumb.tensor { 0, 0 }
      options.optimizer, options.batch = optim.SGD { lr = 1 }, 4
      train(model, { x = plumb.ones(4, 1), y = plumb.ones(4, 1) * -20 }, options)
      return flat(model.theta)
    end
    assert.same({ -40, -40 }, step_of {})
    support.same_numbers(step_of { clip_norm = 2 }, { -math.sqrt(2), -math.sqrt(2) }, 1e-6, "norm")
    assert.same({ -0.5, -0.5 }, step_of { clip_value = 0.5 })
    assert.same({ -40, -40 }, step_of { clip_norm = 100 })
    assert.same({ 0, 0 }, step_of { clip_value = 0 })
  end)
end)

-- ---- hooks ----

describe("fit's hooks", function()
  it("are called at every step and epoch, with the run as it stands", function()
    local seen, losses = {}, 0
    local run = train(network { 1, 4, 1 }, regression(40), { epochs = 2, batch = 20,
      on_step = function(r, loss)
        seen[#seen + 1] = ("step %d of epoch %d"):format(r.step, r.epoch + 1)
        losses = losses + loss / 2
        assert.equal(loss, r.loss)
      end,
      on_epoch = function(r) seen[#seen + 1] = ("epoch %d with %d losses"):format(r.epoch, #r.train_loss) end })
    assert.same({ "step 1 of epoch 1", "step 2 of epoch 1", "epoch 1 with 1 losses", "step 3 of epoch 2",
      "step 4 of epoch 2", "epoch 2 with 2 losses" }, seen)
    assert.is_true(support.near(losses, run.train_loss[1] + run.train_loss[2], 1e-12))
  end)

  it("stop the training by returning false", function()
    local model = network { 1, 4, 1 }
    local run = train(model, regression(40), { epochs = 9, batch = 10, on_step = function(r) return r.step < 6 end })
    assert.same({ 6, 1, "by on_step" }, { run.step, run.epoch, run.stopped })
    run = train(model, regression(40), { epochs = 9, batch = 10, on_epoch = function(r) return r.epoch < 3 end })
    assert.same({ 12, 3, "by on_epoch", 3 }, { run.step, run.epoch, run.stopped, #run.train_loss })
    run = train(model, regression(40), { epochs = 2, on_epoch = function() return nil end })
    assert.equal(2, run.epoch)
  end)

  it("may change the learning rate and the parameters", function()
    local model = nn.Linear(1, 1)
    local thetas = {}
    train(model, { x = plumb.ones(4, 1), y = plumb.zeros(4, 1) }, { epochs = 3, batch = 4, optimizer = optim.SGD { lr = 0.1 },
      on_step = function(run)
        if run.step == 2 then model.theta = plumb.tensor { 7, 8 } end
        run.optimizer.lr = 0
        thetas[run.step] = flat(model.theta)
      end })
    assert.same({ { 7, 8 }, { 7, 8 } }, { thetas[2], thetas[3] })
  end)

  it("that fail leave the model and plumb usable", function()
    local model = network { 1, 4, 1 }
    local ok, message = pcall(train, model, regression(), { on_step = function(run)
      if run.step == 2 then error("the hook's own error") end
    end })
    assert.is_false(ok)
    assert.is_truthy(message:find("the hook's own error", 1, true))
    assert.equal(2, train(model, regression(), { epochs = 2 }).epoch)
  end)

  it("may train and differentiate themselves", function()
    local model = network { 1, 4, 1 }
    local inner, set = network { 1, 4, 1 }, regression()
    local alone = network { 1, 4, 1 }
    train(alone, set, { epochs = 2 })
    train(model, set, { epochs = 2, on_epoch = function()
      train(inner, set, { epochs = 1 })
      plumb.hvp(function(theta) return nn.mse_loss(model:at(theta)(set.x), set.y) end)(model.theta, model.theta)
    end })
    support.same_bits(model.theta, alone.theta, "theta")
  end)
end)

-- ---- kept tensors ----

describe("a kept model.theta", function()
  for name, optimizer in pairs { Adam = optim.Adam { lr = 0.1 }, SGD = optim.SGD { lr = 0.1, momentum = 0.9 } } do
    it("never changes while fit trains with " .. name, function()
      local model = network { 1, 8, 1 }
      local kept, view, lazy, values = {}, {}, {}, {}
      local function keep(i)
        kept[i], view[i], lazy[i] = model.theta, model[3].weight, model.theta * 2
        values[i] = flat(model.theta + 0)
      end
      keep(1)
      train(model, regression(), { epochs = 4, optimizer = optimizer, on_step = function(run) keep(run.step + 1) end })
      for i = 1, #kept do
        assert.same(values[i], flat(kept[i]), "kept " .. i)
        assert.same(values[i], flat(lazy[i] / 2), "pending " .. i)
        assert.same({ table.unpack(values[i], 17, 24) }, flat(view[i]), "a view " .. i)
        assert.is_not.same(values[i], values[i + 1])
      end
      assert.same(values[#values], flat(model.theta))
    end)
  end

  it("at every epoch makes the trajectory that shorter runs end at", function()
    local set, kept = regression(), {}
    train(network { 1, 8, 1 }, set, { epochs = 4, on_epoch = function(run) kept[run.epoch] = run.model.theta end })
    for epochs = 1, 4 do
      local model = network { 1, 8, 1 }
      train(model, set, { epochs = epochs })
      support.same_bits(kept[epochs], model.theta, "epoch " .. epochs)
    end
  end)

  it("costs the steps that do not keep it no memory", function()
    local model, set = network { 256, 256, 1 }, { x = plumb.zeros(16, 256), y = plumb.zeros(16, 1) }
    train(model, set, { epochs = 5 })
    local before = support.live_bytes()
    plumb.core.memory_reset_peak()
    train(model, set, { epochs = 50 })
    local copies = (plumb.memory().peak - before) / (4 * model.size)
    assert.is_true(copies < 8, copies .. " copies of theta") -- Adam's two, a gradient, and some before donation begins
  end)
end)

-- ---- what goes wrong ----

describe("a training that leaves the finite numbers", function()
  it("stops at the step, with the parameters of before it", function()
    local model, thetas = network { 1, 4, 1 }, {}
    local set = regression(40)
    local y = set.y + 0
    y[33] = 0 / 0
    local message = fails_here(function()
      train(model, { x = set.x, y = y }, { epochs = 3, batch = 10, shuffle = false,
        on_step = function(run) thetas[run.step] = flat(model.theta) end })
    end, "loss is nan", "step 4", "epoch 1", "those before that step")
    assert.is_nil(message:find("-nan", 1, true))
    assert.equal(3, #thetas)
    assert.same(thetas[3], flat(model.theta))
    local run = train(model, set, { epochs = 2 })
    assert.is_true(run.train_loss[2] < 1)
  end)

  it("says when it was the data", function()
    local set = regression(20)
    local x = set.x + 0
    x[7] = math.huge
    fails_here(function() train(nn.Linear(1, 1), { x = x, y = set.y }) end, "step", "x of that batch is not finite")
  end)

  it("stops when the loss overflows", function()
    local model = nn.Linear(1, 1)
    local last
    fails_here(function()
      train(model, regression(), { epochs = 500, optimizer = optim.SGD { lr = 1e6 },
        on_step = function() last = flat(model.theta) end })
    end, "the loss is", "inf", "learning rate")
    assert.same(last, flat(model.theta))
  end)

  it("goes back to finite parameters where only a gradient was infinite", function()
    local model = nn.Linear(1, 1)
    model.theta = plumb.ones(2)
    local set = { x = plumb.ones(4, 1), y = plumb.ones(4, 1) }
    local function loss(output) return (output * 0):sqrt():sum() end
    for _, epochs in ipairs { 1, 3 } do
      fails_here(function() train(model, set, { loss = loss, epochs = epochs }) end, "gradient was not finite", "after step 0")
      assert.same({ 1, 1 }, flat(model.theta))
    end
    model.theta = plumb.tensor { 0, 0 / 0 }
    fails_here(function() train(model, set) end, "parameters are not finite before the training")
  end)
end)

describe("fit's arguments", function()
  local set = regression()
  local model = network { 1, 4, 1 }
  local function refused(changes, ...)
    local options = { loss = nn.MSELoss(), optimizer = optim.Adam {}, progress = false }
    for name, value in pairs(changes) do options[name] = value ~= "nil" and name ~= "train" and value or nil end
    fails_here(function() plumb.fit(model, changes.train or set, options) end, "fit: ", ...)
  end

  it("are checked before anything is done", function()
    local before = flat(model.theta)
    refused({ epoch = 3 }, "no option 'epoch'", "epochs")
    refused({ loss = "nil" }, "needs loss")
    refused({ optimizer = "nil" }, "optimizer", "optim.Adam{")
    refused({ loss = "mse" }, "the loss must be a function", "nn.MSELoss()", "string")
    refused({ loss = nn.MSELoss }, "nn.MSELoss without its ()")
    refused({ optimizer = optim.Adam }, "optim.Adam without its {}")
    refused({ optimizer = "adam" }, "optim.Adam{", "string")
    refused({ on_step = 3 }, "on_step must be a function, not number")
    refused({ on_epoch = {} }, "on_epoch must be a function, not table")
    refused({ epochs = -1 }, "epochs")
    refused({ epochs = 1.5 }, "epochs must be an integer")
    refused({ batch = 0 }, "batch")
    refused({ seed = "x" }, "seed")
    refused({ shuffle = 1 }, "shuffle must be true or false")
    refused({ progress = 3 }, "progress")
    refused({ drop_last = 1 }, "drop_last must be true or false")
    refused({ drop_last = true, batch = 51 }, "drop_last leaves nothing of 50 samples in batches of 51")
    refused({ augment = true }, "augment must be a table, such as {shift = 2, flip = true}, not boolean")
    refused({ augment = { shift = 2, rotate = 3 } }, "augment has no field 'rotate'")
    refused({ normalize = 3 }, "normalize must be a table, such as {mean =")
    refused({ normalize = { mean = 0, sigma = 1 } }, "normalize has no field 'sigma'")
    fails_here(function() train(model, set, { augment = { flip = true } }) end, "for images of shape", "(50, 1)")
    fails_here(function() train(model, set, { normalize = { std = 0 } }) end, "std[1] is 0")
    local loader = plumb.data.loader(set)
    refused({ train = loader, batch = 3 }, "batch is the loader's affair")
    refused({ train = loader, drop_last = true }, "drop_last is the loader's affair")
    fails_here(function() plumb.fit(network({ 1, 2, 1 }, "float64"), loader, { loss = nn.MSELoss(), optimizer = optim.Adam {} }) end,
      "x of the training set is float32", "float64")
    refused({ schedule = 3 }, "schedule must be one such as optim.StepLR{", "number")
    refused({ schedule = optim.StepLR }, "schedule is optim.StepLR without its {}")
    refused({ schedule = optim.OneCycleLR { max_lr = 1, total_steps = 2 }, batch = 10 }, "for 2 steps, but the training has 5")
    refused({ schedule = optim.StepLR { step_size = 1 }, optimizer = { start = print, numbers = print, update = print } }, "no lr")
    refused({ clip_norm = -1 }, "clip_norm", "at least 0")
    refused({ clip_value = "x" }, "clip_value must be a number")
    refused({ clip_norm = 1, clip_value = 1 }, "not both")
    refused({ validate = 3 }, "validate must be a data set")
    refused({ validate = { x = set.x, y = set.x:slice(1, 1, 5) } }, "validate", "(50, 1)", "(5, 1)")
    fails_here(function() plumb.fit() end, "the model must be a module, not nil")
    fails_here(function() plumb.fit(model, set) end, "needs loss")
    fails_here(function() plumb.fit(model[1], set, { loss = nn.MSELoss(), optimizer = optim.Adam {} }) end,
      "layer 1 of Sequential: Linear(1, 4)", "larger model")
    fails_here(function() plumb.fit(nn.ReLU(), set, { loss = nn.MSELoss(), optimizer = optim.Adam {} }) end,
      "no parameters")
    assert.same(before, flat(model.theta))
  end)

  it("have as many x as y, of the model's dtype", function()
    local function with(x, y, ...)
      local bad = { x = x, y = y }
      local texts = { ... }
      fails_here(function() train(model, bad) end, "fit: the training set", table.unpack(texts))
    end
    with(set.x, set.y:slice(1, 1, 49), "(50, 1)", "(49, 1)")
    with(set.x, nil, "data set")
    with(3, set.y, "data set")
    with(plumb.tensor(1), set.y, "()")
    with(plumb.zeros(0, 1), plumb.zeros(0, 1), "no samples")
    fails_here(function() train(model, set.x) end, "data set")
    fails_here(function() train(model, { x = set.x:double(), y = set.y:double() }) end, "float64", "float32")
    fails_here(function() train(model, { x = set.x, y = set.y:flatten() }) end, "mse_loss", "(16, 1)", "(16)")
    fails_here(function() train(model, { x = plumb.zeros(50, 2), y = set.y }) end, "layer 1 of Sequential: Linear(1, 4)")
  end)

  it("have labels that the model has outputs for", function()
    local images, classifier = classification(), network { 2, 4, 2 }
    local function with(y, texts, validate)
      local options = { loss = nn.CrossEntropyLoss(), validate = validate and { x = images.x, y = y } }
      fails_here(function() train(classifier, validate and images or { x = images.x, y = y }, options) end, table.unpack(texts))
    end
    with(images.y - 1, { "labels of the training set", "from 0 to 1", "from 1 to 2" })
    with(images.y + 1, { "from 2 to 3", "from 1 to 2" })
    with(images.y + 1, { "labels of validate" }, true)
    with(images.y:float(), { "int64", "float32", ":long()" })
  end)

  it("that a loss of one's own does not fit are errors, and plumb stays usable", function()
    fails_here(function() train(model, set, { loss = function(o, y) return (o - y):square() end }) end, "single number")
    fails_here(function() train(model, set, { loss = function() return 3 end }) end, "tensor", "number")
    fails_here(function() train(model, set, { loss = function(o) return o:mean():item() end }) end, "being compiled")
    assert.equal(1, train(model, set).epoch)
  end)
end)

-- ---- progress ----

describe("fit's progress line", function()
  local process = plumb.core.process
  local program = [[
    local plumb = require "plumb"
    local nn = plumb.nn
    local x = plumb.rand(640, 1)
    local time = plumb.core.process.time
    local start = time()
    local run = plumb.fit(nn.Linear(1, 1), { x = x, y = x }, { loss = nn.MSELoss(), optimizer = plumb.optim.SGD{},
      epochs = 100000, batch = 640, progress = %s, on_epoch = function(r) return time() - start < 0.1 end })
    io.stdout:write(run.stopped)
  ]]

  it("is not there when progress is false or the run is short", function()
    for _, progress in ipairs { "false", "true", "'my label'" } do
      local result = assert(process.run({ "./plumb", "-e", program:format(progress) }, { timeout = 60 }))
      assert.same({ 0, "by on_epoch", "" }, { result.code, result.stdout, result.stderr })
    end
  end)
end)
