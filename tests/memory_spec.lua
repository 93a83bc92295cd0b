-- Memory has one door: a budget that is an ordinary Lua error, and every request failing in turn without a leak.
local plumb = require "plumb"
local support = require "support"
local core = plumb.core

-- A program that goes through all layers; its result is one number.
local function program()
  local float64 = { dtype = "float64" }
  local x = plumb.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, float64)
  local w = plumb.randn({ 3, 2 }, { dtype = "float64", seed = 3 })
  local h = (x:matmul(w) + plumb.arange(2):double()):tanh()
  local index = plumb.tensor({ 2, 1, 2 }, { dtype = "int64" })
  local picked = plumb.concat({ h[index], h:slice(1, 1, 1) })
  local order = plumb.randperm(4, { seed = 1 })
  picked = picked[order]
  picked[{ 1, 2 }] = 0.25
  local function loss(t) return (x:matmul(t:reshape(3, 2)):sin() * picked:slice(1, 1, 2)):sum() end
  local theta = w:reshape(6)
  local g = plumb.grad(loss)(theta)
  local hv = plumb.hvp(loss)(theta, g)
  local variable = plumb.variable(theta)
  local step = plumb.compile(function(t, rate)
    local value, slope = plumb.value_and_grad(loss)(t)
    return t - slope * rate, value
  end)
  local batch = (plumb.arange(4096):double():reshape(-1, 1) / 4096):evaluate()
  local function long(t) return (batch:matmul(t:reshape(1, 6)):tanh() - batch):square():sum() end -- in blocks of rows
  local total = plumb.compile(plumb.grad(function(t) return plumb.grad(long)(t):square():sum() end))(theta):sum():item()
  for _ = 1, 3 do total = total + step(variable, 0.1):item() end
  return total + hv:sum():item() + variable:get():sum():item() + #tostring(picked)
end

describe("memory", function()
  after_each(function() core.memory_fail() end)

  it("keeps to a budget: the error names shape and bytes, and nothing else changes", function()
    local before, x = plumb.memory().budget, plumb.ones(10)
    core.memory_budget(support.live_bytes() + (1 << 20)) -- without what earlier specs dropped
    local function large() return plumb.zeros(1000, 1000):evaluate() end
    local message = support.message_of(large)
    local text = support.message_of(function() plumb.tensor(0):expand(1000, 1000):clone():exp():evaluate() end)
    core.memory_budget(before)
    assert.is_truthy(message:find("memory_spec.lua:", 1, true))
    assert.is_truthy(message:find("(1000, 1000)", 1, true))
    assert.is_truthy(message:find("40000%d%d bytes for a float32 tensor"), message)
    assert.is_truthy(text:find("out of memory", 1, true))
    assert.are.equal(10, x:sum():item())
    assert.are.equal(0, large():sum():item())
  end)

  it("refuses shapes beyond any memory", function()
    for _, shape in ipairs { { 1 << 40 }, { 1 << 31, 1 << 31 }, { 1 << 62, 2 }, { 1 << 62, 1 << 62, 0, 1 } } do
      local ok, message = pcall(function() return plumb.zeros(shape):evaluate() end)
      if shape[3] == nil then
        assert.is_false(ok)
        assert.is_truthy(tostring(message):find("memory", 1, true) or tostring(message):find("counted", 1, true), message)
      end
    end
    support.fails_here(function() return (plumb.ones(2):expand(1 << 40, 1 << 40, 2)) end, "counted")
    support.fails_here(function() return (plumb.ones(1):expand(1 << 31, 1 << 31)) end, "counted")
    local wide = plumb.ones(1):expand(1 << 24, 1 << 24)
    support.fails_here(function() return (wide:sum():item()) end, "out of memory")
    support.fails_here(function() return ((wide + 1):t():reshape(-1):evaluate()) end, "out of memory")
  end)

  it("survives the failure of every single request", function()
    local expected = program()
    local start, n = support.live_bytes(), 0
    repeat -- all from the nth on fail: after a single failure core_run collects garbage and tries again
      n = n + 1
      core.memory_fail(n, 1 << 40)
      local ok, message = pcall(program)
      core.memory_fail()
      if not ok then
        assert.is_truthy(tostring(message):find("out of memory", 1, true), tostring(message))
        local live = support.live_bytes()
        if live ~= start then error(("request %d: %d bytes are live, not %d"):format(n, live, start)) end
      end
    until ok
    assert.is_true(n > 100, "only " .. n .. " requests")
    assert.are.equal(expected, program())
    assert.are.equal(start, support.live_bytes())
  end)

  it("absorbs a single failure by collecting garbage", function()
    local expected, start, n, left = program(), support.live_bytes(), 0
    repeat
      n = n + 1
      core.memory_fail(n, 1)
      local ok, value = pcall(program)
      left = core.memory_fail()
      assert.is_true(ok, tostring(value))
      assert.are.equal(expected, value)
      assert.are.equal(start, support.live_bytes())
    until left > 0
  end)

  it("stays flat over many steps", function()
    program()
    local start = support.live_bytes()
    for _ = 1, 20 do program() end
    assert.are.equal(start, support.live_bytes())
  end)

  it("lets go of a failed run", function()
    local x, bad = plumb.ones(1000, 100), plumb.tensor({ 1, 5 }, { dtype = "int64" })
    local start = support.live_bytes()
    for _ = 1, 3 do
      support.fails_here(function() (x * 2 + (x * 2):index_select(1, bad * 1000):sum()):evaluate() end, "index_select")
    end
    assert.are.equal(start, support.live_bytes())
  end)
end)
