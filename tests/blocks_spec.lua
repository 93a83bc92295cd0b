-- A batch goes through a computation in blocks of rows, whose sums are added: the same numbers but for the order of these sums. The
-- reference goes through pieces of the batch that are too small for blocks, one by one.
local plumb = require "plumb"
local measure, nn = require "plumb.measure", plumb.nn

local function randn(seed, ...) return plumb.randn({ ... }, { seed = seed, dtype = "float64" }):evaluate() end

-- f(...) in one plan, which must have blocks (or none, where `without`).
local function in_blocks(f, arguments, without)
  local compiled = plumb.compile(f)
  local results = table.pack(compiled(table.unpack(arguments)))
  local found = compiled:describe():find("blocks ->", 1, true) ~= nil
  assert.are.equal(not without, found, compiled:describe())
  return table.unpack(results, 1, results.n)
end

local function assert_near(expected, found, tolerance, what)
  assert.are.same(expected:shape(), found:shape())
  local scale = math.max(1, expected:abs():max():item())
  local difference = (expected - found):abs():max():item()
  assert.is_true(difference <= tolerance * scale, ("%s: %g apart, the largest number is %g"):format(what, difference, scale))
end

local PIECE = 16
local function pieces(x) -- of a batch
  local list = {}
  for first = 1, x:shape()[1], PIECE do
    list[#list + 1] = x:slice(1, first, math.min(first + PIECE - 1, x:shape()[1])):contiguous()
  end
  return list
end

-- The sum of f(theta, piece of x, piece of y) over all pieces.
local function piecewise(f, theta, x, y)
  local sum
  local ys = pieces(y)
  for i, piece in ipairs(pieces(x)) do
    local value = f(theta, piece, ys[i]):evaluate()
    sum = sum and (sum + value):evaluate() or value
  end
  return sum
end

local ROWS, INPUTS, HIDDEN = 1024, 3, 24
local COUNT = INPUTS * HIDDEN + HIDDEN + HIDDEN * 2 + 2
local x, y, theta = randn(1, ROWS, INPUTS), randn(2, ROWS, 2), randn(3, COUNT)

local function network(t, inputs)
  local function part(first, rows, columns) return t:slice(1, first, first + rows * columns - 1):reshape(rows, columns) end
  local hidden = inputs:matmul(part(1, INPUTS, HIDDEN)) + part(INPUTS * HIDDEN + 1, 1, HIDDEN)
  return hidden, part((INPUTS + 1) * HIDDEN + 1, HIDDEN, 2), part(COUNT - 1, 1, 2)
end

-- Losses of a batch that are sums over its rows, by name.
local losses = {
  ["tanh, squares"] = function(t, inputs, targets)
    local hidden, w, b = network(t, inputs)
    return (hidden:tanh():matmul(w) + b - targets):square():sum()
  end,
  ["softmax"] = function(t, inputs, targets)
    local hidden, w, b = network(t, inputs)
    return (hidden:softmax(2):matmul(w) + b):logsumexp(2):sum() + (targets * b):sum()
  end,
  ["maxima and means along rows"] = function(t, inputs, targets)
    local hidden, w = network(t, inputs)
    local centred = hidden - hidden:mean(2, true)
    return (centred / (1 + centred:square():mean(2, true)):sqrt()):matmul(w):max(2):sum() + (hidden:exp() * targets:sum(2, true)):sum()
  end,
  ["parts, joined and turned"] = function(t, inputs, targets)
    local hidden, w = network(t, inputs)
    local left, right = hidden:slice(2, 1, 12), hidden:slice(2, 13, 24)
    local joined = plumb.concat({ right:sin(), left:t():tanh():t() }, 2)
    local turned = joined:reshape(-1, 2, 12):permute(1, 3, 2):reshape(-1, 24)
    return (turned:matmul(w) * targets):sum() + joined:pad(2, 1, 2):cos():sum()
  end,
  ["picked and put"] = function(t, inputs, targets)
    local hidden, w = network(t, inputs)
    local places = targets:gt(0):long() + 1
    local put = (hidden:slice(2, 1, 2) * targets):scatter_add(2, places, 24)
    return (hidden:gather(2, places + 10):tanh() + (hidden * put):matmul(w)):square():sum()
  end,
  ["three axes"] = function(t, inputs, targets)
    local hidden = network(t, inputs)
    local cubes = hidden:reshape(-1, 4, 6)
    return cubes:matmul(cubes:transpose(2, 3)):tanh():sum({ 2, 3 }, true):reshape(-1, 1):mul(targets):sum()
  end,
}

describe("blocks of rows", function()
  for name, loss in pairs(losses) do
    it("add up to the loss and its gradient: " .. name, function()
      local step = plumb.value_and_grad(loss)
      local value, gradient = in_blocks(step, { theta, x, y })
      local function gradient_of_piece(...) return (select(2, step(...))) end
      assert_near(piecewise(loss, theta, x, y), value, 1e-13, "loss")
      assert_near(piecewise(gradient_of_piece, theta, x, y), gradient, 1e-13, "gradient")
    end)

    it("begin again where sums are needed: " .. name, function()
      local function descent(t, ...) -- the gradient of |gradient|^2 / 2: H g
        local rest = table.pack(...)
        return plumb.grad(function(p) return plumb.grad(loss)(p, table.unpack(rest)):square():sum() / 2 end)(t)
      end
      local gradient = piecewise(plumb.grad(loss), theta, x, y)
      local function product(t, inputs, targets) return plumb.hvp(loss)(t, gradient, inputs, targets) end
      assert_near(piecewise(product, theta, x, y), in_blocks(descent, { theta, x, y }), 1e-12, "descent")
    end)
  end

  it("give values of rows, too", function()
    local function f(t, inputs, targets)
      local hidden, w, b = network(t, inputs)
      local results = hidden:tanh():matmul(w) + b
      return results, (results - targets):square():sum(), results:t():exp()
    end
    local results, total, turned = in_blocks(f, { theta, x, y })
    local list, targets = {}, pieces(y)
    for i, piece in ipairs(pieces(x)) do list[i] = (f(theta, piece, targets[i])) end
    local expected = plumb.concat(list, 1):evaluate()
    assert.is_true(expected:equal(results))
    assert.is_true(expected:t():exp():equal(turned))
    assert_near((expected - y):square():sum(), total, 1e-13, "sum")
  end)

  it("are one for each row where rows are much work and nothing is summed", function()
    local vectors, threads = randn(5, 18, COUNT), plumb.threads()
    local function product(v) return plumb.hvp(losses["tanh, squares"])(theta, v, x, y) end
    local expected = {}
    for i = 1, 18 do expected[i] = product(vectors:slice(1, i, i):reshape(COUNT)):reshape(1, COUNT) end
    expected = plumb.concat(expected, 1):evaluate()
    local results = {}
    for k, count in ipairs { 1, 2, 3 } do
      plumb.threads(count)
      local compiled = plumb.compile(plumb.vmap(product))
      results[k] = compiled(vectors)
      local plan = compiled:describe()
      assert.is_truthy(plan:find("blocks ->", 1, true) and plan:find(("-> float64 (1, %d, %d)"):format(ROWS, HIDDEN), 1, true), plan)
    end
    plumb.threads(threads)
    assert_near(expected, results[1], 1e-12, "products")
    assert.is_true(results[1]:equal(results[2]) and results[1]:equal(results[3]))
  end)

  it("read what is not cut as they cut it, though it is reshaped", function()
    local rows = randn(13, 514, 24)
    local w = (randn(14, 24, 24) / 5):evaluate()
    local function f(a, b, each) -- pairs of rows, whose number is odd
      local h = each(each(a:reshape(257, 48):cos()):reshape(514, 24) + a)
      for _ = 1, 2 do h = each(each(h:matmul(b)):tanh()) end
      return each(h:square()):sum()
    end
    local function alone(v) return v:evaluate() end
    local function kept(v) return v end
    assert_near(f(rows, w, alone), in_blocks(function(a, b) return f(a, b, kept) end, { rows, w }), 1e-12, "pairs")
    local t, points = (randn(15, 48, 240) / 10):evaluate(), randn(16, 400, 60)
    local function g(a, b, each) -- many blocks of few rows
      local p = (each(a:reshape(24, 480):sin()):reshape(48, 240) + a):reshape(48, 60, 4)
      return each(each(b:matmul(each(p))):tanh()):sum(2)
    end
    assert_near(g(t, points, alone), in_blocks(function(a, b) return g(a, b, kept) end, { t, points }), 1e-12, "few rows")
  end)

  it("hand over the same value, or one in two layouts, once", function()
    local function f(t, inputs, targets)
      local hidden, w, b = network(t, inputs)
      local h = hidden:tanh()
      local slope = (h:matmul(w) + b - targets):mean() -- all rows are needed before any goes on
      return ((h * slope):matmul(w):square() + (h:t() * slope):t():matmul(w)):sum(), h, h:t(), hidden:tanh()
    end
    local value, h, turned, again = in_blocks(f, { theta, x, y })
    local hidden, w, b = network(theta, x)
    local expected = hidden:evaluate():tanh():evaluate()
    assert_near(expected, h, 1e-14, "value")
    assert_near(expected:t(), turned, 1e-14, "turned")
    assert.is_true(h:equal(again))
    local slope = (expected:matmul(w) + b - y):mean():evaluate()
    local scaled = (expected * slope):evaluate():matmul(w):evaluate()
    assert_near((scaled:square() + scaled):sum(), value, 1e-12, "sum")
  end)

  it("are not made of what rows share, of batches that cannot be halved, or of little work", function()
    local step = plumb.value_and_grad(losses["tanh, squares"])
    local function gradient_of_piece(...) return (select(2, step(...))) end
    for _, rows in ipairs { 1023, 32 } do
      local some, targets = x:slice(1, 1, rows):contiguous(), y:slice(1, 1, rows):contiguous()
      local _, gradient = in_blocks(step, { theta, some, targets }, true)
      assert_near(piecewise(gradient_of_piece, theta, some, targets), gradient, 1e-13, rows .. " rows")
    end
    local function shared(t, inputs) -- the softmax over the batch needs all rows at once
      local hidden = network(t, inputs)
      return (hidden:softmax(1) * hidden):sum() + (hidden - hidden:mean(1)):square():mean():sqrt()
    end
    local compiled = plumb.compile(plumb.value_and_grad(shared))
    local value, gradient = compiled(theta, x)
    local apart = function(t) return t:evaluate() end
    local hidden = apart((network(theta, x)))
    local parts = { apart(hidden:softmax(1) * hidden):sum(), apart((hidden - hidden:mean(1)):square():mean()):sqrt() }
    assert_near(apart(parts[1] + parts[2]), value, 1e-13, "value")
    local direction, h = randn(4, COUNT), 1e-6
    local difference = (shared(theta + direction * h, x) - shared(theta - direction * h, x)):item() / (2 * h)
    local slope = (gradient * direction):sum():item()
    assert.is_true(math.abs(slope - difference) < 1e-6 * math.max(1, math.abs(slope)))
  end)

  -- A network 300-64-5, whose products with its first weights all threads compute by themselves.
  local wide, labels, weights = randn(6, 512, 300), plumb.randint(1, 5, { 512 }, { seed = 7 }):evaluate(), randn(8, 300 * 64 + 64 * 5)
  local function classifier(t, inputs, classes)
    local hidden = inputs:matmul(t:slice(1, 1, 19200):reshape(64, 300):t() / 10):relu()
    local output = hidden:matmul(t:slice(1, 19201, 19520):reshape(64, 5))
    return nn.cross_entropy(output, classes) * classes:shape()[1], output:argmax(2):eq(classes):cast("float64"):sum()
  end

  it("stand between large products", function()
    local step = plumb.value_and_grad(classifier)
    local value, hits, gradient = in_blocks(step, { weights, wide, labels })
    local compiled = plumb.compile(step)
    compiled(weights, wide, labels)
    local plan = "\n" .. compiled:describe()
    for _, name in ipairs { "gather", "scatter_add" } do
      assert.is_truthy(plan:find("\n    " .. name .. " ->", 1, true), plan)
      assert.is_nil(plan:find("\n" .. name .. " ->", 1, true), plan)
    end
    local class_6 = plumb.where(plumb.arange(1, 512):eq(500), plumb.full({}, 6, { dtype = "int64" }), labels)
    local ok, message = pcall(compiled, weights, wide, class_6:evaluate())
    assert.is_false(ok)
    assert.is_truthy(message:find("gather: index 6 is not in 1 .. 5", 1, true), message)
    local sum, slope, found = 0, 0, 0
    local classes = pieces(labels)
    for i, piece in ipairs(pieces(wide)) do
      local v, h, g = step(weights, piece, classes[i])
      sum, slope, found = sum + v:item(), (slope + g):evaluate(), found + h:item()
    end
    assert.is_true(math.abs(sum - value:item()) < 1e-9)
    assert_near(slope, gradient, 1e-12, "gradient")
    assert.are.equal(found, hits:item())
  end)

  it("read what large kernels have summed up as it is", function()
    for _, rows in ipairs { 1024, 2048 } do
      local inputs, targets = randn(9, rows, 8), randn(10, rows, 64)
      local model = nn.Sequential { nn.Linear(8, 2, { bias = false }), nn.Tanh(), nn.Linear(2, 64, { bias = false }), nn.Tanh(),
        nn.Linear(64, 64, { bias = false }) }:double() -- the gradient is nothing but sums that are joined
      local function loss(t, points, values) return (model:at(t)(points) - values):square():sum() end
      local function step(t, points, values)
        local value, gradient = plumb.value_and_grad(loss)(t, points, values)
        return value, gradient, model:at(t)(points):max(2)
      end
      local _, gradient = in_blocks(step, { model.theta, inputs, targets })
      local function gradient_of_piece(...) return (select(2, plumb.value_and_grad(loss)(...))) end
      assert_near(piecewise(gradient_of_piece, model.theta, inputs, targets), gradient, 1e-13, rows .. " rows")
      local function products(a, b) -- both sums come from all threads; beside them are small kernels
        local small = (a:tanh() * 2):exp():tanh():sum(2):tanh()
        return plumb.concat({ a:t():matmul(b), b:t():matmul(a):t() }, 1), small:max(1), (a * small:reshape(-1, 1)):sum(1)
      end
      local a, b = randn(11, rows, 64), randn(12, rows, 64)
      local compiled = plumb.compile(products)
      local joined = compiled(a, b)
      local apart = plumb.concat({ a:t():matmul(b):evaluate(), b:t():matmul(a):evaluate():t() }, 1)
      assert_near(apart, joined, 1e-13, "joined products")
    end
  end)

  it("give the same bits with any number of threads", function()
    local threads = plumb.threads()
    local step, between = plumb.compile(plumb.value_and_grad(losses["softmax"])), plumb.compile(plumb.value_and_grad(classifier))
    local expected, expected_between
    for _, count in ipairs { 1, 2, 3, 8 } do
      plumb.threads(count)
      for _ = 1, 20 do
        local _, gradient = step(theta, x, y)
        expected = expected or gradient
        assert.is_true(expected:equal(gradient), count .. " threads")
        _, _, gradient = between(weights, wide, labels)
        expected_between = expected_between or gradient
        assert.is_true(expected_between:equal(gradient), count .. " threads, between products")
      end
    end
    plumb.threads(threads)
  end)

  it("are a Hessian's columns, and its data", function()
    plumb.manual_seed(5)
    local model = nn.Sequential(nn.Linear(INPUTS, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 2)):double()
    local whole = measure.loss(model, nn.mse_loss, { x = x, y = y })
    local small = measure.loss(model, nn.mse_loss, { x = x, y = y }, { batch = PIECE })
    local H, asymmetry = measure.hessian(whole, model.theta)
    assert_near(measure.hessian(small, model.theta, { columns = 1 }), H, 1e-13, "Hessian")
    assert.is_true(asymmetry < 1e-13)
  end)
end)
