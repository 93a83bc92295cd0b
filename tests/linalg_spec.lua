--- plumb.linalg: beside the samples that operators_spec walks through, PyTorch's numbers, what defines each decomposition,
--- bad input, memory and threads.
local plumb = require "plumb"
local json = require "dkjson"
local support = require "support"

local linalg = plumb.linalg
local flat, fails_here = support.flat, support.fails_here
local float64 = { dtype = "float64" }

local function double(list) return plumb.tensor(list, float64) end
local function randn(shape, seed) return plumb.randn(shape, { dtype = "float64", seed = seed or 1 }) end
local function symmetric(x) return (x + x:transpose()) / 2 end
local function eye(n) return plumb.eye(n, float64) end

local function near(actual, expected, tolerance, what)
  assert.same(expected:shape(), actual:shape(), what)
  support.same_numbers(flat(actual), flat(expected), tolerance, what)
end

-- ---- PyTorch's numbers ----

-- v v^T of each column of v: the vectors without their signs
local function projectors(v)
  local columns = v:transpose()
  return columns:unsqueeze(-1) * columns:unsqueeze(-2)
end
local function product(u, s, vh) return (u * s:cos():unsqueeze(-2)):matmul(vh) end

local golden = {
  eigvalsh = function(x) return linalg.eigvalsh(symmetric(x)) end,
  eigvalsh_batch = function(x) return linalg.eigvalsh(symmetric(x)) end,
  eigh_vectors = function(x) return projectors(select(2, linalg.eigh(symmetric(x)))) end,
  svdvals = linalg.svdvals,
  svd = function(x) return product(linalg.svd(x)) end,
  svd_wide_batch = function(x) return product(linalg.svd(x)) end,
  cholesky = function(x) return linalg.cholesky(x:matmul(x:t()) + eye(4)) end,
  qr_q = function(x) return (linalg.qr(x)) end,
  qr_r = function(x) return (select(2, linalg.qr(x))) end,
  solve = linalg.solve, solve_vector = linalg.solve, solve_broadcast = linalg.solve,
  inv = linalg.inv,
}

describe("PyTorch's numbers:", function()
  local file = assert(io.open("tests/golden/linalg.json"))
  local cases = assert(json.decode(file:read("a"))).cases
  file:close()
  for _, case in ipairs(cases) do
    it(case.name, function()
      local f, inputs = golden[case.name], {}
      local weights = support.make(case.weights.data, case.weights.shape)
      for k, record in ipairs(case.inputs) do inputs[k] = support.make(record.data, record.shape) end
      local function weighted(...) return (f(...) * weights):sum() end
      local output, gradients = f(table.unpack(inputs)), { plumb.grad(weighted, { count = #inputs })(table.unpack(inputs)) }
      assert.same(case.output.shape, output:shape())
      support.same_numbers(flat(output), case.output.data, 1e-11, case.name)
      for k, record in ipairs(case.gradients) do
        support.same_numbers(flat(gradients[k]), record.data, 1e-10, case.name .. ": gradient " .. k)
      end
    end)
  end
end)

-- ---- what defines each decomposition ----

local sizes = { 1, 2, 3, 10, 33, 70 }
local precisions = { float64 = 1e-12, float32 = 2e-5 }

-- Calls check(x, tolerance, what) for random matrices of m x n, in both dtypes, alone and in batches.
local function for_matrices(m, n, check)
  for dtype, tolerance in pairs(precisions) do
    for _, batch in ipairs { {}, { 3 }, { 2, 2 } } do
      local shape = { table.unpack(batch) }
      shape[#shape + 1], shape[#shape + 2] = m, n
      local x = plumb.randn(shape, { dtype = dtype, seed = m + n })
      check(x, tolerance * math.max(m, n), ("%s %d x %d"):format(dtype, m, n))
    end
  end
end

local function assert_orthonormal(q, tolerance, what)
  local gram = q:transpose():matmul(q)
  near(gram, plumb.eye(q:size(-1), { dtype = q:dtype() }):expand(gram:shape()), tolerance, what .. ": orthonormal")
end

local function assert_ascending(w, sign, what)
  if w:size(-1) < 2 then return end
  local steps = (w:slice(-1, 2) - w:slice(-1, 1, -2)) * sign
  assert.is_true(steps:min():item() >= 0, what .. ": order")
end

describe("linalg", function()
  it("eigh gives ascending values and orthonormal vectors that make up the matrix", function()
    for _, n in ipairs(sizes) do
      for_matrices(n, n, function(x, tolerance, what)
        local a = symmetric(x)
        local w, v = linalg.eigh(a)
        near((v * w:unsqueeze(-2)):matmul(v:transpose()), a, tolerance, what)
        assert_orthonormal(v, tolerance, what)
        assert_ascending(w, 1, what)
        near(linalg.eigvalsh(a), w, tolerance, what .. ": eigvalsh")
      end)
    end
  end)

  it("svd gives descending values and orthonormal vectors that make up the matrix", function()
    for _, size in ipairs { { 1, 1 }, { 5, 3 }, { 3, 5 }, { 40, 33 }, { 33, 40 }, { 20, 20 } } do
      local m, n = table.unpack(size)
      local k = math.min(m, n)
      for_matrices(m, n, function(x, tolerance, what)
        local u, s, vh = linalg.svd(x)
        assert.same({ m, k, k, n }, { u:size(-2), u:size(-1), vh:size(-2), vh:size(-1) })
        near((u * s:unsqueeze(-2)):matmul(vh), x, tolerance, what)
        assert_orthonormal(u, tolerance, what)
        assert_orthonormal(vh:transpose(), tolerance, what)
        assert_ascending(s, -1, what)
        assert.is_true(s:min():item() >= 0)
        near(linalg.svdvals(x), s, tolerance, what .. ": svdvals")
        local full_u, full_s, full_vh = linalg.svd(x, { full_matrices = true })
        assert.same({ m, m, n, n }, { full_u:size(-2), full_u:size(-1), full_vh:size(-2), full_vh:size(-1) })
        assert_orthonormal(full_u, tolerance, what)
        assert_orthonormal(full_vh, tolerance, what)
        near((full_u:slice(-1, 1, k) * full_s:unsqueeze(-2)):matmul(full_vh:slice(-2, 1, k)), x, tolerance, what .. ": full")
      end)
    end
  end)

  it("qr gives orthonormal columns and a triangle that make up the matrix", function()
    for _, size in ipairs { { 1, 1 }, { 5, 3 }, { 3, 5 }, { 50, 33 }, { 33, 50 } } do
      local m, n = table.unpack(size)
      for_matrices(m, n, function(x, tolerance, what)
        local q, r = linalg.qr(x)
        near(q:matmul(r), x, tolerance, what)
        assert_orthonormal(q, tolerance, what)
        local rows, columns = plumb.arange(r:size(-2)):unsqueeze(2), plumb.arange(n)
        assert.equal(0, (rows:gt(columns):cast(r:dtype()) * r):abs():max():item())
      end)
    end
  end)

  it("solve, inv and cholesky undo what matmul does", function()
    for _, n in ipairs(sizes) do
      for_matrices(n, n, function(x, tolerance, what)
        local identity = plumb.eye(n, { dtype = x:dtype() })
        local a = x:matmul(x:transpose()) / n + identity
        near(linalg.solve(a, a:matmul(x)), x, tolerance, what .. ": solve")
        near(a:matmul(linalg.inv(a)), identity:expand(a:shape()), tolerance, what .. ": inv")
        local l = linalg.cholesky(a)
        near(l:matmul(l:transpose()), a, tolerance, what .. ": cholesky")
        local rows, columns = plumb.arange(n):unsqueeze(2), plumb.arange(n)
        assert.equal(0, (rows:lt(columns):cast(l:dtype()) * l):abs():max():item())
      end)
    end
  end)

  it("agrees with closed forms", function()
    -- the second difference matrix: 2 - 2 cos(pi k / (n + 1))
    local n, second, expected = 20, {}, {}
    for i = 1, n do
      second[i], expected[i] = {}, 2 - 2 * math.cos(math.pi * i / (n + 1))
      for j = 1, n do second[i][j] = i == j and 2 or math.abs(i - j) == 1 and -1 or 0 end
    end
    support.same_numbers(flat(linalg.eigvalsh(double(second))), expected, 1e-13, "second differences")
    -- the inverse of the Hilbert matrix is made of integers
    local hilbert = double { { 1, 1 / 2, 1 / 3 }, { 1 / 2, 1 / 3, 1 / 4 }, { 1 / 3, 1 / 4, 1 / 5 } }
    support.same_numbers(flat(linalg.inv(hilbert)), { 9, -36, 30, -36, 192, -180, 30, -180, 180 }, 1e-11, "Hilbert")
    -- zeros and equal eigenvalues are no trouble
    assert.same({ 0, 0, 0 }, flat(linalg.eigvalsh(plumb.zeros(3, 3))))
    near(select(2, linalg.eigh(eye(4))):abs(), eye(4), 0, "the identity")
    assert.same({ 0, 0 }, flat(linalg.svdvals(plumb.zeros(2, 5))))
  end)

  it("takes transposed, strided and repeated matrices, and leaves its arguments as they were", function()
    local x = randn { 6, 8 }
    local before, part = flat(x), x:slice(2, 2, 7)
    near(linalg.inv(part:t()):matmul(part:t()), eye(6), 1e-11, "transposed")
    near(linalg.svdvals(x:t()), linalg.svdvals(x), 1e-13, "svdvals")
    local repeated = linalg.eigvalsh(symmetric(part):expand(3, 6, 6))
    near(repeated[2], linalg.eigvalsh(symmetric(part)), 0, "repeated")
    assert.same(before, flat(x))
  end)

  it("takes empty matrices and batches", function()
    local w, v = linalg.eigh(plumb.zeros(0, 0))
    assert.same({ { 0 }, { 0, 0 } }, { w:shape(), v:shape() })
    assert.same({ 0, 3 }, linalg.eigvalsh(plumb.zeros(0, 3, 3)):shape())
    assert.same({ 0, 2, 2 }, linalg.inv(plumb.zeros(0, 2, 2)):shape())
    local q, r = linalg.qr(plumb.zeros(3, 0))
    assert.same({ { 3, 0 }, { 0, 0 } }, { q:shape(), r:shape() })
    local u, s, vh = linalg.svd(plumb.zeros(0, 4))
    assert.same({ { 0, 0 }, { 0 }, { 0, 4 } }, { u:shape(), s:shape(), vh:shape() })
    for _, t in ipairs { w, v, q, r, u, s, vh } do t:evaluate() end
    assert.same({ 2, 0 }, linalg.solve(plumb.eye(2), plumb.zeros(2, 0)):evaluate():shape())
    fails_here(function() linalg.svd(plumb.zeros(0, 4), { full_matrices = true }) end, "no elements")
  end)

  it("computes several results of one decomposition once", function()
    local a = symmetric(randn { 40, 40 })
    local w, v = linalg.eigh(a)
    w:evaluate()
    local budget = plumb.memory().budget
    plumb.memory_budget(plumb.memory().live + 20000) -- no room for doing it again
    local known = pcall(v.evaluate, v)
    plumb.memory_budget(budget)
    assert.is_true(known)
    assert_orthonormal(v, 1e-12, "vectors")
  end)

  it("works in compiled functions, and in gradients of any order", function()
    local f = function(x)
      local w, v = linalg.eigh(x:matmul(x:t()))
      return (v * w:log()):matmul(v:t())
    end
    local x = randn { 4, 4 }
    local compiled = plumb.compile(f)
    for _ = 1, 2 do near(compiled(x), f(x), 1e-12, "compiled") end
    -- log det of x x^T: its gradient is 2 x^-T, its Hessian-vector product -2 (x^-1 v x^-1)^T
    local function log_det(y) return linalg.eigvalsh(y:matmul(y:t())):log():sum() end
    local v, inverse = randn({ 4, 4 }, 2), linalg.inv(x)
    near(plumb.grad(log_det)(x), inverse:t() * 2, 1e-10, "gradient")
    near(plumb.hvp(log_det)(x, v), inverse:matmul(v):matmul(inverse):t() * -2, 1e-9, "second order")
    near(plumb.compile(plumb.grad(log_det))(x), inverse:t() * 2, 1e-10, "compiled gradient")
    local function by_cholesky(y)
      return (linalg.cholesky(y:matmul(y:t())) * eye(4)):sum(2):log():sum() * 2
    end
    near(plumb.grad(by_cholesky)(x), inverse:t() * 2, 1e-10, "by Cholesky")
    near(plumb.hvp(by_cholesky)(x, v), plumb.hvp(log_det)(x, v), 1e-8, "by Cholesky, second order")
  end)

  it("has the same bits for any number of threads", function()
    local a, threads = symmetric(randn { 30, 24, 24 }), plumb.threads()
    local results = {}
    for _, count in ipairs { 1, 2, 3 } do
      plumb.threads(count)
      local w, v = linalg.eigh(a)
      local list = { w, v, linalg.inv(a), linalg.svdvals(a), linalg.eigvalsh(symmetric(randn { 150, 150 })) }
      for k, t in ipairs(list) do
        results[k] = results[k] or t:evaluate()
        support.same_bits(results[k], t, ("result %d with %d threads"):format(k, count))
      end
    end
    plumb.threads(threads)
  end)
end)

-- ---- bad input ----

describe("linalg says what is wrong", function()
  local matrix_functions = { "eigh", "eigvalsh", "svd", "svdvals", "cholesky", "qr", "inv" }

  it("with shapes and dtypes", function()
    for _, name in ipairs(matrix_functions) do
      local f = linalg[name]
      fails_here(function() f(plumb.ones(3)) end, "linalg." .. name .. ": A has shape (3), but must be a matrix")
      fails_here(function() f(plumb.arange(4):reshape(2, 2)) end, "linalg." .. name .. ": A is int64")
      fails_here(function() f({ { 1 } }) end, "linalg." .. name .. ": A must be a tensor or a number, not table")
      fails_here(function() f(3) end, "linalg." .. name)
      fails_here(function() f() end, "linalg." .. name .. ": A is missing")
      fails_here(function() f(plumb.zeros(1):expand(40000, 40000)) end, "beyond the 32000")
    end
    for _, name in ipairs { "eigh", "eigvalsh", "cholesky", "inv" } do
      fails_here(function() linalg[name](plumb.ones(2, 3, 4)) end, "A has shape (2, 3, 4), but must be square")
    end
    local a = plumb.eye(3)
    fails_here(function() linalg.solve(a, plumb.ones(2)) end, "linalg.solve: shapes (3, 3) and (2) do not fit together")
    fails_here(function() linalg.solve(a:expand(2, 3, 3), plumb.ones(4, 3, 1)) end, "(2, 3, 3) and (4, 3, 1)")
    fails_here(function() linalg.solve(a, plumb.ones(3):double()) end, "A is float32, but B is float64")
    fails_here(function() linalg.solve(a, plumb.arange(3)) end, "linalg.solve: B is int64")
    fails_here(function() linalg.solve(a, 3) end, "linalg.solve: B has shape ()")
    fails_here(function() linalg.solve(a) end, "linalg.solve: B is missing")
  end)

  it("with options", function()
    local a = plumb.eye(2)
    fails_here(function() linalg.svd(a, { full = true }) end, "linalg.svd: there is no option 'full'")
    fails_here(function() linalg.svd(a, { true }) end, "linalg.svd: there is no option '1'")
    fails_here(function() linalg.svd(a, { full_matrices = 1 }) end, "full_matrices must be true or false, not number")
    fails_here(function() linalg.svd(a, "x") end, "full_matrices must be true or false, not string")
    assert.equal(3, select("#", linalg.svd(a, {})))
  end)

  it("with elements that are not finite, and where they are", function()
    for _, bad in ipairs { 0 / 0, 1 / 0, -1 / 0 } do
      local a = plumb.eye(3):expand(2, 3, 3):clone()
      a[{ 2, 3, 3 }] = bad
      for _, name in ipairs(matrix_functions) do
        fails_here(function() return (linalg[name](a):evaluate()) end, "linalg." .. name .. ": A[{2, 3, 3}] is ", "must be finite")
      end
      fails_here(function() return (linalg.solve(a, plumb.ones(2, 3)):evaluate()) end, "linalg.solve: A[{2, 3, 3}] is")
      local b = plumb.zeros(3, 2)
      b[{ 3, 1 }] = bad
      fails_here(function() return (linalg.solve(plumb.eye(3), b):evaluate()) end, "linalg.solve: B[{3, 1}] is")
    end
  end)

  it("with matrices that are not symmetric, singular or not positive definite", function()
    local skew = double { { 1, 2 }, { 2.5, 1 } }
    for _, name in ipairs { "eigh", "eigvalsh", "cholesky" } do
      fails_here(function() return (linalg[name](skew):evaluate()) end, "linalg." .. name .. ": A is not symmetric",
        "A[{2, 1}] is 2.5, but A[{1, 2}] is 2")
    end
    linalg.eigh(skew * 1e-9 + eye(2)):evaluate() -- within rounding
    local singular = double { { 1, 2, 3 }, { 4, 5, 6 }, { 5, 7, 9 } }
    fails_here(function() return (linalg.inv(double { { 1, 2 }, { 2, 4 } }):evaluate()) end,
      "linalg.inv: A is singular: its row 2 depends on the rows before it")
    fails_here(function() return (linalg.solve(plumb.zeros(3, 3), plumb.ones(3)):evaluate()) end, "linalg.solve: A is singular")
    fails_here(function() return (linalg.inv(plumb.stack { eye(3), eye(3) * 0, singular }):evaluate()) end,
      "linalg.inv: matrix 2 of A is singular: its row 1")
    fails_here(function() return (linalg.cholesky(double { { 1, 2 }, { 2, 1 } }):evaluate()) end,
      "linalg.cholesky: A is not positive definite: its leading (2, 2) part is not")
  end)

  it("with gradients that do not exist", function()
    local wide = randn { 2, 3 }
    fails_here(function() plumb.grad(function(x) return (linalg.qr(x)):sum() end)(wide) end, "linalg.qr", "more columns than rows",
      "(2, 3)")
    fails_here(function() plumb.grad(function(x) return (linalg.svd(x, { full_matrices = true })):sum() end)(wide:t()) end,
      "linalg.svd", "not unique")
    local function values(x) return select(2, linalg.svd(x, { full_matrices = true })):square():sum() end
    near(plumb.grad(values)(wide), wide * 2, 1e-13, "the values have one")
    -- equal eigenvalues: the values' sum has a gradient, the vectors have none, and that shows
    near(plumb.grad(function(x) return linalg.eigh(x):square():sum() end)(eye(3)), eye(3) * 2, 1e-13, "values of the identity")
    local through_vectors = plumb.grad(function(x) return (select(2, linalg.eigh(x)) * randn { 3, 3 }):sum() end)(eye(3))
    assert.equal(0, through_vectors:isfinite():min():item())
  end)

  it("and everything stays usable, with nothing left behind", function()
    local a, bad = symmetric(randn { 50, 50 }):evaluate(), plumb.zeros({ 50, 50 }, float64)
    local function work()
      pcall(function() linalg.inv(bad):evaluate() end)
      pcall(function() linalg.cholesky(-eye(50)):evaluate() end)
      linalg.eigh(a):evaluate()
    end
    work()
    local before = support.live_bytes()
    for _ = 1, 5 do work() end
    assert.equal(before, support.live_bytes())
  end)

  it("when memory runs out at any request", function()
    local a = symmetric(randn { 6, 6 })
    local function program()
      local w, v = linalg.eigh(a)
      return (linalg.solve(a, v) * w):sum():item() + plumb.grad(function(x) return linalg.svdvals(x):sum() end)(a):sum():item()
    end
    local expected, start, n = program(), support.live_bytes(), 0
    repeat
      n = n + 1
      plumb.core.memory_fail(n, 1 << 40)
      local ok, message = pcall(program)
      plumb.core.memory_fail()
      if not ok then
        assert.is_truthy(tostring(message):find("out of memory", 1, true), tostring(message))
        assert.equal(start, support.live_bytes())
      end
    until ok
    assert.is_true(n > 50)
    assert.equal(expected, program())
  end)
end)

describe("help", function()
  it("knows linalg's functions by value and by name", function()
    local help = require "plumb.help"
    assert.is_truthy(help.text(linalg.eigh):find("linalg.eigh(A)", 1, true))
    assert.is_truthy(help.text("linalg.svd"):find("full_matrices", 1, true))
    assert.is_nil(plumb["linalg.eigh"])
  end)
end)
