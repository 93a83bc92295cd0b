-- One pass over the numbers for chains of elementwise operators: whatever operands look like, it computes what each would alone.
local plumb = require "plumb"
local support = require "support"

local float64 = { dtype = "float64" }

describe("fused passes", function()
  it("read slices, repeats and backward walks of pending and evaluated tensors", function()
    local x = plumb.randn({ 9, 2000 }, float64)
    local list = x:tolist()
    local looks = {
      { function(t) return t:slice(2, 2000, 1, -1) end, function(i, j) return list[i][2001 - j] end },
      { function(t) return t:slice(2, 1, 1999, 2):expand(9, 1000) end, function(i, j) return list[i][2 * j - 1] end },
      { function(t) return t:slice(1, 9, 1, -2) end, function(i, j) return list[11 - 2 * i][j] end },
      { function(t) return t:slice(1, 4, 4):expand(9, 2000) end, function(_, j) return list[4][j] end },
      { function(t) return t:slice(2, 7, 7):expand(9, 2000) end, function(i) return list[i][7] end },
      { function(t) return t:slice(2, 3, 5):t() end, function(i, j) return list[j][2 + i] end },
    }
    for number, look in ipairs(looks) do
      for _, source in ipairs { x, x:sin() } do
        local view, expected = look[1](source), {}
        support.each_index(view:shape(), function(i, j)
          local value = look[2](i, j)
          expected[#expected + 1] = (source == x and value or math.sin(value)) * 2 + 1
        end)
        support.same_numbers(support.flat(view * 2 + 1), expected, 1e-13, "look " .. number)
      end
    end
  end)

  it("mix rows of several lengths", function()
    for _, columns in ipairs { 1, 2, 3, 7, 100, 256, 257, 511, 513, 1500 } do
      local x, row = plumb.randn({ 40, columns }, float64), plumb.randn({ columns }, float64)
      local column = plumb.randn({ 40, 1 }, float64)
      local a, b, c, expected = support.accessor(x), support.accessor(row), support.accessor(column), {}
      support.each_index({ 40, columns }, function(i, j) expected[#expected + 1] = (a(i, j) + b(j)) * c(i, 1) - 2 end)
      support.same_numbers(support.flat((x + row) * column - 2), expected, 1e-13, columns .. " columns")
    end
  end)

  it("mix matrices, rows and columns that repeat over a batch", function()
    for _, size in ipairs { { 3, 256, 10 }, { 5, 16, 64 }, { 4, 37, 41 }, { 2, 600, 3 }, { 7, 1, 1025 }, { 3, 64, 32 } } do
      local n, rows, columns = table.unpack(size)
      for dtype, tolerance in pairs { float64 = 1e-13, float32 = 1e-5 } do
        local function randn(...) return plumb.randn({ ... }, { dtype = dtype, seed = select("#", ...) }):evaluate() end
        local whole, shared, row_of_each = randn(n, rows, columns), randn(rows, columns), randn(n, 1, columns)
        local row, column, other = randn(columns), randn(rows, 1), randn(n, columns, rows)
        local a, b, c = support.accessor(whole), support.accessor(shared), support.accessor(row_of_each)
        local d, e, f, expected = support.accessor(row), support.accessor(column), support.accessor(other), {}
        support.each_index(size, function(k, i, j)
          expected[#expected + 1] = (a(k, i, j) * b(i, j) + c(k, 1, j)) * d(j) - e(i, 1) * f(k, j, i) + b(i, j)
        end)
        local result = (whole * shared + row_of_each) * row - column * other:transpose() + shared
        support.same_numbers(support.flat(result), expected, tolerance, table.concat(size, " x ") .. " " .. dtype)
        local without, left = (whole * shared + row_of_each):evaluate(), {}
        support.each_index(size, function(k, i, j) left[#left + 1] = a(k, i, j) * b(i, j) + c(k, 1, j) end)
        support.same_numbers(support.flat(without), left, tolerance, table.concat(size, " x ") .. " without rows")
      end
    end
  end)

  it("repeat matrices and rows along any axis of a stack", function()
    for _, sizes in ipairs { { 3, 7, 5 }, { 6, 40, 10 }, { 2, 1, 700 }, { 5, 90, 1 } } do
      local n, rows, columns = table.unpack(sizes)
      local whole, a = plumb.randn({ n, rows, columns }, float64), nil
      a = support.accessor(whole)
      for _, shape in ipairs { { rows, columns }, { n, 1, columns }, { n, rows, 1 }, { 1, rows, 1 }, { n, 1, 1 } } do
        local part, expected = plumb.randn(shape, float64), {}
        local b = support.accessor(part:reshape(#shape == 2 and { 1, rows, columns } or shape))
        local full = part:reshape(#shape == 2 and { 1, rows, columns } or shape):shape()
        support.each_index(sizes, function(i, j, k)
          expected[#expected + 1] = (a(i, j, k) + b(full[1] > 1 and i or 1, full[2] > 1 and j or 1, full[3] > 1 and k or 1)) * 2
        end)
        support.same_numbers(support.flat((whole + part) * 2), expected, 1e-13, table.concat(shape, ", "))
      end
      support.same_numbers(support.flat(whole:transpose(2, 3):reshape(n * columns, rows)), (function()
        local expected = {}
        support.each_index({ n, columns, rows }, function(i, j, k) expected[#expected + 1] = a(i, k, j) end)
        return expected
      end)(), 0, "transposed")
    end
  end)

  -- The function of tensors against the same of Lua's numbers, bit for bit, with b a number or a column.
  local function check_numbers(name, compiled, of_numbers, size, first, second)
    local function randn(seed) return plumb.randn(size, { dtype = "float64", seed = seed }):evaluate() end
    local x, y, a = randn(1), randn(2), plumb.full({}, first, float64):evaluate()
    local of_x, of_y = support.flat(x), support.flat(y)
    for _, shape in ipairs { {}, { size[1], 1 } } do
      local got = support.flat(compiled(x, y, a, plumb.full(shape, second, float64):evaluate()))
      for k = 1, #of_x do
        local expected = of_numbers(of_x[k], of_y[k], first, second)
        local same = got[k] == expected or (got[k] ~= got[k] and expected ~= expected)
        assert(same, ("%s of %g and %g: %g is not %g"):format(name, first, second, got[k], expected))
      end
    end
  end

  it("take numbers and columns in any place, and more than once", function()
    local function choose(c, y, z) return c ~= 0 and y or z end
    local both = { -- what is written alike for tensors and numbers
      sums = function(x, y, a, b) return (x + a) * b + (a + y) end,
      products = function(x, y, a, b) return x * a + y - b * x end,
      ["two numbers"] = function(x, _, a, b) return a * b + x * b end,
      ["other places"] = function(x, y, a, b) return (a - x) / (y + a) - a / b * y end,
    }
    local cases = { choice = {
      function(x, y, a, b) return plumb.where(a, x, y) * plumb.where(b, y, a) + plumb.where(x, b, a) end,
      function(x, y, a, b) return choose(a, x, y) * choose(b, y, a) + choose(x, b, a) end } }
    for name, f in pairs(both) do cases[name] = { f, f } end
    for name, case in pairs(cases) do
      local compiled = plumb.compile(case[1])
      for _, size in ipairs { { 1, 1 }, { 3, 7 }, { 11, 700 }, { 2, 5000 } } do
        for _, numbers in ipairs { { 1.5, -0.25 }, { 0, 3 }, { -0.0, 2 }, { 0 / 0, 1 }, { math.huge, 0 } } do
          check_numbers(name, compiled, case[2], size, numbers[1], numbers[2])
        end
      end
    end
  end)

  it("are split where they have many steps and many inputs", function()
    local inputs, expected, sum = {}, 0, plumb.zeros({ 700 }, float64)
    for k = 1, 150 do
      inputs[k] = plumb.full({ 700 }, k, float64):evaluate()
      sum = plumb.where(inputs[k]:gt(sum), inputs[k], sum) + inputs[k] * 0.5
      expected = math.max(expected, k) + k * 0.5
    end
    assert.are.equal(expected, sum[700]:item())
  end)

  it("keep special values in every place of a block", function()
    local inf, nan = math.huge, 0 / 0
    local cases = {
      exp = { [inf] = inf, [-inf] = 0, [1000] = inf, [-1000] = 0 },
      log = { [0] = -inf, [inf] = inf, [-1] = nan },
      tanh = { [inf] = 1, [-inf] = -1, [1000] = 1 },
      sigmoid = { [inf] = 1, [-inf] = 0, [-1000] = 0 },
      relu = { [inf] = inf, [-inf] = 0 },
      softplus = { [1e30] = 1e30, [-1e30] = 0 },
      sin = { [inf] = nan }, sqrt = { [-1] = nan, [inf] = inf }, erf = { [inf] = 1, [-inf] = -1 },
      atan = { [inf] = math.pi / 2 }, expm1 = { [-inf] = -1 }, log1p = { [-1] = -inf },
    }
    for name, pairs_of in pairs(cases) do
      for given, expected in pairs(pairs_of) do
        for _, dtype in ipairs { "float32", "float64" } do
          for _, size in ipairs { 1, 19 } do
            local t = plumb.full({ size }, given, { dtype = dtype })
            for _, value in ipairs(t[name](t):tolist()) do
              assert.is_true(support.near(value, expected, 1e-7), ("%s(%g) = %g"):format(name, given, value))
            end
          end
        end
      end
      local t = plumb.full({ 19 }, nan)
      for _, value in ipairs(t[name](t):tolist()) do assert.is_true(value ~= value, name .. "(nan)") end
    end
  end)
end)
