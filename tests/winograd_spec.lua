-- Convolutions with 3 x 3 weights in float32 by Winograd's method, against direct ones in float64 (see conv_spec.lua for those).
local plumb = require "plumb"

-- samples, channels, filters, height, width, padding: tiles that fill images and tiles that stand out, lots of tiles that end
-- within an image, vectors of filters and blocks of them that are not full
local CASES = {
  { 3, 16, 16, 8, 8, 1 }, { 2, 17, 19, 7, 7, 1 }, { 5, 32, 64, 14, 14, 1 }, { 13, 64, 128, 7, 7, 1 }, { 2, 16, 16, 9, 11, 0 },
  { 1, 20, 33, 13, 30, 2 }, { 7, 16, 24, 4, 4, 1 }, { 50, 16, 16, 3, 4, 1 },
  { 1, 16, 16, 6, 6, { 0, 1 } }, { 1, 16, 16, 5, 5, 33 }, { 3, 24, 16, 28, 29, 1 },
}

local function norm(a) return (a:double() * a:double()):sum():item() ^ 0.5 end

local function difference(single, double) return norm(single:double() - double) / norm(double) end

local function problem(case)
  local n, channels, filters, height, width, padding = table.unpack(case)
  local x, w = plumb.randn(n, channels, height, width):evaluate(), plumb.randn(filters, channels, 3, 3):evaluate()
  local y = x:conv2d(w, 1, padding):evaluate()
  return x, w, y, plumb.randn(table.unpack(y:shape())):evaluate(), padding, { height, width }
end

describe("Winograd's convolution", function()
  before_each(function() plumb.manual_seed(1) end)

  -- Direct convolution differs by 2e-7 to 6e-7 here, and by 2e-6 in long sums.
  it("is as exact as float32 allows, up to a small factor", function()
    for _, case in ipairs(CASES) do
      local x, w, y, g, padding, size = problem(case)
      local name = table.concat(case, " ", 1, 5)
      local X, W, G = x:double(), w:double(), g:double()
      assert(difference(y, X:conv2d(W, 1, padding)) < 3e-6, name .. ": y")
      assert(difference(g:conv2d_input(w, size, 1, padding), G:conv2d_input(W, size, 1, padding)) < 3e-6, name .. ": x")
      assert(difference(x:conv2d_weight(g, 3, 1, padding), X:conv2d_weight(G, 3, 1, padding)) < 3e-6, name .. ": w")
    end
  end)

  it("computes each image by itself", function()
    for _, case in ipairs { CASES[3], CASES[4], CASES[8] } do
      local x, w, y, g, padding, size = problem(case)
      local gx = g:conv2d_input(w, size, 1, padding):evaluate()
      for k = 1, #x do
        assert.equal(0, (x:slice(1, k, k):conv2d(w, 1, padding) - y:slice(1, k, k)):abs():max():item())
        assert.equal(0, (g:slice(1, k, k):conv2d_input(w, size, 1, padding) - gx:slice(1, k, k)):abs():max():item())
      end
    end
  end)

  it("gives the same bits on any number of threads", function()
    local before = plumb.threads()
    finally(function() plumb.threads(before) end)
    for _, case in ipairs { { 64, 16, 32, 14, 14, 1 }, { 100, 32, 16, 7, 7, 1 } } do
      local x, w, _, g, padding, size = problem(case)
      local expected
      for _, threads in ipairs { 1, 2, 3 } do
        plumb.threads(threads)
        local found = { x:conv2d(w, 1, padding):evaluate(), g:conv2d_input(w, size, 1, padding):evaluate(),
          x:conv2d_weight(g, 3, 1, padding):evaluate() }
        expected = expected or found
        for k = 1, 3 do assert.equal(0, (found[k] - expected[k]):abs():max():item()) end
      end
    end
  end)

  it("reads nothing of the images beside one", function()
    for _, case in ipairs { { 2, 16, 16, 5, 7, 1 }, { 1, 16, 17, 8, 10, 0 } } do
      local x, w, y, _, padding = problem(case)
      local other = plumb.full({ 1, 16, x:size(3), x:size(4) }, 0 / 0)
      local all = plumb.concat({ other, x, other }, 1):evaluate():conv2d(w, 1, padding)
      assert.equal(0, (all:slice(1, 2, #x + 1) - y):abs():max():item())
      assert.truthy(all:slice(1, 1, 1):sum():item() ~= 0)
    end
  end)
end)
