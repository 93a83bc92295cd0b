--- Every experiment, tiny and on real data: killed (kill -9, workers too) it goes on with --resume to the same bits, and its
--- config.json alone makes it again; without its data it says so. PLUMB_KILLS=17 kills each of them 17 times instead of once.
local plumb = require "plumb"
local folders = require "folders"
local support = require "support"
local lfs = require "lfs"
local json = require "dkjson"

local process, read = plumb.core.process, folders.read
local KILLS = tonumber(os.getenv("PLUMB_KILLS")) or 1
local PATIENCE_SECONDS = 120

local dataset = require("script_runs").dataset

-- Forms of about a second; false: no experiment of its own.
local TINY = {
  simulate_function = "--epochs 6 --points 600 --batch 32",
  random_labels = "--samples 200 --epochs 3 --shares 0,0.5,1",
  train_cnn = "--quick --samples 100 --epochs 2 --batch 10",
  gradient_norm = "--epochs 30 --points 256 --image-epochs 3 --samples 600",
  minimal_ratio = "--networks 3 --steps 30 --polish 3 --epochs 10",
  visualize_optimization = "--runs 3 --image-epochs 4 --samples 300 --function-epochs 8 --records 3",
  flatness = "--samples 200 --epochs 3 --batches 10,50 --steps 2",
  flatness_batches = "--samples 200 --epochs 3 --sizes 10,40 --measured 50",
  capacity = "--samples 200 --epochs 10 --widths 5,20 --noise 0.2",
  surface = "--samples 200 --measured 50 --epochs 3 --points 5",
  report = false,
}

describe("every experiment", function()
  local base
  before_each(function() base = folders.new() end)
  after_each(function() folders.remove(base) end)

  local function words_of(name, ...)
    local words = { "scripts/" .. name .. ".lua", "--seed", "3" }
    if read(words[1]):find("data.setting()", 1, true) then table.move({ "--dataset", dataset }, 1, 2, 4, words) end
    for word in TINY[name]:gmatch("%S+") do words[#words + 1] = word end
    return table.move({ ... }, 1, select("#", ...), #words + 1, words)
  end

  local function run_well(words)
    local result = assert(process.run({ "./plumb", table.unpack(words) }, { timeout = PATIENCE_SECONDS }))
    assert.equal(0, result.code, result.stderr)
  end

  -- Runs plumb with these words and kills it with its workers after some seconds. Returns whether it had ended before.
  local function run_and_kill(words, seconds)
    local child <close> = process.start_worker(words)
    local deadline = process.time() + seconds
    while process.time() < deadline and not child:status() do
      process.wait_for_workers { child }
      for _, stream in ipairs { "stdout", "stderr" } do
        repeat local bytes = child:read(stream) until not bytes or bytes == ""
      end
    end
    if child:status() then return true end
    os.execute("kill -9 " .. child:pid())
    while not child:status() do process.wait_for_workers { child } end
    return false
  end

  -- What came out, without times and without what is drawn.
  local function results_of(out)
    local summary = assert(json.decode(read(out .. "/summary.json")))
    for name in pairs(summary) do
      if name:find("seconds", 1, true) then summary[name] = nil end
    end
    return { metrics = read(out .. "/metrics.csv"), summary = summary }
  end

  -- Killed up to `kills` times at random moments of the time that it takes, then left alone. Returns how often it was killed.
  local function run_with_kills(name, out, kills, took, random)
    for killed = 0, kills - 1 do
      local words = lfs.attributes(out .. "/config.json") and { "scripts/" .. name .. ".lua", "--resume", out }
        or words_of(name, "--out", out)
      table.move({ "--checkpoint-every", "0" }, 1, 2, #words + 1, words)
      if run_and_kill(words, took * random(0.05, 0.95)) then return killed end
      if lfs.attributes(out .. "/summary.json") then return killed + 1 end -- killed behind its end
    end
    local begun = lfs.attributes(out .. "/config.json")
    run_well(begun and { "scripts/" .. name .. ".lua", "--resume", out } or words_of(name, "--out", out))
    return kills
  end

  for name, words in pairs(TINY) do
    if words and lfs.attributes("scripts/" .. name .. ".lua") then
      it(("killed %d time(s) goes on to the same bits, and is made again from its config.json: %s"):format(KILLS, name), function()
        if not dataset then return pending("no images on this machine") end
        local start = process.time()
        run_well(words_of(name, "--out", base .. "/whole"))
        local took, random = process.time() - start, support.generator(os.time())
        local whole = results_of(base .. "/whole")
        run_well { "scripts/" .. name .. ".lua", "--config", base .. "/whole/config.json", "--out", base .. "/again" }
        assert.same(whole, results_of(base .. "/again"))
        local kills, round = 0, 0
        while kills < KILLS do
          round = round + 1
          assert.is_true(round <= 10 + 10 * KILLS, "it always ends before it is killed")
          local out = base .. "/killed" .. round
          kills = kills + run_with_kills(name, out, math.min(KILLS - kills, 5), took, random)
          assert.same(whole, results_of(out))
        end
      end)
    end
  end

  it("says which command brings missing images, before it makes a folder", function()
    for name, words in pairs(TINY) do
      if words and read("scripts/" .. name .. ".lua"):find("data.setting()", 1, true) then
        local result = process.run { "env", "PLUMB_DATA=/nowhere/at/all", "XDG_DATA_HOME=" .. base, "./plumb",
          "scripts/" .. name .. ".lua", "--out", base .. "/run" }
        assert.same({ 2, "" }, { result.code, result.stdout }, name)
        assert.matches("^" .. name .. ": MNIST is not on this machine: run 'make data'.*\n  /nowhere/at/all\n", result.stderr)
        assert.is_nil(result.stderr:find("traceback", 1, true))
        assert.is_nil(lfs.attributes(base .. "/run"))
      end
    end
  end)

  it("has a tiny form in this list", function()
    for file in lfs.dir("scripts") do
      local name = file:match("^([%w_]+)%.lua$")
      if name then assert.is_true(TINY[name] ~= nil, "add scripts/" .. file .. " to TINY") end
    end
  end)
end)
