-- time and bench: what they measure and return. No test depends on how long anything takes.
local plumb = require "plumb"
local support = require "support"

local function printed(f)
  local text, old = nil, print
  _G.print = function(line) text = line end
  local results = table.pack(pcall(f))
  _G.print = old
  assert(results[1], results[2])
  return text, table.unpack(results, 2, results.n)
end

describe("time", function()
  it("prints time and memory, and returns what the function returns", function()
    local text, a, b, c = printed(function() return plumb.time(function(...) return nil, ... end, 1, "x") end)
    assert.truthy(text:find("^[%d.e+-]+ [num]?s, [%d.]+ kB for tensors$"), text)
    assert.same({ nil, 1, "x" }, { a, b, c })
  end)

  it("computes the tensors that the function returns, and counts their memory", function()
    local x = plumb.randn(1000, 1000):evaluate()
    local text, y = printed(function() return plumb.time(function() return x * 2 end) end)
    assert.truthy(text:find(", 4%.?%d* MB for tensors$"), text)
    assert.equal(2 * x[{ 1, 1 }]:item(), y[{ 1, 1 }]:item())
  end)
end)

describe("profile", function()
  it("prints the plans that ran, with the times of their calls, and runs that come later are not timed", function()
    local x, y = plumb.randn(30, 20):evaluate(), plumb.randn(20, 10):evaluate()
    local f = plumb.compile(function(a, b) return a:matmul(b):relu() end)
    local text = printed(function() plumb.profile(function(a) for _ = 1, 3 do f(a, y) end end, x) end)
    assert.truthy(text:find("^2 leaves, 1 outputs, 2 calls, workspace %d+ bytes, 3 runs, the fastest [%d.]+ us\n"), text)
    assert.truthy(text:find("\n +[%d.]+ us  matmul %-> float32 %(30, 10%)\n +[%d.]+ us  fused "), text)
    f(x, y)
    assert.equal("", printed(function() plumb.profile(function() end) end))
    assert.falsy(f:describe():find(" us", 1, true))
  end)

  it("ends when the function fails", function()
    assert.equal("no luck", support.message_of(plumb.profile, function() error("no luck", 0) end))
    local f = plumb.compile(function(a) return a + 1 end)
    f(plumb.zeros(2))
    assert.falsy(f:describe():find(" us", 1, true))
  end)
end)

describe("bench", function()
  it("gives the median and how often it called", function()
    local calls = 0
    local result = plumb.bench(function() calls = calls + 1 end, { seconds = 0.01 })
    assert.equal(calls - 2, result.calls) -- two calls that do not count
    assert.truthy(result.fastest <= result.seconds and result.seconds <= result.slowest and result.fastest > 0)
    assert.truthy(tostring(result):find("in %d+ calls, [%d.]+ kB for tensors$"), tostring(result))
    assert.truthy(plumb.bench(function() end, { seconds = 0 }).calls >= 1)
  end)

  it("computes the tensors that the function returns", function()
    local x = plumb.randn(500, 500):evaluate()
    local bytes = plumb.bench(function() return x + 1 end, { seconds = 0 }).bytes
    assert.truthy(bytes >= 1000000 and bytes < 1100000, bytes)
  end)
end)

describe("wrong arguments", function()
  it("are errors at the caller's line", function()
    support.fails_here(function() return (plumb.time(5)) end, "time: a function was expected, not number")
    support.fails_here(function() return (plumb.time(plumb.zeros(2))) end, "time: a function was expected, not userdata")
    support.fails_here(function() return (plumb.bench()) end, "bench: a function was expected, not nil")
    support.fails_here(function() return (plumb.bench(print, { second = 1 })) end, "there is no option 'second'")
    support.fails_here(function() return (plumb.bench(print, { seconds = -1 })) end, "seconds must be a number")
    assert.truthy(support.message_of(plumb.time, function() error("own", 0) end) == "own")
  end)
end)
