-- Values with few columns and many rows lie column by column inside a plan: they are the same numbers. The reference evaluates
-- every step by itself, which makes it an output, and outputs are row-major.
local plumb = require "plumb"
local support = require "support"

local float64 = { dtype = "float64" }

local function plain(t) return t end
local function at_once(t) return t:evaluate() end

local function randn(seed, ...) return plumb.randn({ ... }, { seed = seed, dtype = "float64" }):evaluate() end

-- The sum of what f gives, so that its parts are no outputs, in one plan and step by step.
local function check(f, tolerance, what)
  local together = plumb.compile(function() return f(plain):sum() end)():item()
  local apart = f(at_once):sum():item()
  assert.is_true(math.abs(together - apart) <= tolerance * math.max(1, math.abs(apart)),
    ("%s: %.17g together, %.17g step by step"):format(what, together, apart))
end

describe("values that lie columnwise", function()
  for _, shape in ipairs {
    { 64, 2, 5 }, { 65, 16, 1 }, { 130, 32, 32 }, { 300, 10, 7 }, { 3000, 20, 30 }, { 1024, 3, 3 }, { 257, 5, 31 },
  } do
    local rows, columns, inner = table.unpack(shape)
    local x, w, g = randn(1, rows, inner), randn(2, inner, columns), randn(3, rows, columns)
    local weights = randn(4, rows, columns)
    local product = function(at) return at(x:matmul(w)) end
    local name = ("(%d, %d), %d terms"):format(rows, columns, inner)

    it("meet others of every layout: " .. name, function()
      local bias, scale = randn(5, columns), randn(6, rows, 1)
      local transposed = plumb.concat({ g:t(), g:t() }, 1):evaluate():slice(1, 1, columns):t()
      check(function(at) return at(at(product(at) + bias):tanh() * scale) * weights end, 1e-12, "rows and columns")
      check(function(at) return at(product(at) * g) * weights end, 1e-12, "row-major")
      check(function(at) return at(product(at) * transposed):exp() * weights end, 1e-12, "transposed")
      check(function(at) return at(product(at):slice(1, -1, 1, -1):tanh()) * weights end, 1e-12, "backward")
      check(function(at) return at(product(at):slice(2, 1, 2):sin()) * weights:slice(2, 1, 2) end, 1e-12, "in part")
      check(function(at) return at(at(product(at):t()) * g:t()):t() * weights end, 1e-12, "as the transpose")
    end)

    it("are multiplied from both sides: " .. name, function()
      local right, left = randn(7, columns, 9), randn(8, 9, rows)
      check(function(at) return at(product(at):matmul(right)):tanh() end, 1e-12, "on the left")
      check(function(at) return at(left:matmul(product(at))):tanh() end, 1e-11, "on the right")
      check(function(at) return at(product(at):t():matmul(at(product(at):tanh()))) end, 1e-11, "both")
      check(function(at) return at(product(at):matmul(right:slice(2, 1, 1))):tanh() end, 1e-12, "to one column")
    end)

    it("are reduced along every axis: " .. name, function()
      for _, reduce in ipairs { "sum", "max", "min", "argmax" } do
        for _, axis in ipairs { 1, 2 } do
          local along = axis == 1 and weights:slice(1, 1, 1):reshape(-1) or weights:slice(2, 1, 1):reshape(-1)
          check(function(at)
            local y = product(at)
            local value = at(y[reduce](y, axis))
            return (reduce == "argmax" and value:cast("float64") or value) * along
          end, 1e-11, reduce .. " along " .. axis)
        end
      end
      check(function(at) return at(product(at):sum()) * 3 end, 1e-11, "the sum of all")
      check(function(at) return at(product(at):softmax(2)) * weights end, 1e-12, "softmax")
      check(function(at) return at(product(at):log_softmax(1)) * weights end, 1e-11, "log_softmax along rows")
    end)

    it("are reshaped, repeated and joined: " .. name, function()
      if rows % 5 == 0 then
        local many, one = randn(9, 5, rows // 5, columns), randn(10, rows // 5, columns)
        local stacked = function(at) return product(at):reshape(5, rows // 5, columns) end
        check(function(at) return at(stacked(at) * one):tanh() * many end, 1e-12, "a stack")
        for axis = 1, 3 do
          check(function(at) return at((stacked(at):tanh() * many):sum(axis)) * at(many:sum(axis)) end, 1e-11, "summed along " .. axis)
        end
        check(function(at) return at((stacked(at):tanh() * many):sum({ 2, 3 })) * at(many:sum({ 2, 3 })) end, 1e-11, "summed along two")
        check(function(at) return at(at(stacked(at) * many):matmul(w:t())):sin() end, 1e-12, "a stack times a matrix")
        local xs, ws = randn(11, 5, rows // 5, inner), randn(12, 5, inner, columns)
        check(function(at) return at(at(xs:matmul(ws)):tanh() * many) * stacked(at) end, 1e-11, "a stack of products")
        check(function(at) return at(at(xs:matmul(ws)):transpose(1, 2) * many:transpose(1, 2)):matmul(w:t()) end, 1e-11,
          "a stack in another order")
      end
      check(function(at) return at(product(at):reshape(columns, rows):tanh()) * weights:reshape(columns, rows) end, 1e-12, "reshaped")
      check(function(at) return plumb.concat({ at(product(at):tanh()), g }, 2):sin() * plumb.concat({ weights, g }, 2) end, 1e-12,
        "joined to others")
      check(function(at) return plumb.concat({ at(product(at):tanh()), g }, 1):sin() * plumb.concat({ weights, g }, 1) end, 1e-12,
        "joined along rows")
      check(function(at) return at(product(at):index_select(1, plumb.tensor({ rows, 1, 2 }):long()):tanh()) end, 1e-12, "picked from")
    end)
  end

  it("come out row-major", function()
    local x, w = randn(1, 100, 4), randn(2, 4, 3)
    local f = plumb.compile(function(a) local y = a:matmul(w):tanh() return y, y:t(), (y * 2):sum() end)
    local y, transposed, total = f(x)
    local element = support.accessor(y)
    local expected = x:matmul(w):evaluate():tanh():evaluate()
    assert.is_true(y:equal(expected) and transposed:equal(expected:t()))
    assert.is_true(math.abs(total:item() - 2 * expected:sum():item()) < 1e-12)
    assert.are.equal(expected[{ 100, 2 }]:item(), element(100, 2))
  end)

  it("give the gradients and Hessian-vector products of a network", function()
    local nn = plumb.nn
    for _, activation in ipairs { nn.Tanh, nn.LeakyReLU, nn.SELU } do
      plumb.manual_seed(1)
      local model = nn.Sequential { nn.Linear(2, 5), activation(), nn.Linear(5, 10), activation(), nn.Linear(10, 3) }:double()
      local x, y = plumb.rand({ 90, 2 }, float64):evaluate(), plumb.rand({ 90, 3 }, float64):evaluate()
      local v = plumb.randn({ model.size }, float64):evaluate()
      local function L(theta) return nn.mse_loss(model:at(theta)(x), y) end
      local theta, h = model.theta, 1e-5
      local gradient = plumb.compile(plumb.grad(L))
      local slope = (L(theta + v * h):item() - L(theta - v * h):item()) / (2 * h)
      assert.is_true(math.abs((gradient(theta) * v):sum():item() - slope) < 1e-6 * math.max(1, math.abs(slope)))
      local product = plumb.compile(function(at, direction) return plumb.hvp(L)(at, direction) end)(theta, v)
      local difference = (gradient(theta + v * h) - gradient(theta - v * h)) / (2 * h)
      if activation ~= nn.LeakyReLU then assert.is_true((product - difference):abs():max():item() < 1e-5) end
    end
  end)

  it("give the same bits with any number of threads", function()
    local before = plumb.threads()
    local x, w = plumb.randn({ 40000, 12 }, { seed = 1 }):evaluate(), plumb.randn({ 12, 20 }, { seed = 2 }):evaluate()
    local results = {}
    for k, threads in ipairs { 1, 2, 4 } do
      plumb.threads(threads)
      results[k] = plumb.compile(function(a, b)
        local y = a:matmul(b):tanh()
        return a:t():matmul(y), y:sum(1)
      end)
      results[k] = { results[k](x, w) }
    end
    plumb.threads(before)
    for k = 2, 3 do
      for at = 1, 2 do support.same_bits(results[1][at], results[k][at], "result " .. at) end
    end
  end)
end)
