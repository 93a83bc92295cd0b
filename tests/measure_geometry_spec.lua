-- plumb.measure: principal components, interpolation, sharpness, sensitivity, critical points; and that measuring changes nothing.
local plumb = require "plumb"
local support = require "support"
local problems = require "measure_problems"
local nn, measure, linalg = plumb.nn, plumb.measure, plumb.linalg
local flat, near, same_numbers, same_bits = support.flat, support.near, support.same_numbers, support.same_bits
local quadratic, network = problems.quadratic, problems.network

describe("measure.pca", function()
  it("agrees with NumPy's singular value decomposition, wide and tall", function()
    for _, golden in ipairs(problems.golden.pca) do
      local rows = support.make(golden.rows.data, golden.rows.shape)
      local pca = measure.pca(rows, 2)
      same_numbers(flat(pca.components), golden.components.data, 1e-9, golden.name)
      same_numbers(flat(pca.projections), golden.projections.data, 1e-9, golden.name)
      same_numbers(pca.explained_variance, golden.explained_variance, 1e-9, golden.name)
      same_numbers(pca.explained_variance_ratio, golden.ratio, 1e-9, golden.name)
      same_numbers(flat(pca.mean), flat(rows:mean(1)), 1e-12, golden.name)
    end
  end)

  it("takes a list of thetas, long ones too, and float32", function()
    local size, list = 70000, {} -- more than one block of columns
    for i = 1, 4 do list[i] = plumb.randn({ size }, { seed = i }) end
    local pca = measure.pca(list, 3)
    assert.same({ 3, size }, pca.components:shape())
    local gram = pca.components:matmul(pca.components:t())
    same_numbers(flat(gram), { 1, 0, 0, 0, 1, 0, 0, 0, 1 }, 1e-12, "orthonormal")
    assert.is_true(near(support.total(3, function(i) return pca.explained_variance_ratio[i] end), 1, 1e-12))
    -- three components hold all of four points
    local back = pca.projections:matmul(pca.components) + pca.mean
    assert.is_true((back - plumb.stack(list):double()):abs():max():item() < 1e-12)
  end)

  it("projects points, keeps to a layer, and fixes the sign", function()
    local model = network { 1, 4, 2, 1 }
    local layer, thetas = model[3], {}
    for i = 1, 5 do thetas[i] = plumb.randn({ model.size }, { dtype = "float64", seed = i }) end
    local pca = measure.pca(thetas, 2, { layer = layer })
    assert.same({ 2, 10 }, pca.components:shape())
    local parts = {}
    for i, theta in ipairs(thetas) do parts[i] = theta:slice(1, 9, 18) end
    local alone = measure.pca(parts, 2)
    same_numbers(flat(pca.components), flat(alone.components), 1e-14, "layer")
    same_numbers(flat(pca:project(thetas[2])), flat(pca.projections[2]), 1e-14, "whole theta")
    same_numbers(flat(pca:project(parts[2])), flat(pca.projections[2]), 1e-14, "part")
    for k = 1, 2 do
      local component = pca.components[k]
      assert.is_true(component[component:abs():argmax():item()]:item() > 0)
    end
  end)

  it("of equal rows explains nothing", function()
    local pca = measure.pca({ plumb.ones(3), plumb.ones(3) }, 1)
    assert.same({ 0 }, pca.explained_variance)
    assert.same({ 0 }, pca.explained_variance_ratio)
    local row = plumb.randn({ 50 }, { seed = 1, dtype = "float64" })
    pca = measure.pca({ row, row, row }, 2) -- their mean is not quite the same
    assert.same({ { 0, 0 }, 0, 0 }, { pca.explained_variance, pca.total_variance, pca.projections:abs():max():item() })
  end)

  it("has zeros for the components that the rows do not have, wide and tall", function()
    for _, size in ipairs { 40, 3 } do
      local row = plumb.randn({ size }, { seed = 1, dtype = "float64" })
      local pca = measure.pca({ row, row * 2, row * 3, row * 7 }, 3) -- all on a line
      assert.is_true(near(pca.components[1]:norm():item(), 1, 1e-14))
      assert.equal(0, pca.components:slice(1, 2):abs():max():item())
      assert.same({ 1, 0, 0 }, pca.explained_variance_ratio)
      assert.equal(0, pca:project(row + 1):slice(2, 2):abs():max():item())
    end
  end)

  it("keeps components orthogonal whose variances differ by many powers of ten", function()
    local scales = plumb.tensor({ { 1 }, { 1e-2 }, { 1e-4 }, { 1e-6 } }, { dtype = "float64" })
    local rows = plumb.randn({ 4, 60 }, { seed = 3, dtype = "float64" }) * scales
    local pca = measure.pca(rows, 3)
    same_numbers(flat(pca.components:matmul(pca.components:t())), { 1, 0, 0, 0, 1, 0, 0, 0, 1 }, 1e-13, "orthonormal")
    local _, singular = linalg.svd(rows - rows:mean(1, true))
    same_numbers({ pca.explained_variance[1], pca.explained_variance[2] }, flat((singular:square() / 3):slice(1, 1, 2)), 1e-12,
      "variances")
  end)
end)

describe("measure.pca for a plot", function()
  it("gives a path's coordinates in two components, and their labels", function()
    local thetas = {}
    for i = 1, 6 do thetas[i] = plumb.randn({ 9 }, { dtype = "float64", seed = i }) end
    local pca = measure.pca(thetas, 3, { layer = { 2, 7 } })
    local x, y = pca:curve({ thetas[4], thetas[2] })
    same_numbers(x, { pca.projections[{ 4, 1 }]:item(), pca.projections[{ 2, 1 }]:item() }, 1e-13, "component 1")
    same_numbers(y, { pca.projections[{ 4, 2 }]:item(), pca.projections[{ 2, 2 }]:item() }, 1e-13, "component 2")
    local again, third = pca:curve(thetas, { axes = { 2, 3 } })
    same_numbers(again, flat(pca.projections:slice(2, 2, 2)), 1e-13, "component 2")
    same_numbers(third, flat(pca.projections:slice(2, 3, 3)), 1e-13, "component 3")
    assert.equal(("component 2 (%.0f %% of the variance)"):format(100 * pca.explained_variance_ratio[2]), pca:label(2))
    support.fails_here(function() pca:curve(thetas, { axes = { 1, 4 } }) end, "axes[2]", "1 to 3")
    support.fails_here(function() pca:curve(thetas, { axes = 1 }) end, "axes")
    support.fails_here(function() pca:label(4) end, "axis", "1 to 3")
  end)
end)

describe("measure.travel", function()
  it("is the longest way from start to end, and the shortest between two ends", function()
    local function at(...) return plumb.tensor { ... } end
    local paths = { { at(0, 0), at(9, 9), at(3, 4) }, { at(1, 1), at(1, 3) }, { at(0, 1), at(1, 4) } }
    assert.same({ 5, 1 }, { measure.travel(paths) })
    assert.same({ 5 }, { measure.travel { paths[1] } })
    support.fails_here(function() measure.travel {} end, "list of lists")
    support.fails_here(function() measure.travel { { at(1) }, {} } end, "path 2")
    support.fails_here(function() measure.travel { { at(1) }, { at(1), at(1, 2) } } end, "path 2", "(2)")
    support.fails_here(function() measure.travel { { 3 } } end, "path 1", "number")
  end)
end)

describe("measure.interpolate", function()
  it("meets the models' own metrics at its ends, bit for bit", function()
    local model, loss, set = network({ 1, 6, 1 }, 23)
    model:float()
    set = { x = set.x:float(), y = set.y:float() }
    local a, b = model.theta, plumb.randn({ model.size }, { seed = 2 })
    local evaluate = function(f) return loss(f(set.x), set.y) end
    local values = measure.interpolate(model, a, b, { -0.5, 0, 0.25, 1, 1.5 }, evaluate)
    assert.equal(5, #values)
    for place, theta in pairs { [2] = a, [4] = b } do
      model.theta = theta
      assert.equal(loss(model(set.x), set.y):item(), values[place])
    end
    local middle = loss(model:at(a * 0.75 + b * 0.25)(set.x), set.y):item()
    assert.is_true(near(values[3], middle, 1e-5))
    local losses = measure.interpolate(model, a, b, plumb.tensor { 0, 1 }, measure.loss(model, loss, set))
    assert.is_true(near(losses[1], values[2], 1e-6) and near(losses[2], values[4], 1e-6))
  end)

  it("does so with batch normalisation, dropout and a model in training mode, for losses, accuracies and fit's own figures", function()
    plumb.manual_seed(3)
    local model = nn.Sequential { nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3) }
    local set = { x = plumb.randn({ 50, 4 }, { seed = 1 }), y = plumb.randint(1, 3, { 50 }, { seed = 2 }) }
    plumb.fit(model, set, { loss = nn.cross_entropy, optimizer = plumb.optim.Adam {}, epochs = 2, progress = false })
    local a = model.theta
    local b, buffers = a + plumb.randn({ #a }, { seed = 9 }), model.buffers
    plumb.manual_seed(77)
    local random = plumb.rand(3)
    plumb.manual_seed(77)
    local found = measure.interpolate(model, a, b, { 0, 0.5, 1 }, function(f)
      local output = f(set.x)
      return { nn.cross_entropy(output, set.y):item(), nn.accuracy(output, set.y):item() }
    end)
    local losses = measure.interpolate(model, a, b, { 0, 0.5, 1 }, measure.loss(model, nn.cross_entropy, set))
    same_bits(plumb.rand(3), random, "random state")
    same_bits(model.theta, a, "theta")
    same_bits(model.buffers, buffers, "running statistics")
    assert.is_true(model.training)
    for place, theta in pairs { a, [3] = b } do
      model.theta = theta
      model:eval()
      local output = model(set.x)
      assert.same({ nn.cross_entropy(output, set.y):item(), nn.accuracy(output, set.y):item() }, found[place])
      assert.same({ plumb.fit.evaluation(model, nn.cross_entropy, true)(set) }, found[place])
      assert.equal(found[place][1], losses[place])
    end
    assert.is_true(found[2][1] ~= found[1][1] and found[2][1] ~= found[3][1])
  end)

  it("hands on tables, and what it evaluates at", function()
    local model = network { 1, 2, 1 }
    local a, b = model.theta, model.theta + 1
    local results = measure.interpolate(model, a, b, { 0.5 }, function(_, theta) return { theta = theta, name = "x" } end)
    same_numbers(flat(results[1].theta), flat(a + 0.5), 1e-15, "theta")
    assert.equal("x", results[1].name)
  end)
end)

describe("measure.sharpness", function()
  it("finds the corner of the box for a linear and a quadratic loss", function()
    local theta = plumb.tensor({ 1, -2, 0 }, { dtype = "float64" })
    local slope = plumb.tensor({ 3, -1, 0.5 }, { dtype = "float64" })
    local highest = 0.01 * (3 * 2 + 1 * 3 + 0.5 * 1)
    local value, details = measure.sharpness(function(t) return ((t - theta) * slope):sum() end, theta, { epsilon = 0.01 })
    assert.is_true(near(value, 100 * highest, 1e-10) and near(details.highest, highest, 1e-12) and details.loss == 0)
    local bowl = function(t) return ((t - theta):square() * plumb.tensor({ 1, 2, 3 }, { dtype = "float64" })):sum() + 1 end
    highest = 1 + 0.01 ^ 2 * (4 + 2 * 9 + 3)
    value, details = measure.sharpness(bowl, theta, { epsilon = 0.01 }) -- the centre is a minimum: other starts lead out of it
    assert.is_true(near(value, 100 * (highest - 1) / 2, 1e-10))
    local inside = ((details.theta - theta):abs() - (theta:abs() + 1) * 0.01):max():item()
    assert.is_true(inside <= 1e-15)
  end)

  it("is at least what sampling finds, and nothing in an empty box", function()
    local model, loss, set = network({ 1, 6, 1 }, 23)
    local value, details = measure.sharpness(model, loss, set, { epsilon = 0.01 })
    local sampled, samples = measure.sampled_sharpness(model, loss, set, { epsilon = 0.01, samples = 50 })
    assert.is_true(value > sampled and sampled > 0)
    assert.equal(details.loss, samples.loss)
    assert.is_true(near(sampled, 100 * (samples.highest - samples.loss) / (1 + samples.loss), 1e-12))
    local L = measure.loss(model, loss, set)
    assert.is_true(near(L(samples.theta):item(), samples.highest, 1e-12) and near(L(details.theta):item(), details.highest, 1e-12))
    assert.is_true(near(measure.sharpness(model, loss, set, { epsilon = 0.01, batch = 5 }), value, 1e-8))
    assert.equal(0, (measure.sharpness(model, loss, set, { epsilon = 0 })))
    assert.equal(0, (measure.sampled_sharpness(model, loss, set, { epsilon = 0 })))
  end)
end)

describe("measure.sensitivity", function()
  it("is that of PyTorch, sample by sample, in any batches", function()
    for _, golden in ipairs(problems.golden.networks) do
      local model, loss, set = problems.from_golden(golden)
      for _, batch in ipairs { 4, 1000 } do
        local output, of_loss, details = measure.sensitivity(model, loss, set, { batch = batch })
        same_numbers(details.output, golden.output_sensitivity, 1e-9, golden.name)
        same_numbers(details.loss, golden.loss_sensitivity, 1e-9, golden.name)
        local n = #details.output
        assert.is_true(near(output, support.total(n, function(i) return details.output[i] end) / n, 1e-12))
        assert.is_true(near(of_loss, support.total(n, function(i) return details.loss[i] end) / n, 1e-12))
      end
    end
  end)

  it("of a linear map is its matrix's norm", function()
    local model = nn.Sequential { nn.Flatten(), nn.Linear(6, 3) }
    local set = { x = plumb.randn({ 5, 2, 3 }, { seed = 1 }), y = plumb.zeros(5, 3) }
    local output = measure.sensitivity(model, nn.mse_loss, set)
    assert.is_true(near(output, model[2].weight:norm():item(), 1e-6))
  end)
end)

describe("measure.find_critical_point", function()
  it("ends at the last finite point, and says so, where the Hessian or the loss is not finite", function()
    local function L(t) return t:abs():pow(1.5):sum() end -- the second derivative at 0 is infinite
    for _, size in ipairs { 2, 700 } do                   -- with the whole Hessian, and by Lanczos
      local theta = plumb.concat({ plumb.zeros({ 1 }, { dtype = "float64" }),
        plumb.randn({ size - 1 }, { dtype = "float64", seed = 1 }) }, 1)
      local result = measure.find_critical_point(L, theta, { minimise_steps = 0, gradient_steps = 0 })
      assert.is_false(result.converged)
      assert.is_nil(result.stage)
      assert.same({ 0, "the Hessian is not finite" }, { result.stages[1].steps, result.stages[1].ended })
      support.same_bits(result.theta, theta, "theta")
    end
    local start = plumb.tensor({ 0.1, 0.5 }, { dtype = "float64" })
    local result = measure.find_critical_point(function(t) return t:log():sum() end, start, { minimise_steps = 50, gradient_steps = 0,
      polish_steps = 0 })
    assert.is_false(result.converged)
    assert.equal("the loss or its gradient is not finite", result.stages[1].ended)
    assert.is_true(result.loss < math.log(0.1) + math.log(0.5) and result.theta:min():item() > 0)
  end)

  it("finds the minimum of a convex quadratic, and the saddle of another", function()
    for _, values in ipairs { { 1, 2, 5 }, { -1, 2, 5 } } do
      local A, _, theta = quadratic(values)
      local b = plumb.tensor({ 1, -1, 2 }, { dtype = "float64" })
      local L = function(t) return (t * A:matmul(t)):sum() / 2 - (b * t):sum() end
      local result = measure.find_critical_point(L, theta, { minimise_steps = 10, gradient_steps = 50 })
      assert.is_true(result.converged and result.gradient_norm <= 1e-8 and result.stage == "polish")
      same_numbers(flat(result.theta), flat(linalg.solve(A, b)), 1e-7, "A^-1 b")
      assert.is_true(near(result.loss, L(result.theta):item(), 1e-12))
      assert.equal(3, #result.stages)
      for _, stage in ipairs(result.stages) do -- each stage's point is there to be measured
        local norm, loss = measure.gradient_norm(L, stage.theta)
        assert.is_true(near(norm, stage.gradient_norm, 1e-12) and near(loss, stage.loss, 1e-12))
      end
    end
  end)

  it("says which stage was the first to reach the tolerance", function()
    local _, L, theta = quadratic { 1, 2, 5 }
    local result = measure.find_critical_point(L, theta, { tolerance = 1e-3, lr = 0.1, minimise_steps = 3000 })
    assert.same({ true, "minimise" }, { result.converged, result.stage })
    result = measure.find_critical_point(L, theta, { tolerance = 1e-3, minimise_steps = 0, gradient_lr = 0.1 })
    assert.same({ true, "gradient", "gradient" }, { result.converged, result.stage, result.stages[1].name })
    result = measure.find_critical_point(L, result.theta, { tolerance = 1e-2 })
    assert.same({ true, "minimise", 0 }, { result.converged, result.stage, result.stages[1].steps })
  end)

  it("never claims what it did not reach", function()
    local theta = plumb.ones({ 2 }, { dtype = "float64" })
    local slope = function(t) return t:sum() + t:square():sum() * 0 end -- its gradient is 1 everywhere
    local result = measure.find_critical_point(slope, theta, { minimise_steps = 20, gradient_steps = 20 })
    assert.is_false(result.converged)
    assert.is_nil(result.stage)
    assert.is_true(near(result.gradient_norm, math.sqrt(2), 1e-12))
    local slide = function(t) return (t ^ 3 / 3 + t):sum() end -- falls for ever; |grad L| has its minimum at 0, where H g = 0
    result = measure.find_critical_point(slide, theta, { minimise_steps = 0, polish_steps = 0, gradient_lr = 1e-2 })
    assert.is_false(result.converged)
    assert.is_true(near(result.gradient_norm, math.sqrt(2), 1e-6))
    result = measure.find_critical_point(slide, theta, { minimise_steps = 0 })
    assert.is_false(result.converged)
    assert.is_true(result.gradient_norm >= math.sqrt(2))
  end)

  it("reports what a network's gradient norm really is, in any batches", function()
    local model, loss, set = network({ 1, 3, 1 }, 11)
    for _, batch in ipairs { 4, 1000 } do
      local result = measure.find_critical_point(model, loss, set, { batch = batch, minimise_steps = 300, gradient_steps = 300 })
      local norm, value = measure.gradient_norm(measure.loss(model, loss, set), result.theta)
      assert.is_true(near(norm, result.gradient_norm, 1e-12) and near(value, result.loss, 1e-12))
      assert.equal(result.converged, result.gradient_norm <= 1e-8)
      local before
      for _, stage in ipairs(result.stages) do
        if stage.name ~= "minimise" then assert.is_true(stage.gradient_norm <= before) end
        before = stage.gradient_norm
      end
    end
  end)

  it("polishes networks that are too large for a dense Hessian", function()
    local weights = plumb.linspace(1, 30, 700, { dtype = "float64" })
    local L = function(t) return (t:square() * weights):sum() / 2 + (t ^ 4):sum() end
    local start = plumb.randn({ 700 }, { dtype = "float64", seed = 1 }) * 0.1
    local result = measure.find_critical_point(L, start, { minimise_steps = 0, gradient_steps = 0 })
    assert.same({ true, "polish" }, { result.converged, result.stage })
    assert.is_true(result.theta:abs():max():item() < 1e-8)
  end)
end)

describe("measure.correlation and measure.median", function()
  it("agree with their definitions", function()
    local x, y = { 1, 2, 3, 4, 5 }, { 2, 1, 4, 3, 7 }
    assert.is_true(near(measure.correlation(x, y), 12 / math.sqrt(10 * 21.2), 1e-14))
    assert.is_true(near(measure.correlation(x, y, { rank = true }), 1 - 6 * 4 / (5 * 24), 1e-14)) -- differences of ranks: 4 ones
    assert.is_true(near(measure.correlation(plumb.tensor(x), plumb.tensor { -1, -2, -3, -4, -5 }), -1, 1e-14))
    assert.equal(1, measure.correlation({ 1, 2, 3, 4 }, { 0, 1, 10, 1000 }, { rank = true }))
    assert.is_true(near(measure.correlation({ 1, 1, 2, 3 }, { 5, 5, 6, 9 }, { rank = true }), 1, 1e-14)) -- ties
    assert.is_nil(measure.correlation({ 1, 2 }, { 3, 3 }))
    local ramp, tenths = {}, {}
    for i = 1, 40 do ramp[i] = i end
    for i = 1, 10 do tenths[i] = measure.median_of_tenth(ramp, i) end
    assert.same({ 2.5, 6.5, 10.5, 14.5, 18.5, 22.5, 26.5, 30.5, 34.5, 38.5 }, tenths)
    assert.same({ 5, 5, 5 }, { measure.median_of_tenth({ 5, 5, 9 }, 1), measure.median_of_tenth({ 9, 5 }, 10),
      measure.median_of_tenth(plumb.tensor { 5 }, 3) })
    assert.same({ 2, 2.5, 7 }, { measure.median { 3, 1, 2 }, measure.median { 4, 1, 2, 3 }, measure.median(plumb.tensor { 7 }) })
  end)

  it("say what is wrong with their lists", function()
    support.fails_here(function() return (measure.correlation({ 1, 2 }, { 1 })) end, "one length", "2 and 1")
    support.fails_here(function() return (measure.correlation({ 1, 0 / 0 }, { 1, 2 })) end, "x[2]")
    support.fails_here(function() return (measure.correlation({ 1, 2 }, { 1, 1 / 0 })) end, "y[2]", "not finite")
    support.fails_here(function() return (measure.correlation(3, { 1 })) end, "x must be a list")
    support.fails_here(function() return (measure.median {}) end, "no values")
    support.fails_here(function() return (measure.median_of_tenth({}, 1)) end, "no values")
    support.fails_here(function() return (measure.median_of_tenth({ 1 }, 11)) end, "tenth", "10", "11")
  end)
end)

describe("measure.columns", function()
  it("turns rows into lists by name", function()
    assert.same({ loss = { 1, 2 }, name = { "a", "b" } }, measure.columns { { loss = 1, name = "a" }, { loss = 2, name = "b" } })
    assert.same({}, measure.columns {})
    support.fails_here(function() measure.columns { { a = 1 }, { b = 1 } } end, "'b' of row 2")
    support.fails_here(function() measure.columns { { a = 1, b = 1 }, { b = 1 } } end, "'a'", "row 2")
    support.fails_here(function() measure.columns { 3 } end, "row 1", "number")
    support.fails_here(function() measure.columns() end, "nil")
  end)
end)

describe("measuring", function()
  -- Dropout and batch normalisation, trained a little so that the running statistics mean something.
  local function normalised()
    plumb.manual_seed(5)
    local model = nn.Sequential { nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 2) }:double()
    local set = { x = plumb.randn({ 20, 2 }, { dtype = "float64", seed = 1 }), y = plumb.randn({ 20, 2 }, { dtype = "float64", seed = 2 }) }
    for _ = 1, 3 do model(set.x) end
    return model, nn.mse_loss, set
  end

  -- A number of each measure, the data in batches of `batch`.
  local function everything(model, loss, set, batch)
    local L = measure.loss(model, loss, set, { batch = batch })
    local function of(name, options)
      options = options or {}
      options.batch = batch
      return measure[name](model, loss, set, options)
    end
    return {
      (of("gradient_norm")), (of("gradient_loss_ratio")), L(model.theta):item(), of("hessian"):abs():sum():item(),
      of("hvp")(model.theta):norm():item(), (of("trace", { samples = 3 })), of("lanczos", { k = 2 }).values:sum():item(),
      measure.density(L, nil, { probes = 1 }):moment(1), of("minimal_ratio").ratio,
      (of("sampled_minimal_ratio", { samples = 20 })), (of("sharpness", { steps = 3 })), (of("sampled_sharpness", { samples = 5 })),
      (of("sensitivity")), measure.find_critical_point(L, nil, { minimise_steps = 5, gradient_steps = 5, polish_steps = 2 }).loss,
      table.unpack(measure.interpolate(model, model.theta, model.theta + 1, { 0, 1 }, L)),
    }
  end

  it("changes neither theta nor running statistics nor modes nor the random state, and is in evaluation mode", function()
    local model, loss, set = normalised()
    local theta, buffers = model.theta, model.buffers
    plumb.manual_seed(8)
    local expected = plumb.rand(3)
    plumb.manual_seed(8)
    local first = everything(model, loss, set)
    same_bits(plumb.rand(3), expected, "random state")
    same_bits(model.theta, theta, "theta")
    same_bits(model.buffers, buffers, "buffers")
    model:each_module(function(module) assert.is_true(module.training) end)
    model:eval()
    assert.same(first, everything(model, loss, set))
    assert.equal(loss(model(set.x), set.y):item(), first[3])
  end)

  it("gives the same to 1e-10, however the data are split into batches", function()
    local model, loss, set = normalised()
    local whole = everything(model, loss, set)
    for _, batch in ipairs { 1, 6, 19 } do
      for i, value in ipairs(everything(model, loss, set, batch)) do
        assert.is_true(near(value, whole[i], 1e-10), ("measure %d in batches of %d: %.17g, %.17g"):format(i, batch, value, whole[i]))
      end
    end
  end)

  it("leaves no memory behind", function()
    local model, loss, set = normalised()
    everything(model, loss, set)
    local before = support.live_bytes()
    everything(model, loss, set)
    assert.equal(before, support.live_bytes())
  end)
end)
