-- Every operator is tested by walking plumb.operators: its samples say what to call and, element by element, what must
-- come out. An operator that is added is tested without anyone writing a test.
local plumb = require "plumb"
local json = require "dkjson"
local samples = require "samples"
local support = require "support"

local evaluate, random_list, read_elementwise = samples.evaluate, samples.random_list, samples.read_elementwise
local read_sample, sample_inputs, run_call = samples.read_sample, samples.inputs, samples.run

local names = {}
for name, row in pairs(plumb.operators) do
  if row.call then names[#names + 1] = name end
end
table.sort(names)

-- The defaults (nothing is passed), and other values where there are parameters.
local function parameter_sets(row)
  if #row.parameters == 0 then return { {} } end
  local other = {}
  for k = 1, #row.parameters do other[k] = row.low + (0.1 + 0.25 * k) * (row.high - row.low) end
  return { {}, other }
end

-- inputs: tensors; lists: their elements as they meet each other
local function check_elementwise(row, reference, inputs, lists, parameters, tolerance, what)
  local arguments = { table.unpack(inputs) }
  table.move(parameters, 1, #parameters, #arguments + 1, arguments)
  local expected, values = {}, #parameters > 0 and parameters or nil
  for i = 1, #lists[1] do
    local point = {}
    for k = 1, #lists do point[k] = lists[k][i] end
    expected[i] = reference.f(point, values)
  end
  local result = row.call(table.unpack(arguments))
  support.same_numbers(support.flat(result), expected, tolerance, row.name .. " " .. what)
end

local precisions = { float64 = 1e-12, float32 = 3e-6 }

local function check_sizes(row, reference, random)
  for dtype, tolerance in pairs(precisions) do
    for _, parameters in ipairs(parameter_sets(reference)) do
      for _, size in ipairs { 1, 511, 512, 513, 1025, 3000 } do
        local inputs, lists = {}, {}
        for k = 1, reference.arity do
          inputs[k] = support.make(random_list(size, reference.low, reference.high, random), { size }, dtype)
          lists[k] = inputs[k]:tolist()
        end
        check_elementwise(row, reference, inputs, lists, parameters, tolerance, dtype .. " of size " .. size)
      end
    end
  end
end

local function check_places(row, reference, random)
  for dtype in pairs(precisions) do
    local whole, part = {}, {}
    for k = 1, reference.arity do
      whole[k] = support.make(random_list(700, reference.low, reference.high, random), { 700 }, dtype)
      part[k] = whole[k]:slice(1, 14)
    end
    support.same_bits(row.call(table.unpack(whole)):slice(1, 14), row.call(table.unpack(part)), row.name)
  end
end

-- Ways for an input to stand in a (rows, columns) result: f(random list maker) -> tensor, function(i, j) -> its element
local rows, columns = 34, 61
local function matrix(transform, m, n, at)
  return function(make)
    local plain = make(m * n)
    local list = plain:tolist()
    return transform(plain:reshape(m, n)), function(i, j) return list[at(i, j)] end
  end
end
local layouts = {
  contiguous = matrix(function(x) return x end, rows, columns, function(i, j) return (i - 1) * columns + j end),
  row = matrix(function(x) return x:reshape(columns) end, 1, columns, function(_, j) return j end),
  column = matrix(function(x) return x end, rows, 1, function(i) return i end),
  number = matrix(function(x) return x:reshape {} end, 1, 1, function() return 1 end),
  transposed = matrix(function(x) return x:t() end, columns, rows, function(i, j) return (j - 1) * rows + i end),
  strided = matrix(function(x) return x:slice(2, 2, -1, 2) end, rows, 2 * columns,
    function(i, j) return (i - 1) * 2 * columns + 2 * j end),
  backward = matrix(function(x) return x:slice(1, -1, 1, -1) end, rows, columns,
    function(i, j) return (rows - i) * columns + j end),
}

local function check_layouts(row, reference, random)
  local kinds = {}
  for kind in pairs(layouts) do kinds[#kinds + 1] = kind end
  table.sort(kinds)
  for first = 1, #kinds do
    local inputs, lists, what = {}, {}, {}
    for k = 1, reference.arity do
      what[k] = kinds[(first + 3 * (k - 1) - 1) % #kinds + 1]
      local tensor, at = layouts[what[k]](function(n)
        return support.make(random_list(n, reference.low, reference.high, random), { n })
      end)
      inputs[k], lists[k] = tensor, {}
      support.each_index({ rows, columns }, function(i, j) table.insert(lists[k], at(i, j)) end)
    end
    local whole = plumb.zeros({ rows, columns }, { dtype = "float64" })
    inputs[1] = inputs[1]:expand(rows, columns)
    check_elementwise(row, reference, inputs, lists, {}, 1e-12, table.concat(what, ", "))
    inputs[1] = whole + inputs[1] -- the same through a fused pass
    check_elementwise(row, reference, inputs, lists, {}, 1e-12, "0 + " .. table.concat(what, ", "))
  end
end

local function check_integers(row, reference, random)
  local inputs, lists = {}, {}
  for k = 1, reference.arity do inputs[k], lists[k] = {}, {} end
  while #lists[1] < 600 do
    local point = {}
    for k = 1, reference.arity do
      point[k] = math.floor(random(math.ceil(reference.low), math.floor(reference.high) + 1))
    end
    local value = reference.f(point)
    if value == value and math.abs(value) < 1e15 and value == math.floor(value) then
      for k = 1, reference.arity do table.insert(lists[k], point[k]) end
    end
  end
  for k = 1, reference.arity do inputs[k] = support.make(lists[k], { #lists[k] }, "int64") end
  assert.are.equal("int64", row.call(table.unpack(inputs)):dtype())
  check_elementwise(row, reference, inputs, lists, {}, 0, "of integers")
end

-- Far enough from kinks and jumps for finite differences: f is smooth along every input, and inputs differ from 0 and from
-- each other.
local function is_smooth(reference, point, parameters)
  local h, values = 1e-2, #parameters > 0 and parameters or nil
  for k = 1, #point do
    local at = {}
    for s = -1, 1 do
      local moved = { table.unpack(point) }
      moved[k] = point[k] + s * h
      at[s] = reference.f(moved, values)
    end
    local bend = at[1] - 2 * at[0] + at[-1]
    if bend ~= bend or math.abs(bend) > 4e-3 or math.abs(point[k]) < 0.03 then return false end
    for other = 1, k - 1 do
      if math.abs(point[other] - point[k]) < 0.03 then return false end
    end
  end
  return true
end

local function smooth_inputs(reference, parameters, random)
  local lists, inputs = {}, {}
  for k = 1, reference.arity do lists[k] = {} end
  while #lists[1] < 6 do
    local point = random_list(reference.arity, reference.low, reference.high, random)
    for k = 1, reference.arity do
      if is_smooth(reference, point, parameters) then table.insert(lists[k], point[k]) end
    end
  end
  for k = 1, reference.arity do inputs[k] = support.make(lists[k], { 2, 3 }) end
  return inputs
end

local function check_no_gradient(f, inputs)
  local function value(...) return (f(...) * 1.5):sum() end
  for _, g in ipairs { plumb.grad(value, { count = #inputs })(table.unpack(inputs)) } do
    assert.are.equal(0, g:abs():max():item())
  end
end

local function check_elementwise_gradients(row, reference, random)
  for _, parameters in ipairs(parameter_sets(reference)) do
    local inputs = smooth_inputs(reference, parameters, random)
    local function f(...)
      local arguments = { ... }
      table.move(parameters, 1, #parameters, #arguments + 1, arguments)
      return row.call(table.unpack(arguments))
    end
    if row.differentiable then support.check_gradients(f, inputs, row.name)
    else check_no_gradient(f, inputs) end
  end
end

-- ---- structural and composed operators ----

local function check_sample(row, sample, dtype, random)
  local inputs = sample_inputs(sample, dtype, random)
  local environment = setmetatable({ math = math }, { __index = support })
  for name, tensor in pairs(inputs) do environment[name] = support.accessor(tensor) end
  local element = evaluate(("function(%s) return %s end"):format(sample.indices, sample.element), environment)
  local result, expected = run_call(sample, inputs), {}
  local _, commas = sample.indices:gsub(",", "")
  assert.are.equal(sample.indices == "" and 0 or commas + 1, result:dim(), row.name)
  support.each_index(result:shape(), function(...) expected[#expected + 1] = element(...) end)
  support.same_numbers(support.flat(result), expected, dtype == "float64" and 1e-12 or 3e-6, sample.call)
end

local function check_sample_gradients(row, sample, random)
  local inputs, floats, tensors = sample_inputs(sample, "float64", random), {}, {}
  for name, tensor in pairs(inputs) do
    if tensor:dtype() == "float64" then floats[#floats + 1] = name end
  end
  if #floats == 0 then return end
  table.sort(floats)
  for k, name in ipairs(floats) do tensors[k] = inputs[name] end
  local function f(...)
    local given = setmetatable({}, { __index = inputs })
    for k, name in ipairs(floats) do given[name] = select(k, ...) end
    return run_call(sample, given)
  end
  if row.differentiable then support.check_gradients(f, tensors, sample.call)
  else check_no_gradient(f, tensors) end
end

-- ---- the walk ----

-- An operator's samples do not change when another is added.
local function seed_of(name)
  local seed = 0
  for k = 1, #name do seed = seed * 31 + name:byte(k) end
  return seed
end

for _, name in ipairs(names) do
  local seed = seed_of(name)
  local row = plumb.operators[name]
  describe(name, function()
    it("has a documentation, and samples", function()
      assert.is_true(#row.doc > 0)
      assert.is_true(row.samples ~= nil and #row.samples > 0, name .. " has no samples")
    end)
    if row.kind == "elementwise" then
      local reference = read_elementwise(row)
      it("computes its formula for every block size and dtype", function()
        check_sizes(row, reference, support.generator(seed))
      end)
      it("computes its formula for every layout", function() check_layouts(row, reference, support.generator(seed)) end)
      it("gives an element the same value wherever it stands", function()
        check_places(row, reference, support.generator(seed))
      end)
      if row.integers then
        it("computes with integers", function() check_integers(row, reference, support.generator(seed)) end)
      end
      it("has the right gradients of first and second order", function()
        check_elementwise_gradients(row, reference, support.generator(seed))
      end)
    else
      for line in (row.samples or ""):gmatch("[^\n]+") do
        local sample = read_sample(line)
        it("computes " .. sample.call, function()
          check_sample(row, sample, "float64", support.generator(seed))
          check_sample(row, sample, "float32", support.generator(seed))
        end)
        it("has the right gradients: " .. sample.call, function()
          check_sample_gradients(row, sample, support.generator(seed))
        end)
      end
    end
  end)
end

-- ---- numbers made by PyTorch ----

local function read_golden(name)
  local file = assert(io.open("tests/golden/" .. name))
  local document = assert(json.decode(file:read("a")))
  file:close()
  return document.cases
end

local function golden_tensor(record) return support.make(record.data, record.shape) end

-- cross_entropy stands for its formula: the mean of -log_softmax at the labels.
local function cross_entropy(x, labels)
  local log_p = x:log_softmax(2)
  return -log_p:gather(2, labels:reshape(labels:size(1), 1)):mean()
end

local function golden_call(case)
  local a = case.arguments
  local labels = case.labels and support.make(case.labels.data, case.labels.shape, "int64")
  local calls = {
    cross_entropy = function(x) return cross_entropy(x, labels) end,
    elu = function(x) return x:elu(a.alpha) end,
    leaky_relu = function(x) return x:leaky_relu(a.negative_slope) end,
    clamp = function(x) return x:clamp(a.min or -math.huge, a.max or math.huge) end,
    pow = function(x, y) return x:pow(a.exponent or y) end,
    var = function(x) return x:var(a.axis, false, a.unbiased == false and 0 or 1) end,
  }
  return calls[case.operator] or function(x, y)
    if y or a.axis then return plumb[case.operator](x, y or a.axis) end
    return plumb[case.operator](x)
  end
end

describe("PyTorch's numbers:", function()
  for number, case in ipairs(read_golden("operators.json")) do
    it(("%s, case %d"):format(case.name, number), function()
      local inputs, f, weights = {}, golden_call(case), golden_tensor(case.weights)
      for k, record in ipairs(case.inputs) do inputs[k] = golden_tensor(record) end
      support.same_numbers(support.flat(f(table.unpack(inputs))), case.output.data, 1e-12, case.name)
      local gradients = { plumb.grad(function(...) return (f(...) * weights):sum() end, { count = #inputs })(
        table.unpack(inputs)) }
      for k, record in ipairs(case.gradients) do
        support.same_numbers(support.flat(gradients[k]), record.data, 1e-12, case.name .. ": gradient " .. k)
      end
    end)
  end

  for _, case in ipairs(read_golden("second_order.json")) do
    it("second order of " .. case.name, function()
      local x, sizes = golden_tensor(case.inputs), case.network.sizes
      local y = support.make(case.targets.data, case.targets.shape, case.loss == "mse" and "float64" or "int64")
      local function loss(theta)
        local h, at = x, 0
        local function take(count)
          at = at + count
          return theta:slice(1, at - count + 1, at)
        end
        for layer = 1, #sizes - 1 do
          local n, m = sizes[layer], sizes[layer + 1]
          h = h:matmul(take(m * n):reshape(m, n):t()) + take(m)
          if layer < #sizes - 1 then h = h:tanh() end
        end
        return case.loss == "mse" and (h - y):square():mean() or cross_entropy(h, y)
      end
      local theta, v = support.make(case.theta, { #case.theta }), support.make(case.v, { #case.v })
      local value, gradient = plumb.value_and_grad(loss)(theta)
      assert.is_true(support.near(value:item(), case.loss_value, 1e-12))
      support.same_numbers(support.flat(gradient), case.gradient, 1e-12, "gradient")
      local function square(t) return plumb.grad(loss)(t):square():sum() end
      assert.is_true(support.near(square(theta):item(), case.gradient_square, 1e-12))
      support.same_numbers(support.flat(plumb.grad(square)(theta)), case.gradient_of_gradient_square, 1e-11, "2 H g")
      support.same_numbers(support.flat(plumb.hvp(loss)(theta, v)), case.hessian_v, 1e-11, "H v")
    end)
  end
end)

describe("flush_subnormal", function()
  it("makes 0 of what is too small for all its digits, and of nothing else", function()
    for dtype, least in pairs { float32 = 2 ^ -126, float64 = 2 ^ -1022 } do
      local x = plumb.tensor({ least / 2, -least / 1024, least, -least, 0, 1, -math.huge, 0 / 0 }, { dtype = dtype })
      local got = support.flat(x:flush_subnormal())
      for i, want in ipairs { 0, 0, least, -least, 0, 1, -math.huge } do assert.equal(want, got[i]) end
      assert.is_true(got[8] ~= got[8])
      assert.is_true(support.flat(x * 1)[1] > 0) -- which other operators keep
    end
  end)
end)
