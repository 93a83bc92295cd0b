--- plumb.fit on uint8 images and on loaders: what it gives on floats, without the floats.
local plumb = require "plumb"
local support = require "support"
local nn, optim = plumb.nn, plumb.optim

describe("elementwise work on bytes", function()
  it("converts bytes in the pass that reads them", function()
    for _, shape in ipairs { { 5 }, { 1023 }, { 70, 100 }, { 3, 7, 64 } } do
      local bytes = (plumb.rand(shape, { seed = 1 }) * 256):cast("uint8"):evaluate()
      for _, dtype in ipairs { "float32", "float64", "int64" } do
        local x = plumb.randn(shape, { seed = 2 }):cast(dtype):evaluate()
        local apart = bytes:cast(dtype):evaluate()
        assert.is_true(((apart * 3 + x) * apart):evaluate():equal((bytes:cast(dtype) * 3 + x) * bytes:cast(dtype)))
        local cast, twice = plumb.compile(function(b) local c = b:cast(dtype) return c, c + c end)(bytes)
        assert.is_true(apart:equal(cast) and (apart + apart):equal(twice)) -- it is wanted by itself, too
        assert.is_true((apart:slice(1, 1, -1, 2) + 1):evaluate():equal(bytes:slice(1, 1, -1, 2):cast(dtype) + 1))
        if #shape == 2 then assert.is_true((apart:t() + 1):evaluate():equal(bytes:t():cast(dtype) + 1)) end
      end
    end
  end)
end)

describe("fit with uint8 images", function()
  local function images(n, seed)
    return { x = plumb.randint(0, 255, { n, 1, 6, 6 }, { seed = seed }):cast("uint8"):evaluate(),
      y = plumb.randint(1, 3, { n }, { seed = seed + 1 }):evaluate() }
  end
  local set, test = images(100, 1), images(40, 5)
  local function floats(s, dtype) return { x = (s.x:cast(dtype or "float32") / 255):evaluate(), y = s.y } end

  -- theta, then what was recorded
  local function result_of(train_set, options, dtype)
    plumb.manual_seed(3)
    local model = nn.Sequential { nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3) }
    if dtype == "float64" then model:double() end
    options.loss, options.epochs = nn.CrossEntropyLoss(), 2
    options.optimizer, options.progress = optim.Adam { lr = 0.01 }, false
    local run = plumb.fit(model, train_set, options)
    return { model.theta, run.train_loss, run.train_accuracy, run.test_loss, run.test_accuracy, run.step }
  end
  local function same(a, b)
    support.same_bits(a[1], b[1], "theta")
    for i = 2, #b do assert.same(b[i], a[i]) end
  end

  it("gives the bits of their floats, from a set or a loader", function()
    for _, dtype in ipairs { "float32", "float64" } do
      local expected = result_of(floats(set, dtype), { validate = floats(test, dtype), batch = 16, seed = 9 }, dtype)
      assert.equal(14, expected[6])
      same(result_of(set, { validate = test, batch = 16, seed = 9 }, dtype), expected)
      local loader = plumb.data.loader(set, { batch = 16, seed = 9, dtype = dtype })
      same(result_of(loader, { validate = test }, dtype), expected)
      local in_loader = plumb.data.loader(test, { batch = 1000, shuffle = false, dtype = dtype })
      same(result_of(loader, { validate = in_loader }, dtype), expected)
    end
    local in_order = { batch = 16, shuffle = false, drop_last = true }
    local short = result_of(floats(set), in_order)
    assert.equal(12, short[6])
    same(result_of(plumb.data.loader(set, { batch = 16, shuffle = false, drop_last = true }), {}), short)
    same(result_of(plumb.data.subset(floats(set), 96), { batch = 16, shuffle = false }), short)
  end)

  it("gives what their floats give but for rounding where products take bytes", function()
    local many = { x = plumb.randint(0, 255, { 600, 1, 16, 16 }, { seed = 1 }):cast("uint8"):evaluate(),
      y = plumb.randint(1, 10, { 600 }, { seed = 2 }):evaluate() }
    local function train_on(s)
      plumb.manual_seed(3)
      local model = nn.Sequential { nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10) }
      local run = plumb.fit(model, s, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = 0.001 }, epochs = 3, batch = 120,
        progress = false })
      return model.theta, run.train_loss
    end
    local theta, losses = train_on(many)
    local expected, expected_losses = train_on(floats(many))
    assert.is_true((theta - expected):abs():max():item() < 1e-4)
    for epoch = 1, 3 do assert.is_true(math.abs(losses[epoch] - expected_losses[epoch]) < 1e-5) end
  end)

  it("takes the whole set as one batch, in its order", function()
    for _, dtype in ipairs { "float32", "float64" } do
      local loader = plumb.data.loader(set, { batch = 100, shuffle = false, dtype = dtype })
      local expected = result_of(loader, { validate = test }, dtype)
      assert.equal(2, expected[6])
      for _, batch in ipairs { 100, 1000 } do
        same(result_of(set, { validate = test, batch = batch, shuffle = false }, dtype), expected)
        same(result_of(floats(set, dtype), { validate = floats(test, dtype), batch = batch, shuffle = false }, dtype), expected)
      end
    end
  end)

  it("normalises what it trains and validates on alike", function()
    local function normalised(s) return { x = ((floats(s).x - 0.4) / 0.25):evaluate(), y = s.y } end
    local expected = result_of(normalised(set), { validate = normalised(test), seed = 2 })
    for _, train_set in ipairs { set, floats(set) } do
      same(result_of(train_set, { validate = test, seed = 2, normalize = { mean = 0.4, std = 0.25 } }), expected)
      same(result_of(train_set, { validate = floats(test), seed = 2, normalize = { mean = { 0.4 }, std = { 0.25 } } }), expected)
    end
    local loader = plumb.data.loader(set, { seed = 2, mean = 0.4, std = 0.25 })
    same(result_of(loader, { validate = test }), expected)
    local validated = plumb.data.loader(normalised(test), { shuffle = false, batch = 1000 })
    same(result_of(loader, { validate = validated }), expected)
  end)

  it("augments the training alone, the same for any number of threads", function()
    local before, results = plumb.threads(), {}
    for i, threads in ipairs { 1, 2, 4 } do
      plumb.threads(threads)
      results[i] = result_of(set, { validate = test, batch = 8, augment = { shift = 1, flip = true } })
    end
    plumb.threads(before)
    same(results[2], results[1])
    same(results[3], results[1])
    local loader = plumb.data.loader(set, { batch = 8, shift = 1, flip = true })
    same(result_of(loader, { validate = test }), results[1])
    local plain = result_of(set, { validate = test, batch = 8 })
    assert.is_not.same(plain[2], results[1][2])
  end)

  it("draws dropout by the loader's seed, or by one of its own", function()
    local function theta_of(train_set, batch, seed)
      plumb.manual_seed(3)
      local model = nn.Sequential { nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3) }
      plumb.fit(model, train_set, { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam { lr = 0.01 }, progress = false,
        batch = batch, seed = seed })
      return model.theta
    end
    local loader = plumb.data.loader(set, { batch = 16, seed = 7 })
    support.same_bits(theta_of(loader), theta_of(set, 16, 7), "theta")
    assert.is_false(theta_of(loader, nil, 8):equal(theta_of(loader)))
  end)

  it("never makes their floats", function()
    local large = images(20000, 7)
    local model = nn.Sequential { nn.Flatten(), nn.Linear(36, 4) }
    local options = { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam(), batch = 100, validate = large, progress = false }
    for _, how in ipairs { "the step", "a loader" } do
      options.augment = how == "a loader" and { shift = 1 } or nil
      plumb.fit(model, large, options)
      support.live_bytes()
      local before = plumb.memory().live
      plumb.core.memory_reset_peak()
      plumb.fit(model, large, options)
      local taken = plumb.memory().peak - before
      assert.is_true(taken < 20000 * 36 * 4 / 2, ("%s took %d bytes; the floats would be 2880000"):format(how, taken))
    end
  end)
end)
