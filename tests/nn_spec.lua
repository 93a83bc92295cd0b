--- Layers, models and losses.
local plumb = require "plumb"
local support = require "support"
local nn = plumb.nn

local flat, fails_here = support.flat, support.fails_here

local function network(widths, activation)
  local layers = {}
  for i = 1, #widths - 1 do
    layers[#layers + 1] = nn.Linear(widths[i], widths[i + 1])
    if i < #widths - 1 then layers[#layers + 1] = (activation or nn.LeakyReLU)() end
  end
  return nn.Sequential(layers)
end

local function labels(list) return plumb.tensor(list, { dtype = "int64" }) end

-- ---- parameters ----

describe("a model's parameters", function()
  it("are as many as in the experiments", function()
    assert.equal(571, network({ 1, 5, 10, 10, 10, 10, 10, 5, 1 }).theta:numel())
    assert.equal(572, network({ 1, 10, 18, 15, 4, 1 }).theta:numel())
    assert.equal(571, network({ 1, 190, 1 }).theta:numel())
    assert.equal(784 * 512 + 512 + 512 * 10 + 10, network({ 784, 512, 10 }).theta:numel())
    assert.equal(6, nn.Linear(3, 2, { bias = false }).theta:numel())
    assert.equal(0, nn.Sequential { nn.ReLU() }.theta:numel())
  end)

  it("stand in theta in PyTorch's order: weight (out, in) row by row, bias, layer after layer", function()
    local model = network { 2, 3, 1 }
    model.theta = plumb.arange(13):float()
    assert.same({ { 1, 2 }, { 3, 4 }, { 5, 6 } }, model[1].weight:tolist())
    assert.same({ 7, 8, 9 }, model[1].bias:tolist())
    assert.same({ { 10, 11, 12 } }, model[3].weight:tolist())
    assert.same({ 13 }, model[3].bias:tolist())
    assert.same({ 10, 11, 12, 13 }, model[3].theta:tolist())
    assert.same({}, model[2].theta:tolist())
  end)

  it("are named and placed by parameters()", function()
    local list = network({ 2, 3, 1 }):parameters()
    local seen = {}
    for i, p in ipairs(list) do seen[i] = { p.name, p.first, p.count, table.concat(p.value:shape(), ",") } end
    assert.same({ { "0.weight", 1, 6, "3,2" }, { "0.bias", 7, 3, "3" }, { "2.weight", 10, 3, "1,3" },
      { "2.bias", 13, 1, "1" } }, seen)
  end)

  it("make the same function through model, at and a loop over numbers", function()
    local model = network({ 2, 3, 1 }, nn.Tanh):double()
    local x = { { 0.3, -1.2 }, { 2, 0.5 }, { -0.7, 0 } }
    local w1, b1 = model[1].weight:tolist(), model[1].bias:tolist()
    local w2, b2 = model[3].weight:tolist(), model[3].bias:tolist()
    local expected = {}
    for n, row in ipairs(x) do
      expected[n] = b2[1]
      for h = 1, 3 do
        local a = w1[h][1] * row[1] + w1[h][2] * row[2] + b1[h]
        expected[n] = expected[n] + w2[1][h] * (1 - 2 / (math.exp(2 * a) + 1))
      end
    end
    local input = plumb.tensor(x, { dtype = "float64" })
    support.same_numbers(flat(model(input)), expected, 1e-14, "model(x)")
    support.same_numbers(flat(model:forward(input)), expected, 1e-14, "model:forward(x)")
    support.same_bits(model(input), model:at(model.theta)(input), "at")
    support.same_bits(model(input), model[3](model[2](model[1](input))), "layer by layer")
  end)

  it("of other values are taken by at, without changing the model", function()
    local model = network { 2, 3, 1 }
    local before, x = flat(model.theta), plumb.randn(4, 2)
    local zero = model:at(plumb.zeros(13))(x)
    assert.same({ 0, 0, 0, 0 }, flat(zero))
    assert.same(before, flat(model.theta))
    support.same_bits(model[3]:at(model[3].theta)(plumb.ones(1, 3)), model[3](plumb.ones(1, 3)), "a layer's at")
    local double = model:at(model.theta:double())(x:double())
    support.same_numbers(flat(double), flat(model(x)), 1e-6, "a float64 theta")
  end)

  it("can be assigned: all, a layer's, one weight", function()
    local model = network { 2, 3, 1 }
    local kept = model.theta
    local before = flat(kept)
    model.theta = plumb.zeros(13)
    model[3].theta = plumb.tensor { 1, 2, 3, 4 }
    model[1].bias = plumb.tensor { 5, 6, 7 }
    assert.same({ 0, 0, 0, 0, 0, 0, 5, 6, 7, 1, 2, 3, 4 }, flat(model.theta))
    assert.same({ { 1, 2, 3 } }, model[3].weight:tolist())
    assert.same(before, flat(kept))
    assert.equal(1 * 5 + 2 * 6 + 3 * 7 + 4, model(plumb.ones(1, 2)):item())
    local alone = nn.Linear(2, 1)
    alone.weight = plumb.ones(1, 2)
    assert.same({ 1, 1 }, flat(alone.weight))
  end)

  it("that do not fit are refused, and the model stays", function()
    local model = network { 2, 3, 1 }
    local before = flat(model.theta)
    fails_here(function() model.theta = plumb.zeros(12) end, "theta", "(13)", "(12)", "Sequential")
    fails_here(function() model.theta = plumb.zeros(13, 1) end, "(13, 1)")
    fails_here(function() model.theta = 0 end, "theta must be a tensor, not number")
    fails_here(function() model.theta = plumb.zeros({ 13 }, { dtype = "float64" }) end, "float64", "float32", "double()")
    fails_here(function() model[3].theta = plumb.zeros(13) end, "(4)", "(13)", "Linear(3, 1)")
    fails_here(function() model[1].weight = plumb.zeros(2, 3) end, "layer 1 of Sequential: Linear(2, 3)", "(2, 3)", "(3, 2)")
    fails_here(function() model[1].bias = 1 end, "bias must be a tensor of shape (3)")
    fails_here(function() model:at(plumb.zeros(5)) end, "at:", "(13)", "(5)")
    fails_here(function() model:at(plumb.arange(13)) end, "int64")
    fails_here(function() model:at() end, "at: theta must be a tensor, not nil")
    assert.same(before, flat(model.theta))
  end)
end)

-- ---- initialisation and dtypes ----

describe("the initial parameters", function()
  it("are uniform in +-1/sqrt(inputs), weight and bias", function()
    plumb.manual_seed(3)
    local layer = nn.Linear(100, 400)
    for _, name in ipairs { "weight", "bias" } do
      local list, sum, squares, largest = flat(layer[name]), 0, 0, 0
      for _, x in ipairs(list) do
        sum, squares, largest = sum + x, squares + x * x, math.max(largest, math.abs(x))
      end
      local n, variance = #list, 0.1 ^ 2 / 3
      assert.is_true(largest <= 0.1 and largest > 0.1 * (1 - 10 / n), name)
      assert.is_true(math.abs(sum / n) < 4 * math.sqrt(variance / n), name)
      -- the variance of x^2 for a uniform x in [-b, b] is 4 b^4 / 45
      assert.is_true(math.abs(squares / n - variance) < 4 * math.sqrt(4 * 0.1 ^ 4 / 45 / n), name)
    end
  end)

  it("follow manual_seed alone, and differ between layers and seeds", function()
    local function first(seed)
      plumb.manual_seed(seed)
      return network { 2, 3, 3, 1 }
    end
    local a, b, c = first(5), first(5), first(6)
    plumb.rand(10)
    support.same_bits(a.theta, b.theta, "the same seed")
    assert.is_not.same(flat(a.theta), flat(c.theta))
    local square = nn.Sequential { nn.Linear(3, 3), nn.Linear(3, 3) }
    assert.is_not.same(flat(square[1].theta), flat(square[2].theta))
  end)

  it("do not depend on the model around a layer", function()
    plumb.manual_seed(1)
    local flat_model = nn.Sequential { nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1) }
    plumb.manual_seed(1)
    local nested = nn.Sequential { nn.Sequential { nn.Linear(2, 3), nn.Tanh() }, nn.Linear(3, 1) }
    support.same_bits(flat_model.theta, nested.theta, "theta")
  end)

  it("in float32 are the rounded ones of float64", function()
    plumb.manual_seed(9)
    local single = network { 3, 4, 1 }
    plumb.set_default_dtype("float64")
    plumb.manual_seed(9)
    local double = network { 3, 4, 1 }
    local theta = double.theta
    plumb.set_default_dtype("float32")
    assert.equal("float64", theta:dtype())
    support.same_bits(single.theta, theta:float(), "rounded")
  end)

  it("change their dtype by double and float, which return the model", function()
    local model = network { 2, 3, 1 }
    local before = model.theta
    assert.equal(model, model:double())
    assert.equal("float64", model.theta:dtype())
    assert.equal("float64", model[3].weight:dtype())
    assert.same(flat(before), flat(model.theta))
    assert.equal("float64", model(plumb.zeros({ 1, 2 }, { dtype = "float64" })):dtype())
    support.same_bits(before, model:float().theta, "there and back")
    assert.equal("float32", before:dtype())
  end)
end)

-- ---- models of layers ----

describe("nn.Sequential", function()
  it("nests", function()
    local inner = nn.Sequential { nn.Linear(2, 3), nn.ReLU() }
    local model = nn.Sequential { nn.Linear(4, 2), nn.Sequential { inner, nn.Linear(3, 1) } }
    assert.equal(10 + 9 + 4, model.theta:numel())
    model.theta = plumb.arange(23):float()
    assert.same({ 11, 12, 13, 14, 15, 16, 17, 18, 19 }, inner.theta:tolist())
    assert.same({ 17, 18, 19 }, model[2][1][1].bias:tolist())
    inner.theta = plumb.zeros(9)
    assert.same({ 10, 0, 0, 20 }, { model.theta[10]:item(), model.theta[11]:item(), model.theta[19]:item(),
      model.theta[20]:item() })
    local names = {}
    for i, p in ipairs(model:parameters()) do names[i] = p.name end
    assert.same({ "0.weight", "0.bias", "1.0.0.weight", "1.0.0.bias", "1.1.weight", "1.1.bias" }, names)
    fails_here(function() inner(plumb.zeros(1, 5)) end, "layer 1 of layer 1 of layer 2 of Sequential: Linear(2, 3)")
  end)

  it("keeps the parameters that a layer had before", function()
    local trained = network { 2, 3 }
    trained.theta = plumb.arange(9):float()
    local model = nn.Sequential { trained, nn.Linear(3, 1) }
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9 }, model.theta:slice(1, 1, 9):tolist())
    assert.same({ 7, 8, 9 }, trained[1].bias:tolist())
    assert.equal("float64", nn.Sequential { nn.Linear(1, 1):double(), nn.Linear(1, 1) }.theta:dtype())
    local deep = nn.Linear(1, 1)
    deep.theta = plumb.tensor { 8, 9 }
    local outer = nn.Sequential { nn.Linear(1, 1), nn.Sequential { nn.Sequential { deep } } }
    assert.same({ 8, 9 }, outer.theta:slice(1, 3, 4):tolist())
  end)

  it("refuses a layer with parameters that has a place already", function()
    local layer = nn.Linear(2, 2)
    local model = nn.Sequential { layer }
    fails_here(function() nn.Sequential { nn.ReLU(), layer } end, "layer 2 (Linear(2, 2))", "already part of a model")
    local other = nn.Linear(2, 2)
    fails_here(function() nn.Sequential { other, other } end, "layer 2", "already part of a model")
    assert.equal(6, nn.Sequential { other }.theta:numel(), "a refused layer is still free")
    assert.equal(6, model.theta:numel())
  end)

  it("may share what has no parameters", function()
    local relu = nn.ReLU()
    local a = nn.Sequential { nn.Linear(2, 2), relu, nn.Linear(2, 2), relu }
    local b = nn.Sequential { relu, nn.Linear(2, 2) }
    local x = plumb.randn(5, 2)
    support.same_bits(a(x), a[3](a[1](x):relu()):relu(), "a")
    support.same_bits(b(x), b[2](x:relu()), "b")
    assert.equal(12, a.theta:numel())
  end)

  it("says what is wrong with its list", function()
    fails_here(function() nn.Sequential() end, "a list of layers")
    fails_here(function() nn.Sequential {} end, "a list of layers")
    fails_here(function() nn.Sequential { nn.Linear(1, 1), nn.ReLU } end, "layer 2 is nn.ReLU without its ()")
    fails_here(function() nn.Sequential { nn.Linear(1, 1), "relu" } end, "layer 2 is not a layer but string")
    fails_here(function() nn.Sequential { nn.Linear(1, 1), nil, nn.ReLU() } end, "layer 2 is not a layer but nil")
    fails_here(function() nn.Sequential { nn.Linear(1, 1), bias = false } end, "'bias'")
    assert.equal(4, nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).theta:numel())
  end)

  it("describes itself", function()
    local text = tostring(nn.Sequential { nn.Flatten(), nn.Linear(4, 2), nn.Sequential { nn.LeakyReLU(0.1) } })
    for _, part in ipairs { "[1] Flatten()", "[2] Linear(4, 2)", "LeakyReLU(0.1)", "10 parameters" } do
      assert.is_truthy(text:find(part, 1, true), text)
    end
  end)
end)

describe("a layer's errors name its place", function()
  local model = nn.Sequential { nn.Flatten(), nn.Linear(784, 10), nn.ReLU(), nn.Linear(20, 5) }

  it("for inputs of a wrong shape, dtype or kind", function()
    fails_here(function() model(plumb.zeros(3, 28, 27)) end, "layer 2 of Sequential: Linear(784, 10)", "(..., 784)", "(3, 756)")
    fails_here(function() model(plumb.zeros(3, 28, 28)) end, "layer 4 of Sequential: Linear(20, 5)", "(3, 10)")
    fails_here(function() model(plumb.zeros({ 3, 784 }, { dtype = "float64" })) end,
      "layer 2 of Sequential: Linear(784, 10)", "float64", "float32", ":float()")
    fails_here(function() model(plumb.zeros({ 3, 784 }, { dtype = "int64" })) end, "layer 2", "int64")
    fails_here(function() model({ 1, 2 }) end, "layer 1 of Sequential: Flatten()", "a tensor, not table")
    fails_here(function() model() end, "a tensor, not nil")
    fails_here(function() model(plumb.tensor(1)) end, "layer 1", "batch axis")
    fails_here(function() nn.Linear(2, 2)(plumb.tensor(1)) end, "Linear(2, 2)", "not ()")
  end)

  it("also inside grad and compile", function()
    local function f(theta) return model:at(theta)(plumb.zeros(3, 28, 28)):sum() end
    fails_here(function() plumb.grad(f)(model.theta) end, "layer 4 of Sequential")
    fails_here(function() plumb.compile(f)(model.theta) end, "layer 4 of Sequential")
  end)

  it("and wrong arguments are found when it is made", function()
    fails_here(function() nn.Linear(784) end, "Linear: outputs", "nil")
    fails_here(function() nn.Linear(0, 3) end, "Linear: inputs", "at least 1")
    fails_here(function() nn.Linear(2.5, 3) end, "integer")
    fails_here(function() nn.Linear(2, 3, { bais = true }) end, "Linear: there is no option 'bais'", "bias")
    fails_here(function() nn.Linear(2, 3, false) end, "options are a table")
    fails_here(function() nn.ReLU(0.1) end, "ReLU: takes no arguments")
    fails_here(function() nn.LeakyReLU("a") end, "LeakyReLU: negative_slope")
  end)
end)

describe("layers", function()
  it("take inputs of one, two and three axes", function()
    local layer, x = nn.Linear(3, 2), plumb.randn(2, 4, 3)
    local y = layer(x)
    assert.same({ 2, 4, 2 }, y:shape())
    support.same_numbers(flat(y[2][3]), flat(layer(x[2][3])), 1e-6, "one axis")
    support.same_numbers(flat(y), flat(layer(x:reshape(8, 3))), 1e-6, "two axes")
    assert.same({ 0, 2 }, layer(plumb.zeros(0, 3)):shape())
  end)

  it("without a bias are linear", function()
    local layer = nn.Linear(3, 2, { bias = false })
    assert.is_nil(layer.bias)
    assert.same({ 0, 0 }, flat(layer(plumb.zeros(1, 3))))
  end)

  it("apply the operators of their names", function()
    local x = plumb.randn(50)
    local cases = { [nn.ReLU()] = x:relu(), [nn.LeakyReLU()] = x:leaky_relu(0.01), [nn.LeakyReLU(0.2)] = x:leaky_relu(0.2),
      [nn.ELU()] = x:elu(1), [nn.SELU()] = x:selu(), [nn.GELU()] = x:gelu(), [nn.Sigmoid()] = x:sigmoid(),
      [nn.Tanh()] = x:tanh(), [nn.Softplus()] = x:softplus(1), [nn.Identity()] = x }
    for layer, expected in pairs(cases) do support.same_bits(layer(x), expected, tostring(layer)) end
    assert.same({ 2, 12 }, nn.Flatten()(plumb.zeros(2, 3, 4)):shape())
    assert.same({ 0, 0 }, nn.Flatten()(plumb.zeros(0, 3, 4)):shape())
  end)
end)

describe("a layer that never became part of the model", function()
  it("is refused, where it would compute with what others have in its place", function()
    local model = nn.Sequential { nn.Linear(2, 2) }
    model[2] = nn.Linear(2, 2)
    fails_here(function() model(plumb.ones(1, 2)) end, "Linear(2, 2): is not part of the model", "nn.Sequential{...}")
    local Pair = nn.Module.class("Pair", "nn.Pair(): two layers.")
    function Pair:initialise(adopts)
      for i = 1, 2 do
        self[i] = nn.Linear(2, 2)
        if adopts then self:adopt(self[i]) end
      end
    end
    function Pair:forward(x, pass) return self[2]:forward(self[1]:forward(x, pass), pass) end
    fails_here(function() Pair()(plumb.ones(1, 2)) end, "is not part of the model", "self:adopt(layer)")
    local pair, x = Pair(true), plumb.ones(1, 2)
    support.same_bits(pair(x), pair[2](pair[1](x)), "adopted layers")
  end)
end)

-- ---- state ----

describe("state_dict", function()
  it("goes through a safetensors file and back", function()
    local path = os.tmpname() .. ".safetensors"
    local model, other = network { 2, 3, 1 }, network { 2, 3, 1 }
    plumb.files.save(path, model:state_dict())
    local state = plumb.files.load(path)
    os.remove(path)
    os.remove((path:gsub("%.safetensors$", "")))
    assert.same({ 3, 2 }, state["0.weight"]:shape())
    other:load_state_dict(state)
    support.same_bits(model.theta, other.theta, "theta")
    other:double():load_state_dict(state)
    assert.same(flat(model.theta), flat(other.theta))
  end)

  it("of wrong names, shapes or kinds is refused", function()
    local model = nn.Linear(2, 1)
    local weight, bias = plumb.zeros(1, 2), plumb.zeros(1)
    fails_here(function() model:load_state_dict { weight = weight } end, "'bias' is missing")
    fails_here(function() model:load_state_dict { weight = weight, bias = bias, extra = bias } end, "no parameter 'extra'")
    fails_here(function() model:load_state_dict { weight = bias, bias = bias } end, "'weight'", "(1, 2)")
    fails_here(function() model:load_state_dict { weight = weight, bias = 3 } end, "'bias' must be a tensor, not number")
    fails_here(function() model:load_state_dict("model.safetensors") end, "a table", "string")
  end)
end)

-- ---- losses ----

describe("cross_entropy", function()
  it("and its gradient are right for small logits", function()
    local rows, y = { { 0.5, -1, 2 }, { 0, 0.25, -3 } }, { 3, 1 }
    local expected, gradient = 0, {}
    for n, row in ipairs(rows) do
      local sum = 0
      for _, v in ipairs(row) do sum = sum + math.exp(v) end
      expected = expected - (row[y[n]] - math.log(sum)) / 2
      for c, v in ipairs(row) do gradient[#gradient + 1] = (math.exp(v) / sum - (c == y[n] and 1 or 0)) / 2 end
    end
    local value, g = plumb.value_and_grad(nn.cross_entropy)(plumb.tensor(rows, { dtype = "float64" }), labels(y))
    assert.is_true(support.near(value:item(), expected, 1e-15))
    support.same_numbers(flat(g), gradient, 1e-15, "gradient")
    assert.equal(value:item(), nn.CrossEntropyLoss()(plumb.tensor(rows, { dtype = "float64" }), labels(y)):item())
  end)

  for _, dtype in ipairs { "float32", "float64" } do
    it("is stable at logits of +-1e4 in " .. dtype, function()
      local logits = plumb.tensor({ { 1e4, -1e4, 0 }, { -1e4, 1e4, 1e4 } }, { dtype = dtype })
      local value, g = plumb.value_and_grad(nn.cross_entropy)(logits, labels { 2, 2 })
      assert.is_true(support.near(value:item(), (2e4 + math.log(2)) / 2, dtype == "float32" and 1e-7 or 1e-15))
      support.same_numbers(flat(g), { 0.5, -0.5, 0, 0, -0.25, 0.25 }, 1e-7, "gradient")
      local second = plumb.hvp(function(z) return nn.cross_entropy(z, labels { 2, 2 }) end)(logits, plumb.ones({ 2, 3 },
        { dtype = dtype }))
      for _, h in ipairs(flat(second)) do assert.is_true(math.abs(h) < 1e-7) end
    end)
  end

  it("refuses labels out of range and inputs that do not fit", function()
    local logits = plumb.zeros(2, 3)
    for _, bad in ipairs { 0, 4, -1 } do
      fails_here(function() return nn.cross_entropy(logits, labels { 1, bad }):item() end, tostring(bad), "1 .. 3")
    end
    fails_here(function() nn.cross_entropy(logits, plumb.tensor { 1, 2 }) end, "int64", "float32", ":long()")
    fails_here(function() nn.cross_entropy(logits, labels { 1, 2, 3 }) end, "(n, classes)", "(2, 3)", "(3)")
    fails_here(function() nn.cross_entropy(plumb.zeros(3), labels { 1, 2, 3 }) end, "(n, classes)")
    fails_here(function() nn.cross_entropy(logits, 1) end, "must be tensors")
    assert.is_true(support.near(nn.cross_entropy(logits, labels { 1, 2 }):item(), math.log(3), 1e-6), "the core goes on")
  end)
end)

describe("the other losses", function()
  it("mse_loss is the mean square, of one shape only", function()
    local a, b = plumb.tensor { { 1, 2 }, { 3, 5 } }, plumb.tensor { { 1, 0 }, { 0, 1 } }
    assert.equal((0 + 4 + 9 + 16) / 4, nn.mse_loss(a, b):item())
    assert.equal(29 / 4, nn.MSELoss()(a, b):item())
    fails_here(function() nn.mse_loss(plumb.zeros(3, 1), plumb.zeros(3)) end, "(3, 1)", "(3)", "reshape")
    fails_here(function() nn.mse_loss(plumb.zeros(3)) end, "must be tensors", "nil")
  end)

  it("accuracy is the share of rows whose largest element stands at the label", function()
    local logits = plumb.tensor { { 1, 2, 0 }, { 5, 1, 1 }, { 0, 0, 1 }, { 1, 1, 0 } }
    assert.equal(0.75, nn.accuracy(logits, labels { 2, 1, 1, 1 }):item())
    fails_here(function() nn.accuracy(plumb.zeros(3), labels { 1, 1, 1 }) end, "accuracy", "(n, classes)")
  end)

  it("confusion_matrix counts true classes by predicted ones", function()
    local logits = plumb.tensor { { 1, 2, 0 }, { 5, 1, 1 }, { 0, 0, 1 }, { 0, 3, 1 } }
    assert.same({ { 1, 0, 1 }, { 0, 2, 0 }, { 0, 0, 0 } }, nn.confusion_matrix(logits, labels { 2, 1, 1, 2 }):tolist())
    assert.equal(0, nn.confusion_matrix(plumb.zeros(0, 2), labels {}):sum():item())
    fails_here(function() nn.confusion_matrix(logits, labels { 0, 1, 1, 4 }) end, "from 1 to 3", "from 0 to 4")
    fails_here(function() nn.confusion_matrix(logits, 3) end, "confusion_matrix")
  end)
end)
