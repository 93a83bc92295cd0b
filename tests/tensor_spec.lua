-- Tensors as values: making, looking, indexing, printing, and what a user's mistakes say.
local plumb = require "plumb"
local support = require "support"

local float64, int64 = { dtype = "float64" }, { dtype = "int64" }
local fails_here = support.fails_here

describe("making tensors", function()
  it("from numbers and nested lists", function()
    assert.are.same({}, plumb.tensor(3):shape())
    assert.are.equal(3, plumb.tensor(3):item())
    local t = plumb.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    assert.are.same({ 2, 3 }, t:shape())
    assert.are.equal("float32", t:dtype())
    assert.are.same({ { 1, 2, 3 }, { 4, 5, 6 } }, t:tolist())
    assert.are.same({ { { 1 }, { 2 } } }, plumb.tensor({ { { 1 }, { 2 } } }, int64):tolist())
    assert.are.same({ 0 }, plumb.tensor({}):shape())
    assert.are.same({ 2, 0 }, plumb.tensor({ {}, {} }):shape())
    assert.are.same({ 1, 0 }, plumb.tensor({ true, false }):tolist())
    assert.are.equal(math.maxinteger, plumb.tensor({ math.maxinteger }, int64):tolist()[1])
    assert.are.same({ 0, 255 }, plumb.tensor({ 0, 255 }, { dtype = "uint8" }):tolist())
    assert.are.equal(2.5, plumb.tensor({ 2.5 }, float64)[1]:item())
  end)

  it("filled, even and identity", function()
    assert.are.same({ { 0, 0 }, { 0, 0 } }, plumb.zeros(2, 2):tolist())
    assert.are.same({ 1, 1 }, plumb.ones({ 2 }, int64):tolist())
    assert.are.same({ 7, 7 }, plumb.full({ 2 }, 7):tolist())
    assert.are.equal("float64", plumb.zeros({ 2 }, float64):dtype())
    assert.are.same({ 1, 2, 3 }, plumb.arange(3):tolist())
    assert.are.same({ 2, 4, 6 }, plumb.arange(2, 7, 2):tolist())
    assert.are.same({ 3, 2, 1 }, plumb.arange(3, 1, -1):tolist())
    assert.are.same({}, plumb.arange(0):tolist())
    assert.are.equal(11, #plumb.arange(0, 1, 0.1))
    assert.are.equal("int64", plumb.arange(3):dtype())
    assert.are.equal("float32", plumb.arange(0, 1, 0.5):dtype())
    assert.are.same({ 0, 0.25, 0.5, 0.75, 1 }, plumb.linspace(0, 1, 5):tolist())
    assert.are.equal(0.1, plumb.linspace(-3, 0.1, 7, float64)[7]:item())
    assert.are.same({ 4 }, plumb.linspace(4, 9, 1):tolist())
    assert.are.same({ { 1, 0, 0 }, { 0, 1, 0 } }, plumb.eye(2, 3):tolist())
    assert.are.same({}, plumb.zeros():shape())
  end)

  it("in the default dtype", function()
    plumb.set_default_dtype("float64")
    local made = { plumb.zeros(2), plumb.tensor { 1 }, plumb.randn(2), plumb.linspace(0, 1, 2), plumb.eye(2) }
    plumb.set_default_dtype("float32")
    for _, t in ipairs(made) do assert.are.equal("float64", t:dtype()) end
    assert.are.equal("float32", plumb.zeros(2):dtype())
    fails_here(function() plumb.set_default_dtype("int64") end, "set_default_dtype")
  end)

  it("explains what cannot be made", function()
    fails_here(function() return (plumb.tensor { { 1, 2 }, { 3 } }) end, "axis 2", "2")
    fails_here(function() return (plumb.tensor { { 1, 2 }, 3 }) end, "axis 2")
    fails_here(function() return (plumb.tensor { 1, "2" }) end, "string")
    fails_here(function() return (plumb.tensor { 1, {} }) end, "table")
    fails_here(function() return (plumb.tensor("x")) end, "string")
    fails_here(function() return (plumb.tensor()) end, "nil")
    fails_here(function() return (plumb.tensor({ 1.5 }, int64)) end, "not an integer")
    fails_here(function() return (plumb.tensor({ math.huge }, int64)) end, "not an integer")
    fails_here(function() return (plumb.tensor({ 256 }, { dtype = "uint8" })) end, "uint8")
    fails_here(function() return (plumb.tensor({ 1 }, { dtype = "float16" })) end, "float16", "float32")
    fails_here(function() return (plumb.tensor({ 1 }, { dtype = 5 })) end, "dtype")
    fails_here(function() return (plumb.tensor({ 1 }, { dtpye = "int64" })) end, "dtpye", "dtype")
    fails_here(function() return (plumb.zeros(-1)) end, "(-1)")
    fails_here(function() return (plumb.zeros(1.5)) end, "integers")
    fails_here(function() return (plumb.zeros("a")) end, "integers")
    fails_here(function() return (plumb.zeros({ 2 }, { 3 })) end, "zeros")
    fails_here(function() return (plumb.zeros(1, 1, 1, 1, 1, 1, 1, 1, 1)) end, "8 axes")
    fails_here(function() return (plumb.full(3, 1)) end, "full")
    fails_here(function() return (plumb.full({ 3 }, "x")) end, "full")
    fails_here(function() return (plumb.rand({ 2 }, { seed = "x" })) end, "seed")
    fails_here(function() return (plumb.randn({ 2 }, int64)) end, "int64")
    fails_here(function() return (plumb.randperm("x")) end, "randperm")
    fails_here(function() return (plumb.randperm(-1)) end, "randperm")
    fails_here(function() return (plumb.randint(3, 1, { 2 })) end, "randint")
    fails_here(function() return (plumb.arange()) end, "arange")
    fails_here(function() return (plumb.arange(1, 5, 0)) end, "arange")
    fails_here(function() return (plumb.arange(1, math.huge)) end, "arange")
    fails_here(function() return (plumb.linspace(0, 1, 0)) end, "linspace")
    fails_here(function() return (plumb.eye("x")) end, "eye")
    fails_here(function() return (plumb.eye(-1)) end, "eye")
    local deep = {}
    for _ = 1, 12 do deep = { deep } end
    fails_here(function() return (plumb.tensor(deep)) end, "deeper")
  end)
end)

describe("dtypes", function()
  local i, f, d = plumb.tensor({ 1, 2 }, int64), plumb.ones(2), plumb.ones({ 2 }, float64)

  it("integers yield to floats, and numbers take the tensor's", function()
    assert.are.equal("float32", (i + f):dtype())
    assert.are.equal("float64", (i + d):dtype())
    assert.are.equal("int64", (i + 1):dtype())
    assert.are.equal("float32", (i + 0.5):dtype())
    assert.are.equal("float64", (2 * d):dtype())
    assert.are.equal("float32", (f + 1e300):dtype())
    assert.are.equal("float32", (i / 2):dtype())
    assert.are.equal("int64", (i // 2):dtype())
    assert.are.equal("float32", i:exp():dtype())
    assert.are.equal("float32", i:mean():dtype())
    assert.are.equal("int64", i:sum():dtype())
    assert.are.equal("int64", plumb.tensor({ 200, 100 }, { dtype = "uint8" }):sum():dtype())
    assert.are.equal(300, plumb.tensor({ 200, 100 }, { dtype = "uint8" }):sum():item())
    assert.are.equal("float64", plumb.where(i:eq(1), 0.5, d):dtype())
    assert.are.equal("float64", plumb.where(i:eq(1), d, 0.5):dtype())
  end)

  it("float32 and float64 do not mix, and the error names both", function()
    for _, f2 in ipairs { plumb.add, plumb.mul, plumb.maximum, plumb.matmul, plumb.eq } do
      fails_here(function() return (f2(f, plumb.ones({ 2 }, float64))) end, "float32", "float64", "(2)")
    end
    fails_here(function() return (plumb.concat { f, d }) end, "concat", "float32", "float64")
  end)

  it("convert", function()
    local x = plumb.tensor({ -1.7, 0.2, 300, 1e30 }, float64)
    assert.are.same({ -1, 0, 300, math.maxinteger }, x:long():tolist())
    assert.are.same({ 0, 0, 255, 255 }, x:cast("uint8"):tolist())
    assert.are.equal("float32", x:float():dtype())
    assert.are.equal(0, plumb.tensor(0 / 0):long():item())
    assert.are.equal("float64", plumb.tensor(x, float64):dtype())
    fails_here(function() return (x:cast("complex")) end, "complex")
  end)

  it("divide integers by zero without a trap", function()
    local zero, least = plumb.tensor({ 0 }, int64), plumb.tensor({ math.mininteger }, int64)
    assert.are.equal(0, (i:slice(1, 1, 1) // zero):item())
    assert.are.equal(0, (i:slice(1, 1, 1) % zero):item())
    assert.are.equal(math.mininteger, (least // -1):item())
    assert.are.equal(0, (least % -1):item())
    assert.are.same({ -2, 1 }, { (plumb.tensor({ -3 }, int64) // 2):item(), (plumb.tensor({ -3 }, int64) % 2):item() })
  end)
end)

describe("looking", function()
  local t = plumb.arange(24):float():reshape(2, 3, 4)

  it("shape, size, dim, numel, length", function()
    assert.are.same({ 2, 3, 4 }, t:shape())
    assert.are.equal(3, t:size(2))
    assert.are.equal(4, t:size(-1))
    assert.are.equal(3, t:dim())
    assert.are.equal(24, t:numel())
    assert.are.equal(2, #t)
    fails_here(function() return (t:size(4)) end, "size", "(2, 3, 4)")
    fails_here(function() return (t:size(0)) end, "size")
    fails_here(function() return (#plumb.tensor(1)) end, "length")
    fails_here(function() return (t:item()) end, "item", "(2, 3, 4)")
    fails_here(function() return (t:nothing()) end, "nothing")
  end)

  it("compares", function()
    local a = plumb.tensor { 1, 2, 3 }
    assert.are.same({ 0, 1, 0 }, a:eq(2):tolist())
    assert.are.same({ 1, 0, 1 }, a:ne(2):tolist())
    assert.are.same({ 1, 1, 0 }, plumb.le(a, 2):tolist())
    assert.is_true(a:equal(plumb.tensor { 1, 2, 3 }))
    assert.is_false(a:equal(plumb.tensor { 1, 2, 4 }))
    assert.is_false(a:equal(plumb.tensor { { 1, 2, 3 } }))
    assert.is_false(plumb.tensor(0 / 0):equal(plumb.tensor(0 / 0)))
    assert.is_true(a:allclose(a + 1e-6))
    assert.is_false(a:allclose(a + 1e-2))
    assert.is_true(plumb.zeros(0):equal(plumb.zeros(0)))
  end)

  it("adds up columns of every number and length", function()
    for inner = 1, 18 do
      for _, length in ipairs { 1, 3, 4, 5, 17, 511, 513, 1030 } do
        local whole = plumb.randint(-9, 9, { length + 2, inner }, { seed = inner }):double()
        for _, dtype in ipairs { "float64", "float32", "int64" } do
          local x = whole:cast(dtype):evaluate():slice(1, 2, length + 1)
          local expected = plumb.ones({ 1, length }, { dtype = "float64" }):matmul(x:double()):reshape(inner)
          support.same_bits(expected:cast(dtype), x:sum(1), ("%d x %d, %s"):format(length, inner, dtype))
        end
      end
    end
  end)

  it("reduces", function()
    assert.are.equal(300, t:sum():item())
    assert.are.same({ 12.5 }, { t:mean():item() })
    assert.are.same({ 24, 1 }, { t:max():item(), t:min():item() })
    assert.are.same({ { 13, 14, 15, 16 }, { 17, 18, 19, 20 }, { 21, 22, 23, 24 } }, t:max(1):tolist())
    assert.are.same({ 2, 1, 4 }, t:sum(2, true):shape())
    assert.are.same({ 3 }, t:sum({ 1, 3 }):shape())
    assert.are.same({ 3 }, t:sum({ -1, 1 }):shape())
    assert.are.equal(24, t:argmax():item())
    assert.are.same({ 3, 3, 3, 3 }, t[1]:argmax(1):tolist())
    assert.are.same({ 1, 1, 1 }, t[1]:argmin(2):tolist())
    assert.is_true(t:var(3):allclose(plumb.full({ 2, 3 }, 5 / 3)))
    assert.is_true(t:std(3, false, 0):allclose(plumb.full({ 2, 3 }, math.sqrt(1.25))))
    assert.is_true(t:var():allclose(plumb.tensor(50)))
    for _, shape in ipairs { { 3, 4 }, { 35, 10 }, { 700, 33 }, { 17, 1 }, { 5000, 10 }, { 20, 3, 5 } } do
      local axis = #shape == 3 and 2 or #shape
      for _, dtype in ipairs { "float32", "float64", "int64" } do
        local numbers = plumb.randint(-9, 9, shape, { seed = 3 }):cast(dtype) -- with many equal ones
        if dtype ~= "int64" then numbers = numbers + plumb.where(plumb.rand(shape, { seed = 4 }):lt(0.02), 0 / 0, 0):cast(dtype) end
        local at = support.accessor(numbers:evaluate())
        local largest, places = support.accessor(numbers:max(axis)), support.accessor(numbers:argmax(axis))
        for i = 1, shape[1] do
          for j = 1, axis == 2 and shape[3] or 1 do
            local function value(k) if #shape == 3 then return at(i, k, j) end return at(i, k) end
            local function result(of) if #shape == 3 then return of(i, j) end return of(i) end
            local best = 1
            for k = 2, shape[axis] do
              local now, before = value(k), value(best)
              if before == before and (now > before or now ~= now) then best = k end
            end
            assert.are.equal(best, result(places))
            assert(value(best) == result(largest) or value(best) ~= value(best) and result(largest) ~= result(largest))
          end
        end
      end
    end
    local nan = plumb.tensor { 1, 0 / 0, 3 }
    assert.is_true(nan:max():item() ~= nan:max():item())
    assert.is_true(nan:min():item() ~= nan:min():item())
    assert.are.equal(2, nan:argmax():item())
    local limits = plumb.tensor({ math.mininteger, 0, math.maxinteger }, int64)
    assert.are.same({ math.mininteger, math.maxinteger }, { limits:min():item(), limits:max():item() })
    assert.are.equal(1, limits:argmin():item())
    local bytes, one = plumb.tensor({ 200, 100 }, { dtype = "uint8" }), plumb.tensor({ 1, 1 }, int64)
    assert.are.same({ 100, 2 }, { bytes:min():item(), bytes:argmin():item() })
    assert.are.same({ 300 }, bytes:index_add(1, one, 1):tolist())
    assert.are.same({ 300 }, bytes:scatter_add(1, one, 1):tolist())
    assert.are.same({ 100 }, bytes[plumb.tensor({ 2 }, { dtype = "uint8" })]:tolist())
    local infinite = plumb.tensor { { -math.huge, -math.huge }, { math.huge, 0 }, { -math.huge, 0 } }
    assert.are.same({ -math.huge, math.huge, 0 }, infinite:logsumexp(2):tolist())
    fails_here(function() return (t:sum(4)) end, "sum", "axis 4", "(2, 3, 4)")
    fails_here(function() return (t:mean(0)) end, "axis 0")
    fails_here(function() return (t:var(1, false, "x")) end, "correction")
  end)

  it("broadcasts", function()
    local row, column = plumb.tensor { 1, 2, 3 }, plumb.tensor { { 10 }, { 20 } }
    assert.are.same({ { 11, 12, 13 }, { 21, 22, 23 } }, (row + column):tolist())
    assert.are.same({ { 2, 3, 4 } }, (plumb.ones(1, 1) + row):tolist())
    fails_here(function() return (row + plumb.ones(2)) end, "add", "(3)", "(2)")
    fails_here(function() return (row:expand(2, 4)) end, "expand", "(3)", "(2, 4)")
    fails_here(function() return (plumb.ones(2, 3):matmul(plumb.ones(2, 3))) end, "matmul", "(2, 3)")
    fails_here(function() return (t:reshape(5, -1)) end, "reshape", "(2, 3, 4)")
    fails_here(function() return (t:reshape(-1, -1)) end, "reshape")
    fails_here(function() return (plumb.concat { plumb.ones(2, 2), plumb.ones(3, 3) }) end, "concat", "(2, 2)", "(3, 3)")
    fails_here(function() return (plumb.stack { plumb.ones(2), plumb.ones(3) }) end, "(1, 2)", "(1, 3)")
    fails_here(function() return (row:dot(plumb.ones(2))) end, "dot", "(3)", "(2)")
    fails_here(function() return (t:t()) end, "t:", "(2, 3, 4)")
  end)
end)

describe("views", function()
  it("hold no numbers of their own", function()
    local x = plumb.zeros(1000, 1000):evaluate()
    collectgarbage()
    local before, views = plumb.memory().live, {}
    for k = 1, 50 do
      views[k] = { x:t(), x:reshape(-1), x[k], x:slice(2, k, 900), x:expand(3, 1000, 1000), x:permute(2, 1) }
      plumb.evaluate(table.unpack(views[k]))
    end
    assert.is_true(plumb.memory().live - before < 2000000)
  end)

  it("slice like string.sub, forward and backward", function()
    local x = plumb.arange(6)
    assert.are.same({ 2, 3 }, x:slice(1, 2, 3):tolist())
    assert.are.same({ 5, 6 }, x:slice(1, -2):tolist())
    assert.are.same({ 1, 3, 5 }, x:slice(1, 1, -1, 2):tolist())
    assert.are.same({ 6, 4, 2 }, x:slice(1, -1, 1, -2):tolist())
    assert.are.same({}, x:slice(1, 4, 3):tolist())
    assert.are.same({}, x:slice(1, 7, 6):tolist())
    fails_here(function() return (x:slice(1, 0, 3)) end, "slice", "(6)")
    fails_here(function() return (x:slice(1, 1, 7)) end, "slice")
    fails_here(function() return (x:slice(1, 6, 0, -1)) end, "slice")
    fails_here(function() return (x:slice(1, 6, -7, -1)) end, "slice")
    fails_here(function() return (x:slice(1, 7, 1, -1)) end, "slice")
    fails_here(function() return (x:slice(1, 1, 6, 0)) end, "slice")
    fails_here(function() return (x:slice(1, math.mininteger, math.maxinteger, math.mininteger)) end, "slice")
    fails_here(function() return (x:slice(2, 1, 1)) end, "axis 2")
  end)

  it("squeeze, unsqueeze, flatten, permute", function()
    local x = plumb.ones(2, 1, 3)
    assert.are.same({ 2, 3 }, x:squeeze():shape())
    assert.are.same({ 2, 3 }, x:squeeze(-2):shape())
    assert.are.same({ 2, 1, 3, 1 }, x:unsqueeze(-1):shape())
    assert.are.same({ 1, 2, 1, 3 }, x:unsqueeze(1):shape())
    assert.are.same({ 2, 3 }, x:flatten(2):shape())
    assert.are.same({ 2, 3 }, x:flatten(-2):shape())
    assert.are.same({ 1 }, plumb.tensor(1):flatten():shape())
    fails_here(function() return (x:squeeze(1)) end, "squeeze")
    fails_here(function() return (x:unsqueeze(0)) end, "unsqueeze")
    fails_here(function() return (x:unsqueeze(6)) end, "unsqueeze")
    fails_here(function() return (x:flatten("x")) end, "flatten")
    fails_here(function() return (x:flatten(4)) end, "flatten")
    fails_here(function() return (x:permute(1, 2)) end, "permute")
    fails_here(function() return (x:permute(1, 1, 2)) end, "permute")
  end)
end)

describe("indexing", function()
  it("picks elements, slices, ranges and lists", function()
    local t = plumb.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    assert.are.same({ 4, 5, 6 }, t[2]:tolist())
    assert.are.same({ 1, 2, 3 }, t[-2]:tolist())
    assert.are.equal(6, t[2][3]:item())
    assert.are.equal(6, t[{ 2, 3 }]:item())
    assert.are.same({ 3, 6 }, t[{ {}, 3 }]:tolist())
    assert.are.same({ { 2, 3 }, { 5, 6 } }, t[{ {}, { 2, 3 } }]:tolist())
    assert.are.same({ { 1, 3 } }, t[{ { 1, 1 }, { 1, -1, 2 } }]:tolist())
    assert.are.same({ { 4, 5, 6 }, { 4, 5, 6 }, { 1, 2, 3 } }, t[plumb.tensor({ 2, 2, 1 }, int64)]:tolist())
    local rows = 0
    for _, row in ipairs(t) do rows = rows + row:sum():item() end
    assert.are.equal(21, rows)
  end)

  it("explains what is not there", function()
    local t = plumb.ones(2, 3)
    fails_here(function() return (t[4]) end, "index 4", "1 .. 2", "(2, 3)")
    fails_here(function() return (t[0]) end, "index 0")
    fails_here(function() return (t[{ 1, 4 }]) end, "index 4", "axis 2")
    fails_here(function() return (t[{ 1, 1, 1 }]) end, "(2, 3)")
    fails_here(function() return (t[1.5]) end, "integer")
    fails_here(function() return (t[{ "a" }]) end, "string")
    fails_here(function() return (t[{ { 1, 2, 0 } }]) end, "step")
    fails_here(function() return (t[true]) end, "boolean")
    fails_here(function() return (t[plumb.ones(2)]) end, "int64")
    fails_here(function() return (t[plumb.tensor({ 3 }, int64)]) end, "index 3")
    fails_here(function() return (plumb.tensor(1)[1]) end, "single number")
    fails_here(function() t[3] = 1 end, "index 3")
    fails_here(function() t[1] = "x" end, "string")
    fails_here(function() t[1] = plumb.ones(2) end, "(2)", "(3)")
    fails_here(function() t.name = 1 end, "name")
  end)

  it("assigns to the handle alone: other holders keep the old value", function()
    local t = plumb.tensor { { 1, 2, 3 }, { 4, 5, 6 } }
    local holder, row, pending, copy = t, t[1], t * 10, t:clone()
    t[1] = 0
    t[{ 2, 3 }] = 60
    assert.are.same({ { 0, 0, 0 }, { 4, 5, 60 } }, t:tolist())
    assert.are.equal(holder, t) -- the same handle
    assert.are.same({ 1, 2, 3 }, row:tolist())
    assert.are.same({ { 10, 20, 30 }, { 40, 50, 60 } }, pending:tolist())
    assert.are.same({ { 1, 2, 3 }, { 4, 5, 6 } }, copy:tolist())
    t[{ {}, { 1, 2 } }] = plumb.tensor { 7, 8 }
    assert.are.same({ { 7, 8, 0 }, { 7, 8, 60 } }, t:tolist())
    t[{ {}, { 1, 3, 2 } }] = 0 / 0
    t[{ {}, { 1, 3, 2 } }] = 1
    assert.are.same({ { 1, 8, 1 }, { 1, 8, 1 } }, t:tolist())
    local number = plumb.tensor(3)
    local clone = number:clone()
    assert.are.equal(3, clone:item())
  end)

  it("keeps the dtype", function()
    for _, dtype in ipairs { "float32", "float64", "int64", "uint8" } do
      local t = plumb.tensor({ 1, 2, 3 }, { dtype = dtype })
      t[2] = 9
      assert.are.equal(dtype, t:dtype())
      assert.are.same({ 1, 9, 3 }, t:tolist())
    end
  end)

  it("is differentiated", function()
    local x = plumb.tensor { 1, 2, 3 }
    local function f(t)
      t[1] = 5
      t[2] = t[3] * t[3]
      return (t * t):sum()
    end
    assert.are.same({ 0, 0, 4 * 27 + 6 }, plumb.grad(f)(x):tolist())
    assert.are.same({ 1, 2, 3 }, x:tolist())
  end)
end)

describe("printing", function()
  it("shows a matrix", function()
    assert.are.equal("[[1, 2],\n [3, 4]]\n[float32 (2, 2)]", tostring(plumb.tensor { { 1, 2 }, { 3, 4 } }))
    assert.are.equal("[1.0000, 0.2500]\n[float32 (2)]", tostring(plumb.tensor { 1, 0.25 }))
    assert.are.equal("3  [int64]", tostring(plumb.tensor(3, int64)))
    assert.are.equal("[ nan,  inf, -inf,    1]\n[float32 (4)]",
      tostring(plumb.tensor { 0 / 0, math.huge, -math.huge, 1 }))
    assert.are.equal("[]\n[float32 (0)]", tostring(plumb.zeros(0)))
    assert.is_truthy(tostring(plumb.tensor { 1e-10, 1 }):find("1.0000e-10", 1, true))
  end)

  it("summarises what is large and wraps at 80 columns", function()
    local large = tostring(plumb.rand(100, 200))
    assert.is_truthy(large:find("...", 1, true))
    assert.is_true(#large < 1000)
    for _, t in ipairs { plumb.rand(100, 200), plumb.rand(5, 60), plumb.rand(999), plumb.arange(500),
      plumb.randn(3, 4, 30) * 1e10, plumb.randn(2, 2, 2, 2, 20), plumb.rand(20, 20, 20) } do
      for line in tostring(t):gmatch("[^\n]+") do assert.is_true(#line <= 80, line) end
    end
  end)
end)

describe("wrong arguments", function()
  -- Whatever is passed, an operator answers with a value or with a Lua error.
  local values = { plumb.ones(2, 3), plumb.ones({ 2, 3 }, float64), plumb.tensor({ 1, 2 }, int64),
    plumb.tensor({ 1, 2 }, { dtype = "uint8" }), plumb.zeros(0, 3), plumb.tensor(1), 0, -1, 2, 1.5, 0 / 0, math.huge,
    math.mininteger, math.maxinteger, true, "x", {}, { 1 }, { 1, 2 }, { "x" }, { -5 }, { 1 << 40, 1 << 40 },
    { plumb.ones(2) }, print, { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, coroutine.create(print), io.stdout }

  local function attempt(call, ...)
    local ok, result = pcall(call, ...)
    if ok and plumb.is_tensor(result) then ok, result = pcall(result.evaluate, result) end
    if not ok then assert.are.equal("string", type(result)) end
    return ok, result
  end

  it("are Lua errors for every operator, never a crash", function()
    local random = support.generator(5)
    local budget = plumb.memory().budget
    plumb.core.memory_budget(plumb.memory().live + (64 << 20))
    for name, row in pairs(plumb.operators) do
      if row.call then
        assert.is_false(attempt(row.call), name .. "()")
        for _, value in ipairs(values) do attempt(row.call, value) end
        for _ = 1, 150 do
          local list, n = {}, math.floor(random(2, 6))
          for k = 1, n do list[k] = values[math.floor(random(1, #values + 1))] end
          attempt(row.call, table.unpack(list, 1, n))
        end
        for _, tensor in ipairs { values[1], values[2], values[3] } do
          for _ = 1, 100 do
            local list, n = { tensor }, math.floor(random(2, 5))
            for k = 2, n do list[k] = values[math.floor(random(1, #values + 1))] end
            attempt(row.call, table.unpack(list, 1, n))
          end
        end
      end
    end
    plumb.core.memory_budget(budget)
    assert.are.equal(6, plumb.ones(2, 3):sum():item())
  end)

  it("name the operator and the user's line", function()
    for name, row in pairs(plumb.operators) do
      if row.call then
        fails_here(function() return (row.call()) end)
        fails_here(function() return (row.call({})) end)
        local who = row.kind == "composed" and "" or name -- a composed one may be stopped by what it is made of
        fails_here(function() return (row.call(plumb.ones(2), print, print, print, print, print)) end, who)
      end
    end
  end)

  it("of the functions beside operators are Lua errors as well", function()
    local methods = { "shape", "size", "dim", "numel", "dtype", "item", "tolist", "evaluate", "float", "double", "long",
      "clone", "contiguous", "equal", "allclose" }
    local one = plumb.ones(1)
    for _, name in ipairs(methods) do
      for _, value in ipairs(values) do
        attempt(one[name], value)
        attempt(one[name], one, value)
      end
    end
    for _, name in ipairs { "zeros", "ones", "full", "tensor", "arange", "linspace", "eye", "rand", "randn", "randint",
      "randperm", "grad", "value_and_grad", "hvp", "vjp", "vmap", "hessian", "compile", "variable", "manual_seed", "threads" } do
      local threads = plumb.threads()
      for _, value in ipairs(values) do
        if value ~= math.maxinteger then
          attempt(plumb[name], value)
          attempt(plumb[name], value, value)
          attempt(plumb[name], { 2 }, value)
        end
      end
      plumb.threads(threads)
    end
    plumb.manual_seed(0)
  end)
end)

describe("gradients", function()
  it("explain what cannot be differentiated", function()
    local x = plumb.ones(3)
    fails_here(function() return (plumb.grad(function(t) return t end)(x)) end, "single number", "(3)")
    fails_here(function() return (plumb.grad(function(t) return t:argmax() end)(x)) end, "int64")
    fails_here(function() return (plumb.grad(function() return 3 end)(x)) end, "tensor")
    fails_here(function() return (plumb.grad(function() end)(x)) end, "nothing")
    fails_here(function() return (plumb.grad(math.sin)("x")) end, "argument 1")
    fails_here(function() return (plumb.grad(function(t) return t:sum() end)(plumb.arange(3))) end, "int64")
    fails_here(function() return (plumb.grad(3)) end, "function")
    fails_here(function() return (plumb.vjp(function(t) return t * 2 end)(x, plumb.ones(2))) end)
    fails_here(function() return (plumb.grad(function(t) return (t + plumb.ones(2)):sum() end)(x)) end, "add", "(3)")
    assert.are.same({ 1, 1, 1 }, plumb.grad(function(t) return t:sum() end)(x):tolist())
  end)

  it("are zero where nothing depends", function()
    assert.are.same({ 0, 0 }, plumb.grad(function() return plumb.tensor(3) end)(plumb.ones(2)):tolist())
    assert.are.same({ 0, 0 }, plumb.grad(function(t) return t:detach():sum() end)(plumb.ones(2)):tolist())
  end)

  it("stop at an error inside the function and leave everything usable", function()
    local ok, message = pcall(plumb.grad(function() error("mine", 0) end), plumb.ones(2))
    assert.is_false(ok)
    assert.are.equal("mine", message)
    assert.are.same({ 2, 2 }, plumb.grad(function(t) return (t * 2):sum() end)(plumb.ones(2)):tolist())
  end)

  it("nest: the perturbations do not mix", function()
    local function f(x)
      return (x * plumb.grad(function(y) return (x * y):sum() end)(plumb.ones(1))):sum()
    end
    assert.are.equal(6, plumb.grad(f)(plumb.tensor { 3 }):item())
    local function power(x) return (x ^ 5):sum() end
    local g = power
    for _ = 1, 4 do
      local inner = g
      g = function(x) return plumb.grad(inner)(x):sum() end
    end
    assert.are.equal(240, g(plumb.tensor({ 2 }, float64)):item())
  end)

  it("may look at values on the way", function()
    local function f(x)
      local y = x * 3
      if y:sum():item() > 0 then return (y * y):sum() end
      return y:sum()
    end
    assert.are.same({ 18, 36 }, plumb.grad(f)(plumb.tensor { 1, 2 }):tolist())
    assert.are.same({ 3, 3 }, plumb.grad(f)(plumb.tensor { -1, -2 }):tolist())
  end)
end)

describe("long programs", function()
  it("a running sum of 100,000 additions is right and bounded", function()
    local sum, one = plumb.zeros({ 10 }, float64), plumb.full({ 10 }, 0.5, float64):evaluate()
    collectgarbage()
    plumb.core.memory_reset_peak()
    local before = plumb.memory().live
    for _ = 1, 100000 do sum = sum + one end
    assert.are.equal(50000, sum[1]:item())
    assert.is_true(plumb.memory().peak - before < 20 << 20, "peak " .. plumb.memory().peak - before)
  end)

  it("averages that a loop carries along, and never asks for, stay one step long", function()
    local function descend(steps, keep)
      local theta, m, v = plumb.tensor({ 3, -2, 1 }, float64), plumb.zeros(3, float64), plumb.zeros(3, float64)
      local made = {}
      for step = 1, steps do
        local g = plumb.grad(function(t) return (t * t * t:sin()):sum() end)(theta)
        m = m * 0.9 + g * 0.1
        v = v * 0.99 + g * g * 0.01
        theta = (theta - m / (v:sqrt() + 1e-3) * 0.01):evaluate()
        if keep then plumb.evaluate(m, v) end
        made[step] = plumb.memory().plans_made
      end
      return theta, m, made
    end
    local theta, m, made = descend(60)
    local expected_theta, expected_m = descend(60, true)
    support.same_bits(expected_theta, theta, "theta")
    support.same_bits(expected_m, m, "m")
    assert.equal(made[10], made[60])
  end)

  it("a graph 100,000 deep is differentiated and freed without overflowing the stack", function()
    local function f(x)
      for _ = 1, 100000 do x = x + 1 end
      return (x * x):sum()
    end
    local g = plumb.grad(f)(plumb.zeros({ 2 }, float64))
    assert.are.same({ 200000, 200000 }, g:tolist())
  end)

  it("garbage is collected as it is made", function()
    local start = support.live_bytes()
    for _ = 1, 2000 do plumb.rand(10000):evaluate() end
    assert.is_true(plumb.memory().live - start < 40 << 20, "live " .. plumb.memory().live - start)
    assert.are.equal(start, support.live_bytes())
  end)

  it("pending graphs that nobody looks at are collected too", function()
    local start = support.live_bytes()
    for _ = 1, 20000 do local _ = plumb.zeros(10) + 1 end
    assert.are.equal(start, support.live_bytes())
  end)
end)
