--- grad, value_and_grad, vjp, hvp, compile and variables.
local plumb = require "plumb"
local support = require "support"
local nn, optim = plumb.nn, plumb.optim

local flat, fails_here = support.flat, support.fails_here
local grad, value_and_grad, compile = plumb.grad, plumb.value_and_grad, plumb.compile

local function double(list) return plumb.tensor(list, { dtype = "float64" }) end

-- After whatever went wrong: plain values, gradients and compiled functions are as ever.
local function assert_usable()
  local x = double { 1, 2, 3 }
  local function f(t) return (t * t * t):sum() end
  assert.equal(36, f(x):item())
  assert.same({ 3, 12, 27 }, flat(grad(f)(x)))
  assert.same({ 6, 12, 18 }, flat(plumb.hvp(f)(x, plumb.ones(3):double())))
  assert.equal(36, compile(f)(x):item())
  assert.same({ 2, 4, 6 }, flat(x * 2))
end

-- ---- gradients ----

describe("grad", function()
  it("gives the gradients of the first result by the first arguments", function()
    local x, y = double { 1, 2 }, double { 3, 5 }
    local function f(a, b) return (a * a * b):sum(), "extra", a + b end
    assert.same({ 6, 20 }, flat(grad(f)(x, y)))
    local gx, gy, no_more = grad(f, { count = 2 })(x, y)
    assert.same({ 6, 20 }, flat(gx))
    assert.same({ 1, 4 }, flat(gy))
    assert.is_nil(no_more)
    local value, extra, sum, g1, g2 = value_and_grad(f, { count = 2 })(x, y)
    assert.equal(23, value:item())
    assert.equal("extra", extra)
    assert.same({ 4, 7 }, flat(sum))
    assert.same({ { 6, 20 }, { 1, 4 } }, { flat(g1), flat(g2) })
  end)

  it("passes on arguments of any kind, nil among them", function()
    local seen
    local g = grad(function(x, ...) seen = table.pack(...) return (x * select(2, ...)):sum() end)
    assert.same({ 7, 7 }, flat(g(double { 1, 2 }, nil, 7, "s", nil)))
    assert.same({ n = 4, [2] = 7, [3] = "s" }, seen)
  end)

  it("has the dtype of its argument", function()
    local function f(x) return (x * x):sum() end
    assert.equal("float32", grad(f)(plumb.ones(2)):dtype())
    assert.equal("float64", grad(f)(double { 1 }):dtype())
  end)

  it("is zero for what the result does not depend on, and passes nothing through detach", function()
    assert.same({ 0, 0 }, flat(grad(function() return plumb.tensor(3) end)(plumb.ones(2))))
    assert.same({ 3, 3 }, flat(grad(function(x) return (x:detach() * x):sum() end)(plumb.full({ 2 }, 3))))
    local outside = plumb.ones(2) * 4
    assert.same({ 4, 4 }, flat(grad(function(x) return (x * outside):sum() end)(plumb.ones(2))))
  end)

  it("leaves its arguments and the caller's tensors as they were", function()
    local x = double { 1, 2 }
    local square = x * x
    grad(function(t) return (t * square):sum() end)(x)
    assert.same({ 1, 4 }, flat(square))
    assert.same({ 0, 0 }, flat(grad(function() return square:sum() end)(x)), "square was made before the trace")
    local g = grad(function(t)
      t[1] = 5
      return (t * t):sum()
    end)(x)
    assert.same({ 0, 4 }, flat(g))
    assert.same({ 1, 2 }, flat(x))
  end)

  it("of a gradient goes to any order", function()
    local f = function(x) return (x:sin()):sum() end
    local x = double { 0.4, -1.3 }
    local derivatives = { math.cos, function(a) return -math.sin(a) end, function(a) return -math.cos(a) end, math.sin }
    for order, expected in ipairs(derivatives) do
      local inner = f
      for _ = 1, order - 1 do
        local g = grad(inner)
        inner = function(t) return g(t):sum() end
      end
      support.same_numbers(flat(grad(inner)(x)), { expected(0.4), expected(-1.3) }, 1e-12, "order " .. order)
    end
  end)

  it("keeps the levels of nested gradients apart", function()
    -- d/dx [ x * d/dy (x + y) ] = 1, where a confusion of levels gives 2 (Siskind and Pearlmutter 2005)
    local one = double { 1 }
    local g = grad(function(x) return (x * grad(function(y) return (x + y):sum() end)(one)):sum() end)(one)
    assert.same({ 1 }, flat(g))
    -- d/dx x * (d/dy x y^2 at y = x) = d/dx 2 x^3
    g = grad(function(x) return (x * grad(function(y) return (x * y * y):sum() end)(x)):sum() end)(double { 3 })
    assert.same({ 54 }, flat(g))
  end)

  it("lets f look at values, print and branch", function()
    local seen = {}
    local function f(x)
      local inner = grad(function(y)
        seen[#seen + 1] = y:sum():item()
        return (y * y * x):sum()
      end)(x)
      seen[#seen + 1] = tostring(inner):match("%S+")
      if x:sum():item() > 0 then return inner:sum() end
      return -inner:sum()
    end
    local x = double { 3 }
    assert.same({ 12 }, flat(grad(f)(x)))
    assert.same({ 3.0, "[18]" }, seen)
    assert.same({ -4 * -3 * -1 * -1 }, flat(grad(f)(double { -3 })))
  end)

  it("agrees with differences through a network, at first and second order", function()
    local model = nn.Sequential { nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2) }:double()
    local x, y = plumb.randn({ 4, 2 }, { dtype = "float64" }), plumb.tensor({ 1, 2, 2, 1 }, { dtype = "int64" })
    support.check_gradients(function(theta, input) return nn.cross_entropy(model:at(theta)(input), y) end,
      { model.theta, x }, "cross-entropy")
  end)

  it("says what is wrong, and everything stays usable", function()
    local x = plumb.ones(3)
    local function sum(t) return t:sum() end
    fails_here(function() grad(3) end, "grad: a function was expected, not number")
    fails_here(function() grad(sum, { cuont = 2 }) end, "grad: there is no option 'cuont'")
    fails_here(function() grad(sum)() end, "0 were given")
    fails_here(function() grad(sum, { count = 2 })(x) end, "2", "1 were given")
    fails_here(function() grad(sum)("x") end, "argument 1", "string")
    fails_here(function() grad(sum)(plumb.arange(3)) end, "argument 1", "int64")
    fails_here(function() grad(function(t) return t * 2 end)(x) end, "single number", "(3)")
    fails_here(function() grad(function() return 3 end)(x) end, "must return a tensor first, not number")
    fails_here(function() grad(function() end)(x) end, "not nothing")
    fails_here(function() grad(function(t) return t:nosuch() end)(x) end, "nosuch")
    assert_usable()
  end)

  it("ends its trace when f fails, at any depth", function()
    local x = double { 1, 2 }
    for depth = 1, 5 do
      local f = function() error("stop here") end
      for _ = 2, depth do
        local g = grad(f)
        f = function(t) return g(t):sum() end
      end
      local ok, message = pcall(grad(f), x)
      assert.is_false(ok)
      assert.is_truthy(message:find("stop here", 1, true))
    end
    local caught = grad(function(t)
      pcall(grad(function() error("inside") end), t)
      return (t * t):sum()
    end)(x)
    assert.same({ 2, 4 }, flat(caught))
    assert_usable()
  end)

  it("is left in a coroutine that never ends without harm", function()
    local thread = coroutine.wrap(function()
      grad(function(t)
        coroutine.yield()
        return t:sum()
      end)(plumb.ones(2))
    end)
    pcall(thread)
    collectgarbage()
    assert_usable()
  end)

  it("gives what it held back, also after errors", function()
    local x = plumb.randn(1000)
    local function work()
      grad(function(t) return (t:exp() * t):sum() end)(x)
      pcall(grad(function(t) return t:exp() end), x)
      pcall(grad(function(t) error(t) end), x)
    end
    work()
    local before = support.live_bytes()
    for _ = 1, 20 do work() end
    assert.is_true(support.live_bytes() <= before + 1024)
  end)
end)

describe("vjp", function()
  it("is v^T J for a result of any shape", function()
    local a = double { { 1, 2 }, { 3, 4 }, { 5, 6 } }
    local y, g = plumb.vjp(function(x) return plumb.matmul(a, x) end)(double { 1, 1 }, double { 1, 0, 2 })
    assert.same({ 3, 7, 11 }, flat(y))
    assert.same({ 11, 14 }, flat(g))
  end)

  it("refuses a v of another shape", function()
    fails_here(function() plumb.vjp(function(x) return x * x end)(plumb.ones(3), plumb.ones(2)) end, "(2)", "(3)")
    fails_here(function() plumb.vjp(1) end, "vjp: a function was expected")
    assert_usable()
  end)
end)

describe("hvp", function()
  it("agrees with differences of gradients", function()
    local model = nn.Sequential { nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1) }:double()
    local x, y = plumb.randn({ 6, 2 }, { dtype = "float64" }), plumb.randn({ 6, 1 }, { dtype = "float64" })
    local function loss(theta) return nn.mse_loss(model:at(theta)(x), y) end
    local theta, v, h = model.theta, plumb.randn({ 17 }, { dtype = "float64" }), 1e-5
    local g = grad(loss)
    local expected = (g(theta + v * h) - g(theta - v * h)) / (2 * h)
    support.same_numbers(flat(plumb.hvp(loss)(theta, v)), flat(expected), 1e-8, "H v")
    local u = plumb.randn({ 17 }, { dtype = "float64" })
    local uhv, vhu = (plumb.hvp(loss)(theta, v) * u):sum():item(), (plumb.hvp(loss)(theta, u) * v):sum():item()
    assert.is_true(support.near(uhv, vhu, 1e-12), "the Hessian is symmetric")
  end)

  it("hands further arguments to f", function()
    local h = plumb.hvp(function(x, power, t) return ((x ^ power) * t):sum() end)
    assert.same({ 36, 0 }, flat(h(double { 2, 1 }, double { 1, 0 }, 3, double { 3, 1 })))
  end)
end)

-- ---- compile ----

describe("compile", function()
  it("gives what the plain function gives, for one and several results", function()
    local function f(x, y)
      local z = (x * y + 1):tanh()
      return z, z:sum(2), plumb.matmul(z, z:t()), x
    end
    local x, y = plumb.randn(3, 4), plumb.randn(3, 4)
    local plain, compiled = table.pack(f(x, y)), compile(f)
    for _ = 1, 3 do
      local results = table.pack(compiled(x, y))
      assert.equal(4, results.n)
      for i = 1, 4 do support.same_numbers(flat(results[i]), flat(plain[i]), 1e-6, "result " .. i) end
    end
  end)

  it("traces once for each kind of arguments", function()
    local traces = 0
    local f = compile(function(x)
      traces = traces + 1
      return (x * 2):sum(1)
    end)
    for _ = 1, 3 do
      assert.same({ 2, 2 }, flat(f(plumb.ones(1, 2))))
      assert.same({ 6, 6 }, flat(f(plumb.ones(3, 2))))
      assert.equal("float64", f(plumb.ones(3, 2):double()):dtype())
      assert.same({ 4, 8 }, flat(f(plumb.tensor({ { 1, 1 }, { 2, 2 } }):t():t():t():reshape(2, 2):t() * 0
        + plumb.tensor { { 1, 2 }, { 1, 2 } })))
    end
    assert.equal(4, traces)
    for n = 1, 40 do assert.equal(2 * n, f(plumb.ones(n, 1)):item()) end
    assert.equal(2, f(plumb.ones(1, 1)):item(), "after more shapes than are kept")
  end)

  it("keeps numbers among the arguments dynamic", function()
    local traces = 0
    local f = compile(function(x, a, b)
      traces = traces + 1
      return x * a + b
    end)
    for i = 1, 5 do assert.same({ i + 0.5, 2 * i + 0.5 }, flat(f(plumb.tensor { 1, 2 }, i, 0.5))) end
    assert.same({ "float32", "float64" }, { f(plumb.ones(1), 2, 1):dtype(), f(double { 1 }, 2, 1):dtype() })
    assert.equal(3, traces)
    local tiny = compile(function(x, a) return x + a end)
    assert.equal(0.1 + 1, tiny(double { 1 }, 0.1)[1]:item(), "numbers are double")
  end)

  it("takes what f uses without being given as constants", function()
    local scale = plumb.tensor { 2 }
    local f = compile(function(x) return x * scale end)
    assert.same({ 6 }, flat(f(plumb.tensor { 3 })))
    scale = plumb.tensor { 5 }
    assert.same({ 6 }, flat(f(plumb.tensor { 3 })))
  end)

  it("differentiates inside, and is differentiated from outside", function()
    local function f(x) return (x * x * x):sum() end
    local x = double { 1, 2 }
    assert.same({ 3, 12 }, flat(compile(grad(f))(x)))
    assert.same({ 3, 12 }, flat(grad(compile(f))(x)))
    assert.same({ 6, 12 }, flat(plumb.hvp(compile(f))(x, double { 1, 1 })))
    assert.same({ 6, 12 }, flat(compile(plumb.hvp(f))(x, double { 1, 1 })))
    local inner = compile(function(t) return t * 2 end)
    assert.same({ 3, 5 }, flat(compile(function(t) return inner(t) + 1 end)(x)))
  end)

  it("updates variables, and a kept value never changes", function()
    local v, count = plumb.variable(plumb.zeros(3)), plumb.variable(double { 0 })
    local step = compile(function(x, n, by) return x + by, n + 1, (x * 10):sum() end)
    local kept, lazy, seen = {}, {}, {}
    for i = 1, 5 do
      kept[i], lazy[i] = v:get(), v:get():slice(1, 1, 2) * 2
      seen[i] = step(v, count, 1):item()
    end
    assert.same({ 0, 30, 60, 90, 120 }, seen)
    assert.same({ 5, 5, 5 }, flat(v:get()))
    assert.same({ 5 }, flat(count:get()))
    for i = 1, 5 do
      assert.same({ i - 1, i - 1, i - 1 }, flat(kept[i]))
      assert.same({ 2 * i - 2, 2 * i - 2 }, flat(lazy[i]))
    end
  end)

  it("shares nothing between a variable and what it was made of or set to", function()
    local origin = plumb.ones(3)
    local v, w = plumb.variable(origin), plumb.variable(origin)
    local view = origin:slice(1, 2, 3)
    local bump = compile(function(x) return x + 1 end)
    bump(v)
    bump(v)
    assert.same({ 1, 1, 1 }, flat(origin))
    assert.same({ 1, 1 }, flat(view))
    assert.same({ 1, 1, 1 }, flat(w:get()))
    w:set(v:get())
    bump(w)
    assert.same({ { 3, 3, 3 }, { 4, 4, 4 } }, { flat(v:get()), flat(w:get()) })
    local argument = v:get()
    compile(function(x, y) return x * 0, y:sum() end)(v, argument)
    assert.same({ 3, 3, 3 }, flat(argument))
  end)

  it("may exchange variables, or give one value to two", function()
    local a, b = plumb.variable(plumb.tensor { 1, 2 }), plumb.variable(plumb.tensor { 3, 4 })
    local swap = compile(function(x, y) return y, x end)
    for _ = 1, 3 do swap(a, b) end
    assert.same({ { 3, 4 }, { 1, 2 } }, { flat(a:get()), flat(b:get()) })
    local same, bump = compile(function(x) local z = x + 1 return z, z end), compile(function(x) return x + 1 end)
    same(a, b)
    assert.same({ { 4, 5 }, { 4, 5 } }, { flat(a:get()), flat(b:get()) })
    bump(a)
    assert.same({ { 5, 6 }, { 4, 5 } }, { flat(a:get()), flat(b:get()) })
  end)

  it("cannot show values while it traces, and says so", function()
    local x = plumb.ones(3)
    for _, look in ipairs { function(t) return t:sum():item() end, tostring, function(t) return t:tolist() end } do
      fails_here(function() compile(function(t) look(t) return t end)(x) end, "while its function is being compiled")
    end
    assert_usable()
  end)

  it("refuses wrong arguments and results, and everything stays usable", function()
    local x, v = plumb.ones(2), plumb.variable(plumb.ones(2))
    local identity = compile(function(...) return ... end)
    fails_here(function() compile(3) end, "compile: a function was expected, not number")
    fails_here(function() identity("s") end, "argument 1", "string")
    fails_here(function() identity(x, nil) end, "argument 2", "nil")
    fails_here(function() compile(function(a, b) return a, b end)(v, v) end, "arguments 1 and 2 are the same variable")
    fails_here(function() compile(function() return 3 end)(x) end, "result 1 is number")
    fails_here(function() compile(function(a) return a, "s" end)(x) end, "result 2 is string")
    fails_here(function() compile(function() end)(v) end, "0 values", "1 variables")
    fails_here(function() compile(function(a) return a:sum() end)(v) end, "result 1", "()", "argument 1", "(2)")
    fails_here(function() compile(function(a) return a:double() end)(v) end, "float64", "float32")
    fails_here(function() grad(function(t) return compile(function(a) return a end)(v):sum() + t:sum() end)(x) end,
      "variables")
    assert.same({ 1, 1 }, flat(v:get()))
    local many = {}
    for i = 1, 40 do many[i] = x end
    fails_here(function() identity(table.unpack(many)) end, "at most 32")
    assert_usable()
  end)

  it("ends its tracing when f fails, and can be called again", function()
    local broken = true
    local f = compile(function(x)
      if broken then error("not yet") end
      return x * 2
    end)
    for _ = 1, 3 do assert.is_false(pcall(f, plumb.ones(2))) end
    assert_usable()
    broken = false
    assert.same({ 2, 2 }, flat(f(plumb.ones(2))))
  end)

  it("leaves variables alone when a step fails in the middle", function()
    local v = plumb.variable(plumb.ones(2))
    local f = compile(function(x, index) return x:index_select(1, index) * 2 end)
    f(v, plumb.tensor({ 1, 2 }, { dtype = "int64" }))
    for _ = 1, 3 do
      fails_here(function() f(v, plumb.tensor({ 1, 3 }, { dtype = "int64" })) end, "3", "1 .. 2")
      assert.same({ 2, 2 }, flat(v:get()))
    end
    f(v, plumb.tensor({ 2, 1 }, { dtype = "int64" }))
    assert.same({ 4, 4 }, flat(v:get()))
  end)

  it("of a training step follows the plain one", function()
    local function train(wrap)
      plumb.manual_seed(4)
      local model = nn.Sequential { nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1) }:double()
      local x, y = plumb.randn({ 8, 2 }, { dtype = "float64", seed = 1 }), plumb.randn({ 8, 1 }, { dtype = "float64", seed = 2 })
      local gradient = wrap(grad(function(theta, a, b) return nn.mse_loss(model:at(theta)(a), b) end))
      local optimizer = optim.Adam { lr = 0.01 }
      for _ = 1, 20 do model.theta = optimizer:step(model.theta, gradient(model.theta, x, y)) end
      return flat(model.theta)
    end
    support.same_numbers(train(compile), train(function(f) return f end), 1e-12, "theta")
  end)
end)

describe("a variable", function()
  it("keeps its dtype and shape", function()
    local v = plumb.variable(plumb.ones(2))
    v:set(plumb.tensor { 3, 4 })
    assert.same({ 3, 4 }, flat(v:get()))
    fails_here(function() v:set(plumb.ones(3)) end, "(2)", "(3)")
    fails_here(function() v:set(double { 1, 2 }) end, "float64", "float32")
    assert.is_false(pcall(v.set, v, 3))
    assert.is_false(pcall(plumb.variable, 3))
    assert.same({ 3, 4 }, flat(v:get()))
  end)
end)
