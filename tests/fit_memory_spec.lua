--- plumb.fit and memory: it stays flat, and keeps to its budget.
local plumb = require "plumb"
local support = require "support"
local fits = require "fits"
local read = require("folders").read
local nn, optim = plumb.nn, plumb.optim

local flat = support.flat
local network, train = fits.network, fits.train

-- The bytes of this process that are in memory.
local function resident()
  collectgarbage()
  collectgarbage()
  return tonumber(read("/proc/self/statm"):match("%d+ (%d+)")) * 4096
end

-- `work` leaks nothing if there is a run of it, of three, after which no more is held than before: how far the heap grows
-- between two collections is settled after some runs.
local function assert_flat(work)
  local least, held = math.huge, 0
  for _ = 1, 3 do
    local live, bytes = support.live_bytes(), resident()
    work()
    least, held = math.min(least, resident() - bytes), math.max(held, support.live_bytes() - live)
  end
  -- The address sanitizer keeps what was freed for a while.
  local sanitized = read("/proc/self/maps"):find("libasan", 1, true)
  assert.is_true(sanitized ~= nil or least < 256 * 1024, "resident memory grew by " .. least)
  assert.is_true(held < 4096, "the core holds more by " .. held)
end

describe("the memory of fit", function()
  it("stays flat over a thousand steps of fit", function()
    local model, set = network { 20, 50, 1 }, { x = plumb.rand(500, 20):evaluate(), y = plumb.rand(500, 1):evaluate() }
    local function a_thousand_steps()
      assert.is_true(train(model, set, { epochs = 32, validate = set }).step >= 1000)
    end
    a_thousand_steps()
    assert_flat(a_thousand_steps)
  end)

  it("stays flat over a thousand steps of a loop written by hand", function()
    local model, optimizer = network { 20, 50, 1 }, optim.Adam()
    local x, y = plumb.rand(64, 20):evaluate(), plumb.rand(64, 1):evaluate()
    local total = plumb.tensor(0)
    local loss_and_gradient = plumb.value_and_grad(function(theta) return nn.mse_loss(model:at(theta)(x), y) end)
    local function steps(n)
      for _ = 1, n do
        local loss, gradient = loss_and_gradient(model.theta)
        model.theta = optimizer:step(model.theta, gradient)
        total = total + loss
      end
    end
    steps(1000)
    assert_flat(function() steps(1000) end)
    assert.is_true(total:item() > 0)
  end)

  it("beyond the budget is an error that names shape and bytes, and training goes on with more", function()
    local budget = plumb.memory().budget
    local model, set = network { 64, 512, 1 }, { x = plumb.rand(256, 64):evaluate(), y = plumb.rand(256, 1):evaluate() }
    local before = flat(model.theta)
    local expected = network { 64, 512, 1 }
    train(expected, set, { epochs = 2 })
    local ok, message
    support.live_bytes()
    plumb.memory_budget(plumb.memory().live + 200 * 1000)
    ok, message = pcall(train, model, set, { epochs = 2 })
    plumb.memory_budget(budget)
    assert.is_false(ok)
    assert.is_truthy(message:find("%d+[%d,.]* ?%a*bytes") or message:find("%d+[%d,.]* ?[KMk]i?B"), message)
    assert.is_truthy(message:find("budget", 1, true), message)
    assert.is_truthy(message:find("%(%d+") or message:find("workspace"), message)
    assert.same(before, flat(model.theta))
    train(model, set, { epochs = 2 })
    support.same_bits(model.theta, expected.theta, "theta")
  end)
end)
