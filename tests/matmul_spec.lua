-- Matrix products around the sizes at which the kernel changes its way: tiles, vectors, slices of k, threads.
local plumb = require "plumb"
local support = require "support"

-- Layouts of an (m, n) matrix of the same numbers.
local layouts = {
  rows = function(x) return x:clone():evaluate() end,
  columns = function(x) return plumb.concat({ x:t(), x:t() }, 1):evaluate():slice(1, 1, x:size(2)):t() end,
  strided = function(x) return plumb.concat({ x, x }, 2):evaluate():slice(2, 1, x:size(2)) end,
  backward = function(x) return plumb.concat({ x:slice(1, -1, 1, -1) }, 1):evaluate():slice(1, -1, 1, -1) end,
}
local names = { "rows", "columns", "strided", "backward" }

-- Every product of numbers apart, then sums: no matrix product.
local function reference(x, y)
  local m, k, n = x:size(1), x:size(2), y:size(2)
  return (x:reshape(m, 1, k) * y:t():reshape(1, n, k)):sum(3)
end

local function check(m, n, k, number, slack)
  local x = plumb.randn({ m, k }, { seed = number, dtype = "float64" })
  local y = plumb.randn({ k, n }, { seed = number + 1000, dtype = "float64" })
  local exact = reference(x, y):evaluate()
  for dtype, epsilon in pairs { float64 = 2 ^ -52, float32 = 2 ^ -23 } do
    local xs = layouts[names[number % 4 + 1]](x:cast(dtype))
    local ys = layouts[names[number // 4 % 4 + 1]](y:cast(dtype))
    local error = (xs:matmul(ys):double() - exact):abs():max():item()
    assert.is_true(error <= (slack or 1) * epsilon * (k + 40), ("%d x %d x %d, %s: %g"):format(m, n, k, dtype, error))
  end
end

describe("matmul", function()
  local sizes = { 1, 2, 3, 5, 8, 9, 12, 13, 16, 17, 31, 33, 48, 49, 50, 97 }
  for a, m in ipairs(sizes) do
    it(("of %d rows equals sums of products"):format(m), function()
      for b, n in ipairs(sizes) do check(m, n, sizes[(a * 5 + b * 3) % #sizes + 1], a * 16 + b) end
    end)
  end

  it("of few long rows and columns equals sums of products", function()
    local number = 0 -- the layouts whose sums run along memory: check's first for x, and its second for y
    for m = 1, 13 do
      for n = 1, 13 do
        check(m, n, 60 + (m * 13 + n) % 75, 4 + 16 * number)
        number = number + 1
      end
    end
    for _, shape in ipairs { { 32, 32, 100 }, { 31, 4, 2000 }, { 33, 32, 64 } } do
      check(shape[1], shape[2], shape[3], 4 + 16 * number)
    end
  end)

  it("leaves columns that fill no vector to dot products", function()
    for _, shape in ipairs { { 70, 50, 200 }, { 64, 17, 300 }, { 33, 24, 150 }, { 600, 53, 128 }, { 90, 3, 2048 },
      { 90, 3, 2049 }, { 37, 8, 127 } } do
      check(shape[1], shape[2], shape[3], 4, 2) -- the sums run along memory in both
    end
  end)

  it("of a column and a row takes their products, wherever in memory rows begin", function()
    for number, shape in ipairs { { 1, 17 }, { 2, 16 }, { 7, 31 }, { 50, 190 }, { 33, 100 }, { 5, 1001 }, { 900, 333 }, { 40, 9 } } do
      check(shape[1], shape[2], 1, number)
      for _, dtype in ipairs { "float32", "float64" } do
        local x = plumb.randn({ shape[1], 1 }, { seed = number, dtype = dtype }):evaluate()
        local y = plumb.randn({ 1, shape[2] }, { seed = number + 1, dtype = dtype }):evaluate()
        local two = plumb.concat({ x:slice(1, 1, 1):reshape(-1), x:matmul(y):reshape(-1), y:reshape(-1) }, 1) -- behind another number
        support.same_bits((x * y):evaluate(), two:slice(1, 2, x:matmul(y):numel() + 1):reshape(table.unpack(shape)), "a product")
      end
    end
  end)

  it("is cut along long sums", function()
    for number, shape in ipairs { { 3, 5, 2047 }, { 4, 20, 2049 }, { 1, 1, 5000 }, { 9, 1, 4100 }, { 1, 30, 4097 }, { 20, 50, 4500 } } do
      check(shape[1], shape[2], shape[3], number)
    end
  end)

  it("gives the same bits with 1, 2 and 4 threads", function()
    local before = plumb.threads()
    for _, shape in ipairs { { 300, 200, 100 }, { 17, 900, 300 }, { 2000, 10, 300 }, { 1, 3000, 2000 }, { 40, 40, 6000 },
      { 30, 12, 20000 }, { 600, 50, 784 }, { 600, 10, 512 }, { 64, 500, 784 } } do
      local x = plumb.randn({ shape[1], shape[3] }, { seed = 1 }):evaluate()
      local y = plumb.randn({ shape[2], shape[3] }, { seed = 2 }):evaluate():t()
      local many = plumb.randn({ 300, 20, 30 }, { seed = 3 }):evaluate()
      local results = {}
      for k, threads in ipairs { 1, 2, 4 } do
        plumb.threads(threads)
        results[k] = { x:matmul(y):evaluate(), many:matmul(many:transpose(2, 3)):evaluate() }
      end
      plumb.threads(before)
      for k = 2, 3 do
        support.same_bits(results[1][1], results[k][1], "one product")
        support.same_bits(results[1][2], results[k][2], "many products")
      end
    end
  end)

  it("keeps infinities and NaN where they belong", function()
    local x = plumb.ones(20, 40)
    local y = plumb.concat({ plumb.ones(40, 30), plumb.full({ 40, 1 }, math.huge), plumb.full({ 40, 1 }, 0 / 0), plumb.ones(40, 1) }, 2)
    local z = support.accessor(x:matmul(y))
    for i = 1, 20 do
      for j = 1, 33 do
        local value = z(i, j)
        if j == 31 then assert.are.equal(math.huge, value)
        elseif j == 32 then assert.is_true(value ~= value)
        else assert.are.equal(40, value) end
      end
    end
  end)

  it("refuses a product with more elements than can be counted", function()
    local column, row = plumb.zeros(1, 1):expand(1 << 30, 1), plumb.zeros(1, 1):expand(1, 1 << 30)
    assert.has.match("can be counted", support.message_of(function() return column:matmul(row) end), 1, true)
    local picks = plumb.ones(1):long():expand(1 << 40)
    assert.has.match("can be counted", support.message_of(function() return row:index_select(1, picks) end), 1, true)
  end)
end)
