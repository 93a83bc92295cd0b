-- Random numbers are a function of (seed, stream, place) and of nothing else.
local plumb = require "plumb"
local support = require "support"

local function numbers(kind, count, dtype, seed, stream)
  return support.flat(plumb.core.random(kind, { count }, dtype, seed, stream))
end

describe("Philox 4x32-10", function()
  -- The known answers that Salmon et al. publish with Random123 (kat_vectors).
  local answers = {
    { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
    { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff },
      { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
    { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
      { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
  }

  it("as written in Lua gives the published answers", function()
    for _, answer in ipairs(answers) do assert.are.same(answer[3], support.philox(answer[1], answer[2])) end
  end)

  it("as written in C gives the first of them", function()
    local low = numbers("uniform", 4, "float32", 0, 0)
    local wide = numbers("uniform", 2, "float64", 0, 0)
    local words = answers[1][3]
    for i = 1, 4 do assert.are.equal(words[i] >> 8, low[i] * 2 ^ 24 // 1) end
    for i = 1, 2 do
      assert.are.equal((words[2 * i - 1] << 32 | words[2 * i]) >> 11, math.tointeger(wide[i] * 2 ^ 53))
    end
  end)

  it("in C agrees with Lua for other seeds and streams", function()
    for _, key in ipairs { { 1, 0 }, { -1, -1 }, { 0x299f31d0a4093822, 0x0370734413198a2e }, { 123456789, 1 << 40 } } do
      local seed, stream = table.unpack(key)
      for _, dtype in ipairs { "float32", "float64" } do
        for i, value in ipairs(numbers("uniform", 2 * 64 + 33, dtype, seed, stream)) do
          assert.are.equal(support.uniform(seed, stream, i, dtype), value)
        end
        local tolerance = dtype == "float64" and 1e-14 or 1e-7
        for i, value in ipairs(numbers("normal", 33, dtype, seed, stream)) do
          assert.is_true(support.near(value, support.normal(seed, stream, i), tolerance))
        end
      end
    end
  end)
end)

describe("random tensors", function()
  local threads = plumb.threads()
  after_each(function()
    plumb.threads(threads)
    plumb.manual_seed(0)
  end)

  it("are the same for any number of threads", function()
    for _, kind in ipairs { "uniform", "normal" } do
      for _, dtype in ipairs { "float32", "float64" } do
        plumb.threads(1)
        local one = plumb.core.random(kind, { 100003 }, dtype, 5, 6):evaluate()
        for _, count in ipairs { 2, 4 } do
          plumb.threads(count)
          local many = plumb.core.random(kind, { 100003 }, dtype, 5, 6):evaluate()
          assert.is_true(one:equal(many))
        end
      end
    end
  end)

  it("do not depend on the order in which they are looked at", function()
    plumb.manual_seed(3)
    local a, b = plumb.randn(100), plumb.rand(100)
    local first_b = support.flat(b)
    local first_a = support.flat(a)
    plumb.manual_seed(3)
    local c, d = plumb.randn(100), plumb.rand(100)
    assert.are.same(first_a, support.flat(c))
    assert.are.same(first_b, support.flat(d))
  end)

  it("repeat with a seed, differ between draws, and restart with manual_seed", function()
    assert.is_true(plumb.randn({ 50 }, { seed = 9 }):equal(plumb.randn({ 50 }, { seed = 9 })))
    assert.is_false(plumb.randn({ 50 }, { seed = 9 }):equal(plumb.randn({ 50 }, { seed = 10 })))
    plumb.manual_seed(4)
    local first, second = plumb.rand(50), plumb.rand(50)
    assert.is_false(first:equal(second))
    plumb.manual_seed(4)
    assert.is_true(first:equal(plumb.rand(50)))
  end)

  it("a prefix of a longer draw is the shorter draw", function()
    local long, short = plumb.randn({ 1001 }, { seed = 2 }), plumb.randn({ 333 }, { seed = 2 })
    assert.is_true(long:slice(1, 1, 333):equal(short))
  end)

  it("float32 normals are the float64 ones rounded", function()
    local wide = plumb.randn({ 501 }, { seed = 2, dtype = "float64" })
    assert.is_true(wide:float():equal(plumb.randn({ 501 }, { seed = 2 })))
  end)

  it("have the moments of their distributions", function()
    local n = 200000
    local u = plumb.rand({ n }, { seed = 1, dtype = "float64" })
    local z = plumb.randn({ n }, { seed = 1, dtype = "float64" })
    local function moment(t, k) return t:pow(k):mean():item() end
    for k, expected in ipairs { 1 / 2, 1 / 3, 1 / 4, 1 / 5 } do
      assert.is_true(math.abs(moment(u, k) - expected) < 0.004, "uniform " .. k)
    end
    for k, expected in ipairs { 0, 1, 0, 3 } do
      assert.is_true(math.abs(moment(z, k) - expected) < 0.06, "normal " .. k)
    end
    assert.is_true(u:min():item() >= 0 and u:max():item() < 1)
    assert.is_true(math.abs((z:slice(1, 1, -2) * z:slice(1, 2, -1)):mean():item()) < 0.01)
  end)

  it("randint keeps to its bounds and reaches them evenly", function()
    local draws, counts = plumb.randint(-2, 3, { 60000 }, { seed = 8 }), {}
    assert.are.equal("int64", draws:dtype())
    for _, value in ipairs(draws:tolist()) do counts[value] = (counts[value] or 0) + 1 end
    for value = -2, 3 do assert.is_true(math.abs(counts[value] - 10000) < 400, value .. ": " .. counts[value]) end
    assert.is_nil(counts[4])
  end)
end)

describe("randperm", function()
  -- Fisher and Yates: the first two words of each block are a number of 64 bits, whose remainder says what comes last.
  local function shuffled(n, seed)
    local order, low = {}, 0xffffffff
    for i = 1, n do order[i] = i end
    for last = n, 2, -1 do
      local words = support.philox({ n - last, 0, 0, 0 }, { seed & low, seed >> 32 })
      local j = (words[1] % last << 32 | words[2]) % last + 1
      order[last], order[j] = order[j], order[last]
    end
    return order
  end

  it("is the one that Lua finds with the same numbers", function()
    for _, n in ipairs { 2, 16, 17, 257 } do
      for _, seed in ipairs { 0, 7, 0x299f31d0a4093822 } do
        assert.are.same(shuffled(n, seed), plumb.randperm(n, { seed = seed }):tolist())
      end
    end
  end)

  it("is a permutation", function()
    for _, n in ipairs { 0, 1, 2, 1000 } do
      local seen = {}
      for _, value in ipairs(plumb.randperm(n, { seed = 5 }):tolist()) do seen[value] = (seen[value] or 0) + 1 end
      for value = 1, n do assert.are.equal(1, seen[value]) end
      assert.are.equal(n, #seen)
    end
  end)

  it("puts every number at every place equally often", function()
    local n, rounds, counts = 5, 6000, {}
    for seed = 1, rounds do
      for place, value in ipairs(plumb.randperm(n, { seed = seed }):tolist()) do
        local cell = place * 10 + value
        counts[cell] = (counts[cell] or 0) + 1
      end
    end
    local chi_square, expected = 0, rounds / n
    for place = 1, n do
      for value = 1, n do chi_square = chi_square + (counts[place * 10 + value] - expected) ^ 2 / expected end
    end
    assert.is_true(chi_square < 40, "chi-square " .. chi_square) -- 16 degrees of freedom: 39.3 is passed once in 1000
  end)

  it("follows manual_seed", function()
    plumb.manual_seed(1)
    local first, second = plumb.randperm(100), plumb.randperm(100)
    assert.is_false(first:equal(second))
    plumb.manual_seed(1)
    assert.is_true(first:equal(plumb.randperm(100)))
    plumb.manual_seed(0)
  end)
end)
