--- scripts/capacity.lua and scripts/surface.lua, run as a user runs them, on real images.
local folders = require "folders"
local script_runs = require "script_runs"
local dataset = script_runs.dataset
local run_well = script_runs.run_well

local folder
setup(function() folder = folders.new() end)
teardown(function() folders.remove(folder) end)

local words = {
  capacity = { "--samples", "120", "--epochs", "3", "--widths", "4,20,8", "--batch", "40" },
  surface = { "--samples", "200", "--epochs", "4", "--batch", "20", "--measured", "60", "--points", "5", "--lines", "3" },
}

-- Runs a script with its short settings; returns what it printed.
local function short(name, out, ...)
  local all = table.move(words[name], 1, #words[name], 1, {})
  table.move({ "--dataset", dataset, "--out", out, ... }, 1, 4 + select("#", ...), #all + 1, all)
  return run_well(name, all)
end

local function results(out) return folders.read(out .. "/metrics.csv") .. folders.read(out .. "/summary.json") end

-- Small networks on few images, a share of which has random labels.
local noisy = { "--samples", "40", "--epochs", "60", "--widths", "1,2,30", "--batch", "4", "--noise", "0.2", "--lr", "2e-3" }

describe("scripts/capacity.lua", function()
  -- Its rows and summary.json, whose numbers are those of the rows.
  local function results_of(out, printed, samples)
    local _, rows = script_runs.read_csv(out .. "/metrics.csv")
    local summary = script_runs.assert_summary("capacity", out, printed, { "best_parameters", "best_test_loss", "largest_test_loss",
      "largest_test_accuracy", "peak" }, { "fits", "beyond", "descent" })
    assert.equal(3, #rows)
    local best, peak = rows[1], rows[1]
    for _, row in ipairs(rows) do
      assert.equal(795 * row.width + 10, row.parameters)
      assert.is_true(row.train_loss > 0 and row.test_loss > 0 and row.train_accuracy <= 1 and row.test_accuracy <= 1)
      best, peak = row.test_loss < best.test_loss and row or best, row.test_loss > peak.test_loss and row or peak
    end
    assert.is_true(rows[1].width > rows[2].width and rows[2].width > rows[3].width)
    assert.equal(best.parameters, summary.best_parameters.value)
    assert.equal(best.test_loss, summary.best_test_loss.value)
    assert.same({ rows[1].test_loss, rows[1].test_accuracy }, { summary.largest_test_loss.value,
      summary.largest_test_accuracy.value })
    assert.is_true(math.abs(summary.peak.value - peak.parameters / (10 * samples)) < 1e-12)
    script_runs.assert_figures(out, { "loss", "accuracy" })
    return rows, summary
  end

  it("measures each network once, and judges by what it measured", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/capacity"
    local printed = short("capacity", out)
    script_runs.assert_config(out, { samples = 120, epochs = 3, widths = { 4, 20, 8 }, noise = 0 })
    local rows, summary = results_of(out, printed, 120)
    assert.is_true(rows[1].train_loss < rows[3].train_loss) -- more parameters fit better
    assert.equal("not converged", summary.beyond.value) -- no network is below 1200 parameters
  end)

  it("fits noisy labels with many parameters, not with few", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/noisy"
    local printed = run_well("capacity", { "--dataset", dataset, "--out", out, table.unpack(noisy) })
    script_runs.assert_config(out, { samples = 40, noise = 0.2, lr = 2e-3 })
    local rows, summary = results_of(out, printed, 40)
    assert.is_true(rows[1].train_accuracy == 1 and rows[3].train_accuracy < 0.9)
    assert.equal("1 of 3 ", summary.fits.numbers:match("^%d+ of %d+ "))
  end)
end)

describe("scripts/surface.lua", function()
  it("draws the loss around a solution, and the path to it", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/surface"
    local printed = short("surface", out)
    script_runs.assert_config(out, { samples = 200, measured = 60, points = 5 })
    local _, rows = script_runs.read_csv(out .. "/metrics.csv")
    local summary = script_runs.assert_summary("surface", out, printed,
      { "loss", "accuracy", "rise", "path_variance", "random_variance" }, { "convex", "lowest", "shown", "blind" })
    assert.equal(rows[#rows].test_accuracy, summary.accuracy.value)
    assert.is_true(summary.loss.value > 0 and summary.loss.value < 2.5)
    assert.is_true(summary.path_variance.value > 0.5 and summary.path_variance.value <= 1 + 1e-12)
    assert.is_true(summary.random_variance.value > 0 and summary.random_variance.value < 0.01)
    assert.equal("holds", summary.blind.value) -- of many parameters two random directions see next to nothing
    assert.equal(summary.path_variance.value >= 0.9 and "holds" or "does not hold", summary.shown.value)
    local least, solution = summary.lowest.numbers:match("least (%S+), solution (%S+)")
    assert.equal(("%.6g"):format(summary.loss.value), solution)
    assert.is_true(tonumber(least) <= tonumber(solution)) -- the solution is one of the plane's points
    script_runs.assert_figures(out, { "lines", "plane", "path" })
  end)
end)

for name in pairs(words) do
  it(("scripts/%s.lua comes to the same with one worker and with two"):format(name), function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/" .. name
    for threads = 1, 2 do short(name, out .. threads, "--threads", ("%d"):format(threads)) end
    assert.equal(results(out .. 1), results(out .. 2))
  end)
end
