--- The experiments, run as a user runs them: as processes of their own.
local plumb = require "plumb"
local support = require "support"
local lfs = require "lfs"
local folders = require "folders"
local script_runs = require "script_runs"
local read, remove = folders.read, folders.remove
local read_json, read_csv, run, run_well = script_runs.read_json, script_runs.read_csv, script_runs.run, script_runs.run_well
local assert_figures, assert_summary, assert_config = script_runs.assert_figures, script_runs.assert_summary, script_runs.assert_config
local process, dataset = plumb.core.process, script_runs.dataset

local folder = os.tmpname()
os.remove(folder)

local function exists(path) return lfs.attributes(path) ~= nil end

setup(function() assert(lfs.mkdir(folder)) end)
teardown(function() remove(folder) end)

-- ---- simulate_function ----

describe("scripts/simulate_function.lua", function()
  local words = { "--epochs", "3", "--points", "500", "--seed", "5" }

  it("leaves settings, metrics, figures and a summary", function()
    local out = folder .. "/function"
    local printed = run_well("simulate_function", { "--out", out, table.unpack(words) })
    local config = assert_config(out, { epochs = 3, points = 500, batch = 128, lr = 1e-3, activation = "LeakyReLU" })
    assert.equal(5, config.seed)

    local columns, rows = read_csv(out .. "/metrics.csv")
    table.sort(columns)
    assert.same({ "epoch", "network", "target", "train_loss", "trial" }, columns)
    assert.equal(2 * 3 * 3, #rows)
    local last = {}
    for _, row in ipairs(rows) do
      assert.is_true(row.train_loss > 0 and row.train_loss < 10)
      last[row.target .. "_" .. row.network:lower() .. "_loss"] = row.train_loss
    end

    local names = { "deep_parameters", "middle_parameters", "shallow_parameters", "sinc_shallow_over_deep",
      "sign_shallow_over_deep" }
    for name in pairs(last) do names[#names + 1] = name end
    local summary = assert_summary("simulate_function", out, printed, names, { "sinc_depth", "sign_depth" })
    assert.same({ 571, 572, 571 }, { summary.deep_parameters.value, summary.middle_parameters.value,
      summary.shallow_parameters.value })
    for name, loss in pairs(last) do -- a tenth of three epochs is the last one
      assert.is_true(support.near(summary[name].value, loss, 1e-12), name)
    end
    assert.is_true(support.near(summary.sign_shallow_over_deep.value,
      last.sign_shallow_loss / last.sign_deep_loss, 1e-12))
    for _, target in ipairs { "sinc", "sign" } do -- the verdict of the same numbers, made here again from the rows
      local losses, fell = {}, false
      for _, row in ipairs(rows) do
        if row.target == target then losses[row.network .. row.epoch] = row.train_loss end
      end
      for _, network in ipairs { "Deep", "Shallow" } do fell = fell or losses[network .. 3] < 0.9 * losses[network .. 2] end
      assert.equal(fell and "not converged" or losses.Shallow3 >= 2 * losses.Deep3 and "holds" or "does not hold",
        summary[target .. "_depth"].value)
    end
    assert_figures(out, { "loss_sinc", "loss_sign", "prediction_sinc", "prediction_sign" })
  end)

  it("writes the same metrics for the same seed, whatever the threads, and others for another", function()
    local outs = { folder .. "/a", folder .. "/b", folder .. "/c" }
    for i, more in ipairs { { "1", "5" }, { "2", "5" }, { "1", "6" } } do
      run_well("simulate_function", { "--epochs", "2", "--points", "300", "--out", outs[i], "--threads", more[1], "--seed",
        more[2] })
    end
    local first = read(outs[1] .. "/metrics.csv")
    assert.equal(first, read(outs[2] .. "/metrics.csv"))
    assert.is_true(first ~= read(outs[3] .. "/metrics.csv"))
  end)

  it("draws the sign target without a stray last point", function()
    local out = folder .. "/sign"
    run_well("simulate_function", { "--epochs", "1", "--points", "50", "--out", out })
    local last = read(out .. "/prediction_sign.gp"):match("EOD\n.-\n(%S+ %S+)\nEOD")
    assert.equal("1 1", last)
  end)

  it("says what is wrong with its options, with exit code 2 and nothing written", function()
    for _, case in ipairs {
      { { "--epoch", "3" }, "--epochs" }, { { "--epochs", "0" }, "at least 1" }, { { "--epochs", "many" }, "--epochs" },
      { { "--activation", "relu" }, "LeakyReLU" }, { { "--points", "1.5" }, "--points" }, { { "--lr" }, "value" },
      { { "stray" }, "stray" }, { { "--threads", "0" }, "--threads" },
    } do
      local out = folder .. "/wrong"
      local result = run("simulate_function", { "--out", out, table.unpack(case[1]) })
      assert.equal(2, result.code, case[1][1])
      assert.is_truthy(result.stderr:find(case[2], 1, true), result.stderr)
      assert.is_truthy(result.stderr:find("--help", 1, true))
      assert.is_nil(result.stderr:find("traceback", 1, true))
      assert.equal("", result.stdout)
      assert.is_false(exists(out))
    end
  end)

  it("finds an output folder that can't be used before it trains", function()
    local file = folder .. "/a_file"
    assert(io.open(file, "w")):close()
    local used = folder .. "/used"
    run_well("simulate_function", { "--epochs", "1", "--points", "20", "--out", used })
    local before = read(used .. "/metrics.csv")
    for _, out in ipairs { file .. "/below", "/proc/no/such", file, used } do
      local result = run("simulate_function", { "--out", out, table.unpack(words) })
      assert.equal(2, result.code, out)
      assert.is_truthy(result.stderr:find(out, 1, true) or result.stderr:find(file, 1, true), result.stderr)
      assert.equal("", result.stdout)
    end
    assert.equal(before, read(used .. "/metrics.csv"))
    run_well("simulate_function", { "--epochs", "2", "--points", "20", "--out", used, "--overwrite" })
    assert.is_true(before ~= read(used .. "/metrics.csv"))
  end)

  it("goes on without gnuplot, with a warning", function()
    local out, bin = folder .. "/no_gnuplot", folder .. "/bin"
    assert(lfs.mkdir(bin))
    local result = run("simulate_function", { "--epochs", "1", "--points", "20", "--out", out }, { "PATH=" .. bin })
    assert.equal(0, result.code, result.stderr)
    assert.is_truthy(result.stderr:find("gnuplot", 1, true), result.stderr)
    assert.is_true(exists(out .. "/loss_sign.gp") and exists(out .. "/summary.json"))
    assert.is_false(exists(out .. "/loss_sign.svg"))
  end)
end)

-- ---- random_labels ----

describe("scripts/random_labels.lua", function()
  local function tiny(out, ...)
    return { "--dataset", dataset, "--samples", "100", "--epochs", "2", "--shares", "0,0.5,1", "--out", out, ... }
  end

  it("leaves settings, metrics, figures and a summary that says 'not converged'", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/labels"
    local printed = run_well("random_labels", tiny(out))
    local config = assert_config(out, { epochs = 2, samples = 100, batch = 128, lr = 1e-3, dataset = dataset })
    assert.same({ 0, 0.5, 1 }, config.settings.shares)
    local columns, rows = read_csv(out .. "/metrics.csv")
    assert.same({ 7, 6 }, { #columns, #rows })
    local summary = assert_summary("random_labels", out, printed, { "train_loss", "test_loss", "share_0_train_accuracy",
      "share_0_test_accuracy", "share_50_train_accuracy", "share_50_test_accuracy", "share_100_train_accuracy",
      "share_100_test_accuracy" }, { "fitted", "overfits", "harmful" })
    assert.same({ "not converged", "not converged" }, { summary.fitted.value, summary.harmful.value })
    assert.equal(rows[6].train_loss < rows[5].train_loss and rows[6].test_loss > rows[5].test_loss and "holds" or "does not hold",
      summary.overfits.value)
    assert.equal(rows[6].test_loss, summary.test_loss.value)
    for i, name in ipairs { "share_0", "share_50", "share_100" } do
      assert.equal(rows[2 * i].test_accuracy, summary[name .. "_test_accuracy"].value)
    end
    for i, row in ipairs(rows) do
      assert.equal((i - 1) // 2 / 2, row.share)
      assert.is_true(row.train_loss > 1 and row.train_loss < 4 and row.test_loss > 1 and row.test_loss < 4)
      assert.is_true(row.train_accuracy >= 0 and row.train_accuracy <= 0.6 and row.test_accuracy <= 0.6)
    end
    assert_figures(out, { "loss", "accuracy" })
  end)

  it("fits random labels when it is given the time, and true ones help on the test set", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/fitted"
    run_well("random_labels", { "--dataset", dataset, "--samples", "100", "--epochs", "60", "--batch", "5", "--lr", "0.001",
      "--shares", "0,1", "--out", out })
    local summary = read_json(out .. "/summary.json")
    assert.same({ "holds", "holds", "holds" }, { summary.fitted.value, summary.overfits.value, summary.harmful.value })
    assert.is_true(summary.share_100_train_accuracy.value >= 0.99 and summary.share_100_test_accuracy.value < 0.3)
    assert.is_true(summary.share_0_test_accuracy.value > 0.5)
  end)

  it("writes the same metrics for the same seed", function()
    if not dataset then return pending("no images on this machine") end
    local a, b = folder .. "/labels_a", folder .. "/labels_b"
    run_well("random_labels", tiny(a, "--seed", "3", "--threads", "1"))
    run_well("random_labels", tiny(b, "--seed", "3", "--threads", "2"))
    assert.equal(read(a .. "/metrics.csv"), read(b .. "/metrics.csv"))
  end)

  it("says what is wrong with its options, with exit code 2 and nothing written", function()
    for _, case in ipairs { { "--shares", "1.5", "at most 1" }, { "--shares", "0,0", "must ascend" },
      { "--dataset", "cifar", "mnist" }, { "--samples", "0", "at least 1" } } do
      local out = folder .. "/wrong_labels"
      local result = run("random_labels", { "--out", out, case[1], case[2] })
      assert.equal(2, result.code, case[1])
      assert.is_truthy(result.stderr:find(case[3], 1, true), result.stderr)
      assert.is_false(exists(out))
    end
  end)
end)

-- ---- train_cnn ----

describe("scripts/train_cnn.lua", function()
  local function tiny(out, ...)
    return { "--quick", "--dataset", dataset, "--samples", "200", "--epochs", "2", "--batch", "20", "--out", out, ... }
  end

  it("leaves settings, metrics, figures and a summary of both networks", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/cnn"
    local printed = run_well("train_cnn", tiny(out))
    assert_config(out, { epochs = 2, samples = 200, batch = 20, lr = 1e-3, dataset = dataset })
    local columns, rows = read_csv(out .. "/metrics.csv")
    assert.same({ 6, 4 }, { #columns, #rows })
    local names = {}
    for _, key in ipairs { "simple", "advanced" } do
      for _, what in ipairs { "train_loss", "test_loss", "train_accuracy", "test_accuracy", "seconds_per_epoch", "parameters" } do
        names[#names + 1] = key .. "_" .. what
      end
    end
    local summary = assert_summary("train_cnn", out, printed, names, { "advanced_ahead", "dropout_closes" })
    assert.same({ 421642, 390410 }, { summary.simple_parameters.value, summary.advanced_parameters.value })
    for i, key in ipairs { "simple", "advanced" } do
      for _, what in ipairs { "test_loss", "test_accuracy" } do
        assert.equal(rows[2 * i][what], summary[key .. "_" .. what].value)
      end
      assert.is_true(summary[key .. "_train_loss"].value < rows[2 * i - 1].train_loss, key .. " learns")
    end
    assert.is_true(summary.simple_test_accuracy.value > 0.3)
    assert.equal(summary.advanced_test_accuracy.value > summary.simple_test_accuracy.value and "holds" or "does not hold",
      summary.advanced_ahead.value)
    local function gap(key) return summary[key .. "_test_loss"].value - summary[key .. "_train_loss"].value end
    assert.equal(gap("advanced") < gap("simple") and "holds" or "does not hold", summary.dropout_closes.value)
    assert_figures(out, { "loss", "accuracy", "confusion", "mistakes_simple", "mistakes_advanced" })
  end)

  it("learns the same with any number of threads", function()
    if not dataset then return pending("no images on this machine") end
    local tables = {}
    for i, threads in ipairs { "1", "2" } do
      local out = folder .. "/cnn_" .. threads
      run_well("train_cnn", tiny(out, "--threads", threads, "--samples", "40"))
      local _, rows = read_csv(out .. "/metrics.csv")
      tables[i] = rows
    end
    assert.same(tables[1], tables[2])
  end)
end)

-- ---- gradient_norm ----

describe("scripts/gradient_norm.lua", function()
  it("leaves the norm and the loss of every step, figures and a verdict for each task", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/gradient_norm"
    local printed = run_well("gradient_norm", { "--dataset", dataset, "--epochs", "40", "--points", "256", "--image-epochs", "2",
      "--samples", "640", "--out", out })
    assert_config(out, { epochs = 40, points = 256, image_epochs = 2, samples = 640, batch = 128, lr = 1e-3, dataset = dataset })
    local columns, rows = read_csv(out .. "/metrics.csv")
    table.sort(columns)
    assert.same({ "gradient_norm", "loss", "step", "task" }, columns)
    assert.equal(40 * 2 + 2 * 5, #rows)
    local names, last = {}, {}
    for _, row in ipairs(rows) do
      assert.is_true(row.loss > 0 and row.gradient_norm > 0)
      last[row.task] = row
    end
    for _, task in ipairs { "function", "images" } do
      for _, name in ipairs { "loss", "gradient_norm", "full_gradient_norm", "loss_change", "norm_change" } do
        names[#names + 1] = task .. "_" .. name
      end
    end
    local summary = assert_summary("gradient_norm", out, printed, names, { "function_vanishes", "images_vanishes" })
    assert.is_true(support.near(summary.images_loss.value, last.images.loss, 1e-12)) -- a tenth of ten steps
    assert.is_true(support.near(summary.images_gradient_norm.value, last.images.gradient_norm, 1e-12))
    for _, task in ipairs { "function", "images" } do
      local loss_change, norm_change = summary[task .. "_loss_change"].value, summary[task .. "_norm_change"].value
      assert.equal(loss_change > 0.5 and "not converged" or norm_change <= 0.1 and "holds" or "does not hold",
        summary[task .. "_vanishes"].value)
    end
    assert_figures(out, { "function_norm", "function_loss", "function_both", "images_norm", "images_loss", "images_both" })
  end)
end)

-- ---- minimal_ratio ----

describe("scripts/minimal_ratio.lua", function()
  it("brings networks to critical points and states correlations and a verdict", function()
    local out = folder .. "/minimal_ratio"
    local printed = run_well("minimal_ratio", { "--quick", "--networks", "3", "--steps", "50", "--polish", "6", "--epochs", "5",
      "--out", out })
    assert_config(out, { networks = 3, steps = 50, polish = 6, epochs = 5, scale = 1e-3 })
    local _, rows = read_csv(out .. "/metrics.csv")
    assert.equal(2 * 3 * 2, #rows)
    local near, names, verdicts = {}, {}, {}
    for _, row in ipairs(rows) do
      assert.is_true(row.ratio > 0 and row.ratio < 1 and row.sampled >= 0 and row.sampled <= 1 and row.loss > 0)
      near[row.target .. row.network] = near[row.target .. row.network] or row.gradient
      assert.is_true(row.gradient <= near[row.target .. row.network]) -- the near point comes first
    end
    for _, target in ipairs { "sinc", "sign" } do
      for _, name in ipairs { "converged", "near_gradient", "critical_gradient", "near_ratio", "critical_ratio", "near_sampled",
        "critical_sampled", "pearson", "along_training" } do
        names[#names + 1] = target .. "_" .. name
        if name:find("_[rs]a") then verdicts[#verdicts + 1] = target .. "_" .. name .. "_follows" end
      end
    end
    local summary = assert_summary("minimal_ratio", out, printed, names, verdicts)
    for _, target in ipairs { "sinc", "sign" } do
      for _, name in ipairs { "near_ratio", "near_sampled", "critical_ratio", "critical_sampled" } do
        local r, few = summary[target .. "_" .. name].value, summary[target .. "_converged"].value < 1.5
        assert.equal(few and name:find("critical") and "not converged" or r ~= "none" and r <= -0.5 and "holds" or "does not hold",
          summary[target .. "_" .. name .. "_follows"].value)
      end
      for _, name in ipairs { "near_ratio", "critical_ratio", "along_training" } do
        assert.is_true(math.abs(summary[target .. "_" .. name].value) <= 1)
      end
    end
    assert_figures(out, { "sinc_ratio", "sinc_sampled", "sinc_training", "sign_ratio", "sign_sampled", "sign_training" })
  end)

  it("measures the same whatever the number of workers", function()
    local tables = {}
    for i, threads in ipairs { "1", "2" } do
      local out = folder .. "/ratio_" .. threads
      run_well("minimal_ratio", { "--networks", "3", "--steps", "20", "--polish", "2", "--epochs", "2", "--threads", threads,
        "--out", out })
      tables[i] = read(out .. "/metrics.csv")
    end
    assert.equal(tables[1], tables[2])
  end)
end)

-- ---- visualize_optimization ----

describe("scripts/visualize_optimization.lua", function()
  it("draws the runs in their planes and measures how far apart they end", function()
    if not dataset then return pending("no images on this machine") end
    local out = folder .. "/visualize"
    local printed = run_well("visualize_optimization", { "--dataset", dataset, "--runs", "3", "--image-epochs", "2", "--samples",
      "200", "--function-epochs", "4", "--records", "2", "--out", out })
    assert_config(out, { runs = 3, image_epochs = 2, samples = 200, function_epochs = 4, records = 2, dataset = dataset })
    local _, rows = read_csv(out .. "/metrics.csv")
    assert.equal(2 * 3 * 3, #rows)
    local names, results = {}, { images = 0, ["function"] = 0 }
    for _, row in ipairs(rows) do
      local is_last = row.epoch == (row.task == "images" and 2 or 4)
      results[row.task] = results[row.task] + (is_last and row.result / 3 or 0)
    end
    for task in pairs(results) do
      for _, name in ipairs { "layer_variance", "whole_variance", "result", "travel", "apart" } do
        names[#names + 1] = task .. "_" .. name
      end
    end
    local summary = assert_summary("visualize_optimization", out, printed, names, { "images_far_apart", "function_far_apart" })
    for task, result in pairs(results) do
      assert.is_true(support.near(summary[task .. "_result"].value, result, 1e-12))
      local share = summary[task .. "_whole_variance"].value
      assert.is_true(share > 0 and share <= 1)
      assert.equal("holds", summary[task .. "_far_apart"].value) -- after so few epochs runs are where they started
      assert.is_true(summary[task .. "_apart"].value > summary[task .. "_travel"].value)
    end
    assert_figures(out, { "images_layer", "images_whole", "function_layer", "function_whole" })
  end)
end)

-- ---- all ----

local settings = {
  simulate_function = { "--epochs", "--batch", "--lr" }, random_labels = { "--epochs", "--batch", "--lr" },
  train_cnn = { "--epochs", "--batch", "--lr" }, gradient_norm = { "--epochs", "--batch", "--lr" },
  minimal_ratio = { "--networks", "--polish" }, visualize_optimization = { "--runs", "--image-epochs" },
  capacity = { "--widths", "--noise" }, flatness = { "--batches", "--rates" }, flatness_batches = { "--sizes", "--measured" },
  surface = { "--lines", "--points" }, report = { "--only", "--from", "--resume" },
}

it("every script is in the list above", function()
  for file in lfs.dir("scripts") do
    local name = file:match("^([%w_]+)%.lua$")
    if name then assert.is_truthy(settings[name], file) end
  end
end)

for name, own in pairs(settings) do
  describe("scripts/" .. name .. ".lua", function()
    it("lists its settings under --help", function()
      local result = run(name, { "--help" })
      assert.same({ 0, "" }, { result.code, result.stderr })
      for _, words in ipairs { own, { "--quick", "--seed", "--out", "default:" } } do
        for _, word in ipairs(words) do assert.is_truthy(result.stdout:find(word, 1, true), word) end
      end
    end)

    it("is short enough to read in class", function()
      local _, lines = read("scripts/" .. name .. ".lua"):gsub("\n", "")
      assert.is_true(lines <= 100, lines .. " lines")
    end)

    it("runs from any working directory", function()
      local root = lfs.currentdir()
      local result = assert(process.run({ root .. "/plumb", root .. "/scripts/" .. name .. ".lua", "--help" }, { cwd = "/" }))
      assert.equal(0, result.code)
    end)
  end)
end
