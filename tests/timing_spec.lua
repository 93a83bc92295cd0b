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
