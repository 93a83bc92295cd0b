-- plumb.measure: gradients, Hessians, minimal ratio. The ground: central differences, quadratics whose inertia is known, and
-- numbers made by PyTorch in float64 (tests/golden/measure.json).
local plumb = require "plumb"
local support = require "support"
local problems = require "measure_problems"
local nn, measure = plumb.nn, plumb.measure
local flat, same_numbers, near, fails_here = support.flat, support.same_numbers, support.near, support.fails_here
local network, quadratic = problems.network, problems.quadratic

describe("measure.gradient_norm", function()
  it("is that of PyTorch, whole and by parameter", function()
    for _, golden in ipairs(problems.golden.networks) do
      local model, loss, set = problems.from_golden(golden)
      local norm, value, by_name = measure.gradient_norm(model, loss, set)
      assert.is_true(near(norm, golden.gradient_norm, 1e-12) and near(value, golden.loss_value, 1e-12))
      for name, expected in pairs(golden.layer_norms) do assert.is_true(near(by_name[name], expected, 1e-12), name) end
    end
  end)

  it("is the norm of the names' norms, and of a layer's", function()
    local model, loss, set = network { 1, 5, 3, 1 }
    local norm, _, by_name = measure.gradient_norm(model, loss, set)
    local squares = 0
    for _, parameter in ipairs(model:parameters()) do squares = squares + by_name[parameter.name] ^ 2 end
    assert.is_true(near(norm, math.sqrt(squares), 1e-14))
    local layer = math.sqrt(by_name["2.weight"] ^ 2 + by_name["2.bias"] ^ 2)
    for _, name in ipairs { "2", model[3], { 11, 28 } } do
      assert.is_true(near(measure.gradient_norm(model, loss, set, { layer = name }), layer, 1e-14))
    end
    assert.is_true(near(measure.gradient_norm(model, loss, set, { layer = "2.bias" }), by_name["2.bias"], 1e-14))
  end)

  it("does not depend on how the data are split into batches", function()
    local model, loss, set = network({ 1, 4, 1 }, 23)
    local whole, value = measure.gradient_norm(model, loss, set)
    for _, batch in ipairs { 1, 5, 7, 22, 23, 100 } do
      local norm, loss_value = measure.gradient_norm(model, loss, set, { batch = batch })
      assert.is_true(near(norm, whole, 1e-12) and near(loss_value, value, 1e-12))
    end
  end)

  it("takes float32 models, and a function of theta", function()
    local model, loss, set = network { 1, 4, 1 }
    local expected = measure.gradient_norm(model, loss, set)
    local L = function(theta) return loss(model:at(theta)(set.x), set.y) end
    local norm, _, by_name = measure.gradient_norm(L, model.theta)
    assert.is_true(near(norm, expected, 1e-14) and by_name == nil)
    model:float()
    assert.is_true(near(measure.gradient_norm(model, loss, set), expected, 1e-5))
  end)

  it("gives the ratio to the loss", function()
    local model, loss, set = network { 1, 4, 1 }
    local norm, value = measure.gradient_norm(model, loss, set)
    assert.equal(norm / value, measure.gradient_loss_ratio(model, loss, set))
    local A, L, theta = quadratic { 1, 2 }
    assert.is_true(near(measure.gradient_loss_ratio(L, theta),
      A:matmul(theta):norm():item() / L(theta):item(), 1e-14))
  end)
end)

describe("fit's option record", function()
  local function train(record, dtype, options)
    plumb.manual_seed(4)
    local model = nn.Sequential { nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1) }
    if dtype == "float64" then model:double() end
    local x = plumb.linspace(-1, 1, 20, { dtype = dtype }):reshape(-1, 1)
    local settings = { loss = nn.mse_loss, optimizer = plumb.optim.SGD { lr = 0.1 }, epochs = 3, batch = 20, shuffle = false,
      progress = false, record = record }
    for name, value in pairs(options or {}) do settings[name] = value end
    return plumb.fit(model, { x = x, y = x * x }, settings), model, { x = x, y = x * x }
  end

  it("holds the gradient's norm and the loss before each step, whole and by parameter", function()
    local thetas = {}
    local _, model = train(nil, "float64", { on_step = function(run) thetas[run.step] = run.model.theta end })
    local run, _, set = train({ "loss", gradient = function(step) return step.gradient:norm() end,
      update = function(step) return (step.new_theta - step.theta):norm() end }, "float64")
    local layers = train(measure.recorder(model), "float64")
    local L = measure.loss(model, nn.mse_loss, set)
    for step = 2, 3 do
      local norm, loss, by_name = measure.gradient_norm(L, thetas[step - 1])
      assert.is_true(near(run.recorded.gradient[step], norm, 1e-13) and near(run.recorded.loss[step], loss, 1e-13))
      assert.is_true(near(run.recorded.update[step], 0.1 * norm, 1e-13))
      assert.is_true(near(layers.recorded.gradient_norm[step], norm, 1e-13))
      for name, expected in pairs(by_name) do assert.is_true(near(layers.recorded[name][step], expected, 1e-13), name) end
    end
    assert.equal(3, #run.recorded.loss)
  end)

  it("holds the ratio of the gradient's norm to the loss", function()
    local recorded = train({ "gradient_loss_ratio", "gradient_norm", "loss" }, "float64").recorded
    for step, ratio in ipairs(recorded.gradient_loss_ratio) do
      assert.is_true(near(ratio, recorded.gradient_norm[step] / recorded.loss[step], 1e-15))
    end
    assert.equal(3, #recorded.gradient_loss_ratio)
  end)

  it("changes nothing in the training, and records batches of all sizes", function()
    local plain, recorded = train(nil, "float32", { batch = 7 }), train({ "gradient_norm", "loss" }, "float32", { batch = 7 })
    assert.same(plain.train_loss, recorded.train_loss)
    assert.same({ 9, 9 }, { #recorded.recorded.gradient_norm, #recorded.recorded.loss })
    assert.same({}, plain.recorded)
  end)

  it("is refused when it names nothing", function()
    fails_here(function() return (train { "gradient" }) end, "record", "'gradient'")
    fails_here(function() return (train("gradient_norm")) end, "record", "string")
    fails_here(function() return (train { mine = 3 }) end, "'mine'")
    fails_here(function() return (train { mine = function() return 3 end }) end, "'mine'", "one element", "number")
    fails_here(function() return (train { mine = function(step) return step.gradient end }) end, "'mine'", "(16)")
    fails_here(function() return (measure.recorder(3)) end, "module")
  end)
end)

describe("measure.loss", function()
  it("is the mean over the data set, at a theta of either dtype, with a gradient", function()
    local model, loss, set = network({ 1, 4, 1 }, 17)
    local expected = loss(model(set.x), set.y):item()
    local L = measure.loss(model, loss, set, { batch = 5 })
    assert.is_true(near(L(model.theta):item(), expected, 1e-14))
    assert.equal("float32", L(model.theta:float()):dtype())
    model:float()
    assert.equal("float64", L(model.theta:double()):dtype())
    local L_whole = function(theta) return loss(model:at(theta)(set.x), set.y) end
    same_numbers(flat(plumb.grad(L)(model.theta:double())), flat(plumb.grad(L_whole)(model.theta:double())), 1e-13, "gradient")
  end)
end)

describe("measure.hessian", function()
  it("is that of PyTorch, with its eigenvalues", function()
    for _, golden in ipairs(problems.golden.networks) do
      local model, loss, set = problems.from_golden(golden)
      local h, asymmetry = measure.hessian(model, loss, set)
      same_numbers(flat(h), golden.hessian.data, 1e-9, golden.name)
      assert.is_true(asymmetry < 1e-12)
      same_numbers(flat(plumb.linalg.eigvalsh(h)), golden.eigenvalues, 1e-9, golden.name)
    end
  end)

  it("agrees with central differences of the gradient to 1e-6", function()
    local model, loss, set = network({ 1, 5, 3, 1 }, 19)
    local theta, L, step = model.theta, measure.loss(model, loss, set), 1e-5
    local h, asymmetry = measure.hessian(L, theta, { columns = 7 })
    assert.is_true(asymmetry < 1e-12)
    local largest, g = h:abs():max():item(), plumb.grad(L)
    for j = 1, #theta do
      local e = plumb.arange(#theta):eq(j):double() * step
      local column = (g(theta + e) - g(theta - e)) / (2 * step)
      assert.is_true((h[j] - column):abs():max():item() < 1e-6 * largest, "column " .. j)
    end
  end)

  it("is symmetric to the bit, and the same for every split into batches and blocks of columns", function()
    local model, loss, set = network({ 1, 4, 2, 1 }, 23)
    local whole = measure.hessian(model, loss, set)
    support.same_bits(whole, whole:t(), "symmetry")
    for _, batch in ipairs { 1, 7, 22 } do
      same_numbers(flat(measure.hessian(model, loss, set, { batch = batch, columns = batch })), flat(whole), 1e-10, "batches")
    end
  end)

  it("gives a layer's diagonal block, and products with vectors", function()
    local model, loss, set = network { 1, 4, 2, 1 }
    local whole = measure.hessian(model, loss, set)
    local block = measure.hessian(model, loss, set, { layer = "2" })
    support.same_numbers(flat(block), flat(whole:slice(1, 9, 18):slice(2, 9, 18)), 1e-13, "block")
    local product, size = measure.hvp(model, loss, set, { batch = 3 })
    local v = plumb.randn({ size }, { dtype = "float64", seed = 1 })
    same_numbers(flat(product(v)), flat(whole:matmul(v)), 1e-10, "product")
    product, size = measure.hvp(model, loss, set, { layer = { 9, 18 } })
    v = plumb.randn({ size }, { dtype = "float64", seed = 2 })
    same_numbers(flat(product(v)), flat(block:matmul(v)), 1e-10, "product with the block")
  end)

  it("asks for float64 and says how to get there", function()
    local model, loss, set = network { 1, 4, 1 }
    model:float()
    fails_here(function() return (measure.hessian(model, loss, set)) end, "float64", "double()")
    local h = measure.hessian(measure.loss(model, loss, set), model.theta:double())
    assert.equal("float64", h:dtype())
  end)

  it("names the size of a matrix that would not fit, and the way out", function()
    local L = function(theta) return theta:square():sum() end
    local theta, budget = plumb.zeros({ 20000 }, { dtype = "float64" }), plumb.memory().budget
    plumb.memory_budget(2 ^ 30 // 1)
    local ok, message = pcall(support.message_of, measure.hessian, L, theta)
    plumb.memory_budget(budget)
    assert.is_true(ok, message)
    for _, text in ipairs { "20000 x 20000", "3052 MB", "measure.lanczos", "measure.trace" } do
      assert.is_truthy(message:find(text, 1, true), message)
    end
  end)
end)

describe("measure.minimal_ratio", function()
  it("is exact for quadratics of known inertia", function()
    for _, values in ipairs { { 1, 2, 3, 4 }, { -1, -2, 1e-3, 5, 1e-7 }, { 3, 0, 0, -1, 0, 1 }, { 0, 0, 0 }, { 1e8, 1e-5, -1e-5, 0 } } do
      local expected = { positive = 0, zero = 0, negative = 0 }
      for _, value in ipairs(values) do
        local kind = value > 0 and "positive" or value < 0 and "negative" or "zero"
        expected[kind] = expected[kind] + 1
      end
      local _, L, theta = quadratic(values)
      local result = measure.minimal_ratio(L, theta)
      for kind, count in pairs(expected) do assert.equal(count, result[kind], kind) end
      assert.equal(expected.positive / #values, result.ratio)
      table.sort(values)
      local scale = math.max(math.abs(values[1]), math.abs(values[#values]))
      for i, value in ipairs(flat(result.eigenvalues)) do assert.is_true(math.abs(value - values[i]) <= 1e-14 * scale * #values) end
    end
  end)

  it("states its tolerance c eps P |lambda|max, and where it was taken", function()
    local A, L, theta = quadratic { -4, 1, 2 }
    local result = measure.minimal_ratio(L, theta, { c = 7 })
    assert.is_true(near(result.tolerance / (7 * 2.0 ^ -52 * 3 * 4), 1, 1e-12))
    assert.is_true(near(result.gradient_norm, A:matmul(theta):norm():item(), 1e-13))
    assert.is_true(near(result.loss, L(theta):item(), 1e-14))
    assert.equal(2 / 3, result.ratio)
    assert.equal(0, measure.minimal_ratio(L, theta, { c = 1e15 }).ratio)
  end)

  it("of a layer counts that layer's eigenvalues", function()
    local L = function(theta) return (theta:square() * plumb.tensor({ 1, -1, 2, 3 }, { dtype = "float64" })):sum() end
    local result = measure.minimal_ratio(L, plumb.zeros({ 4 }, { dtype = "float64" }), { layer = { 2, 3 } })
    assert.same({ 0.5, 1, 0, 1 }, { result.ratio, result.positive, result.zero, result.negative })
  end)
end)

describe("measure.sampled_minimal_ratio", function()
  it("is 1 at a minimum, 0 at a maximum, near 1/2 on a slope", function()
    local zero = plumb.zeros({ 3 }, { dtype = "float64" })
    local bowl = function(theta) return theta:square():sum() end
    for _, distribution in ipairs { "normal", "uniform", "sphere" } do
      assert.equal(1, (measure.sampled_minimal_ratio(bowl, zero, { distribution = distribution, samples = 70 })))
      assert.equal(0, (measure.sampled_minimal_ratio(function(theta) return -bowl(theta) end, zero,
        { distribution = distribution, samples = 70 })))
      local share, deviation = measure.sampled_minimal_ratio(function(theta) return theta:sum() end, zero,
        { distribution = distribution })
      assert.is_true(math.abs(share - 0.5) < 4 * deviation and near(deviation, 0.0158, 1e-3))
    end
  end)

  it("is the share that the distribution has above the point", function()
    -- x^2 - y^2 with normal x, y is positive with probability 1/2; x^2 + y^2 - z^2 with 1/sqrt 2: the directions that are less
    -- than 45 degrees from the plane
    local signs = plumb.tensor({ 1, 1, -1 }, { dtype = "float64" })
    local L = function(theta) return (theta:square() * signs):sum() end
    for _, distribution in ipairs { "normal", "sphere" } do
      local share, deviation = measure.sampled_minimal_ratio(L, plumb.zeros({ 3 }, { dtype = "float64" }),
        { distribution = distribution, samples = 4000 })
      assert.is_true(math.abs(share - math.sqrt(0.5)) < 3.5 * deviation, share)
    end
  end)

  it("takes a distribution of one's own, batches, layers and a seed", function()
    local model, loss, set = network({ 1, 4, 1 }, 23)
    local function ratio(options) return (measure.sampled_minimal_ratio(model, loss, set, options)) end
    local whole = ratio { samples = 150, seed = 4 }
    assert.equal(whole, ratio { samples = 150, seed = 4 })
    assert.equal(whole, ratio { samples = 150, seed = 4, batch = 10 })
    local g = plumb.grad(measure.loss(model, loss, set))(model.theta)
    local uphill = function(count, size) return (g * 1e-4):reshape(1, -1):expand({ count, size }) end
    assert.equal(1, ratio { distribution = uphill, samples = 3 })
    assert.equal(0, ratio { distribution = function(...) return -uphill(...) end, samples = 3 })
    local last = function(count, size) return (g:slice(1, 13, 13) * 1e-4):reshape(1, -1):expand({ count, size }) end
    assert.equal(1, ratio { distribution = last, samples = 3, layer = "2.bias" })
  end)
end)
