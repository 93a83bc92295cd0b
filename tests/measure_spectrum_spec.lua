-- plumb.measure: Lanczos, trace and density against the dense spectrum.
local plumb = require "plumb"
local support = require "support"
local problems = require "measure_problems"
local measure, linalg = plumb.measure, plumb.linalg
local flat, near, same_numbers = support.flat, support.near, support.same_numbers
local quadratic, network = problems.quadratic, problems.network

-- n eigenvalues between -1 and 3, most of them near 0, as a network's are.
local function spectrum(n)
  local values, random = {}, support.generator(n)
  for i = 1, n do values[i] = (random(-1, 1) ^ 3) * (i <= 3 and 5 or 0.5) end
  table.sort(values)
  return values
end

local function expected(values, k, which)
  local sorted = table.move(values, 1, #values, 1, {})
  if which == "magnitude" then table.sort(sorted, function(a, b) return math.abs(a) < math.abs(b) end) end
  local found = {}
  if which == "smallest" or which == "both" then table.move(sorted, 1, k, 1, found) end
  if which ~= "smallest" then table.move(sorted, #sorted - k + 1, #sorted, #found + 1, found) end
  table.sort(found)
  return found
end

-- Values, vectors and residuals belong together.
local function check_pairs(A, result)
  for i, value in ipairs(flat(result.values)) do
    local v = result.vectors:slice(2, i, i):flatten()
    assert.is_true(near(v:norm():item(), 1, 1e-12))
    local residual = (A:matmul(v) - v * value):norm():item()
    assert.is_true(math.abs(residual - result.residuals[i]:item()) < 1e-12)
    assert.equal(result.converged[i], result.residuals[i]:item() <= result.tolerance * A:norm():item())
  end
end

describe("measure.lanczos", function()
  for _, which in ipairs { "largest", "smallest", "both", "magnitude" } do
    it("finds the " .. which .. " eigenvalues to 1e-8, with and without restarts", function()
      local values = spectrum(60)
      local A, L, theta = quadratic(values)
      for _, subspace in ipairs { 60, 20 } do
        local result = measure.lanczos(L, theta, { k = 4, which = which, subspace = subspace })
        assert.is_true(result.all_converged)
        same_numbers(flat(result.values), expected(values, 4, which), 1e-8, which)
        check_pairs(A, result)
        if subspace == 20 then assert.is_true(result.steps > 20) end
      end
    end)
  end

  it("agrees with eigh of a network's Hessian, whole and of a layer, in any batches", function()
    local model, loss, set = network({ 1, 6, 5, 1 }, 23)
    for _, layer in ipairs { false, "2" } do
      local values = flat(linalg.eigvalsh((measure.hessian(model, loss, set, { layer = layer or nil }))))
      local result = measure.lanczos(model, loss, set, { k = 3, which = "both", layer = layer or nil, batch = 10 })
      assert.is_true(result.all_converged)
      same_numbers(flat(result.values), expected(values, 3, "both"), 1e-8, "eigenvalues")
      assert.same({ layer and 35 or 53, 6 }, result.vectors:shape())
    end
  end)

  it("finds all of a small matrix, k = P, and a single parameter's second derivative", function()
    local values = { -2, -1, 0.5, 4 }
    local _, L, theta = quadratic(values)
    local result = measure.lanczos(L, theta, { k = 4, which = "smallest" })
    same_numbers(flat(result.values), values, 1e-12, "all")
    assert.is_true(result.all_converged)
    result = measure.lanczos(function(t) return (t ^ 2):sum() * 3 end, plumb.ones({ 1 }, { dtype = "float64" }), { k = 1 })
    assert.same({ 6 }, flat(result.values))
  end)

  it("goes on where the start lies in an invariant subspace: low rank, zero, and multiples of the identity", function()
    local values = {}
    for i = 1, 40 do values[i] = 0 end
    values[39], values[40] = 2, 5
    local A, L, theta = quadratic(values)
    local result = measure.lanczos(L, theta, { k = 3, which = "both" })
    assert.is_true(result.all_converged)
    same_numbers(flat(result.values), { 0, 0, 0, 0, 2, 5 }, 1e-8, "low rank")
    check_pairs(A, result)
    for _, scale in ipairs { 0, 3 } do
      result = measure.lanczos(function(t) return t:square():sum() * scale / 2 end, theta, { k = 2 })
      assert.is_true(result.all_converged)
      same_numbers(flat(result.values), { scale, scale }, 1e-12, "identity")
    end
  end)

  it("finds every copy of equal eigenvalues: the Hessian of a linear layer has each as often as there are outputs", function()
    local double = { dtype = "float64" }
    local model = plumb.nn.Linear(12, 4, { bias = false }):double()
    local x = plumb.randn({ 60, 12 }, { seed = 1, dtype = "float64" })
    local L = plumb.measure.loss(model, plumb.nn.mse_loss, { x = x, y = plumb.zeros({ 60, 4 }, double) })
    local distinct, values = flat(linalg.eigvalsh(x:t():matmul(x) * (2 / (60 * 4)))), {}
    for i, value in ipairs(distinct) do
      for copy = 1, 4 do values[4 * (i - 1) + copy] = value end
    end
    for _, case in ipairs { { "largest", 3 }, { "largest", 9 }, { "smallest", 6 }, { "both", 5 }, { "magnitude", 4 } } do
      local which, k = table.unpack(case)
      for _, subspace in ipairs { 48, 24 } do
        local result = measure.lanczos(L, model.theta, { k = k, which = which, subspace = subspace })
        assert.is_true(result.all_converged)
        same_numbers(flat(result.values), expected(values, k, which), 1e-8, which)
      end
    end
    -- found, but the search for others does not fit into the steps
    local result = measure.lanczos(L, model.theta, { k = 1, steps = 20 })
    assert.is_true(result.converged[1])
    assert.is_false(result.all_converged)
  end)

  it("agrees with eigh to 1e-8 where spectra are hard: equal, clustered, of low rank, of all sizes", function()
    local spectra = {
      nothing = function() return 0 end, identity = function() return 3 end, signs = function(i) return i % 2 == 0 and 1 or -1 end,
      equal_at_top = function(i) return i > 30 and 7 or i / 40 end, tens = function(i) return i // 10 end,
      pairs_1e7 = function(i) return i // 2 + i % 2 * 1e-7 end, cluster_1e9 = function(i) return i > 35 and 5 + i * 1e-9 or -i / 40 end,
      geometric = function(i) return 10 ^ (-i / 3) end, low_rank = function(i) return i <= 35 and 0 or i - 37.5 end,
      network = function(i) return i <= 35 and 1e-6 * (i - 20) or (i - 35) ^ 2 end, large = function(i) return 10.0 ^ (i / 3) end,
      tiny = function(i) return i * 1e-12 end,
    }
    for name, value in pairs(spectra) do
      local values = {}
      for i = 1, 40 do values[i] = value(i) end
      local A, L, theta = quadratic(values)
      values = flat(linalg.eigvalsh((A + A:t()) / 2))
      local scale = math.max(-values[1], values[40], 1e-300)
      for _, which in ipairs { "largest", "smallest", "both", "magnitude" } do
        for _, k in ipairs { 1, 5, 20, which == "both" and 20 or 40 } do
          local result = measure.lanczos(L, theta, { k = k, which = which })
          local found, wanted = flat(result.values), expected(values, k, which)
          assert.is_true(result.all_converged, name)
          assert.equal(#wanted, #found)
          if which == "magnitude" then -- of x and -x either may be taken
            for i = 1, #found do found[i], wanted[i] = math.abs(found[i]), math.abs(wanted[i]) end
            table.sort(found)
            table.sort(wanted)
          end
          for i = 1, #found do
            assert.is_true(math.abs(found[i] - wanted[i]) <= 1e-8 * scale, ("%s, %s %d"):format(name, which, k))
          end
        end
      end
    end
  end)

  it("says what has not converged, with its true residual", function()
    local values = spectrum(200)
    local A, L, theta = quadratic(values)
    local result = measure.lanczos(L, theta, { k = 5, which = "both", steps = 12 })
    assert.equal(12, result.steps)
    assert.is_false(result.all_converged)
    check_pairs(A, result)
    local wrong = 0
    for _, converged in ipairs(result.converged) do wrong = wrong + (converged and 0 or 1) end
    assert.is_true(wrong > 0)
    assert.is_false(measure.lanczos(L, theta, { k = 5, steps = 3 }).all_converged)
  end)

  it("works in float32 to what that allows, and gives the same for the same seed", function()
    local model, loss, set = network { 1, 6, 5, 1 }
    local exact = measure.lanczos(model, loss, set, { k = 2 })
    support.same_bits(exact.vectors, measure.lanczos(model, loss, set, { k = 2 }).vectors, "seed")
    model:float()
    local rough = measure.lanczos(model, loss, set, { k = 2 })
    assert.is_true(rough.all_converged and rough.tolerance == 1e-4)
    same_numbers(flat(rough.values), flat(exact.values), 1e-4, "float32")
  end)
end)

describe("measure.trace", function()
  it("is exact for diagonal matrices, and within 3 standard errors for others", function()
    local theta = plumb.zeros({ 3 }, { dtype = "float64" })
    local mean, deviation = measure.trace(function(t) return (t:square() * plumb.tensor({ 1, 2, 4 }, { dtype = "float64" })):sum() end,
      theta, { samples = 2 })
    assert.is_true(near(mean, 14, 1e-14) and deviation < 1e-13)
    local _, L, start = quadratic { -3, -1, 0, 2, 4, 9 }
    for seed = 1, 5 do
      mean, deviation = measure.trace(L, start, { samples = 400, seed = seed })
      assert.is_true(math.abs(mean - 11) < 3 * deviation and deviation > 0.01 and deviation < 1)
    end
  end)

  it("agrees with PyTorch's trace, in any batches, and of a layer", function()
    for _, golden in ipairs(problems.golden.networks) do
      local model, loss, set = problems.from_golden(golden)
      local mean, deviation, samples = measure.trace(model, loss, set, { samples = 300 })
      assert.is_true(math.abs(mean - golden.trace) < 3 * deviation)
      assert.equal(300, #samples)
      assert.is_true(near(measure.trace(model, loss, set, { samples = 300, batch = 4 }), mean, 1e-10))
      local block = measure.hessian(model, loss, set, { layer = "2" })
      mean, deviation = measure.trace(model, loss, set, { samples = 300, layer = "2" })
      local trace = support.total(#block, function(i) return block[i][i]:item() end)
      assert.is_true(math.abs(mean - trace) < 3 * deviation)
    end
  end)
end)

describe("measure.density", function()
  it("has the moments of the dense spectrum", function()
    local values = spectrum(40)
    local _, L, theta = quadratic(values)
    local density = measure.density(L, theta, { probes = 300, steps = 20 })
    for p = 0, 4 do
      local moment, largest = support.total(40, function(i) return values[i] ^ p end) / 40, 0
      for _, value in ipairs(values) do largest = math.max(largest, math.abs(value) ^ p) end
      -- a probe's v^T H^p v / P deviates by at most sqrt(2 trace(H^2p)) / P
      local deviation = math.sqrt(2 * support.total(40, function(i) return values[i] ^ (2 * p) end)) / 40 / math.sqrt(300)
      assert.is_true(math.abs(density:moment(p) - moment) <= (p == 0 and 1e-12 or 4 * deviation), "moment " .. p)
    end
  end)

  it("of one probe has that probe's moments exactly, up to twice the steps", function()
    local A, L, theta = quadratic(spectrum(30))
    local density = measure.density(L, theta, { probes = 1, steps = 4, seed = 5 })
    local probe = plumb.core.random("uniform", { 30 }, "float64", 5, 1):lt(0.5) * 2 - 1
    local v = probe / probe:norm()
    local w = v
    for p = 0, 7 do
      assert.is_true(near(density:moment(p), v:dot(w):item(), 1e-10), "moment " .. p)
      w = A:matmul(w)
    end
    assert.equal(4, #density.nodes)
  end)

  it("draws a curve of area 1 whose mean is the trace's", function()
    local model, loss, set = network { 1, 4, 1 }
    local density = measure.density(model, loss, set, { probes = 4 })
    local x, y = density:curve { points = 3001 }
    local area, mean = 0, 0
    for i = 1, #x - 1 do
      area = area + (x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2
      mean = mean + (x[i + 1] - x[i]) * (x[i] * y[i] + x[i + 1] * y[i + 1]) / 2
    end
    assert.is_true(near(area, 1, 1e-3) and near(mean, density:moment(1), 1e-3))
    local total = 0
    for _, weight in ipairs(density.weights) do
      assert.is_true(weight >= 0)
      total = total + weight
    end
    assert.is_true(near(total, 1, 1e-12))
  end)

  it("needs no more steps than there are dimensions", function()
    local density = measure.density(function(t) return t:square():sum() / 2 end, plumb.zeros({ 9 }, { dtype = "float64" }))
    for i, node in ipairs(density.nodes) do assert.is_true(near(node, 1, 1e-14) and near(density.weights[i], 0.1, 1e-14)) end
    assert.equal(10, #density.nodes)
  end)
end)
