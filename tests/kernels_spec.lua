-- Sums along an axis, copies of transposed tensors and numbers from bytes, beside the plainest way to the same. Summed numbers
-- are whole, so that sums are exact in whatever order they are taken.
local plumb = require "plumb"
local support = require "support"

local DTYPES = { float32 = "float", float64 = "double", int64 = "long" } -- and the methods that convert to them

local function tensor_of(seed, sizes, dtype)
  local x = plumb.rand(sizes, { seed = seed }) * 17 - 8.5
  local whole = x:long()
  return whole[DTYPES[dtype]](whole):evaluate()
end

local function sums_of_columns(rows)
  local sums = {}
  for j = 1, #rows[1] do
    sums[j] = 0
    for i = 1, #rows do sums[j] = sums[j] + rows[i][j] end
  end
  return sums
end

local function on_threads(counts, check)
  local before = plumb.threads()
  for _, count in ipairs(counts) do
    plumb.threads(count)
    check()
  end
  plumb.threads(before)
end

describe("sums of columns", function()
  for dtype in pairs(DTYPES) do
    it("of any number and length: " .. dtype, function()
      for _, columns in ipairs { 1, 2, 15, 16, 17, 31, 63, 64, 65, 80, 127, 128, 129, 250, 257, 513, 700 } do
        for _, length in ipairs { 1, 3, 16, 17, 513 } do
          local x = tensor_of(columns + length, { length, columns }, dtype)
          local expected = sums_of_columns(x:tolist())
          on_threads({ 1, 2, 3 }, function() assert.same(expected, x:sum(1):tolist()) end)
        end
      end
    end)
  end

  it("of several matrices", function()
    local x = tensor_of(1, { 3, 40, 300 }, "float32")
    local rows = x:tolist()
    on_threads({ 1, 2, 5 }, function()
      for k, sums in ipairs(x:sum(2):tolist()) do assert.same(sums_of_columns(rows[k]), sums) end
    end)
  end)
end)

describe("copies of large tensors", function()
  it("are their elements, whatever the layout and the number of threads", function()
    for _, sizes in ipairs { { 300, 400 }, { 1, 500, 333 }, { 2, 3, 30000 }, { 7, 41, 9, 61 } } do
      local x = plumb.arange(1, plumb.zeros(sizes):numel()):reshape(table.unpack(sizes)):evaluate()
      local order = {}
      for axis = 1, #sizes do order[axis] = #sizes + 1 - axis end
      on_threads({ 1, 2, 3 }, function()
        local copy = x:permute(table.unpack(order)):contiguous():evaluate()
        assert.is_true(copy:permute(table.unpack(order)):eq(x):long():min():item() == 1)
        assert.equal(x:numel(), copy:reshape(-1)[copy:numel()]:item())
      end)
    end
  end)
end)

describe("bytes", function()
  local bytes = (plumb.arange(0, 2999) % 256):cast("uint8"):evaluate()
  for _, convert in ipairs { "float", "double" } do
    it("are divided as numbers are: " .. convert, function()
      local numbers = bytes[convert](bytes):evaluate()
      for _, divisor in ipairs { 255, 254.5, 1, 0, -3 } do
        support.same_bits((numbers / divisor):evaluate(), (bytes[convert](bytes) / divisor):evaluate(), "by " .. divisor)
      end
      local twice = plumb.compile(function(x, y) return x[convert](x) / 255 + x[convert](x), x[convert](x) / y end)
      local sum, quotients = twice(bytes, numbers + 1)
      support.same_bits((numbers / 255 + numbers):evaluate(), sum, "read twice")
      support.same_bits((numbers / (numbers + 1)):evaluate(), quotients, "by others")
    end)
  end
end)

-- Values that are evaluated one by one, each operation by itself.
local alone = {}
local function evaluated(x) return setmetatable({ value = x:evaluate() }, alone) end
local function operation(f) return function(x, y) return evaluated(f(x.value, y and y.value)) end end
alone.__add, alone.__sub = operation(function(x, y) return x + y end), operation(function(x, y) return x - y end)
alone.__mul = operation(function(x, y) return x * y end)
alone.__index = { square = operation(function(x) return x:square() end), tanh = operation(function(x) return x:tanh() end) }

describe("products that are added or subtracted in one pass", function()
  local programs = {
    function(a, b, c) return a * b + c end, function(a, b, c) return c + a * b end,
    function(a, b, c) return a * b - c end, function(a, b, c) return c - a * b end,
    function(a, b, c) return a:square() + c, b - c:square() end,
    function(a, b) local p = a * b return p + p, p - p end,
    function(a, b, c) local p = a * b return p + c, p - c end,
    function(a, b, c) return (a * b + c) * b - a, (a * b - c):square() - b * c + a end,
    function(a, b, c) return (a * b):tanh() + c * c - c * a end,
  }
  for _, dtype in ipairs { "float64", "float32" } do
    it("are rounded as by themselves: " .. dtype, function()
      for _, count in ipairs { 1, 7, 16, 100, 5000 } do
        local values, each = {}, {}
        for k = 1, 3 do values[k] = plumb.randn({ count }, { seed = k, dtype = dtype }):evaluate() end
        for k = 1, 3 do each[k] = evaluated(values[k]) end
        for number, program in ipairs(programs) do
          local expected = table.pack(program(table.unpack(each)))
          local found = table.pack(plumb.compile(program)(table.unpack(values)))
          for k = 1, found.n do
            assert.is_true(expected[k].value:equal(found[k]), ("program %d, result %d, of %d numbers"):format(number, k, count))
          end
        end
      end
    end)
  end
end)

describe("columns", function()
  it("are added to rows and multiply them as if each operation stood alone", function()
    local programs = {
      function(m, column) return m * column end, function(m, column) return column + m end,
      function(m, column, row) return column * row + row, m - column end,
      function(m, column, row) return column * m + row, row * column end,
      function(m, column, row) return row + column * row, (m + column) * row + column end,
      function(m, column, row, other) return (column * row + m):tanh() * other + column * m end,
    }
    for _, dtype in ipairs { "float64", "float32" } do
      for _, size in ipairs { { 1, 5 }, { 7, 190 }, { 150, 190 }, { 700, 3 }, { 90, 17 }, { 3, 2000 } } do
        local wide = plumb.randn({ size[1], 5 }, { seed = 1, dtype = dtype }):evaluate()
        local matrix, row = plumb.randn(size, { seed = 2, dtype = dtype }), plumb.randn({ 1, size[2] }, { seed = 3, dtype = dtype })
        local values, each = { matrix:evaluate(), wide:slice(2, 3, 3), row:evaluate(), wide:slice(2, 5, 5) }, {}
        for k = 1, 4 do each[k] = evaluated(values[k]) end
        for number, program in ipairs(programs) do
          local expected = table.pack(program(table.unpack(each)))
          local found = table.pack(plumb.compile(program)(table.unpack(values)))
          for k = 1, found.n do
            local what = ("program %d, result %d, %s of %d x %d"):format(number, k, dtype, size[1], size[2])
            assert.is_true(expected[k].value:equal(found[k]), what)
          end
        end
      end
    end
  end)
end)

describe("tanh", function()
  local file <close> = assert(io.open("tests/golden/tanh.json"))
  local golden = assert(require("dkjson").decode(file:read("a")))

  -- How far apart, in units of the last place of the exact number.
  local function units(found, exact, digits)
    local exponent, least = tonumber((("%a"):format(exact):match("p(.*)"))), digits == 53 and 5e-324 or 0x1p-149
    return math.abs(found - exact) / math.max(2.0 ^ (exponent + 1 - digits), least)
  end

  for dtype, digits in pairs { float64 = 53, float32 = 24 } do
    it("of " .. dtype .. " is right to four units in the last place", function()
      local x = plumb.tensor(golden.x, { dtype = dtype })
      local exact = dtype == "float64" and golden.tanh or x:double():tanh():tolist()
      for i, found in ipairs(x:tanh():tolist()) do
        assert.is_true(units(found, exact[i], digits) <= 4, ("tanh(%.17g) = %.17g, not %.17g"):format(golden.x[i], found, exact[i]))
      end
    end)

    it("of " .. dtype .. " knows signs, infinities and NaN", function()
      local found = plumb.tensor({ 0.0, -0.0, 1 / 0, -1 / 0, 0 / 0 }, { dtype = dtype }):tanh():tolist()
      assert.are.same({ "0.0", "-0.0", "1.0", "-1.0" }, { tostring(found[1]), tostring(found[2]), tostring(found[3]), tostring(found[4]) })
      assert.is_true(found[5] ~= found[5])
    end)
  end
end)
