-- Convolutions at the sizes of real networks, against products of shifted slices; operators_spec.lua has the naive loops. In
-- float32 those with 16 channels and 3 x 3 weights go another way: winograd_spec.lua.
local plumb = require "plumb"
local support = require "support"

-- conv2d as a sum over the kernel's taps: a strided slice of the padded image, times the tap's (filters, channels).
local function by_taps(x, w, stride, padding, dilation)
  local n, c, h = x:size(1), x:size(2), x:size(3)
  local size, y = (h + 2 * padding - dilation * (w:size(3) - 1) - 1) // stride + 1, nil
  local padded = x:pad(3, padding, padding):pad(4, padding, padding)
  for p = 1, w:size(3) do
    for q = 1, w:size(4) do
      local top, left = (p - 1) * dilation + 1, (q - 1) * dilation + 1
      local seen = padded:slice(3, top, top + (size - 1) * stride, stride):slice(4, left, left + (size - 1) * stride, stride)
      local tap = w:slice(3, p, p):slice(4, q, q):reshape(w:size(1), c)
      local part = tap:matmul(seen:reshape(n, c, size * size))
      y = y and y + part or part
    end
  end
  return y:reshape(n, w:size(1), size, size)
end

local function close(a, b, tolerance, what)
  local error = ((a - b):abs():max() / b:abs():max()):item()
  assert.is_true(error <= tolerance, ("%s: relative error %g"):format(what, error))
end

local cases = { -- n, channels, filters, size, kernel, stride, padding, dilation
  { 3, 1, 32, 28, 3, 1, 1, 1 }, { 9, 15, 64, 14, 3, 1, 1, 1 }, { 17, 15, 128, 7, 3, 1, 1, 1 }, { 5, 3, 10, 29, 5, 1, 2, 1 },
  { 2, 13, 17, 11, 3, 1, 0, 2 }, { 4, 8, 9, 15, 3, 2, 1, 1 }, { 3, 6, 5, 16, 1, 1, 0, 1 }, { 2, 5, 7, 12, 7, 3, 2, 1 },
  { 33, 2, 3, 3, 3, 1, 2, 1 }, { 2, 4, 4, 9, 3, 1, 4, 1 }, { 2, 40, 3, 30, 3, 2, 1, 2 },
  -- with vectors over filters, in runs of 3 to 7 places, one or two to a row, of more or fewer filters than two vectors
  { 3, 64, 20, 2, 3, 1, 1, 1 }, { 5, 8, 70, 3, 3, 1, 1, 1 }, { 3, 9, 33, 5, 3, 1, 1, 1 }, { 2, 15, 64, 8, 3, 1, 1, 1 },
  { 3, 15, 40, 9, 3, 1, 1, 1 }, { 2, 5, 32, 10, 5, 1, 2, 1 }, { 3, 15, 48, 12, 3, 1, 1, 1 }, { 5, 70, 16, 6, 1, 1, 0, 1 },
}

describe("conv2d at the size of networks", function()
  for number, case in ipairs(cases) do
    local n, channels, filters, size, kernel, stride, padding, dilation = table.unpack(case)
    local title = ("%d images %d x %d x %d, %d filters %d x %d, stride %d, padding %d, dilation %d"):format(n, channels, size,
      size, filters, kernel, kernel, stride, padding, dilation)
    local function inputs(dtype)
      local x = plumb.randn({ n, channels, size, size }, { seed = number, dtype = "float64" }):cast(dtype)
      return x, plumb.randn({ filters, channels, kernel, kernel }, { seed = 100 + number, dtype = "float64" }):cast(dtype)
    end
    local function direct(x, w) return x:conv2d(w, stride, padding, dilation) end
    local function reference(x, w) return by_taps(x, w, stride, padding, dilation) end

    it("equals products of slices: " .. title, function()
      local tolerance = { float64 = 1e-13, float32 = 3e-6 }
      local exact = reference(inputs("float64"))
      for dtype, limit in pairs(tolerance) do close(direct(inputs(dtype)):double(), exact, limit, dtype) end
    end)

    it("has their gradients: " .. title, function()
      local x, w = inputs("float64")
      local weights = plumb.randn(direct(x, w):shape(), { seed = 7, dtype = "float64" })
      local function gradients(f, ...)
        return plumb.grad(function(...) return (f(...) * weights:cast((...):dtype())):sum() end, { count = 2 })(...)
      end
      local x_exact, w_exact = gradients(reference, x, w)
      local x_double, w_double = gradients(direct, x, w)
      local x_single, w_single = gradients(direct, inputs("float32"))
      close(x_double, x_exact, 1e-13, "x, float64")
      close(w_double, w_exact, 1e-13, "weight, float64")
      close(x_single:double(), x_exact, 3e-6, "x, float32")
      close(w_single:double(), w_exact, 3e-6, "weight, float32")
    end)

    it("gives the same bits with 1, 2 and 4 threads: " .. title, function()
      local x, w = inputs("float32")
      local before, results = plumb.threads(), {}
      for _, threads in ipairs { 1, 2, 4 } do
        plumb.threads(threads)
        local y = direct(x, w):evaluate()
        results[#results + 1] = { y, y:conv2d_input(w, { size, size }, stride, padding, dilation):evaluate(),
          x:conv2d_weight(y, { kernel, kernel }, stride, padding, dilation):evaluate() }
      end
      plumb.threads(before)
      for k = 1, 3 do
        support.same_bits(results[1][k], results[2][k], "2 threads")
        support.same_bits(results[1][k], results[3][k], "4 threads")
      end
    end)
  end

  it("does not lay out the columns of a whole batch", function()
    local x, w = plumb.randn(64, 16, 28, 28):evaluate(), plumb.randn(16, 16, 3, 3):evaluate()
    local columns = 64 * 16 * 9 * 28 * 28 * 4
    for _, stride in ipairs { 1, 2 } do
      local before = plumb.memory().live
      plumb.core.clear_cache()
      plumb.core.memory_reset_peak()
      local y = x:conv2d(w, stride, 1):evaluate()
      y:conv2d_input(w, { 28, 28 }, stride, 1):evaluate()
      x:conv2d_weight(y, 3, stride, 1):evaluate()
      assert.is_true(plumb.memory().peak - before < columns / 2)
    end
  end)

  it("works on no images", function()
    local x, w = plumb.zeros(0, 2, 5, 5), plumb.ones(3, 2, 3, 3)
    assert.same({ 0, 3, 3, 3 }, x:conv2d(w):shape())
    assert.are.equal(0, x:conv2d_weight(plumb.zeros(0, 3, 3, 3), 3):abs():max():item())
  end)

  it("is 0 where there are no channels or filters to sum over", function()
    for _, stride in ipairs { 1, 2 } do
      local size = (20 - 3) // stride + 1
      plumb.full({ 3 * 5 * size * size }, 7):evaluate() -- memory that is used again does not hold zeros
      collectgarbage()
      local y = plumb.ones(3, 0, 20, 20):conv2d(plumb.ones(5, 0, 3, 3), stride):evaluate()
      assert.are.equal(0, y:abs():max():item())
      local x = plumb.ones(3, 0, size, size):conv2d_input(plumb.ones(0, 2, 3, 3), { 20, 20 }, stride)
      assert.are.equal(0, x:abs():max():item())
    end
  end)
end)

describe("max_pool2d", function()
  local nan = 0 / 0
  it("gives the gradient to the first of equals and lets NaN win, in vectors as alone", function()
    for _, size in ipairs { 2, 3, 6, 7, 28, 33, 70 } do
      local x = plumb.randint(0, 3, { 3, 2, size, size }, { seed = size }):double()
      if size > 5 then -- here and there not a number
        local odd = plumb.rand({ 3, 2, size, size }, { seed = size, dtype = "float64" })
        x = plumb.where(odd:lt(0.05), plumb.full(x:shape(), nan, { dtype = "float64" }), x)
      end
      for _, dtype in ipairs { "float64", "float32" } do
        local xs = x:cast(dtype)
        local r = size // 2
        local g = plumb.arange(1, 6 * r * r):cast(dtype):reshape(3, 2, r, r)
        local put = xs:max_pool2d_put(g, 2)
        local x_at, g_at, put_at = support.accessor(xs), support.accessor(g), support.accessor(put)
        local pooled = support.accessor(xs:max_pool2d(2))
        support.each_index({ 3, 2, r, r }, function(s, c, i, j)
          local best_a, best_b = nil, nil
          for a = 2 * i - 1, 2 * i do
            for b = 2 * j - 1, 2 * j do
              local value = x_at(s, c, a, b)
              if not best_a or value > x_at(s, c, best_a, best_b) or value ~= value then best_a, best_b = a, b end
            end
          end
          local best, most = x_at(s, c, best_a, best_b), pooled(s, c, i, j)
          assert.is_true(most == best or most ~= most and best ~= best)
          for a = 2 * i - 1, 2 * i do
            for b = 2 * j - 1, 2 * j do
              assert.are.equal(a == best_a and b == best_b and g_at(s, c, i, j) or 0, put_at(s, c, a, b))
            end
          end
        end)
        assert.are.equal(g:sum():item(), put:sum():item())
      end
    end
  end)

  it("finds nothing in a dilated window that lies in the padding, as PyTorch does", function()
    local x, g = plumb.ones(1, 1, 2, 4):double(), plumb.ones(1, 1, 1, 4):double()
    local window = { { 2, 1 }, 1, { 1, 0 }, { 3, 1 } } -- of its two rows one is above the image and one below
    assert.are.equal(-math.huge, x:max_pool2d(table.unpack(window)):max():item())
    assert.are.equal(0, x:max_pool2d_pick(x + 1, table.unpack(window)):abs():max():item())
    assert.are.equal(0, x:max_pool2d_put(g, table.unpack(window)):abs():max():item())
  end)
end)

describe("convolutions and pooling refuse", function()
  local x, w = plumb.zeros(2, 3, 5, 5), plumb.zeros(4, 3, 3, 3)
  local bad = {
    { "a kernel larger than the padded image", function() return x:conv2d(plumb.zeros(4, 3, 8, 8), 1, 1) end, "spans 8 pixels" },
    { "channels that do not match", function() return x:conv2d(plumb.zeros(4, 2, 3, 3)) end, "3 channels do not fit weights" },
    { "groups that do not divide", function() return x:conv2d(w, 1, 0, 1, 2) end, "2 groups" },
    { "images without channels", function() return plumb.zeros(5, 5):conv2d(w) end, "(n, channels, height, width)" },
    { "integers", function() return x:long():conv2d(w) end, "int64" },
    { "mixed dtypes", function() return x:double():conv2d(w) end, "float64" },
    { "stride 0", function() return x:conv2d(w, 0) end, "the stride must be at least 1" },
    { "negative padding", function() return x:conv2d(w, 1, -1) end, "the padding must be at least 0" },
    { "a list of three", function() return x:conv2d(w, { 1, 2, 3 }) end, "a number or {height, width}" },
    { "an empty list", function() return x:conv2d(w, {}) end, "a number or {height, width}" },
    { "half a stride", function() return x:conv2d(w, 1.5) end, "integer" },
    { "a huge dilation", function() return x:conv2d(w, 1, 0, 1 << 40) end, "the dilation must be at least 1 and at most" },
    { "an empty kernel", function() return x:conv2d(plumb.zeros(4, 3, 0, 3)) end, "kernel without elements" },
    { "an endless kernel", function() return x:conv2d(plumb.zeros(4, 3, 1, 1):expand(4, 3, 1 << 40, 1), 1, 0, 1 << 24) end,
      "beyond any image" },
    { "a result beyond counting", function() return x:conv2d(plumb.zeros(4, 3, 1, 1), 1, 1 << 30) end, "can be counted" },
    { "a padded image beyond counting", function()
      return x:conv2d(plumb.zeros(4, 3, 2, 2), 1, 1 << 29, (1 << 30) - 1)
    end, "can be counted" },
    { "more groups than channels and filters", function()
      return plumb.zeros(1, 2, 3, 3):conv2d(plumb.zeros(0, 3, 1, 1), 1, 0, 1, 0x5555555555555556)
    end, "2 channels do not fit" },
    { "a gradient of another shape", function() return plumb.zeros(2, 4, 9, 9):conv2d_input(w, { 5, 5 }) end, "(2, 4, 3, 3)" },
    { "a window larger than the image", function() return x:max_pool2d(6) end, "spans 6 pixels" },
    { "padding beyond half the kernel", function() return x:max_pool2d(2, 2, 2) end, "more than half" },
    { "an image without pixels", function() return plumb.zeros(1, 1, 0, 4):max_pool2d(1) end, "height" },
    { "values of another shape", function() return x:max_pool2d_pick(plumb.zeros(2, 3, 5, 4), 2) end, "(2, 3, 5, 5)" },
  }
  for _, case in ipairs(bad) do
    it(case[1], function() assert.has.match(case[3], support.message_of(case[2]), 1, true) end)
  end
end)

describe("maxima of what never falls", function()
  local function randn(seed, ...) return plumb.randn({ ... }, { seed = seed, dtype = "float64" }):evaluate() end

  it("are taken first: the same numbers and gradients", function()
    local x, b = randn(1, 3, 4, 7, 6), randn(2, 4)
    for name, f in pairs {
      relu = function(z) return z:relu() end,
      leaky = function(z) return z:leaky_relu(0.1) end,
      falling = function(z) return z:leaky_relu(-0.1) end,
      twice = function(z) return (z:relu() + 1):leaky_relu(0.5) end,
    } do
      for _, window in ipairs { { 2 }, { 3, 2, 1 }, { 2, 1 }, { { 3, 2 }, { 2, 1 }, { 1, 0 }, { 1, 2 } } } do
        local g
        local function pooled(apart) -- a product, even with 1, is in the way
          return function(z, bias)
            local y = f(bias:reshape(1, 4, 1, 1) + z)
            y = (apart and y * 1 or y):max_pool2d(table.unpack(window))
            g = g or randn(3, table.unpack(y:shape()))
            return (y * g):sum(), y
          end
        end
        local function all(apart) return plumb.value_and_grad(pooled(apart), { count = 2 })(x, b) end
        local _, y, by_x, by_b = all(false)
        local _, expected, expected_by_x, expected_by_b = all(true)
        assert.is_true(expected:equal(y), name)
        assert.is_true((expected_by_x - by_x):abs():max():item() < 1e-13, name)
        assert.is_true((expected_by_b - by_b):abs():max():item() < 1e-13, name)
      end
    end
  end)
end)
