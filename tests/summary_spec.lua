-- nn.summary: shapes come from the layers themselves, and looking changes nothing.
local plumb = require "plumb"
local support = require "support"
local nn = plumb.nn

describe("nn.summary", function()
  local function images()
    return nn.Sequential { nn.Conv2d(1, 8, 3, { padding = 1 }), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5),
      nn.Flatten(), nn.Linear(8 * 14 * 14, 10) }
  end

  it("shows shapes for a given sample, and parameters", function()
    local lines = {}
    for line in (nn.summary(images(), { 1, 28, 28 }) .. "\n"):gmatch("([^\n]*)\n") do lines[#lines + 1] = line:gsub("%s+", " ") end
    assert.same({ " Sequential output parameters", "1 Conv2d(1, 8, 3, padding = 1) (n, 8, 28, 28) 80", "2 BatchNorm2d(8) (n, 8, 28, 28) 16",
      "3 ReLU() (n, 8, 28, 28) 0", "4 MaxPool2d(2) (n, 8, 14, 14) 0", "5 Dropout(0.5) (n, 8, 14, 14) 0", "6 Flatten() (n, 1568) 0",
      "7 Linear(1568, 10) (n, 10) 15,690", "15,786 parameters, float32" }, lines)
  end)

  it("leaves shapes out where nothing tells them, or the layers do not fit", function()
    assert.falsy(nn.summary(images()):find("output", 1, true))
    assert.falsy(nn.summary(nn.Sequential { nn.Linear(2, 3), nn.Linear(4, 5) }):find("output", 1, true))
    assert.truthy(nn.summary(nn.Sequential { nn.Flatten(), nn.Linear(2, 3) }):find("(n, 3)", 1, true))
    assert.truthy(nn.summary(nn.ReLU()):find("0 parameters", 1, true))
  end)

  it("knows the shape of what the model was called with", function()
    local model = images()
    model(plumb.zeros(3, 1, 28, 28))
    assert.equal(nn.summary(model, { 1, 28, 28 }), nn.summary(model))
    assert.is_false((pcall(model, plumb.zeros(3, 2, 28, 28))))
    assert.equal(nn.summary(model, { 1, 28, 28 }), nn.summary(model))
    local other = images()
    plumb.fit(other, { x = plumb.zeros(4, 1, 28, 28), y = plumb.ones(4):cast("int64") }, { loss = nn.CrossEntropyLoss(),
      optimizer = plumb.optim.SGD {}, epochs = 1, batch = 2, progress = false })
    assert.equal(nn.summary(other, { 1, 28, 28 }), nn.summary(other))
  end)

  it("changes neither the model nor the random numbers", function()
    plumb.manual_seed(3)
    local model = images()
    local theta, buffers = model.theta, model.buffers
    local state = plumb.get_rng_state()
    nn.summary(model, { 1, 28, 28 })
    assert.same(state, plumb.get_rng_state())
    assert.is_true(model.training)
    support.same_bits(theta, model.theta, "theta")
    support.same_bits(buffers, model.buffers, "buffers")
  end)

  it("refuses what is no module, and shapes that do not fit", function()
    support.fails_here(function() return (nn.summary(5)) end, "summary: a module was expected, not number")
    support.fails_here(function() return (nn.summary(nn.ReLU(), 3)) end, "summary: the shape is a table")
    support.fails_here(function() return (nn.summary(nn.Linear(3, 4), { 5 })) end, "takes inputs of shape (..., 3)")
    support.fails_here(function() return (nn.summary(nn.Linear(3, 4), { "x" })) end, "")
  end)
end)
