--- plumb.vmap: every operator's batching rule against single calls, vmap with the other transforms, and bad input.
local plumb = require "plumb"
local samples = require "samples"
local support = require "support"
local nn = plumb.nn

local flat, fails_here = support.flat, support.fails_here
local vmap, grad, hvp, compile = plumb.vmap, plumb.grad, plumb.hvp, plumb.compile
local float64 = { dtype = "float64" }

local function double(list) return plumb.tensor(list, float64) end
local function randn(shape, seed) return plumb.randn(shape, { dtype = "float64", seed = seed or 1 }) end

local function near(actual, expected, tolerance, what)
  assert.same(expected:shape(), actual:shape(), what)
  assert.equal(expected:dtype(), actual:dtype(), what)
  support.same_numbers(flat(actual), flat(expected), tolerance, what)
end

-- What vmap(f, {in_axes = axes})(...) has to be: single calls, one after another. An axis of 0 leaves an argument as it is.
local function one_by_one(f, axes, ...)
  local arguments, rows, size = table.pack(...), {}, nil
  for k = 1, arguments.n do
    if axes[k] ~= 0 then size = arguments[k]:size(axes[k]) end
  end
  for i = 1, size do
    local single = { table.unpack(arguments, 1, arguments.n) }
    for k = 1, arguments.n do
      if axes[k] ~= 0 then
        local slice = arguments[k]:slice(axes[k], i, i)
        single[k] = slice:squeeze(axes[k])
      end
    end
    rows[i] = f(table.unpack(single, 1, arguments.n))
  end
  return plumb.stack(rows)
end

local function check(f, axes, tolerance, what, ...)
  near(vmap(f, { in_axes = axes })(...), one_by_one(f, axes, ...), tolerance, what)
end

-- ---- every operator, by its samples ----

local SIZE = 3

-- SIZE tensors like t along a new axis: floats anew each time, integers in another order, so that indices stay in range.
local function several(t, axis, random)
  local rows, list = {}, flat(t)
  for i = 1, SIZE do
    local values = {}
    for k = 1, #list do values[k] = t:dtype() == "int64" and list[(k + i) % #list + 1] or list[k] * random(0.5, 1.5) end
    rows[i] = support.make(values, t:shape(), t:dtype())
  end
  return plumb.stack(rows, axis)
end

-- Calls check for every way to map some of the inputs and leave the others, the axis being the first or the last in turn.
local function for_each_choice(f, inputs, random, tolerance, what)
  for choice = 1, 2 ^ #inputs - 1 do
    local axes, arguments = {}, {}
    for k, t in ipairs(inputs) do
      local mapped = choice >> (k - 1) & 1 == 1
      axes[k] = not mapped and 0 or (choice + k) % 2 == 0 and 1 or t:dim() + 1
      arguments[k] = mapped and several(t, axes[k], random) or t
    end
    check(f, axes, tolerance, ("%s, axes %s"):format(what, table.concat(axes, " ")), table.unpack(arguments))
  end
end

local function check_gradients(f, inputs, random, what)
  local floats = {}
  for k, t in ipairs(inputs) do
    if t:dtype() == "float64" then floats[#floats + 1] = k end
  end
  if #floats == 0 then return end
  for _, k in ipairs(floats) do -- by each input, the others mapped as well or not
    local function slope(x, ...)
      local rest = { ... }
      return grad(function(y)
        local arguments = { table.unpack(rest) }
        table.insert(arguments, k, y)
        local result = f(table.unpack(arguments))
        return (result * result:detach():cos()):sum()
      end)(x)
    end
    local ordered = { table.unpack(inputs) }
    table.insert(ordered, 1, table.remove(ordered, k))
    for_each_choice(slope, ordered, random, 1e-11, what .. ": gradient " .. k)
  end
end

local function check_sample(row, line, random)
  local sample, names, tensors = samples.read_sample(line), {}, {}
  local inputs = samples.inputs(sample, "float64", random)
  for name in pairs(inputs) do names[#names + 1] = name end
  table.sort(names)
  for k, name in ipairs(names) do tensors[k] = inputs[name] end
  local function f(...)
    local given = {}
    for k, name in ipairs(names) do given[name] = select(k, ...) end
    return (samples.run(sample, given))
  end
  for_each_choice(f, tensors, random, 1e-12, sample.call)
  if row.differentiable then check_gradients(f, tensors, random, sample.call) end
end

local function check_elementwise(row, random)
  local reference, inputs = samples.read_elementwise(row), {}
  for k = 1, reference.arity do
    inputs[k] = support.make(samples.random_list(6, reference.low / 1.5, reference.high / 1.5, random), { 2, 3 })
  end
  for_each_choice(row.call, inputs, random, 1e-13, row.name)
  if row.differentiable then check_gradients(row.call, inputs, random, row.name) end
  if reference.arity > 1 then -- inputs that are broadcast to each other
    inputs[2] = inputs[2]:slice(1, 1, 1):reshape(3)
    for_each_choice(row.call, inputs, random, 1e-13, row.name .. ", broadcast")
  end
end

describe("vmap of", function()
  local names = {}
  for name, row in pairs(plumb.operators) do
    if row.call then names[#names + 1] = name end
  end
  table.sort(names)
  for number, name in ipairs(names) do
    local row = plumb.operators[name]
    it(name .. " is the stack of single calls", function()
      local random = support.generator(number)
      if row.kind == "elementwise" then return check_elementwise(row, random) end
      for line in row.samples:gmatch("[^\n]+") do check_sample(row, line, random) end
    end)
  end

  it("an operator on an empty axis is empty", function()
    for _, f in ipairs { plumb.exp, plumb.sum, plumb.max, plumb.argmax, function(x) return x:matmul(x:t()) end,
      function(x) return x:reshape(6):pad(1, 2, 1) end, function(x) return plumb.concat({ x, x }, 2) end,
      function(x) return plumb.linalg.qr(x) end, function(x) return x:reshape(1, 1, 2, 3):max_pool2d(2) end,
      function(x) return x:reshape(1, 1, 2, 3):conv2d(x:reshape(1, 1, 2, 3):slice(4, 1, 2)) end,
      function(x) return x:reshape(1, 1, 2, 3):conv2d(plumb.ones({ 1, 1, 2, 2 }, float64)) end } do
      local full, empty = vmap(f)(randn { 4, 2, 3 }):shape(), vmap(f)(plumb.zeros({ 0, 2, 3 }, float64)):evaluate():shape()
      full[1] = 0
      assert.same(full, empty)
    end
  end)
end)

-- ---- what vmap does ----

describe("vmap", function()
  it("maps over the first axis, passes on numbers and anything else, and stacks all results", function()
    local x, y, seen = randn { 4, 3 }, randn({ 4, 3 }, 2), nil
    local sums, products, constant = vmap(function(a, b, scale, name, nothing)
      seen = { a:shape(), name, nothing, a:dtype() }
      return (a * scale + b):sum(), a * b, plumb.ones(2)
    end)(x, y, 2, "name", nil)
    assert.same({ { 3 }, "name", nil, "float64" }, seen)
    near(sums, (x * 2 + y):sum(2), 1e-14)
    near(products, x * y, 0)
    near(constant, plumb.ones(4, 2), 0)
  end)

  it("takes other axes, and leaves arguments as they are", function()
    local x, y = randn { 2, 3, 4 }, randn { 4 }
    local function f(a, b) return a:t():matmul(b) end
    check(function(a, b) return a:matmul(b) end, { 1, 0 }, 1e-14, "first", x, y)
    check(function(a) return a:matmul(y) end, { 2 }, 1e-14, "second", x)
    check(f, { 3, 0 }, 1e-14, "third", x, randn { 2 })
    check(f, { -1, 0 }, 1e-14, "last", x, randn { 2 })
    near(vmap(function(a) return a end, { in_axes = 3 })(x), x:permute(3, 1, 2), 0, "one axis for all")
    near(vmap(function(a, b) return a + b end, { in_axes = { 1, 1 } })(x, 3), x + 3, 0, "a number with an axis")
  end)

  it("calls f once, and computes once what depends on no mapped argument", function()
    local calls, w = 0, randn { 30, 30 }
    local f = compile(function(x)
      return vmap(function(v)
        calls = calls + 1
        return (w:matmul(w):tanh() * v):sum()
      end)(x)
    end)
    local x = randn { 5, 30 }
    near(f(x), (x:unsqueeze(2) * w:matmul(w):tanh()):sum({ 2, 3 }), 1e-12)
    assert.equal(1, calls)
    assert.is_truthy(f:describe():find("matmul -> float64 (30, 30)", 1, true), f:describe())
  end)

  it("takes the values in chunks", function()
    local x, w, calls = randn { 7, 3 }, randn { 3 }, 0
    local function f(a, b)
      calls = calls + 1
      return (a * b):sin(), a:sum(), b * 2
    end
    for _, chunk_size in ipairs { 1, 2, 3, 7, 100 } do
      local sines, sums, constant = vmap(f, { in_axes = { 1, 0 }, chunk_size = chunk_size })(x, w)
      near(sines, (x * w):sin(), 0, "chunk_size " .. chunk_size)
      near(sums, x:sum(2), 1e-15)
      near(constant, (w * 2):expand(7, 3), 0)
    end
    assert.equal(5, calls)
    assert.same({ 0, 3 }, vmap(f, { in_axes = { 1, 0 }, chunk_size = 2 })(plumb.zeros({ 0, 3 }, float64), w):shape())
    for _, bad in ipairs { 0, -1, 1.5, "2" } do
      fails_here(function() vmap(f, { chunk_size = bad }) end, "vmap: chunk_size must be a")
    end
  end)

  it("makes one product of many that share a matrix", function()
    local w, x = randn { 4, 3 }, randn { 5, 2, 4 }
    local f = compile(function(t) return vmap(function(a) return a:matmul(w) end)(t) end)
    near(f(x), x:matmul(w), 1e-14)
    assert.is_truthy(f:describe():find("matmul -> float64 (10, 3)", 1, true), f:describe())
  end)

  it("of vmap maps over two axes", function()
    local x, y = randn { 2, 3 }, randn({ 4, 3 }, 2)
    local outer = vmap(vmap(function(a, b) return a:dot(b) end, { in_axes = { 0, 1 } }), { in_axes = { 1, 0 } })
    near(outer(x, y), x:matmul(y:t()), 1e-14)
    local t = randn { 2, 3, 4, 5 }
    near(vmap(vmap(vmap(plumb.sum)))(t), t:sum(4), 1e-14)
    near(vmap(function(a) return vmap(function(b) return a:sum() * b end)(a) end)(x), x:sum(2, true) * x, 1e-14, "captured")
  end)

  it("goes together with grad and hvp in both directions, to any order", function()
    local x, w = randn { 4, 3 }, randn { 3 }
    local function f(a) return (a * w):sin():sum() end
    near(vmap(grad(f))(x), (x * w):cos() * w, 1e-14, "vmap of grad")
    near(grad(function(t) return vmap(f)(t):sum() end)(x), (x * w):cos() * w, 1e-14, "grad of vmap")
    near(vmap(hvp(f), { in_axes = { 1, 1 } })(x, x), -(x * w):sin() * w * w * x, 1e-14, "hvp under vmap")
    near(hvp(function(t) return vmap(f)(t):sum() end)(x, x), -(x * w):sin() * w * w * x, 1e-14, "hvp of vmap")
    near(vmap(grad(function(a) return grad(f)(a):square():sum() end))(x), (x * w):cos() * (x * w):sin() * w ^ 3 * -2, 1e-13)
    -- by what f captures
    near(grad(function(v) return vmap(function(a) return (a * v):sin():sum() end)(x):sum() end)(w),
      ((x * w):cos() * x):sum(1), 1e-14, "grad by a captured tensor")
    -- d/dx sum_i (x_i d/dy (x_i y^2) at y = x_i) = d/dx sum 2 x^3: the levels stay apart
    local cubes = grad(function(t)
      return vmap(function(a) return a * grad(function(b) return a * b * b end)(a) end)(t):sum()
    end)
    near(cubes(double { 1, 2, 3 }), double { 6, 24, 54 }, 1e-13, "levels")
    local value, gradient = vmap(plumb.value_and_grad(f))(x)
    near(value, (x * w):sin():sum(2), 1e-14, "value")
    near(gradient, (x * w):cos() * w, 1e-14, "and gradient")
    near(select(2, vmap(plumb.vjp(plumb.sin), { in_axes = { 0, 1 } })(w, x)), x * w:cos(), 1e-14, "vjp")
  end)

  it("goes together with compile in both directions", function()
    local x, theta = randn { 4, 3 }, randn { 3 }
    local function f(v, t, scale) return (v * t * scale):tanh():sum() end
    local expected = (x * theta * 2):tanh():sum(2)
    near(vmap(compile(f), { in_axes = { 1, 0, 0 } })(x, theta, 2), expected, 1e-14, "vmap of compile")
    local compiled = compile(function(v, t, scale) return vmap(f, { in_axes = { 1, 0, 1 } })(v, t, scale) end)
    for _ = 1, 2 do near(compiled(x, theta, 2), expected, 1e-14, "compile of vmap, with a number") end
    local step = compile(function(t, v) return t - grad(function(s) return vmap(f, { in_axes = { 1, 0, 0 } })(v, s, 1):sum() end)(t) end)
    local variable = plumb.variable(theta)
    step(variable, x)
    near(variable:get(), theta - ((1 - (x * theta):tanh():square()) * x):sum(1), 1e-13, "a compiled step")
  end)

  it("keeps integers, and checks each value's indices", function()
    local x, index = randn { 2, 3 }, plumb.tensor({ { 1, 3 }, { 2, 2 } }, { dtype = "int64" })
    local function pick(a, i) return a[i] end
    check(pick, { 1, 1 }, 0, "both", x, index)
    check(pick, { 0, 1 }, 0, "index", x[1], index)
    assert.equal("int64", vmap(plumb.argmax)(x):dtype())
    local bad = plumb.tensor({ { 1, 3 }, { 4, 2 } }, { dtype = "int64" })
    fails_here(function() return (vmap(pick)(x, bad):evaluate()) end, "index 4 is not in 1 .. 3")
    fails_here(function() return (vmap(pick, { in_axes = { 0, 1 } })(x[1], bad):evaluate()) end, "index 4 is not in 1 .. 3")
  end)

  it("has the same bits for any number of threads", function()
    local threads, x, first = plumb.threads(), randn { 60, 40, 10 }, nil
    local w = randn { 60, 10, 10 }
    for _, count in ipairs { 1, 2, 3 } do
      plumb.threads(count)
      local y = vmap(function(a, b) return a:matmul(b:t()):tanh():matmul(b) end)(x, w):evaluate()
      first = first or y
      support.same_bits(first, y, count .. " threads")
    end
    plumb.threads(threads)
  end)
end)

describe("hessian", function()
  it("is that of a quadratic, of any size and dtype", function()
    for _, n in ipairs { 1, 5, 24, 25, 60 } do
      local a = randn { n, n }
      local function f(x, scale) return x:dot(a:matmul(x)) * scale end
      near(plumb.hessian(f)(randn { n }, 0.5), (a + a:t()) / 2, 1e-13, n .. " numbers")
    end
    local cube = plumb.hessian(function(x) return (x ^ 3):sum() end)
    near(cube(plumb.tensor { 1, 2 }), plumb.tensor { { 6, 0 }, { 0, 12 } }, 0, "float32")
    assert.same({ 0, 0 }, cube(plumb.zeros(0)):shape())
  end)

  it("may be differentiated, mapped and compiled", function()
    local x = randn { 4, 3 }
    local function f(a) return a:sin():sum() * a:cos():sum() end
    local each = vmap(plumb.hessian(f))(x)
    for i = 1, 4 do near(each[i], plumb.hessian(f)(x[i]), 1e-14, "row " .. i) end
    near(compile(plumb.hessian(f))(x[1]), each[1], 1e-14, "compiled")
    local third = grad(function(a) return plumb.hessian(function(b) return (b ^ 4):sum() end)(a):sum() end)
    near(third(x[1]), x[1] * 24, 1e-12, "third derivatives")
  end)

  it("says what is wrong", function()
    local function f(x) return x:sum() end
    fails_here(function() plumb.hessian(3) end, "a function was expected, not number")
    fails_here(function() plumb.hessian(f, { chunk_size = 0 }) end, "hessian: chunk_size must be a number of at least 1")
    fails_here(function() plumb.hessian(f)(randn { 2, 2 }) end, "hessian: the first argument must be a vector, not (2, 2)")
    fails_here(function() plumb.hessian(f)(3) end, "must be a vector, not number")
    fails_here(function() plumb.hessian(f)(plumb.arange(3)) end, "int64")
    fails_here(function() plumb.hessian(function(x) return x * x end)(randn { 3 }) end, "must return a single number, not shape (3)")
  end)
end)

-- ---- networks ----

describe("vmap of networks", function()
  it("gives the gradients of single samples", function()
    local model = nn.Sequential { nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4) }:double()
    local x, y = randn { 6, 3 }, plumb.tensor({ 1, 2, 3, 4, 1, 2 }, { dtype = "int64" })
    local function loss(theta, a, b) return nn.cross_entropy(model:at(theta)(a:unsqueeze(1)), b:reshape(1)) end
    local gradients = vmap(grad(loss), { in_axes = { 0, 1, 1 } })(model.theta, x, y)
    assert.same({ 6, model.theta:numel() }, gradients:shape())
    for i = 1, 6 do near(gradients[i], grad(loss)(model.theta, x[i], y[i]), 1e-13, "sample " .. i) end
    local whole = grad(function(theta) return nn.cross_entropy(model:at(theta)(x), y) end)(model.theta)
    near(gradients:mean(1), whole, 1e-13, "their mean")
  end)

  it("gives the gradients of single images", function()
    local function loss(w, image)
      local h = image:unsqueeze(1):conv2d(w, 1, 1):relu():max_pool2d(2)
      return h:square():sum()
    end
    local w, images = randn { 4, 2, 3, 3 }, randn { 5, 2, 6, 6 }
    local gradients = vmap(grad(loss), { in_axes = { 0, 1 } })(w, images)
    for i = 1, 5 do near(gradients[i], grad(loss)(w, images[i]), 1e-12, "image " .. i) end
  end)

  it("trains a population at once", function()
    local model = nn.Sequential { nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1) }:double()
    local x = plumb.linspace(-1, 1, 20, float64):reshape(-1, 1)
    local y, P = x:square(), model.theta:numel()
    local function loss(theta) return nn.mse_loss(model:at(theta)(x), y) end
    local start = randn { 7, P }
    local step = compile(function(thetas)
      local losses, gradients = vmap(plumb.value_and_grad(loss))(thetas)
      return thetas - gradients * 0.1, losses
    end)
    local population, losses = start, nil
    for _ = 1, 5 do population, losses = step(population) end
    for i = 1, 7 do
      local theta, last = start[i], nil
      for _ = 1, 5 do
        local value, gradient = plumb.value_and_grad(loss)(theta)
        theta, last = theta - gradient * 0.1, value
      end
      near(population[i], theta, 1e-13, "member " .. i)
      assert.is_true(support.near(losses[i]:item(), last:item(), 1e-13))
    end
  end)

  it("gives all columns of a Hessian", function()
    local model = nn.Sequential { nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 1) }:double()
    local x = plumb.linspace(-1, 1, 256, float64):reshape(-1, 1)
    local theta, y = model.theta, (x * 5):sin()
    local function loss(t) return nn.mse_loss(model:at(t)(x), y) end
    local columns = compile(function(t, v) return vmap(function(u) return hvp(loss)(t, u) end)(v) end)
    local hessian = columns(theta, plumb.eye(141, float64))
    near(hessian, hessian:t(), 1e-14, "symmetric")
    for _, chunk_size in ipairs { 1, 10, 24, 200 } do
      near(compile(plumb.hessian(loss, { chunk_size = chunk_size }))(theta), hessian, 1e-14, "chunk_size " .. chunk_size)
    end
    local product = compile(hvp(loss))
    for _, i in ipairs { 1, 20, 75, 141 } do
      local unit = plumb.zeros({ 141 }, float64)
      unit[i] = 1
      near(hessian[i], product(theta, unit), 1e-13, "column " .. i)
    end
    local step, slope = 1e-5, grad(loss)
    local unit = plumb.zeros({ 141 }, float64)
    unit[25] = step
    near(hessian[25], (slope(theta + unit) - slope(theta - unit)) / (2 * step), 1e-8, "central difference")
  end)
end)

describe("vmap of layers with state", function()
  it("asks for evaluation mode, or for the state among the arguments", function()
    local model, x = nn.Sequential { nn.Linear(2, 3), nn.BatchNorm1d(3) }:double(), randn { 4, 5, 2 }
    fails_here(function() vmap(function(a) return model(a) end)(x) end, "running statistics", "model:eval()")
    local states = vmap(function(a)
      return select(2, model:at(model.theta, { buffers = model.buffers, training = true })(a))
    end)(x)
    assert.same({ 4, model.buffers:numel() }, states:shape())
    model:eval()
    check(function(a) return model(a) end, { 1 }, 1e-13, "in evaluation mode", x)
  end)
end)

-- ---- bad input ----

describe("vmap says what is wrong:", function()
  local x = randn { 4, 3 }
  local function f(a) return a:sum() end

  -- After whatever went wrong, all is as before.
  local function assert_usable()
    assert.same({ 3, 3 }, flat(vmap(f)(plumb.ones(2, 3))))
    assert.same({ 2, 2 }, flat(grad(function(t) return t:square():sum() end)(plumb.ones(2))))
    assert.same({ 3 }, flat(compile(function(t) return t * 3 end)(plumb.ones(1))))
    assert.equal(1, plumb.randn(1):numel())
  end
  after_each(assert_usable)

  it("functions, options and axes", function()
    fails_here(function() vmap(3) end, "vmap: a function was expected, not number")
    fails_here(function() vmap(f, { axes = 1 }) end, "vmap: there is no option 'axes'")
    fails_here(function() vmap(f, { in_axes = "1" })(x) end, "in_axes must be an axis or a list of axes, not string")
    fails_here(function() vmap(f, { in_axes = { "1" } })(x) end, "in_axes[1] must be an axis")
    fails_here(function() vmap(f, { in_axes = { "x" } })(x) end, "in_axes[1] must be an axis")
    fails_here(function() vmap(f, { in_axes = { 1.5 } })(x) end, "in_axes[1] must be an axis")
    fails_here(function() vmap(f, { in_axes = { 1, 1 } })(x) end, "in_axes has 2 entries for 1 arguments")
    fails_here(function() vmap(f, { in_axes = 3 })(x) end, "argument 1 has shape (4, 3) and no axis 3")
    fails_here(function() vmap(f, { in_axes = -3 })(x) end, "no axis -3")
    fails_here(function() vmap(f)(x, plumb.tensor(1)) end, "argument 2 has shape () and no axis 1")
    fails_here(function() vmap(f)() end, "no tensor to map over among the 0 arguments")
    fails_here(function() vmap(f, { in_axes = 0 })(x, 2) end, "no tensor to map over among the 2 arguments")
    fails_here(function() vmap(f)(x, randn { 5 }) end, "arguments 1 and 2 are mapped over axes of different sizes, 4 and 5")
    fails_here(function() vmap(function(a) return a:reshape(1, 1, 1, 1, 1, 1, 1, 3) end)(x) end, "no room for one more axis")
  end)

  it("results", function()
    fails_here(function() vmap(function() end)(x) end, "must return a tensor, not nothing")
    fails_here(function() vmap(function(a) return a, 3 end)(x) end, "result 2 is number")
    fails_here(function() vmap(function() return {} end)(x) end, "result 1 is table")
  end)

  it("values asked for while there are none", function()
    for _, look in ipairs { function(a) return a:sum():item() end, tostring, function(a) return a:tolist() end } do
      fails_here(function() vmap(function(a) look(a) return a end)(x) end, "being compiled or mapped")
    end
    local seen
    vmap(function(a) seen = x:sum():item() return a end)(x)
    assert.is_true(support.near(seen, x:sum():item(), 1e-14), "those that are known may be looked at")
    local kept
    vmap(function(a) kept = a return a * 2 end)(x)
    fails_here(function() kept:sum():item() end, "being compiled or mapped")
    fails_here(function() compile(function(a) return a + kept end)(x) end, "left over")
  end)

  it("random numbers that would be the same for all", function()
    fails_here(function() vmap(function(a) return a * plumb.rand(3) end)(x) end, "mapped would be the same for every value")
    local keys = plumb.tensor({ { 1, 1 }, { 1, 2 } }, { dtype = "int64" })
    local noise = vmap(function(key) return plumb.random_normal(key, { 3 }, "float64") end)(keys)
    near(noise[2], plumb.random_normal(keys[2], { 3 }, "float64"), 0)
    near(vmap(function(a) return a * plumb.ones({ 3 }, float64) * plumb.randn({ 3 }, { seed = 1, dtype = "float64" }) end)(x),
      x * randn { 3 }, 0, "with a seed they are meant to be")
  end)

  it("errors inside f, at f's line, with the shapes that f sees", function()
    fails_here(function() vmap(function(a) return a + plumb.ones({ 2 }, float64) end)(x) end, "add: shapes (3) and (2)")
    local message = support.message_of(function() vmap(vmap(function() error("stop here") end))(x) end)
    assert.is_truthy(message:find("stop here", 1, true))
    for _ = 1, 70 do
      local dead = coroutine.create(function() vmap(function() error "b" end)(x) end)
      assert.is_false((coroutine.resume(dead)))
    end
    local sleeping = coroutine.wrap(function() vmap(function(a) coroutine.yield() return a end)(x) end)
    pcall(sleeping)
    collectgarbage()
  end)

  it("nothing, when f assigns to what it was given or to what the caller holds", function()
    local mine = x:clone()
    near(vmap(function(a) a[1] = 0 return a end)(mine), plumb.concat({ plumb.zeros({ 4, 1 }, float64), x:slice(2, 2) }, 2), 0)
    near(mine, x, 0)
    local result = vmap(function(a)
      mine[1] = 7
      mine:evaluate()
      collectgarbage()
      return a * 2
    end)(mine)
    near(result, x * 2, 0)
    near(mine[1], plumb.full({ 3 }, 7, float64), 0)
  end)

  it("memory that runs out at any request, without a leak", function()
    local w = randn { 3, 3 }
    local function program()
      local g = vmap(grad(function(a, i) return a:matmul(w):tanh()[i]:sum() end), { in_axes = { 1, 1 } })
      local index = plumb.tensor({ { 1, 2 }, { 3, 3 }, { 1, 1 }, { 2, 1 } }, { dtype = "int64" })
      local both = compile(function(a) return vmap(function(b) return vmap(function(c) return b * c end)(b) end)(a) end)
      return g(x, index):sum():item() + both(x):sum():item() + vmap(plumb.max_pool2d, { in_axes = { 1, 0 } })(
        randn { 2, 1, 1, 4, 4 }, 2):sum():item()
    end
    local expected, start, n = program(), support.live_bytes(), 0
    repeat
      n = n + 1
      plumb.core.memory_fail(n, 1 << 40)
      local ok, message = pcall(program)
      plumb.core.memory_fail()
      if not ok then
        assert.is_truthy(tostring(message):find("out of memory", 1, true), tostring(message))
        local live = support.live_bytes()
        if live ~= start then error(("request %d: %d bytes are live, not %d"):format(n, live, start)) end
      end
    until ok
    assert.is_true(n > 100)
    assert.equal(expected, program())
    assert.equal(start, support.live_bytes())
  end)
end)
