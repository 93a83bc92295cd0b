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

  describe("from numbers in parts, where the processor multiplies short ones fast,", function()
    local function pair(m, n, k, seed)
      return plumb.randn({ m, k }, { seed = seed }):evaluate(), plumb.randn({ k, n }, { seed = seed + 1 }):evaluate()
    end

    local function exactly(x, y) return reference(x:double(), y:double()) end

    -- The product as float32 gives it when every number of a sum is added in turn.
    local function in_turn(x, y)
      local sums = plumb.zeros(x:size(1), y:size(2))
      for k = 1, x:size(2) do sums = (sums + x:slice(2, k, k) * y:slice(1, k, k)):evaluate() end
      return sums
    end

    local function rms(z, exact) return (z:double() - exact):square():mean():sqrt():item() end

    it("equals sums of products at the edges of tiles, groups and slices", function()
      local number = 0
      for _, m in ipairs { 48, 63, 64, 65, 81, 257 } do
        for _, n in ipairs { 48, 49, 96, 127, 160 } do
          check(m, n, ({ 448, 479, 480, 481, 512, 777, 801, 840 })[number % 8 + 1], number, 2)
          number = number + 1
        end
      end
      for layout = 0, 15 do check(100, 101, 130, layout, 2) end
      for layout = 0, 15 do check(101, 50, 1700, layout, 2) end
      for layout = 0, 15 do check(33, 512, 140, layout, 2) end -- few rows, and rows of memory that collide in a cache
      for layout = 0, 15 do check(512, 130, 34, layout, 2) end -- a k of little more than a tile
      check(70, 1400, 1100, 1, 2) -- more groups than stay in the cache, in two slices
      check(1400, 70, 1100, 4, 2)
    end)

    it("is at least as precise as sums in float32", function()
      if not plumb.cpu_kernel():find "AMX" then return end -- the others are sums in float32
      for _, size in ipairs { 64, 300, 1000 } do
        local x, y = pair(70, 260, size, size)
        local exact = exactly(x, y)
        assert.is_true(rms(x:matmul(y), exact) <= rms(in_turn(x, y), exact), "of " .. size)
        assert.is_true(rms(x:abs():matmul(y:abs()), exactly(x:abs(), y:abs())) <=
          rms(in_turn(x:abs(), y:abs()), exactly(x:abs(), y:abs())), "without signs, of " .. size)
      end
    end)

    it("is precise for numbers of any size", function()
      for _, scales in ipairs { { 1e-30, 1e30 }, { 1e30, 1e-30 }, { 1e-36, 1e36 }, { 1e37, 1e-10 }, { 1e-12, 1e-12 }, { 1e-41, 1e37 },
        { 1e-41, 1e29 }, { 1e-36, 1e25 } } do
        local x, y = pair(64, 130, 128, 7)
        x, y = (x * scales[1]):evaluate(), (y * scales[2]):evaluate()
        local exact = exactly(x, y)
        local size = scales[1] * scales[2] * 128 ^ 0.5
        assert.is_true(rms(x:matmul(y), exact) < 4e-7 * size, scales[1] .. " by " .. scales[2])
      end
      local first = plumb.arange(1, 128):eq(1) -- large numbers that meet zeros
      local x, y = pair(64, 130, 128, 8)
      local x1, y1 = plumb.where(first, 1, x * 1e-34):evaluate(), plumb.where(first:reshape(128, 1), 0, y * 1e25):evaluate()
      assert.is_true(rms(x1:matmul(y1), exactly(x1, y1)) < 4e-7 * 128 ^ 0.5 * 1e-9, "small numbers beside large ones")
      local rows = (x * 10 ^ plumb.linspace(-30, 0, 64):reshape(64, 1)):evaluate() -- each row of its own size
      local error = ((rows:matmul(y):double() - exactly(rows, y)) / rows:double():abs():max(2, true)):abs():max():item()
      assert.is_true(error < 1e-4, "rows of different sizes: " .. error)
    end)

    it("keeps whole numbers whole", function()
      local x = (plumb.rand({ 90, 200 }, { seed = 1 }) * 2000 - 1000):round():evaluate()
      local y = (plumb.rand({ 200, 90 }, { seed = 2 }) * 60 - 30):round():evaluate()
      support.same_bits(exactly(x, y):float():evaluate(), x:matmul(y):evaluate(), "whole numbers")
      support.same_bits(plumb.zeros(90, 90):evaluate(), (x * 0):matmul(y):abs():evaluate(), "nothing")
    end)

    it("keeps infinities, NaN and overflows where they belong", function()
      local all_ones = string.unpack("<f", "\xff\xff\xff\x7f") -- a NaN that rounding must not carry over
      for _, value in ipairs { math.huge, -math.huge, 0 / 0, all_ones, -all_ones, 3.4e38 } do
        local x, y = pair(65, 130, 128, 9)
        x, y = x:abs():evaluate(), y:abs():evaluate()
        x = plumb.where(plumb.arange(1, 65 * 128):reshape(65, 128):eq(10 * 128 + 5), plumb.full({}, value), x):evaluate() -- row 11
        for _, product in ipairs { x:matmul(y), y:t():matmul(x:t()):t() } do
          local exact, got = support.accessor(exactly(x, y):float()), support.accessor(product)
          for j = 1, 130 do
            local a, b = exact(11, j), got(11, j)
            assert.is_true(a == b or (a ~= a and b ~= b) or math.abs(a - b) <= 1e-6 * math.abs(a), ("%g: %g is not %g"):format(value, b, a))
            assert.is_true(math.abs(exact(12, j) - got(12, j)) < 1e-3)
          end
        end
      end
    end)
  end)

  describe("of bytes that are divided", function()
    local function bytes_of(shape, seed) return (plumb.rand(shape, { seed = seed }) * 256):floor():cast("uint8"):evaluate() end

    local function near(got, bytes, numbers, divisor, name) -- x, y in the order of the product
      local exact = reference(bytes:double() / divisor, numbers:double())
      local bound = reference((bytes:double() / divisor):abs(), numbers:double():abs())
      local error = ((got:double() - exact):abs() / bound:clamp(1e-300)):max():item()
      assert.is_true(error <= 1e-6, ("%s: %g"):format(name, error))
    end

    it("equals sums of products from either side, in any layout", function()
      for number, shape in ipairs { { 64, 130, 150 }, { 100, 50, 784 }, { 49, 300, 130 }, { 70, 1400, 1100 }, { 600, 49, 100 } } do
        local m, n, k = table.unpack(shape)
        local bytes = { bytes_of({ m, k }, number), bytes_of({ k, m }, number):t(),
          bytes_of({ m + 3, k + 5 }, number):slice(1, 4):slice(2, 6), bytes_of({ m, k * 2 }, number):slice(2, 1, k * 2, 2),
          bytes_of({ m, 1, k // 2, 2 }, number):reshape(m, k) }
        for layout, b in ipairs(bytes) do
          local x = number % 2 == 0 and plumb.randn({ n, k }, { seed = number }):t() or plumb.randn({ k, n }, { seed = number })
          local name = ("%d x %d x %d, layout %d"):format(m, n, k, layout)
          near(b:float():div(255):matmul(x), b, x, 255, name)
          near(x:t():matmul((b:float() / 255):t()):t(), b, x, 255, name .. ", turned")
        end
      end
    end)

    it("goes with any divisor and any numbers", function()
      local b, x = bytes_of({ 64, 128 }, 1), plumb.randn({ 128, 64 }, { seed = 2 }):evaluate()
      near(b:float():div(255):matmul(x * 0), b, x * 0 + 0, 255, "zeros")
      for _, divisor in ipairs { 1, 255, 254.5, -3, 1e-30, 1e30 } do
        near(b:float():div(divisor):matmul(x), b, x, divisor, "by " .. divisor)
      end
      near((b:float() / 255):matmul(x * 1e-30), b, x * 1e-30, 255, "small numbers")
      local odd = plumb.where(plumb.arange(1, 128 * 64):reshape(128, 64):eq(65), plumb.full({}, math.huge), x) -- row 2, column 1
      for _, product in ipairs { b:float():div(0):matmul(x), b:float():div(0 / 0):matmul(x), b:float():div(255):matmul(odd) } do
        local got = support.accessor(product)
        assert.is_false(math.abs(got(1, 1)) < math.huge)
      end
      assert.is_true(math.abs(support.accessor(b:float():div(255):matmul(odd))(1, 2)) < 1e3)
    end)

    it("computes the quotients where they are needed, too", function()
      local b, x = bytes_of({ 64, 1, 8, 16 }, 3), plumb.randn({ 128, 70 }, { seed = 4 }):evaluate()
      local function numbers() return b:float() / 255 end
      local products = plumb.compile(function(bytes, w)
        local images = bytes:float() / 255
        return images:flatten(2):matmul(w), images:sum(), images
      end)
      local product, sum, images = products(b, x)
      support.same_bits(numbers():evaluate(), images:evaluate(), "images")
      near(product, b:reshape(64, 128), x, 255, "beside the images")
      assert.is_true(math.abs(sum:item() - numbers():sum():item()) < 1e-3)
      near((numbers():flatten(2) * 1):matmul(x), b:reshape(64, 128), x, 255, "computed with before")
      local squares = support.accessor(numbers():flatten(2):matmul(numbers():flatten(2):t()))
      local expected = support.accessor(reference(numbers():flatten(2):double(), numbers():flatten(2):double():t()))
      assert.is_true(math.abs(squares(3, 5) - expected(3, 5)) < 1e-4)
      local twice = plumb.compile(function(p, q, u, v)
        p, q = p:float() / 255, q:float() / 254
        return p:matmul(u) + q:matmul(v), p:t():matmul(q)
      end)
      local p, q, u, v = bytes_of({ 200, 130 }, 5), bytes_of({ 200, 150 }, 6), plumb.randn(130, 100), plumb.randn(150, 100)
      plumb.evaluate(u, v)
      local both, images_of_images = twice(p, q, u, v)
      local expected_sum = reference(p:double() / 255, u:double()) + reference(q:double() / 254, v:double())
      assert.is_true((both:double() - expected_sum):abs():max():item() < 1e-4)
      local expected_images = reference((p:double() / 255):t(), q:double() / 254)
      assert.is_true((images_of_images:double() - expected_images):abs():max():item() < 1e-3)
      local value, gradients = plumb.value_and_grad(function(w) return numbers():flatten(2):matmul(w):square():sum() end)(x)
      local exact = numbers():flatten(2):double()
      local expected_gradient = reference(exact:t(), 2 * reference(exact, x:double()))
      local error = ((gradients:double() - expected_gradient):abs():max() / expected_gradient:abs():max()):item()
      assert.is_true(error < 1e-6 and value:item() > 0, "gradient: " .. error)
    end)

    it("finds the images of a batch where they lie", function()
      local set = bytes_of({ 500, 3, 8, 17 }, 9) -- 408 pixels
      local function products(batch, w, g)
        local images = batch:float():div(255):flatten(2)
        return images:matmul(w), g:t():matmul(images), images:t():matmul(g)
      end
      local step = plumb.compile(function(all, index, ...) return products(all:index_select(1, index), ...) end)
      local of_batch = plumb.compile(products)
      local kept = plumb.compile(function(all, index, w)
        local picked = all:index_select(1, index)
        return picked:float():div(255):flatten(2):matmul(w), picked
      end)
      for _, count in ipairs { 64, 130, 333, 600, 1000, 1620 } do -- from 384 on in halves, which are not equal at 600 and 1620
        for _, width in ipairs { 64, 95 } do
          local index = (plumb.rand(count, { seed = count }) * 500):floor():long() + 1 -- some more than once
          local w, g = plumb.randn({ 408, width }, { seed = 1 }):evaluate(), plumb.randn({ count, width }, { seed = 2 }):evaluate()
          local picked = set:index_select(1, index):evaluate():reshape(count, 408)
          local what = count .. " images, width " .. width
          local forward, gradient, turned = step(set, index, w, g)
          near(forward, picked, w, 255, what)
          near(gradient:t(), picked:t(), g, 255, what .. ", gradient")
          for k, expected in ipairs { of_batch(picked, w, g) } do
            support.same_bits(expected, ({ forward, gradient, turned })[k], what .. ", product " .. k)
          end
          local product, same = kept(set, index, w)
          near(product, picked, w, 255, what .. ", beside the images")
          assert.are.same(picked:tolist(), same:reshape(count, 408):tolist())
        end
      end
    end)

    it("finds parts of such a batch", function()
      local set = bytes_of({ 300, 200 }, 10):slice(1, 11):evaluate()
      local index = (plumb.rand(256, { seed = 3 }) * 290):floor():long() + 1
      local w = plumb.randn({ 200, 64 }, { seed = 4 }):evaluate()
      local parts = {
        function(x, y) return x:slice(1, 65, 192):matmul(y) end,
        function(x, y) return x:slice(1, 1, 256, 2):matmul(y) end,
        function(x, y) return x:slice(1, 256, 1, -1):matmul(y) end,
        function(x, y) return x:slice(2, 41, 168):matmul(y:slice(1, 41, 168)) end,
        function(x, y) return x:slice(2, 200, 1, -1):matmul(y) end,
        function(x, y) return x:reshape(512, 100):matmul(y:slice(1, 1, 100)) end,
        function(x, y) return x:reshape(128, 400):matmul(plumb.concat({ y, y }, 1)) end,
        function(x, y) return x:slice(1, 1, 200):t():matmul(y) end,
      }
      for k, part in ipairs(parts) do
        local one = plumb.compile(function(all, i, y) return part(all:index_select(1, i):float() / 255, y) end)
        local picked = set:index_select(1, index):evaluate()
        local got, expected = one(set, index, w), part(picked:double() / 255, w:double()):evaluate()
        assert.is_true((got:double() - expected):abs():max():item() < 1e-4, "part " .. k)
      end
    end)

    it("divides a batch's images where parts of numbers do not suffice, and checks its index", function()
      local set, index = bytes_of({ 500, 128 }, 11), (plumb.rand(333, { seed = 5 }) * 500):floor():long() + 1
      local step = plumb.compile(function(all, i, w, g)
        local images = all:index_select(1, i):float() / 255
        return images:matmul(w), g:t():matmul(images)
      end)
      local w, g = plumb.randn({ 128, 64 }, { seed = 6 }):evaluate(), plumb.randn({ 333, 96 }, { seed = 7 }):evaluate()
      local picked = set:index_select(1, index):evaluate()
      for _, scale in ipairs { 1e-30, 1e25 } do
        local forward, gradient = step(set, index, w * scale, g * scale)
        near(forward, picked, w * scale, 255, "forward, scale " .. scale)
        near(gradient:t(), picked:t():evaluate(), g * scale, 255, "gradient, scale " .. scale)
      end
      for _, wrong in ipairs { 0, 501, -3 } do
        local bad = plumb.where(plumb.arange(1, 333):eq(77), plumb.full({}, wrong, { dtype = "int64" }), index):evaluate()
        local ok, message = pcall(step, set, bad, w, g)
        assert.is_false(ok)
        assert.truthy(message:find(("index_select: index %d is not in 1 .. 500"):format(wrong), 1, true), message)
      end
    end)

    it("gives the same bits with any number of threads", function()
      local before, results = plumb.threads(), {}
      local b, x = bytes_of({ 1620, 300 }, 5), plumb.randn({ 120, 300 }, { seed = 6 }):evaluate()
      local g = plumb.randn({ 1620, 60 }, { seed = 8 }):evaluate()
      for k, threads in ipairs { 1, 2, 3, 5, 8 } do
        plumb.threads(threads)
        local images = b:float() / 255
        results[k] = { images:matmul(x:t()):evaluate(), x:slice(2, 1, 100):t():matmul(plumb.randn({ 120, 90 }, { seed = 7 })):evaluate(),
          g:t():matmul(images):evaluate(), g:t():matmul(g):evaluate() } -- in two halves
      end
      plumb.threads(before)
      for k = 2, 5 do
        for part = 1, 4 do support.same_bits(results[1][part], results[k][part], "threads") end
      end
    end)
  end)

  it("sees any NaN", function()
    for _, bits in ipairs { 0x7fffffff, 0xffffffff, 0x7f800001, 0xff800001, 0x7fc00000, 0xffc00000 } do
      local x = plumb.ones(64, 128):evaluate()
      local nan = plumb.full({}, (string.unpack("f", string.pack("I4", bits))))
      x = plumb.where(plumb.arange(1, 64 * 128):reshape(64, 128):eq(777), nan, x):evaluate() -- row 7
      local sums = support.accessor(x:matmul(plumb.ones(128, 64)))
      for j = 1, 64 do assert.is_true(sums(7, j) ~= sums(7, j) and sums(8, j) == 128, ("%x"):format(bits)) end
    end
  end)

  it("gives the same bits with 1, 2 and 4 threads", function()
    local before = plumb.threads()
    for _, shape in ipairs { { 300, 200, 100 }, { 17, 900, 300 }, { 2000, 10, 300 }, { 1, 3000, 2000 }, { 40, 40, 6000 },
      { 30, 12, 20000 }, { 600, 50, 784 }, { 600, 10, 512 }, { 64, 500, 784 }, { 1000, 300, 1700 }, { 90, 120, 100 } } do
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
