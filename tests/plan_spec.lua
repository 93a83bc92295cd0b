-- The planner changes how a graph runs, never what it computes.
local plumb = require "plumb"
local support = require "support"

local float64 = { dtype = "float64" }

describe("threads", function()
  local threads = plumb.threads()
  after_each(function() plumb.threads(threads) end)

  it("do not change a bit of any result", function()
    local x = plumb.randn({ 700, 600 }, { seed = 1 })
    local w = plumb.randn({ 600, 500 }, { seed = 2 })
    local programs = {
      product = function() return x:matmul(w) end,
      transposed = function() return w:t():matmul(x:t()) end,
      wide = function() return x:slice(1, 1, 3):matmul(w) end,
      chain = function() return (x:sin() * 2 + x:exp()):tanh():sum(1) end,
      total = function() return x:square():sum() end,
      rows = function() return x:softmax(2) end,
      long = function() return plumb.randn({ 400000 }, { seed = 3 }):sum() end,
      gradient = function()
        return plumb.grad(function(t) return x:matmul(t):relu():square():mean() end)(w)
      end,
    }
    for name, program in pairs(programs) do
      plumb.threads(1)
      local one = program():evaluate()
      for _, count in ipairs { 2, 4 } do
        plumb.threads(count)
        assert.is_true(one:equal(program()), name .. " with " .. count .. " threads")
      end
    end
  end)
end)

-- ---- random graphs ----

-- Steps that keep every value in an (m, n) float64 tensor of moderate size; m and n are even.
local steps = {
  function(a, b) return a + b end,
  function(a, b) return a * b:tanh() end,
  function(a, b) return plumb.maximum(a, b) - b * 0.5 end,
  function(a) return a:sin() end,
  function(a) return a * 1 + 0 end,
  function(a) return a:relu() + a:cos() end,
  function(a) return a:softmax(2) - a:mean() end,
  function(a, b) return a:matmul(b:t()):tanh():matmul(b):tanh() end,
  function(a, _, m, n) return a:t():reshape(m, n) end,
  function(a, _, m, n) return a:mean(1):expand(m, n) end,
  function(a, _, m, n) return a:max(2, true):expand(m, n) end,
  function(a, b, m) return plumb.concat { a:slice(1, 1, m // 2), b:slice(1, m // 2 + 1, m) } end,
  function(a, b, _, n) return plumb.concat({ b:slice(2, 2, n // 2 + 1), a:slice(2, -n // 2, -1) }, 2) end,
  function(a, _, m) return a:slice(1, m, 1, -1) end,
  function(a, _, _, n) return a:slice(2, n, 1, -1) end,
  function(a, _, m) return a[plumb.arange(m) * 3 % m + 1] end,
  function(a, b) return plumb.where(a:gt(b), a, b * 0.5) end,
  function(a, _, _, n) return a:slice(2, 1, n // 2):pad(2, 2, n - n // 2 - 2) end,
  function(a) return a:float():double() end,
  function(a, _, m, n) return a:reshape(2, m // 2, n):transpose(1, 2):reshape(m, n) end,
  function(a, b) return a:mean(2, true) * b end,
}

-- A program: a list of {step, first operand, second operand}, the operands being earlier values.
local function random_program(random)
  local program = {}
  for k = 1, 3 + math.floor(random(0, 22)) do
    program[k] = { math.floor(random(1, #steps + 1)), math.floor(random(1, k + 2)), math.floor(random(1, k + 2)) }
  end
  return program
end

-- after: what happens to each value before it is used
local function run(program, x, y, after)
  local values = { x, y }
  for _, line in ipairs(program) do
    values[#values + 1] = after(steps[line[1]](values[line[2]], values[line[3]], table.unpack(x:shape())))
  end
  return values[#values], values[#values - 1] + values[#values // 2]
end

local function itself(t) return t end

-- Small ones, and ones that fill several blocks of a fused pass.
local function inputs_for(number)
  local shape = number % 3 == 0 and { 8, 250 } or { 4, 6 }
  return plumb.randn(shape, { dtype = "float64", seed = 1 }), plumb.randn(shape, { dtype = "float64", seed = 2 })
end

describe("an elementwise result", function()
  local w = plumb.randn({ 64, 64 }, { seed = 4 }):evaluate()
  local function stepwise(f, ...)
    return f(plumb.evaluate, ...)
  end

  it("takes the place of an input that nobody reads later", function()
    local x = plumb.randn({ 4095, 64 }, { seed = 5 }):evaluate() -- so many rows are not cut into blocks
    plumb.core.clear_cache()
    local y = ((x:matmul(w):tanh() * 3):matmul(w):sin() + 1):matmul(w):sum():evaluate()
    -- a product (with room for x packed, in 4,096 rows), the one that it goes into, w packed
    assert.are.equal(4 * (4095 + 4096) * 64 + 4 * w:numel(), plumb.memory().workspace)
    assert.is_true(y:equal(stepwise(function(at)
      return at(at(at(at(at(x:matmul(w)):tanh() * 3):matmul(w)):sin() + 1):matmul(w)):sum()
    end)))
  end)

  it("is written when the other results of its pass have read what it replaces", function()
    local x = plumb.randn({ 500, 64 }, { seed = 6 }):evaluate()
    local function program(at)
      local a, b = at(x:matmul(w)), at((x * 2):matmul(w))
      local sum, difference, product = at(a + b), at(a - b), at(a * b) -- of one pass, each over one of a and b or beside them
      return at(sum:matmul(w)) + at(difference:matmul(w)) * at(product:matmul(w))
    end
    assert.is_true(stepwise(program):equal(program(function(t) return t end)))
  end)

  it("leaves what is read transposed, repeated or in part", function()
    local x = plumb.randn({ 64, 64 }, { seed = 7 }):evaluate()
    for name, other in pairs {
      transposed = function(a) return a:t() end,
      backward = function(a) return a:slice(1, 64, 1, -1) end,
      repeated = function(a) return a:slice(1, 1, 1):expand(64, 64) end,
      rows = function(a) return a:mean(1):expand(64, 64) end,
    } do
      local function program(at)
        local a = at(x:matmul(w))
        return at(a + other(a)):matmul(w)
      end
      assert.is_true(stepwise(program):equal(program(function(t) return t end)), name)
    end
  end)
end)

describe("300 random graphs", function()
  local random = support.generator(11)

  it("give the same in one graph, step by step, and compiled", function()
    for number = 1, 300 do
      local program, x, y = random_program(random), inputs_for(number)
      local what = "graph " .. number
      local a, b = run(program, x, y, plumb.evaluate)
      local whole_a, whole_b = run(program, x, y, itself)
      plumb.evaluate(whole_a, whole_b)
      local compiled_a, compiled_b = plumb.compile(function(p, q) return run(program, p, q, itself) end)(x, y)
      support.same_bits(whole_a + 0, a + 0, what) -- x + 0 is x to the planner, and makes +0 of -0 otherwise
      support.same_bits(whole_b + 0, b + 0, what)
      support.same_bits(whole_a, compiled_a, what)
      support.same_bits(whole_b, compiled_b, what)
    end
  end)

  it("have the same gradients plain, compiled and step by step", function()
    for number = 1, 60 do
      local program, x, y = random_program(random), inputs_for(number)
      local function loss(after)
        return function(p, q)
          local a, b = run(program, p, q, after)
          return (a * b):sum()
        end
      end
      local both = { count = 2 }
      local gx, gy = plumb.grad(loss(itself), both)(x, y)
      local sx, sy = plumb.grad(loss(plumb.evaluate), both)(x, y)
      local cx, cy = plumb.compile(function(p, q) return plumb.grad(loss(itself), both)(p, q) end)(x, y)
      local size = math.max(1, gx:abs():max():item(), gy:abs():max():item())
      for k, pair in ipairs { { sx, gx }, { sy, gy }, { cx, gx }, { cy, gy } } do
        support.same_numbers(support.flat(pair[1] / size), support.flat(pair[2] / size), 1e-12,
          ("graph %d, pair %d"):format(number, k))
      end
    end
  end)

  it("update variables in place as they would in turn", function()
    for number = 1, 100 do
      local program, other, x, y = random_program(random), random_program(random), inputs_for(number)
      local function step(p, q)
        local a, b = run(program, p, q, itself)
        local c = run(other, q, p, itself)
        return a:tanh() + p * 0.5, c:sin() - q, b + a
      end
      local u, v, f = plumb.variable(x), plumb.variable(y), plumb.compile(step)
      for k = 1, 3 do
        local before, what = { x, y }, ("graph %d, step %d"):format(number, k)
        do
          local kept, pending = u:get(), v:get() * 2
          local a, b, c = step(x, y)
          plumb.evaluate(a, b, c)
          support.same_bits(f(u, v), c, what .. ": result")
          support.same_bits(u:get(), a, what .. ": first variable")
          support.same_bits(v:get(), b, what .. ": second variable")
          support.same_bits(kept, before[1], what .. ": kept")
          support.same_bits(pending, before[2] * 2, what .. ": pending")
          x, y = a, b
        end
        if number % 2 == 0 then -- without holding the old values, so that memory is taken over
          collectgarbage()
          f(u, v)
          x, y = step(x, y)
          plumb.evaluate(x, y)
          support.same_bits(u:get(), x, what .. ": first variable, in place")
          support.same_bits(v:get(), y, what .. ": second variable, in place")
        end
      end
    end
  end)
end)

-- ---- donation ----

describe("a variable that a compiled function updates", function()
  local function step() return plumb.compile(function(v, rate) return v * rate + 1 end) end

  it("never changes a tensor that was taken out of it, nor a pending use", function()
    local v, f = plumb.variable(plumb.ones({ 100 }, float64)), step()
    local kept, pending, lists = {}, {}, {}
    for k = 1, 6 do
      kept[k] = v:get()
      pending[k] = v:get() * 10
      lists[k] = support.flat(kept[k])
      f(v, 2)
    end
    for k = 1, 6 do
      assert.are.same(lists[k], support.flat(kept[k]))
      assert.are.equal(lists[k][1] * 10, pending[k][1]:item())
    end
    assert.are.equal(127, v:get()[1]:item())
  end)

  it("never changes the tensor that it was made of or set to", function()
    local x, y = plumb.ones(10), plumb.ones(10) * 5
    local v, f = plumb.variable(x), step()
    f(v, 2)
    f(v, 2)
    v:set(y)
    f(v, 3)
    f(v, 3)
    assert.are.equal(1, x[1]:item())
    assert.are.equal(5, y[1]:item())
    assert.are.equal(49, v:get()[1]:item())
  end)

  it("never changes results that were returned beside it", function()
    local v = plumb.variable(plumb.ones(10))
    local f = plumb.compile(function(t)
      local new = t * 2
      return new, new, new + 1, t
    end)
    local results = {}
    for k = 1, 4 do results[k] = { f(v) } end
    for k = 1, 4 do
      assert.are.equal(2 ^ k, results[k][1][1]:item())
      assert.are.equal(2 ^ k + 1, results[k][2][1]:item())
      assert.are.equal(2 ^ (k - 1), results[k][3][1]:item())
    end
  end)

  it("is updated in place when nobody else holds it", function()
    local v, f = plumb.variable(plumb.zeros(250000) + 1), step()
    f(v, 2)
    support.live_bytes()
    plumb.core.memory_reset_peak()
    local before = plumb.memory().peak
    for _ = 1, 5 do f(v, 1) end
    assert.is_true(plumb.memory().peak - before < 100000, "a second array was made")
  end)

  it("is not shared between two variables that held one tensor", function()
    local x = plumb.ones(10)
    local a, b = plumb.variable(x), plumb.variable(x)
    local f = plumb.compile(function(p, q) return p + q, q * 3 end)
    for _ = 1, 3 do f(a, b) end
    assert.are.equal(1 + 1 + 3 + 9, a:get()[1]:item())
    assert.are.equal(27, b:get()[1]:item())
    b:set(a:get())
    f(a, b)
    assert.are.equal(28, a:get()[1]:item())
    assert.are.equal(42, b:get()[1]:item())
  end)

  it("may be read by other parts of the graph after its new value is known", function()
    local v = plumb.variable(plumb.ones({ 3, 3 }))
    local f = plumb.compile(function(t)
      local new = t + 1
      return new, t:matmul(new), t:t() - new, new:sum()
    end)
    for k = 1, 3 do
      local product, difference, sum = f(v)
      assert.are.equal(3 * k * (k + 1), product[1][2]:item())
      assert.are.equal(-1, difference[2][3]:item())
      assert.are.equal(9 * (k + 1), sum:item())
    end
  end)

  it("keeps its value when the step fails", function()
    local v, table_of = plumb.variable(plumb.ones(3)), plumb.arange(5):float()
    local f = plumb.compile(function(t, index) return t * 2, table_of:index_select(1, index) end)
    local good, bad = plumb.tensor({ 5 }, { dtype = "int64" }), plumb.tensor({ 6 }, { dtype = "int64" })
    assert.are.equal(5, f(v, good):item())
    support.fails_here(function() f(v, bad) end, "index 6 is not in 1 .. 5")
    assert.are.equal(2, v:get()[1]:item())
    assert.are.equal(5, f(v, good):item())
    assert.are.equal(4, v:get()[1]:item())
  end)

  it("exchanges places with another", function()
    local a, b = plumb.variable(plumb.zeros(4)), plumb.variable(plumb.ones(4))
    local swap = plumb.compile(function(p, q) return q, p end)
    local mix = plumb.compile(function(p, q) return q + 1, p * 2 end)
    swap(a, b)
    assert.are.equal(1, a:get()[1]:item())
    assert.are.equal(0, b:get()[1]:item())
    swap(a, b)
    mix(a, b) -- 2, 0
    mix(a, b) -- 1, 4
    mix(a, b) -- 5, 2
    assert.are.equal(5, a:get()[1]:item())
    assert.are.equal(2, b:get()[1]:item())
  end)

  it("reads its old value backward while the new one is written", function()
    local v = plumb.variable(plumb.arange(4000):double())
    local f = plumb.compile(function(t) return t + t:slice(1, -1, 1, -1) end)
    f(v)
    f(v)
    assert.are.equal(4001 * 2, v:get()[1]:item())
    assert.are.equal(4001 * 2, v:get()[-1]:item())
  end)
end)

-- ---- the cache ----

describe("the cache of plans", function()
  it("serves a plain loop", function()
    local w, x = plumb.randn(20, 3), plumb.randn(50, 20)
    local function loss(t) return x:matmul(t):tanh():square():mean() end
    local function step()
      w = w - plumb.grad(loss)(w) * 0.1
      return loss(w):item()
    end
    step()
    step()
    local made = plumb.memory().plans_made
    for _ = 1, 20 do step() end
    assert.are.equal(made, plumb.memory().plans_made)
  end)

  it("tells graphs apart that differ only in a constant, a layout or an operand", function()
    local x, y = plumb.arange(6):float():reshape(2, 3), plumb.ones(2, 3)
    for k = 1, 3 do
      assert.are.equal(6, (x:leaky_relu(k / 10) * y)[{ 2, 3 }]:item())
      assert.are.equal(-k, (plumb.full({ 2 }, -k)):sum():item() / 2)
      assert.is_true(support.near((-x):leaky_relu(k / 10)[{ 1, 1 }]:item(), -k / 10, 1e-7))
    end
    assert.are.equal(5, (x - y)[{ 2, 3 }]:item())
    assert.are.equal(-5, (y - x)[{ 2, 3 }]:item())
    assert.are.same({ { 2, 5 }, { 3, 6 }, { 4, 7 } }, (x:t() + y:t()):tolist())
  end)
end)

-- ---- corners of kernels ----

-- The product of two matrices by the definition.
local function naive_product(x, y, m, n, k)
  local a, b, out = support.accessor(x), support.accessor(y), {}
  support.each_index({ m, n }, function(i, j)
    out[#out + 1] = support.total(k, function(l) return a(i, l) * b(l, j) end)
  end)
  return out
end

-- Ways to make a (rows, columns) matrix of random numbers that lie in memory in another way.
local forms = {
  function(m, n) return plumb.randn({ m, n }, float64) end,
  function(m, n) return plumb.randn({ n, m }, float64):t() end,
  function(m, n) return plumb.randn({ m, 2 * n }, float64):slice(2, 1, -1, 2) end,
  function(m, n) return plumb.randn({ m + 2, n + 3 }, float64):slice(1, 2, m + 1):slice(2, 3, n + 2) end,
  function(m, n) return plumb.randn({ n + 2, m }, float64):slice(1, 2, n + 1):t() end,
  function(m, n) return plumb.randn({ m, n }, float64):slice(1, -1, 1, -1) end,
  function(m, n) return plumb.randn({ m, n }, float64):slice(2, -1, 1, -1) end,
  function(m, n) return plumb.randn({ n }, float64):expand(m, n) end,
  function(m, n) return plumb.randn({ m, 1 }, float64):expand(m, n) end,
  function(m, n) return plumb.randn({ 1, 1 }, float64):expand(m, n) end,
  function(m, n) return plumb.randn({ m, n }, float64):sin() end,
}

describe("matmul", function()
  it("takes every layout and size, evaluated or pending", function()
    plumb.manual_seed(5)
    for _, size in ipairs { { 3, 4, 5 }, { 1, 4, 5 }, { 3, 1, 5 }, { 3, 4, 1 }, { 1, 1, 5 }, { 1, 4, 1 }, { 3, 1, 1 },
      { 1, 1, 1 }, { 2, 33, 17 } } do
      local m, n, k = table.unpack(size)
      for a, left in ipairs(forms) do
        for b, right in ipairs(forms) do
          local x, y = left(m, k), right(k, n)
          local pending = x:matmul(y)
          plumb.evaluate(x, y)
          local expected = naive_product(x, y, m, n, k)
          local what = ("(%d,%d,%d), forms %d and %d"):format(m, n, k, a, b)
          support.same_numbers(support.flat(pending), expected, 1e-12, what)
          support.same_numbers(support.flat(x:matmul(y)), expected, 1e-12, what .. ", evaluated")
        end
      end
    end
    plumb.manual_seed(0)
  end)

  it("of nothing is nothing, or zeros", function()
    assert.are.same({ 0, 4 }, plumb.zeros(0, 3):matmul(plumb.zeros(3, 4)):evaluate():shape())
    assert.are.same({ 2, 0 }, plumb.zeros(2, 3):matmul(plumb.zeros(3, 0)):evaluate():shape())
    assert.are.same({ { 0, 0 } }, plumb.ones(1, 0):matmul(plumb.ones(0, 2)):tolist())
    assert.are.equal(0, plumb.ones(0):matmul(plumb.ones(0)):item())
  end)

  it("is wide enough for several bands", function()
    local x, y = plumb.randn({ 3, 300 }, float64), plumb.randn({ 300, 3000 }, float64)
    local expected = naive_product(x, y:slice(2, 2001, 2010), 3, 10, 300)
    support.same_numbers(support.flat(x:matmul(y):slice(2, 2001, 2010)), expected, 1e-12, "wide")
    support.same_numbers(support.flat(y:t():matmul(x:t()):t():slice(2, 2001, 2010)), expected, 1e-12, "tall")
  end)
end)

describe("empty and single tensors", function()
  it("go through elementwise operators and views", function()
    for _, shape in ipairs { { 0 }, { 0, 3 }, { 3, 0 }, { 2, 0, 2 } } do
      local x = plumb.zeros(shape)
      assert.are.same(shape, (x:exp() + x * 2):evaluate():shape())
      assert.are.equal(0, x:sum():item())
      assert.are.same(shape, plumb.grad(function(t) return (t * t):sum() end)(x):shape())
      assert.are.equal(0, x:reshape(0):evaluate():numel())
      assert.are.equal(0, plumb.concat({ x, x }):evaluate():numel())
      assert.are.same(shape, x:cast("int64"):evaluate():shape())
    end
    assert.are.same({ 0, 0, 0 }, plumb.zeros(3, 0):sum(2):tolist())
    assert.are.same({}, plumb.zeros(3, 0):sum(1):tolist())
    assert.are.same({ 1, 2 }, plumb.concat({ plumb.tensor({ 1, 2 }), plumb.zeros(0) }):tolist())
    support.fails_here(function() return (plumb.zeros(3, 0):max(2)) end, "max", "(3, 0)")
    support.fails_here(function() return (plumb.zeros(0):argmax()) end, "argmax")
  end)

  it("of rank 0 go through everything", function()
    local x = plumb.tensor(2, float64)
    assert.are.same({}, x:shape())
    assert.are.equal(6, (x * 3):item())
    assert.are.equal(2, x:sum():item())
    assert.are.equal(2, x:max():item())
    assert.are.equal(2, x:clone():reshape(1, 1, 1):squeeze():item())
    assert.are.same({ { 2, 2 } }, x:expand(1, 2):tolist())
    assert.are.equal(12, plumb.grad(function(t) return t * t * t end)(x):item())
    assert.are.equal(1, x:reshape(1):argmax():item())
  end)
end)

describe("compile", function()
  it("agrees with plain calls for other shapes, dtypes and layouts", function()
    local function f(a, b, scale) return (a + b):sin() * scale, a:matmul(b:t()) end
    local g = plumb.compile(f)
    for _, dtype in ipairs { "float32", "float64" } do
      for _, m in ipairs { 1, 3 } do
        local a, b = plumb.randn({ m, 4 }, { dtype = dtype }), plumb.randn({ m, 4 }, { dtype = dtype })
        local flipped = plumb.randn({ 4, m }, { dtype = dtype }):t()
        for _, pair in ipairs { { a, b }, { b, a }, { a, flipped }, { flipped, b } } do
          for _, scale in ipairs { 2, 0.5 } do
            local p, q = f(pair[1], pair[2], scale)
            local r, s = g(pair[1], pair[2], scale)
            assert.is_true(p:allclose(r, 1e-6) and q:allclose(s, 1e-6))
            assert.are.equal(dtype, r:dtype())
          end
        end
      end
    end
  end)

  it("explains what cannot be compiled", function()
    support.fails_here(function() plumb.compile(function(x) return x:item() end)(plumb.ones(1)) end, "compiled")
    support.fails_here(function() plumb.compile(function() return 3 end)(plumb.ones(1)) end, "result 1")
    support.fails_here(function() plumb.compile(function(x) return x end)("x") end, "argument 1")
    support.fails_here(function() plumb.compile(function(x) return x:sum() end)(plumb.variable(plumb.ones(2))) end,
      "new value")
    local again = plumb.compile(function(x) return x * 2 end)
    assert.are.equal(2, again(plumb.ones(1)):item())
  end)
end)
