--- data.loader: batches made beside the program, against what tensors and plain Lua make of the same set.
local plumb = require "plumb"
local support = require "support"
local lfs = require "lfs"
local core, data = plumb.core, plumb.data

local flat, fails_here, same_bits = support.flat, support.fails_here, support.same_bits

-- n images of random bytes, and labels that name them.
local function image_set(n, channels, height, width, seed)
  local shape = { n, channels or 1, height or 4, width or 5 }
  return { x = plumb.randint(0, 255, shape, { seed = seed or 1 }):cast("uint8"):evaluate(), y = plumb.arange(n):evaluate() }
end

local function number_set(n)
  return { x = plumb.randn({ n, 3 }, { seed = 2 }):evaluate(), y = plumb.arange(n):reshape(n, 1):float():evaluate() }
end

-- All batches of an epoch: lists of x and y.
local function batches_of(loader, epoch)
  local xs, ys = {}, {}
  for x, y in loader:epoch(epoch or 1) do xs[#xs + 1], ys[#ys + 1] = x, y end
  return xs, ys
end

local function joined(loader, epoch)
  local xs, ys = batches_of(loader, epoch)
  return plumb.concat(xs, 1), plumb.concat(ys, 1)
end

local function with_threads(count, f)
  local before = plumb.threads()
  plumb.threads(count)
  local ok, message = pcall(f)
  plumb.threads(before)
  assert(ok, message)
end

local function entries(folder)
  local count = 0
  for _ in lfs.dir(folder) do count = count + 1 end
  return count
end

-- ---- order ----

describe("data.loader", function()
  it("goes through the set in batches, the last one short or left out", function()
    local set = number_set(10)
    local kept, dropped = data.loader(set, { batch = 4, shuffle = false }), data.loader(set, { batch = 4, drop_last = true })
    assert.same({ 3, 3, 10 }, { #kept, kept:batches(), kept:samples() })
    assert.same({ 2, 2, 8 }, { #dropped, dropped:batches(), dropped:samples() })
    assert.equal("loader: 3 batches of 4 from 10 samples", tostring(kept))
    local xs, ys = batches_of(kept)
    assert.same({ { 4, 3 }, { 4, 3 }, { 2, 3 } }, { xs[1]:shape(), xs[2]:shape(), xs[3]:shape() })
    assert.same({ 2, 1 }, ys[3]:shape())
    same_bits(plumb.concat(xs, 1), set.x, "x")
    same_bits(plumb.concat(ys, 1), set.y, "y")
    assert.equal(2, #batches_of(dropped))
    assert.equal(1, #data.loader(set, { batch = 100 }))
    assert.equal(10, #data.loader(set, { batch = 1 }))
  end)

  it("shuffles by seed and epoch, in the order of fit", function()
    local set = number_set(50)
    for _, seed in ipairs { 0, 7, -1 } do
      local loader = data.loader(set, { batch = 8, seed = seed })
      for epoch = 1, 3 do
        local order, x, y = core.permutation(50, seed, epoch), joined(loader, epoch)
        same_bits(x, set.x[order], "x")
        same_bits(y, set.y[order], "y")
      end
    end
  end)

  it("gathers labels and targets of any dtype and shape", function()
    local set = number_set(6)
    for _, y in ipairs { plumb.arange(6), plumb.arange(6):double(), plumb.arange(6):cast("uint8"),
      plumb.randn({ 6, 2, 2 }, { seed = 3 }), plumb.zeros(6, 0) } do
      local loader = data.loader({ x = set.x, y = y }, { batch = 4, seed = 5 })
      local _, got = joined(loader, 2)
      same_bits(got, y[core.permutation(6, 5, 2)], "y")
    end
  end)

  it("takes views that do not lie row by row in memory", function()
    local wide = plumb.randn({ 4, 6, 10 }, { seed = 1 }):evaluate()
    local x, y = wide:transpose(1, 3):slice(2, 2, 5), plumb.arange(20):reshape(2, 10):t():slice(2, 2, 2)
    local loader = data.loader({ x = x, y = y }, { batch = 3, shuffle = false })
    local got_x, got_y = joined(loader)
    same_bits(got_x, x + 0, "x")
    same_bits(got_y, y + 0, "y")
  end)

  it("keeps passes apart, in loops inside loops, and leaves off in the middle", function()
    local loader = data.loader(number_set(20), { batch = 3 })
    local alone = {}
    for epoch = 1, 7 do alone[epoch] = joined(loader, epoch) end
    local outer = {}
    local epoch = 1
    for x in loader:epoch(1) do
      outer[#outer + 1] = x
      epoch = epoch % 7 + 1
      same_bits(joined(loader, epoch), alone[epoch], "inside")
      loader:epoch(2)()
    end
    same_bits(plumb.concat(outer, 1), alone[1], "outside")
    local pass = loader:epoch(1)
    pass()
    getmetatable(pass).__close(pass)
    assert.is_nil(pass())
  end)

  it("puts a batch into the handles of the one before, when told to, and leaves what else holds that alone", function()
    local set = number_set(40)
    local loader = data.loader(set, { batch = 4, shuffle = false })
    local pass, kept, x, y = loader:epoch(1), {}, nil, nil
    for i = 1, 10 do
      local before = x
      x, y = pass(x, y)
      assert.is_true(before == nil or rawequal(before, x))
      same_bits(x, set.x:slice(1, 4 * i - 3, 4 * i), "x")
      same_bits(y, set.y:slice(1, 4 * i - 3, 4 * i), "y")
      if i % 3 == 0 then kept[i] = x * 2 end
      if i % 3 == 1 then kept[i] = (x:slice(1, 1, 4):evaluate()):reshape(12) end
    end
    assert.is_nil(pass(x, y))
    for i, value in pairs(kept) do
      local expected = set.x:slice(1, 4 * i - 3, 4 * i)
      same_bits(value, i % 3 == 0 and expected * 2 or expected:reshape(12), "kept " .. i)
    end
  end)

  it("never changes a batch that was handed out", function()
    local set = number_set(64)
    local loader = data.loader(set, { batch = 4, shuffle = false })
    local kept, lazy, views = {}, {}, {}
    for x in loader:epoch(1) do
      kept[#kept + 1], lazy[#lazy + 1] = x, x * 2
      views[#views + 1] = x:slice(1, 2, 3)
      x = nil -- luacheck: ignore
      if #kept % 2 == 0 then kept[#kept] = false end -- half of the batches only live on in what was made of them
      collectgarbage()
    end
    for i = 1, 16 do
      local expected = set.x:slice(1, 4 * i - 3, 4 * i)
      if kept[i] then same_bits(kept[i], expected, "batch " .. i) end
      same_bits(lazy[i], expected * 2, "pending " .. i)
      same_bits(views[i], expected:slice(1, 2, 3), "view " .. i)
    end
  end)
end)

-- ---- numbers ----

describe("a loader's numbers", function()
  it("are those of tensor arithmetic, to the bit", function()
    local images = image_set(7, 3)
    local mean, std = { 0.1, 0.25, 0.5 }, { 0.3, 0.5, 2 }
    for _, dtype in ipairs { "float32", "float64" } do
      local per_channel = { dtype = dtype }
      local m, s = plumb.tensor(mean, per_channel):reshape(1, 3, 1, 1), plumb.tensor(std, per_channel):reshape(1, 3, 1, 1)
      local plain = images.x:cast(dtype) / 255
      same_bits(joined(data.loader(images, { shuffle = false, dtype = dtype })), plain, "images")
      same_bits(joined(data.loader(images, { shuffle = false, dtype = dtype, mean = mean, std = std })), (plain - m) / s, "both")
      same_bits(joined(data.loader(images, { shuffle = false, dtype = dtype, mean = 0.1 })), plain - 0.1, "mean")
      local floats = { x = plain:evaluate(), y = images.y }
      same_bits(joined(data.loader(floats, { shuffle = false })), plain, "floats")
      same_bits(joined(data.loader(floats, { shuffle = false, mean = plumb.tensor(mean), std = 0.5 })),
        (plain - plumb.tensor(plumb.tensor(mean):tolist(), per_channel):reshape(1, 3, 1, 1)) / 0.5, "a tensor of means")
    end
    local rows = number_set(9) -- (n, features): each feature is a channel
    same_bits(joined(data.loader(rows, { shuffle = false, mean = mean, std = std })),
      (rows.x - plumb.tensor(mean)) / plumb.tensor(std), "features")
    local line = { x = plumb.randn({ 5 }, { seed = 1 }), y = plumb.arange(5) }
    same_bits(joined(data.loader(line, { shuffle = false, mean = 2, std = 4 })), (line.x - 2) / 4, "one number each")
  end)

  it("of images are shifted and mirrored as (seed, epoch, sample) say", function()
    local low = 0xffffffff
    local function draw(seed, epoch, sample) -- block 2^62 + sample of the stream (seed, epoch)
      local block = (1 << 62) + sample
      return support.philox({ block & low, block >> 32, epoch & low, epoch >> 32 }, { seed & low, seed >> 32 & low })
    end
    local function expected(set, options, epoch)
      local list, n, channels, height, width = {}, table.unpack(set.x:shape())
      local at, span = support.accessor(set.x), 2 * options.shift + 1
      local order = core.permutation(n, options.seed, epoch):tolist()
      for _, sample in ipairs(order) do
        local words = draw(options.seed, epoch, sample - 1)
        local down, right = (words[1] * span >> 32) - options.shift, (words[2] * span >> 32) - options.shift
        local mirrored = options.flip and words[3] >> 31 == 1
        support.each_index({ channels, height, width }, function(c, i, j)
          local row, column = i - down, j - right
          local inside = row >= 1 and row <= height and column >= 1 and column <= width
          list[#list + 1] = inside and at(sample, c, row, mirrored and width + 1 - column or column) or 0
        end)
      end
      return list
    end
    for _, shape in ipairs { { 40, 1, 4, 5 }, { 12, 3, 5, 3 }, { 9, 2, 7, 7 } } do
      local images = image_set(table.unpack(shape))
      local floats = { x = images.x:float():evaluate(), y = images.y }
      for _, options in ipairs { { shift = 2, flip = true, seed = 3 }, { shift = 0, flip = true, seed = -5 },
        { shift = 1, flip = false, seed = 1 } } do
        options.batch = 7
        for epoch = 1, 2 do
          local list = expected(images, options, epoch)
          assert.same(list, flat((joined(data.loader(floats, options), epoch)):long()))
          assert.same(list, flat((joined(data.loader(images, options), epoch) * 255 + 0.5):floor():long()))
        end
      end
    end
  end)

  it("move in every direction, and mirror about half of the images", function()
    local image = plumb.zeros(1, 1, 7, 7)
    image[{ 1, 1, 4, 3 }] = 1
    local set = { x = image:expand(2000, 1, 7, 7), y = plumb.zeros(2000) }
    local x = joined(data.loader(set, { shift = 1, flip = true, batch = 100 })):sum(1):reshape(7, 7):tolist()
    for i = 1, 7 do
      for j = 1, 7 do
        local share = (i >= 3 and i <= 5) and ((j == 2 or j == 6) and 1 or (j == 3 or j == 4 or j == 5) and (j == 4 and 2 or 1)) or 0
        local mean = 2000 * share / 18 -- 9 moves, each mirrored (column 5) or not (column 3)
        assert.is_true(math.abs(x[i][j] - mean) <= 5 * math.sqrt(mean + 1), ("(%d, %d): %g, not %g"):format(i, j, x[i][j], mean))
      end
    end
  end)

  it("move black in, before they are normalised", function()
    local set = { x = plumb.ones(200, 1, 3, 3), y = plumb.zeros(200) }
    local seen = {}
    for _, value in ipairs(flat(joined(data.loader(set, { shift = 1, mean = 0.5, std = 0.25 })))) do seen[value] = true end
    assert.same({ [-2] = true, [2] = true }, seen)
  end)

  it("are the same bits with 1, 2 and 4 threads, at every run", function()
    local set, results = image_set(300, 1, 28, 28), {}
    for i, threads in ipairs { 1, 2, 4, 2 } do
      with_threads(threads, function()
        local loader = data.loader(set, { batch = 32, shift = 3, flip = true, mean = 0.2, std = 0.3 })
        local sum = 0
        for x in loader:epoch(4) do -- with work of the pool's between
          sum = sum + plumb.matmul(x:reshape(-1, 784), x:reshape(-1, 784):t()):sum():item()
        end
        results[i] = { joined(loader, 4), sum }
      end)
    end
    for i = 2, 4 do
      same_bits(results[i][1], results[1][1], "x")
      assert.equal(results[1][2], results[i][2])
    end
  end)
end)

-- ---- what goes wrong ----

describe("a loader's arguments", function()
  local images, numbers = image_set(10), number_set(10)

  it("are checked when it is made", function()
    local function refused(set, options, ...) fails_here(function() data.loader(set, options) end, "loader: ", ...) end
    refused(nil, {}, "the set must be a data set")
    refused({ x = 3, y = images.y }, {}, "the set must be a data set")
    refused({ x = images.x }, {}, "the set must be a data set")
    refused({ x = images.x, y = plumb.zeros(9) }, {}, "not as many samples", "(10, 1, 4, 5)", "(9)")
    refused({ x = plumb.zeros(0, 3), y = plumb.zeros(0) }, {}, "the set has no samples")
    refused({ x = plumb.arange(3), y = plumb.arange(3) }, {}, "int64", ":float()")
    refused(images, { batch = 0 }, "batch", "at least 1")
    refused(images, { batch = "x" }, "batch must be a number")
    refused(images, { seed = 1.5 }, "seed must be an integer")
    refused(images, { shufle = true }, "no option 'shufle'")
    refused(images, 3, "options are a table")
    refused(images, { shuffle = 1 }, "shuffle must be true or false")
    refused(images, { flip = "x" }, "flip must be true or false")
    refused(images, { batch = 11, drop_last = true }, "drop_last leaves nothing of 10 samples in batches of 11")
    refused(images, { mean = { 1, 2 } }, "mean has 2 numbers", "1 channels")
    refused(images, { std = {} }, "std has 0 numbers")
    refused(images, { std = 0 }, "std[1] is 0", "above 0")
    refused(images, { std = -1 }, "std[1] is -1")
    refused(images, { std = math.huge }, "std[1] is not finite")
    refused(images, { mean = -math.huge }, "mean[1] is not finite")
    refused(images, { std = 0 / 0 }, "std[1] must be a number")
    refused(images, { mean = { "x" } }, "mean[1] must be a number")
    refused(images, { mean = "x" }, "mean must be a number or a list", "string")
    refused(images, { shift = -1 }, "shift", "at least 0")
    refused(images, { shift = 4 }, "a shift of 4 pixels is beyond images of shape (4, 5)")
    refused(numbers, { shift = 1 }, "for images of shape (n, channels, height, width), not (10, 3)")
    refused(numbers, { flip = true }, "for images")
    refused(images, { dtype = "int64" }, "dtype must be \"float32\" or \"float64\"")
    refused(numbers, { dtype = "float64" }, "dtype is for uint8 images; x is float32")
    local loader = data.loader(images)
    fails_here(function() loader:epoch() end, "loader: the epoch must be a number", "nil")
    fails_here(function() loader:epoch(0) end, "loader: the epoch", "at least 1")
  end)

  it("that do not fit are refused by the core too", function()
    local function refused(changes)
      local settings = { x = images.x, y = images.y, dtype = "float32", batch = 4, shift = 0, seed = 0 }
      for name, value in pairs(changes) do settings[name] = value end
      fails_here(function() core.batches(settings, 1) end, "loader: the settings do not fit")
    end
    refused { y = plumb.arange(9) }
    refused { batch = 0 }
    refused { shift = -1 }
    refused { shift = 4 }
    refused { x = numbers.x, flip = true }
    refused { x = numbers.x:t(), y = plumb.zeros(3) }
    refused { dtype = "int64" }
    refused { x = numbers.x, dtype = "float64" }
    refused { mean = plumb.zeros({ 1 }, { dtype = "float64" }) }
    refused { mean = plumb.zeros({ 2 }, { dtype = "float64" }), std = plumb.ones({ 2 }, { dtype = "float64" }) }
    refused { mean = plumb.zeros(1), std = plumb.ones(1) }
    fails_here(function() core.batches({ x = 3 }, 1) end, "tensor")
    fails_here(function() core.batches({ x = images.x, y = images.y, batch = "x" }, 1) end, "batch must be an integer")
  end)
end)

describe("a loader's memory", function()
  after_each(function() core.memory_fail() end)

  it("is given back when a pass ends, is left, or fails", function()
    local set = image_set(100, 1, 28, 28)
    local function use()
      local loader = data.loader(set, { batch = 16, shift = 2, mean = 0.1, std = 0.3 })
      local x = joined(loader, 2)
      for _ in loader:epoch(1) do
        if x then break end
      end
      loader:epoch(3)
      pcall(function() for _ in loader:epoch(1) do error "stop" end end)
      return x:sum():item()
    end
    local sum, start = use(), support.live_bytes()
    for _ = 1, 10 do assert.equal(sum, use()) end
    assert.equal(start, support.live_bytes())
    local n = 0
    repeat -- every request fails in turn
      n = n + 1
      core.memory_fail(n, 1 << 40)
      local ok, result = pcall(use)
      core.memory_fail()
      assert.is_truthy(ok and result == sum or not ok and result:find("out of memory", 1, true), tostring(result))
      local live = support.live_bytes()
      if live ~= start then error(("request %d: %d bytes are live, not %d"):format(n, live, start)) end
    until ok
    assert.is_true(n > 20, "only " .. n .. " requests")
  end)

  it("goes on after a batch that there was no memory for", function()
    local loader = data.loader(number_set(20), { batch = 4 })
    local expected, list, failed = joined(loader), {}, 0
    local pass = loader:epoch(1)
    repeat
      core.memory_fail(1 + #list % 3, 1 << 40)
      local ok, x = pcall(pass)
      core.memory_fail()
      if not ok then
        failed = failed + 1
        x = pass()
      end
      list[#list + 1] = x
    until x == nil
    assert.is_true(failed > 0)
    same_bits(plumb.concat(list, 1), expected, "x")
  end)

  it("beyond the budget is an error that names the shape", function()
    local set, budget = image_set(64, 1, 28, 28), plumb.memory().budget
    local loader = data.loader(set, { batch = 64 })
    support.live_bytes()
    plumb.memory_budget(plumb.memory().live + 50000)
    local message = support.message_of(function() for _ in loader:epoch(1) do end end) -- luacheck: ignore
    plumb.memory_budget(budget)
    for _, text in ipairs { "loader_spec.lua:", "budget", "(64, 1, 28, 28)" } do
      assert.is_truthy(message:find(text, 1, true), message)
    end
    assert.equal(1, #batches_of(loader))
  end)

  it("is a few batches, however long the pass", function()
    local set = image_set(2000, 1, 28, 28)
    local loader = data.loader(set, { batch = 10 })
    support.live_bytes()
    local before = plumb.memory().live
    core.memory_reset_peak()
    for _ in loader:epoch(1) do collectgarbage() end
    local batch = 10 * (784 * 4 + 8)
    assert.is_true(plumb.memory().peak - before < 5 * batch + 2000 * 8, plumb.memory().peak - before .. " bytes")
  end)
end)

-- ---- the thread ----

describe("the loader's thread", function()
  it("is one for thousands of loaders, and needs no files", function()
    with_threads(2, function()
      local set = number_set(8)
      local x = joined(data.loader(set, { batch = 2 }))
      plumb.matmul(plumb.ones(200, 200), plumb.ones(200, 200)):evaluate() -- the pool's own helpers are there
      collectgarbage()
      local threads, files = entries("/proc/self/task"), entries("/proc/self/fd")
      for i = 1, 3000 do
        local loader = data.loader(set, { batch = 2 })
        local pass = loader:epoch(1)
        pass()
        if i % 500 == 0 then same_bits(joined(loader), x, "x") end
      end
      collectgarbage()
      assert.same({ threads, files }, { entries("/proc/self/task"), entries("/proc/self/fd") })
    end)
  end)

  it("is not there with one thread", function()
    local program = [[
      local plumb = require "plumb"
      local loader = plumb.data.loader({ x = plumb.ones(8, 2), y = plumb.ones(8) }, { batch = 2 })
      for x in loader:epoch(1) do end
      local count = -2 -- "." and ".."
      for _ in require("lfs").dir("/proc/self/task") do count = count + 1 end
      io.write(count)
    ]]
    local result = assert(core.process.run({ "env", "PLUMB_THREADS=1", "OPENBLAS_NUM_THREADS=1", "./plumb", "-e", program }, {}))
    assert.same({ 0, "1", "" }, { result.code, result.stdout, result.stderr })
  end)

  it("lets the program end in the middle of a pass", function()
    local program = [[
      local plumb = require "plumb"
      plumb.threads(2)
      local x = plumb.zeros(4000, 1, 28, 28):cast("uint8")
      local loader = plumb.data.loader({ x = x, y = plumb.ones(4000) }, { batch = 1000, shift = 3, flip = true })
      for x in loader:epoch(1) do %s end
    ]]
    for ending, code in pairs { ["os.exit(3)"] = 3, ["os.exit(4, true)"] = 4, ["error 'stop'"] = 1, ["break"] = 0,
      ["os.execute('kill -TERM ' .. io.open('/proc/self/stat'):read('n'))"] = "signal 15" } do
      for _ = 1, 3 do
        local result = assert(core.process.run({ "./plumb", "-e", program:format(ending) }, { timeout = 60 }))
        assert.equal(code, result.code or "signal " .. result.signal, ending .. ": " .. result.stderr)
      end
    end
  end)
end)
