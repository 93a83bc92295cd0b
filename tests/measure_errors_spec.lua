-- plumb.measure: what it says to bad input, at the user's own line.
local plumb = require "plumb"
local support = require "support"
local problems = require "measure_problems"
local nn, measure = plumb.nn, plumb.measure
local fails_here = support.fails_here

local float64 = { dtype = "float64" }
local theta = plumb.ones({ 4 }, float64)
local function bowl(t) return t:square():sum() end

-- Every measure function that takes (L, theta, options).
local of_a_loss = { "gradient_norm", "gradient_loss_ratio", "hvp", "hessian", "lanczos", "trace", "density", "minimal_ratio",
  "sampled_minimal_ratio", "find_critical_point", "sharpness", "sampled_sharpness" }

-- measure.hvp computes when its product is called.
local function call(name, ...)
  local result = measure[name](...)
  if name == "hvp" then result(theta) end
end

describe("bad input to", function()
  for _, name in ipairs(of_a_loss) do
    describe("measure." .. name, function()
      it("is a loss that is none", function()
        fails_here(function() call(name) end, "measure." .. name, "nil")
        fails_here(function() call(name, 3, theta) end, "measure." .. name, "number")
        fails_here(function() call(name, function(t) return t end, theta) end, "single number", "(4)")
        fails_here(function() call(name, function() return 3 end, theta) end, "tensor", "number")
        fails_here(function() call(name, function() return theta end, theta) end, "single number")
        assert.equal("of my own", support.message_of(call, name, function() error("of my own", 0) end, theta))
      end)

      it("is a theta that is none", function()
        fails_here(function() call(name, bowl) end, "theta", "nil")
        fails_here(function() call(name, bowl, { 1, 2 }) end, "theta", "table")
        fails_here(function() call(name, bowl, plumb.ones({ 2, 2 }, float64)) end, "vector", "(2, 2)")
        fails_here(function() call(name, bowl, plumb.ones({ 0 }, float64)) end, "(0)")
        fails_here(function() call(name, bowl, plumb.arange(3)) end, "int64")
        fails_here(function() call(name, bowl, plumb.tensor({ 1, 0 / 0, 1 / 0 }, float64)) end, "2 elements", "not finite")
      end)

      it("is a theta of the wrong length, data that do not fit, or an option that is none", function()
        local model, loss, set = problems.network { 1, 3, 1 }
        local L = measure.loss(model, loss, set)
        fails_here(function() call(name, L, theta) end, "4 elements", "10 parameters")
        fails_here(function() call(name, function(t) return loss(model:at(t)(set.x), set.y) end, theta) end, "(10)", "(4)")
        fails_here(function() call(name, model, loss) end, "the data must be a data set")
        fails_here(function() call(name, model, loss, { x = set.x, y = set.y:slice(1, 1, 3) }) end, "(16, 1)", "(3, 1)")
        fails_here(function() call(name, model, loss, { x = set.x:slice(1, 1, 0), y = set.y:slice(1, 1, 0) }) end, "no samples")
        fails_here(function() call(name, model, "mse", set) end, "loss", "string")
        fails_here(function() call(name, nn.Sequential { nn.Tanh() }, loss, set) end, "no parameters")
        fails_here(function() call(name, bowl, theta, { nonsense = 1 }) end, "nonsense", "measure." .. name)
        fails_here(function() call(name, bowl, theta, 5) end, "options")
        fails_here(function() call(name, bowl, theta, { batch = 3 }) end, "batch", "measure.loss")
        fails_here(function() call(name, model, loss, set, { batch = 0 }) end, "batch", "at least 1")
      end)

      it("is a loss, gradient or Hessian that is not finite", function()
        if name == "hvp" then return end -- hands on what there is
        fails_here(function() call(name, function(t) return (t - 2):sqrt():sum() end, theta) end, "not finite")
        fails_here(function() call(name, function(t) return ((t - 1):square() / 0):sum() end, theta) end, "not finite")
      end)
    end)
  end

  it("layer: one that the model does not have", function()
    local model, loss, set = problems.network { 1, 3, 1 }
    for _, name in ipairs { "gradient_norm", "hvp", "hessian", "lanczos", "trace", "density", "minimal_ratio",
      "sampled_minimal_ratio" } do
      fails_here(function() call(name, model, loss, set, { layer = "7" }) end, "no layer '7'", "0.weight")
      fails_here(function() call(name, model, loss, set, { layer = { 5, 11 } }) end, "layer[2]")
      fails_here(function() call(name, model, loss, set, { layer = { 0, 3 } }) end, "layer[1]")
      fails_here(function() call(name, model, loss, set, { layer = 3 }) end, "layer", "number")
      fails_here(function() call(name, model, loss, set, { layer = nn.Linear(2, 2) }) end, "Linear(2, 2)", "6")
      fails_here(function() call(name, model, loss, set, { layer = model[2] }) end, "no parameters")
      fails_here(function() call(name, bowl, theta, { layer = "0" }) end, "layer", "string")
    end
  end)

  it("options of the wrong kind or size", function()
    for _, case in ipairs {
      { "hessian", { columns = 0 }, "columns" }, { "lanczos", { k = 0 }, "k must" }, { "lanczos", { k = 5 }, "k must" },
      { "lanczos", { which = "top" }, "'smallest'" }, { "lanczos", { k = 1, subspace = 2 }, "subspace" },
      { "lanczos", { k = 1, steps = 0 }, "steps" }, { "lanczos", { k = 1, tolerance = -1 }, "tolerance" },
      { "trace", { samples = 1 }, "samples" }, { "density", { probes = 0 }, "probes" }, { "density", { steps = 1.5 }, "steps" },
      { "minimal_ratio", { c = "x" }, "c must" }, { "sampled_minimal_ratio", { samples = 0 }, "samples" },
      { "sampled_minimal_ratio", { distribution = "cauchy" }, "'sphere'" },
      { "sampled_minimal_ratio", { distribution = function() return 1 end }, "(64, 4)" },
      { "sampled_minimal_ratio", { scale = -1 }, "scale" },
      { "find_critical_point", { polish_steps = -1 }, "polish_steps" }, { "find_critical_point", { lr = "fast" }, "lr" },
      { "sharpness", { epsilon = -1 }, "epsilon" }, { "sharpness", { starts = 0 }, "starts" },
      { "sampled_sharpness", { samples = 0.5 }, "samples" },
    } do
      fails_here(function() call(case[1], bowl, theta, case[2]) end, "measure." .. case[1], case[3])
    end
  end)

  it("second derivatives in float32", function()
    for _, name in ipairs { "hessian", "minimal_ratio", "find_critical_point" } do
      fails_here(function() call(name, bowl, plumb.ones(4)) end, "float64", ":double()")
    end
  end)

  it("a basis or a matrix beyond the memory budget", function()
    local budget, long = plumb.memory().budget, plumb.zeros({ 100000 }, float64):evaluate()
    for name, words in pairs { hessian = "76294 MB", minimal_ratio = "76294 MB", lanczos = "76 MB", density = "61 MB" } do
      plumb.memory_budget(100000000)
      local ok, message = pcall(support.message_of, measure[name], bowl, long)
      plumb.memory_budget(budget)
      assert.is_true(ok, message)
      assert.is_truthy(message:find(words, 1, true), message)
    end
  end)

  it("a product with a vector that does not fit", function()
    local product = measure.hvp(bowl, theta)
    fails_here(function() product(plumb.ones({ 3 }, float64)) end, "4 elements", "(3)")
    fails_here(function() product(3) end, "number")
    fails_here(function() product(plumb.ones(4)) end, "measure.hvp", "theta is float64", "float32")
  end)

  it("measure.pca", function()
    local rows = plumb.randn({ 4, 6 }, float64)
    fails_here(function() measure.pca() end, "nil")
    fails_here(function() measure.pca(plumb.ones(5)) end, "(5)")
    fails_here(function() measure.pca(rows:slice(1, 1, 1)) end, "two rows", "1")
    fails_here(function() measure.pca({}) end, "two rows", "0")
    fails_here(function() measure.pca({ plumb.ones(3), plumb.ones(4) }) end, "row 2", "(4)")
    fails_here(function() measure.pca({ plumb.ones(3), 5 }) end, "row 2", "number")
    fails_here(function() measure.pca({ 5, plumb.ones(3) }) end, "row 1", "number")
    fails_here(function() measure.pca(rows, 5) end, "k must", "1 to 4")
    fails_here(function() measure.pca(rows, 0) end, "k must")
    fails_here(function() measure.pca(rows, 2, { layer = "0" }) end, "layer")
    fails_here(function() measure.pca(rows, 2, { layer = { 3, 9 } }) end, "layer[2]")
    fails_here(function() measure.pca(rows / 0, 2) end, "not finite")
    fails_here(function() measure.pca(rows, 2):project(plumb.ones(5)) end, "5", "6")
    fails_here(function() measure.pca(rows, 2):project({}) end, "no points")
    fails_here(function() measure.pca(rows, 2):project(rows / 0) end, "pca:project", "not finite")
  end)

  it("measure.interpolate", function()
    local model = problems.network { 1, 3, 1 }
    local a = model.theta
    local function evaluate() return 1 end
    local interpolate = measure.interpolate
    fails_here(function() interpolate(3, a, a, { 0 }, evaluate) end, "module")
    fails_here(function() interpolate(model, a, theta, { 0 }, evaluate) end, "theta_b", "10", "(4)")
    fails_here(function() interpolate(model, nil, a, { 0 }, evaluate) end, "theta_a", "nil")
    fails_here(function() interpolate(model, a, a:float(), { 0 }, evaluate) end, "float32")
    fails_here(function() interpolate(model, a, a, {}, evaluate) end, "alphas")
    fails_here(function() interpolate(model, a, a, { 0, "x" }, evaluate) end, "alphas[2]")
    fails_here(function() interpolate(model, a, a, { 0 / 0 }, evaluate) end, "alphas[1]")
    fails_here(function() interpolate(model, a, a, { 0, math.huge }, evaluate) end, "alphas[2]", "finite")
    fails_here(function() interpolate(model, a, a, { 0 }) end, "evaluate")
    fails_here(function() interpolate(model, a, a, { 0 }, function() end) end, "returned nothing", "0")
  end)

  it("measure.sensitivity", function()
    local model, loss, set = problems.network { 1, 3, 1 }
    fails_here(function() measure.sensitivity(model, loss) end, "data")
    fails_here(function() measure.sensitivity(set, loss, model) end, "module")
    fails_here(function() measure.sensitivity(model, loss, set, { theta = theta }) end, "4 elements", "10")
    fails_here(function() measure.sensitivity(model, loss, set, { batch = -1 }) end, "batch")
    local bad = { x = set.x * (0 / 0), y = set.y }
    fails_here(function() measure.sensitivity(model, loss, bad) end, "not finite")
  end)
end)
