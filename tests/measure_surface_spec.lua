-- plumb.measure: the loss on lines and planes, directions scaled filter by filter, and the plane of a training's path.
local plumb = require "plumb"
local support = require "support"
local problems = require "measure_problems"
local nn, measure = plumb.nn, plumb.measure
local flat, near, fails_here = support.flat, support.near, support.fails_here

local float64 = { dtype = "float64" }

-- The length of row i of a weight, (out, ...), within the flat list of all its numbers.
local function row_length(list, first, i, count)
  return math.sqrt(support.total(count, function(k) return list[first - 1 + (i - 1) * count + k] ^ 2 end))
end

describe("measure.filter_normalised_direction", function()
  local function convolutional()
    plumb.manual_seed(4)
    return nn.Sequential { nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2) }
  end

  it("makes each filter, and each row of a linear layer, as long as the model's own; vectors are zeros", function()
    for _, dtype in ipairs { "float32", "float64" } do
      local model = convolutional()
      if dtype == "float64" then model:double() end
      local direction = measure.filter_normalised_direction(model, { seed = 7 })
      assert.same({ { model.size }, dtype }, { direction:shape(), direction:dtype() })
      local d, theta, tolerance, rows = flat(direction), flat(model.theta), dtype == "float32" and 1e-6 or 1e-14, 0
      for _, parameter in ipairs(model:parameters()) do
        local shape = parameter.value:shape()
        if #shape == 1 then
          for k = parameter.first, parameter.first + parameter.count - 1 do assert.equal(0, d[k]) end
        else
          local count = parameter.count // shape[1] -- in * kh * kw, or in
          for i = 1, shape[1] do
            local own = row_length(theta, parameter.first, i, count)
            assert.is_true(near(row_length(d, parameter.first, i, count), own, tolerance), parameter.name)
            rows = rows + 1
          end
        end
      end
      assert.equal(3 + 5 + 2, rows)
    end
  end)

  it("keeps a random direction within each filter, the same for the same seed", function()
    local model = nn.Sequential { nn.Linear(40, 3) }:double()
    local a = measure.filter_normalised_direction(model, { seed = 1 })
    support.same_bits(a, measure.filter_normalised_direction(model, { seed = 1 }), "seed")
    local b = measure.filter_normalised_direction(model, { seed = 2 })
    for i = 1, 3 do -- rows of 40 random numbers are nearly orthogonal to others and to the weights
      local function row(t) return t:slice(1, (i - 1) * 40 + 1, i * 40) end
      local function cosine(x, y) return (row(x) * row(y)):sum():item() / (row(x):norm() * row(y):norm()):item() end
      assert.is_true(math.abs(cosine(a, b)) < 0.6 and math.abs(cosine(a, model.theta)) < 0.6)
    end
  end)

  it("takes another theta, and leaves a filter of zeros alone", function()
    local model = nn.Sequential { nn.Linear(2, 2) }:double()
    local direction = measure.filter_normalised_direction(model, { theta = plumb.tensor({ 0, 0, 3, 4, 9, 9 }, float64) })
    local d = flat(direction)
    assert.same({ 0, 0, 0, 0 }, { d[1], d[2], d[5], d[6] })
    assert.is_true(near(math.sqrt(d[3] ^ 2 + d[4] ^ 2), 5, 1e-14))
  end)

  it("says what is wrong", function()
    local model, f = problems.network { 1, 3, 1 }, measure.filter_normalised_direction
    fails_here(function() f(3) end, "measure.filter_normalised_direction", "module", "number")
    fails_here(function() f(model, { seed = 0.5 }) end, "seed", "integer")
    fails_here(function() f(model, { theta = plumb.ones({ 4 }, float64) }) end, "theta", "(10)", "(4)")
    fails_here(function() f(model, { theta = 3 }) end, "theta", "number")
    fails_here(function() f(model, { filters = 3 }) end, "filters")
    fails_here(function() f(nn.Sequential { nn.Tanh() }) end, "theta")
  end)
end)

describe("measure.surface", function()
  local along_x, along_y = { -0.5, 0, 0.25, 1 }, plumb.tensor { -1, 0, 2 }

  it("is the loss at each point, one by one, for a function, a model, and any batches", function()
    local model, loss, set = problems.network { 1, 6, 1 }
    local theta, L = model.theta, measure.loss(model, loss, set)
    local x = measure.filter_normalised_direction(model, { seed = 1 })
    local y = plumb.randn({ model.size }, { dtype = "float64", seed = 3 })
    local options = { x = x, y = y, along_x = along_x, along_y = along_y }
    local function naive(a, b) return loss(model:at(theta + x * a + y * b)(set.x), set.y):item() end
    local found = {
      measure.surface(L, theta, options), measure.surface(model, loss, set, options),
      measure.surface(measure.loss(model, loss, set, { batch = 5 }), theta, options),
      measure.surface(function(t) return loss(model:at(t)(set.x), set.y) end, theta, options),
    }
    for _, rows in ipairs(found) do
      assert.equal(3, #rows)
      for i, b in ipairs { -1, 0, 2 } do
        assert.equal(4, #rows[i])
        for k, a in ipairs(along_x) do assert.is_true(near(rows[i][k], naive(a, b), 1e-12)) end
      end
    end
    local line = measure.surface(L, theta, { x = x, along_x = along_x })
    assert.same(found[1][2], line) -- the row b = 0, to the last bit
    assert.equal(L(theta):item(), line[2])
    support.same_bits(model.theta, theta, "theta stays")
  end)

  it("hands its rows to another, also in other processes, with the same bits", function()
    local model, loss, set = problems.network { 1, 6, 1 }
    model:float()
    set = { x = set.x:float(), y = set.y:float() }
    local options = { x = measure.filter_normalised_direction(model), y = plumb.randn({ model.size }, { seed = 5 }),
      along_x = along_x, along_y = along_y }
    local here, asked = measure.surface(model, loss, set, options), nil
    options.map = function(rows, f)
      asked = rows
      return plumb.experiment.map(rows, f, { workers = 2 })
    end
    assert.same(here, measure.surface(model, loss, set, options))
    assert.same({ -1, 0, 2 }, asked)
  end)

  it("shows values that are not finite", function()
    local theta = plumb.ones({ 2 }, float64)
    local values = measure.surface(function(t) return t:log():sum() end, theta, { x = theta, along_x = { -1, 0, -2 } })
    assert.same({ -math.huge, 0 }, { values[1], values[2] })
    assert.is_true(values[3] ~= values[3])
  end)

  it("says what is wrong", function()
    local theta = plumb.ones({ 4 }, float64)
    local function bowl(t) return t:square():sum() end
    local function call(options) return function() measure.surface(bowl, theta, options) end end
    fails_here(call {}, "measure.surface", "x must", "(4)", "nil")
    fails_here(call { x = plumb.ones(3), along_x = { 0 } }, "x must", "(4)", "(3)")
    fails_here(call { x = theta / 0, along_x = { 0 } }, "x has", "not finite")
    fails_here(call { x = theta }, "along_x", "nil")
    fails_here(call { x = theta, along_x = {} }, "along_x", "empty")
    fails_here(call { x = theta, along_x = { 0, "a" } }, "along_x[2]")
    fails_here(call { x = theta, along_x = { 1 / 0 } }, "along_x[1]", "finite")
    fails_here(call { x = theta, y = theta, along_x = { 0 } }, "y and along_y")
    fails_here(call { x = theta, along_x = { 0 }, along_y = { 0 } }, "y and along_y")
    fails_here(call { x = theta, along_x = { 0 }, map = 3 }, "map", "number")
    fails_here(call { x = theta, along_x = { 0 }, z = 3 }, "'z'")
    fails_here(function() measure.surface(bowl, nil, { x = theta }) end, "theta", "nil")
  end)
end)

describe("measure.path_plane", function()
  local thetas = {}
  for i = 1, 5 do thetas[i] = plumb.randn({ 6 }, { dtype = "float64", seed = i }) end

  it("goes through the end, and shows the projected path", function()
    local plane, path, pca = measure.path_plane(thetas, { points = 11, margin = 0.5 })
    assert.same({ 0, 0 }, { path.x[5], path.y[5] })
    local function dot(a, b) return (a * b):sum():item() end
    for name, other in pairs { x = "y", y = "x" } do
      assert.is_true(near(plane[name]:norm():item(), 1, 1e-14) and math.abs(dot(plane[name], plane[other])) < 1e-14)
      for i = 1, 5 do assert.is_true(near(path[name][i], dot(thetas[i] - thetas[5], plane[name]), 1e-12)) end
      local along, low, high = plane["along_" .. name], math.min(table.unpack(path[name])), math.max(table.unpack(path[name]))
      assert.equal(11, #along)
      assert.is_true(near(along[1], low - (high - low) / 2, 1e-12) and near(along[11], high + (high - low) / 2, 1e-12))
      assert.is_true(near(along[6], (low + high) / 2, 1e-12))
    end
    local share = pca.explained_variance_ratio
    assert.is_true(near(measure.variance_share(thetas, { plane.x, plane.y }), share[1] + share[2], 1e-12))
  end)

  it("keeps the dtype, and takes a path on a straight line", function()
    local plane = measure.path_plane { plumb.ones(3), plumb.ones(3) * 2, plumb.ones(3) * 3 }
    assert.same({ "float32", 51 }, { plane.x:dtype(), #plane.along_y })
    assert.is_true(plane.along_y[1] < 0 and plane.along_y[51] > 0)
  end)

  it("is what measure.surface takes", function()
    local plane = measure.path_plane(thetas, { points = 3 })
    local function square(theta) return theta:square():sum() end
    local losses = measure.surface(square, thetas[5], plane)
    local corner = square(thetas[5] + plane.x * plane.along_x[3] + plane.y * plane.along_y[1]):item()
    assert.is_true(#losses == 3 and near(losses[1][3], corner, 1e-12))
  end)

  it("says what is wrong", function()
    fails_here(function() measure.path_plane() end, "measure.path_plane", "three", "nil")
    fails_here(function() measure.path_plane { thetas[1], thetas[2] } end, "three", "2")
    fails_here(function() measure.path_plane(thetas, { points = 1 }) end, "points")
    fails_here(function() measure.path_plane(thetas, { margin = -1 }) end, "margin")
    fails_here(function() measure.path_plane { thetas[1], thetas[2], plumb.ones(2) } end, "row 3", "(2)")
  end)
end)

describe("measure.variance_share", function()
  it("is that of the space which directions span, whatever their lengths and angles", function()
    local function at(...) return plumb.tensor({ ... }, float64) end
    local thetas = { at(3, 0, 0), at(-3, 0, 0), at(0, 2, 0), at(0, -2, 0), at(0, 0, 1), at(0, 0, -1) } -- variances 18, 8, 2
    assert.is_true(near(measure.variance_share(thetas, { at(5, 0, 0) }), 18 / 28, 1e-14))
    assert.is_true(near(measure.variance_share(thetas, { at(1, 0, 0), at(7, -2, 0) }), 26 / 28, 1e-13))
    assert.is_true(near(measure.variance_share(thetas, { at(1, 1, 0) }), 13 / 28, 1e-14))
    assert.is_true(near(measure.variance_share(thetas, { at(1, 2, 0), at(3, 1, 1), at(0, 0, 1) }), 1, 1e-13))
    assert.equal(0, measure.variance_share({ at(1, 2), at(1, 2) }, { at(1, 0) }))
  end)

  it("says what is wrong", function()
    local one, f = plumb.ones(3), measure.variance_share
    fails_here(function() f(nil, { one }) end, "thetas", "list")
    fails_here(function() f({ one, one }, {}) end, "directions", "list")
    fails_here(function() f({ one, one }, { plumb.ones(2) }) end, "directions[1]", "(2)")
    fails_here(function() f({ one, 3 }, { one }) end, "thetas[2]", "number")
    fails_here(function() f({ one, one * 2 }, { one, one }) end, "measure.variance_share", "independent")
  end)
end)
