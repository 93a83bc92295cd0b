-- Programs that pull the rug: what f is given is assigned to while f is traced, coroutines die half-way, settings change
-- between steps. Each must give the right numbers or a clear error, and leave everything usable.
local plumb = require "plumb"
local nn, optim = plumb.nn, plumb.optim

local function fails(pattern, f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(message):find(pattern), tostring(message))
end

-- Gradients and compiled functions work as before.
local function all_is_well()
  assert.same({ 2, 2 }, plumb.grad(function(x) return x:square():sum() end)(plumb.ones(2)):tolist())
  assert.same({ 3 }, plumb.compile(function(x) return x * 3 end)(plumb.ones(1)):tolist())
end

describe("a compiled function", function()
  after_each(all_is_well)

  it("may assign to its argument, which the caller's tensor does not notice", function()
    local x = plumb.ones(3)
    assert.same({ 0, 2, 2 }, plumb.compile(function(y) y[1] = 0 return y * 2 end)(x):tolist())
    assert.same({ 1, 1, 1 }, x:tolist())
  end)

  it("may assign to the tensor that it was called with", function()
    local x = plumb.ones(3)
    assert.same({ 10, 2, 2 }, plumb.compile(function(y) x[1] = 5 return y * 2 end)(x):tolist())
  end)

  it("notices a variable that is collected under it", function()
    local v = plumb.variable(plumb.ones(3))
    fails("collected", plumb.compile(function(y) getmetatable(v).__gc(v) return y end), v)
  end)

  it("refuses a tensor left over from the compilation of another", function()
    local kept
    plumb.compile(function(x) kept = x return x * 2 end)(plumb.ones(3))
    fails("left over", plumb.compile(function(x) return x + kept end), plumb.ones(3))
  end)

  it("treats numbers among its arguments as numbers, whatever they meet", function()
    local f = function(x, a) return x * (a / 3) end
    assert.same({ 2, 2 }, plumb.compile(f)(plumb.ones(2), 6):tolist())
    assert.equal("float64", plumb.compile(f)(plumb.ones({ 2 }, { dtype = "float64" }), 6):dtype())
  end)

  it("refuses random numbers that would be the same at every call", function()
    fails("same at every call", plumb.compile(function(x) return x * plumb.rand(2) end), plumb.ones(2))
    local key = plumb.tensor({ 1, 2 }, { dtype = "int64" })
    local noisy = plumb.compile(function(x, k) return x * plumb.random_uniform(k, { 2 }) end)
    local other = plumb.tensor({ 1, 3 }, { dtype = "int64" })
    assert.is_false(noisy(plumb.ones(2), key):equal(noisy(plumb.ones(2), other)))
  end)

  it("refuses a model whose parameters would become constants", function()
    local model = nn.Linear(2, 1)
    fails("model:at%(theta%)", plumb.compile(function(x) return model(x) end), plumb.ones(1, 2))
    local f = plumb.compile(function(theta, x) return model:at(theta)(x) end)
    model.theta = plumb.ones(3)
    assert.same({ { 3 } }, f(model.theta, plumb.ones(1, 2)):tolist())
  end)
end)

describe("an error in a coroutine", function()
  it("ends the trace or the compilation that it broke off", function()
    for _ = 1, 70 do
      local dead = coroutine.create(function() plumb.grad(function() error "b" end)(plumb.ones(3)) end)
      assert.is_false((coroutine.resume(dead)))
    end
    local dead = coroutine.create(function() plumb.compile(function() error "b" end)(plumb.ones(3)) end)
    assert.is_false((coroutine.resume(dead)))
    all_is_well()
    local variable = plumb.variable(plumb.ones(1))
    plumb.compile(function(v) return v + 1 end)(variable)
    assert.same({ 2 }, variable:get():tolist())
  end)

  it("leaves an outer gradient right", function()
    local co = coroutine.create(function() plumb.grad(function() error "b" end)(plumb.ones(3)) end)
    coroutine.resume(co)
    local gradient = plumb.grad(function(x)
      local y = x * x
      y = y * y
      y:evaluate()
      coroutine.close(co)
      y:evaluate()
      return (y * x):sum()
    end)(plumb.ones(3))
    assert.same({ 5, 5, 5 }, gradient:tolist())
  end)
end)

describe("vjp", function()
  it("keeps the vector that it was given, whatever f does to it", function()
    local v = plumb.tensor { 1, 2, 3 }
    local _, product = plumb.vjp(function(x)
      v[1] = 7
      v:evaluate()
      collectgarbage()
      return x * 2
    end)(plumb.ones(3), v)
    assert.same({ 2, 4, 6 }, product:tolist())
  end)
end)

describe("an optimiser's settings", function()
  it("count from the step on at which they are changed", function()
    local o = optim.SGD { lr = 1 }
    assert.same({ 1, 1 }, o:step(plumb.ones(2), plumb.zeros(2)):tolist())
    o.weight_decay = 0.5
    assert.same({ 0.5, 0.5 }, o:step(plumb.ones(2), plumb.zeros(2)):tolist())
  end)

  it("count in fit too", function()
    local function train(change)
      local model = nn.Linear(1, 1)
      model.theta = plumb.ones(2)
      local o = optim.SGD { lr = 0.1 }
      plumb.fit(model, { x = plumb.zeros(4, 1), y = plumb.ones(4, 1) }, { loss = nn.MSELoss(), optimizer = o, epochs = 2,
        batch = 4, progress = false, on_epoch = function() if change then o.weight_decay = 1 end end })
      return model.theta[1]:item()
    end
    assert.equal(1, train(false))
    assert.near(0.9, train(true), 1e-6)
  end)

  it("are checked when they are changed, and stay as they were when they do not fit", function()
    local o = optim.Adam {}
    fails("weight_decay must be a number", function() o.weight_decay = -1 end)
    assert.equal(0, o.weight_decay)
    local sgd = optim.SGD { momentum = 0.9 }
    fails("switched on or off", function() sgd.momentum = 0 end)
    sgd.momentum = 0.5
    assert.equal(0.5, sgd.momentum)
  end)
end)

describe("a hook of fit", function()
  local function train(model, hook)
    plumb.fit(model, { x = plumb.ones(8, 1), y = plumb.zeros(8, 1) }, { loss = nn.MSELoss(), optimizer = optim.SGD { lr = 0.1 },
      epochs = 3, progress = false, on_epoch = hook })
  end

  it("may ask for the dtype that the model has", function()
    local model, values = nn.Linear(1, 1), {}
    train(model, function() values[#values + 1] = model:float().theta[1]:item() end)
    assert.is_true(values[1] ~= values[2] and values[2] ~= values[3])
  end)

  it("may not give the model other parameters", function()
    local model = nn.Linear(1, 1)
    fails("a hook gave the model other parameters", train, model, function() model:double() end)
  end)
end)

describe("where", function()
  it("takes the dtype of what is chosen, not of the condition", function()
    local ints = plumb.tensor({ 1, 2 }, { dtype = "int64" })
    local chosen = plumb.tensor { 0.5, 0 }:where(ints, ints + 10)
    assert.equal("int64", chosen:dtype())
    assert.same({ 1, 12 }, chosen:tolist())
  end)
end)
