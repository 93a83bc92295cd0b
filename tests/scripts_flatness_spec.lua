--- scripts/flatness.lua and scripts/flatness_batches.lua, run as a user runs them.
local folders = require "folders"
local script_runs = require "script_runs"
local dataset = script_runs.dataset

describe("scripts/flatness.lua", function()
  local folder
  setup(function() folder = folders.new() end)
  teardown(function() folders.remove(folder) end)

  local function words(out, ...)
    return { "--dataset", dataset, "--samples", "300", "--epochs", "2", "--batches", "20,100", "--steps", "4", "--out", out, ... }
  end

  it("draws the line between two solutions, whose ends are the models' own metrics", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/line"
    local printed = script_runs.run_well("flatness", words(out))
    script_runs.assert_config(out, { epochs = 2, samples = 300, batches = { 20, 100 }, rates = { 1e-3, 1e-2 }, lr = 1.5e-3 })
    local _, rows = script_runs.read_csv(out .. "/metrics.csv")
    assert.equal(4 * 2, #rows)
    local numbers = {}
    for _, pair in ipairs { "batches", "rates" } do
      for _, name in ipairs { "accuracy_1", "accuracy_2", "accuracy_low", "alpha_low", "loss_high" } do
        numbers[#numbers + 1] = pair .. "_" .. name
      end
    end
    local summary = script_runs.assert_summary("flatness", out, printed, numbers, { "batches_barrier", "rates_barrier" })
    for i, pair in ipairs { "batches", "rates" } do
      local first, second = summary[pair .. "_accuracy_1"].value, summary[pair .. "_accuracy_2"].value
      local low, alpha = summary[pair .. "_accuracy_low"].value, summary[pair .. "_alpha_low"].value
      assert.equal(rows[4 * i - 2].test_accuracy, first) -- the last epoch of its first training, and of its second
      assert.equal(rows[4 * i].test_accuracy, second)
      assert.is_true(low <= math.min(first, second) and alpha >= 0 and alpha <= 1)
      assert.equal(math.min(first, second) - low >= 0.05 and "holds" or "does not hold", summary[pair .. "_barrier"].value)
      assert.is_true(summary[pair .. "_loss_high"].value > 0)
    end
    script_runs.assert_figures(out, { "batches_loss", "batches_accuracy", "rates_loss", "batches_line", "rates_line" })
  end)

  it("comes to the same with one worker and with two", function()
    if not dataset then return pending("no images on this machine") end
    local tables = {}
    for i, threads in ipairs { "1", "2" } do
      local out = folder .. "/threads_" .. threads
      script_runs.run_well("flatness", words(out, "--samples", "100", "--steps", "1", "--threads", threads))
      tables[i] = folders.read(out .. "/metrics.csv") .. folders.read(out .. "/summary.json")
    end
    assert.equal(tables[1], tables[2])
  end)
end)

describe("scripts/flatness_batches.lua", function()
  local folder
  setup(function() folder = folders.new() end)
  teardown(function() folders.remove(folder) end)

  it("measures how flat the ends are, and says where it can't tell", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/batches"
    local printed = script_runs.run_well("flatness_batches", { "--dataset", dataset, "--samples", "200", "--epochs", "2", "--sizes",
      "10,40,160", "--measured", "50", "--out", out })
    script_runs.assert_config(out, { epochs = 2, samples = 200, sizes = { 10, 40, 160 }, measured = 50 })
    local _, rows = script_runs.read_csv(out .. "/metrics.csv")
    assert.equal(3, #rows)
    local numbers, fitted = { "fitted" }, 1
    for _, what in ipairs { "accuracy", "sharpness", "sensitivity" } do
      numbers[#numbers + 1] = what .. "_smallest"
      numbers[#numbers + 1] = what .. "_largest"
    end
    local summary = script_runs.assert_summary("flatness_batches", out, printed, numbers,
      { "sharpness_grows", "sensitivity_grows", "generalise" })
    for i, row in ipairs(rows) do
      assert.equal(({ 10, 40, 160 })[i], row.batch)
      assert.is_true(row.sharpness > 0 and row.sensitivity > 0 and row.train_loss > 0)
      fitted = math.min(fitted, row.train_accuracy)
    end
    assert.equal(fitted, summary.fitted.value)
    assert.equal(rows[3].sharpness, summary.sharpness_largest.value)
    assert.equal(fitted < 0.98 and "not converged", summary.generalise.value) -- two epochs are too few
    script_runs.assert_figures(out, { "sharpness", "sensitivity" })
  end)
end)
