--- Experiments that go on (--resume), are made again (--config) and are repeated (--seeds).

local lfs = require "lfs"
local json = require "dkjson"

local plumb = require "plumb"
local folders = require "folders"
local support = require "support"
local repeats = require "plumb.experiment.repeats"

local process = plumb.core.process
local read, write = folders.read, folders.write

-- Two trainings one after another, and three side by side whose results are summed up.
local SCRIPT = [[
local plumb = require "plumb"
local nn, optim = plumb.nn, plumb.optim
local run = plumb.experiment.start {
  name = "story", description = "A story in several parts.",
  settings = { { name = "epochs", default = 8, quick = 2, help = "epochs" }, { name = "rate", default = 0.05, help = "rate" },
               { name = "broken", default = false, help = "an error behind the first training" } },
}
plumb.manual_seed(run.seed)
local x = plumb.rand(40, 3)
local function options(part)
  return { loss = nn.MSELoss(), optimizer = optim.Adam { lr = run.settings.rate }, epochs = run.settings.epochs, batch = 7,
    progress = false, seed = run.seed, on_epoch = function(h)
      h.kept.norms = h.kept.norms or {}
      h.kept.norms[h.epoch] = h.model.theta:norm():item()
      run:record { part = part, epoch = h.epoch, loss = h.train_loss[h.epoch] }
    end }
end
local function model() return nn.Sequential { nn.Linear(3, 6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 3) } end
local function total(h)
  local sum = 0
  for _, norm in ipairs(h.kept.norms) do sum = sum + norm end
  return sum
end
for _, part in ipairs { "first", "second" } do
  local history = run:fit(model(), { x = x, y = (x * 3):sin() }, options(part))
  run:record { part = part, epoch = 0, loss = plumb.rand(1):item() }
  run:summary(part, total(history), "sum of the norms")
  if run.settings.broken then error("broken") end
end
local results = run:map({ 1, 2, 3 }, function(seed)
  plumb.manual_seed(seed)
  local history = run:fit(model(), { x = x, y = (x * seed):cos() }, options("trial"))
  return { total = total(history), theta = history.model.theta }
end)
run:verdict("odd", "the seed is odd", run.seed % 2 == 1, ("seed %d"):format(run.seed))
for i, result in ipairs(results) do run:summary("trial_" .. i, result.total + result.theta:sum():item(), "of a trial") end
run:finish()
]]

describe("an experiment", function()
  local base, script

  before_each(function()
    base = folders.new()
    script = write(base .. "/story.lua", SCRIPT)
  end)
  after_each(function() folders.remove(base) end)

  local function run(...)
    return assert(process.run({ "./plumb", script, ... }, { timeout = 120 }))
  end

  local function run_well(...)
    local result = run(...)
    assert.equal(0, result.code, result.stderr)
    assert.equal("", result.stderr)
    return result.stdout
  end

  local function refused(...)
    local result = run(...)
    assert.equal(2, result.code, result.stdout)
    return result.stderr
  end

  local function same_results(a, b)
    assert.equal(read(a .. "/metrics.csv"), read(b .. "/metrics.csv"))
    assert.equal(read(a .. "/summary.json"), read(b .. "/summary.json"))
  end

  -- Starts the script and kills it with all its workers when it has run for some seconds. Returns whether it had ended.
  local function run_and_kill(seconds, ...)
    local child <close> = process.start_worker { script, ... }
    local deadline = process.time() + seconds
    while process.time() < deadline and not child:status() do
      process.wait_for_workers { child }
      repeat local bytes = child:read("stdout") until not bytes or bytes == ""
    end
    if child:status() then return true end
    os.execute("kill -9 " .. child:pid())
    while not child:status() do process.wait_for_workers { child } end
    return false
  end

  it("killed again and again goes on with --resume, to the same files", function()
    local random = support.generator(os.time())
    local start = process.time()
    run_well("--out", base .. "/whole")
    local took = process.time() - start
    for round = 1, 2 do
      local out, kills = base .. "/killed" .. round, 0
      local ended = run_and_kill(took * random(0.2, 0.9), "--out", out, "--checkpoint-every", "0")
      while not ended do
        kills = kills + 1
        if not lfs.attributes(out .. "/config.json") then
          folders.remove(out)
          ended = run_and_kill(60, "--out", out)
        elseif lfs.attributes(out .. "/summary.json") then
          break -- killed after its end
        else
          ended = run_and_kill(kills > 6 and 60 or took * random(0.1, 0.9), "--resume", out, "--checkpoint-every", "0")
        end
      end
      same_results(base .. "/whole", out)
      if ended then assert.is_nil(lfs.attributes(out .. "/checkpoint")) end
    end
  end)

  it("stopped by an error keeps the trainings that had ended", function()
    run_well("--out", base .. "/whole", "--quick")
    local result = run("--out", base .. "/run", "--quick", "--broken")
    assert.equal(1, result.code)
    local config = read(base .. "/run/config.json"):gsub('"broken":true', '"broken":false')
    write(base .. "/run/config.json", config)
    assert.same({ "fit-1.safetensors", "time.safetensors" }, folders.list(base .. "/run/checkpoint"))
    local saved = plumb.files.load_checkpoint(base .. "/run/checkpoint/fit-1.safetensors")
    assert.same({ 2, 2 }, { saved.fit.epoch, #saved.rows })
    local output = run_well("--resume", base .. "/run")
    assert.matches("story: goes on in .*/run/ %(seed 1, quick%)", output)
    same_results(base .. "/whole", base .. "/run")
  end)

  it("counts the seconds of all its processes", function()
    local start = process.time()
    run("--out", base .. "/run", "--quick", "--broken")
    local path, took = base .. "/run/checkpoint/time.safetensors", process.time() - start
    local noted = plumb.files.load_checkpoint(path).seconds
    assert.is_true(noted > 0 and noted < took, noted)
    plumb.files.save_checkpoint(path, { seconds = noted + 1000 }) -- as if it had been a long one
    write(base .. "/run/config.json", (read(base .. "/run/config.json"):gsub('"broken":true', '"broken":false')))
    start = process.time()
    local output = run_well("--resume", base .. "/run")
    local seconds = json.decode(read(base .. "/run/run.json")).seconds
    assert.is_true(seconds > 1000 + noted and seconds < 1000 + noted + process.time() - start, seconds)
    assert.matches(("story took %.1f s"):format(seconds), output, 1, true)
  end)

  it("goes on without the time of earlier processes where that is damaged", function()
    run("--out", base .. "/run", "--quick", "--broken")
    write(base .. "/run/config.json", (read(base .. "/run/config.json"):gsub('"broken":true', '"broken":false')))
    write(base .. "/run/checkpoint/time.safetensors", "nonsense")
    local result = run("--resume", base .. "/run")
    assert.equal(0, result.code, result.stderr)
    assert.matches("^story: warning: .*time.safetensors: it is damaged, .*; the time that the run took before is lost\n$",
      result.stderr)
  end)

  it("does not run a trial again that had ended", function()
    write(base .. "/map.lua", ([[
      local run = require("plumb").experiment.start { name = "trials" }
      local results = run:map({ 1, 2, 3 }, function(n)
        local file = io.open(%q, "a")
        file:write(n, "\n")
        file:close()
        if n == 2 and not io.open(%q) then error("not yet") end
        run:record { n = n }
        return { n, require("plumb").ones(n) }
      end)
      run:summary("sum", results[2][2]:sum(), "a sum")
      run:finish()
    ]]):format(base .. "/log", base .. "/go"))
    assert.equal(1, process.run({ "./plumb", base .. "/map.lua", "--out", base .. "/run", "--threads", "1" }).code)
    assert.equal("1\n2\n3\n", read(base .. "/log"))
    write(base .. "/go", "")
    local result = process.run { "./plumb", base .. "/map.lua", "--resume", base .. "/run" }
    assert.equal(0, result.code, result.stderr)
    assert.equal("1\n2\n3\n2\n", read(base .. "/log"))
    assert.equal("trial,n\n1,1\n2,2\n3,3\n", read(base .. "/run/metrics.csv"))
  end)

  it("with a damaged checkpoint says which, and what to do", function()
    run("--out", base .. "/run", "--quick", "--broken")
    local path = base .. "/run/checkpoint/fit-1.safetensors"
    local bytes = read(path)
    write(path, bytes:sub(1, 100) .. string.char(bytes:byte(101) ~ 4) .. bytes:sub(102))
    local result = run("--resume", base .. "/run")
    assert.equal(1, result.code)
    assert.matches("story.lua:%d+: .*fit%-1.safetensors: it is damaged", result.stderr)
    assert.matches("Without that file this part of the run begins anew", result.stderr)
    os.remove(path)
    result = run("--resume", base .. "/run")
    assert.matches("broken", result.stderr) -- as far as before
  end)

  it("goes on without checkpoints when the disk is full", function()
    local result = process.run { "sh", "-c", 'ulimit -f 4; exec ./plumb "$@"', "sh", script, "--quick", "--out",
      base .. "/run", "--checkpoint-every", "0" }
    assert.equal(0, result.code, result.stderr)
    assert.matches("story: warning: no checkpoint: cannot write .*File too large; the one before stays", result.stderr)
    assert.equal(1, select(2, result.stderr:gsub("/fit%-1.safetensors", ""))) -- said once
    run_well("--out", base .. "/whole", "--quick")
    same_results(base .. "/whole", base .. "/run")
  end)

  it("keeps its old checkpoint on a file system that is really full", function()
    local disk = base .. "/disk"
    lfs.mkdir(disk)
    -- A file system of its own, 1 MB, that fills up in the middle of the first training; it goes with the shell that mounted it.
    local mounted = process.run { "unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1M none "$1"', "sh", disk }
    if mounted.code ~= 0 then return pending("only root can mount a file system here") end
    local full = write(base .. "/full.lua", (SCRIPT:gsub("h.kept.norms%[h.epoch%] =", [[
      if h.epoch == 4 then
        local file = io.open(run:path("filler"), "wb")
        repeat until not file:write(("x"):rep(4096)) or not file:flush()
        file:close()
      end
      %0]])))
    local result = process.run { "unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1M none "$1" && ./plumb "$2" --broken --out '
      .. '"$1/run" --checkpoint-every 0; cp -r "$1/run" "$3"', "sh", disk, full, base .. "/kept" }
    assert.matches("story: warning: no checkpoint: cannot write .*No space left on device; the one before stays", result.stderr)
    local saved = plumb.files.load_checkpoint(base .. "/kept/checkpoint/fit-1.safetensors")
    assert.is_true(saved.fit.epoch >= 3 and saved.fit.epoch <= 4, saved.fit.epoch)
    os.remove(base .. "/kept/filler")
    local config = read(base .. "/kept/config.json"):gsub('"broken":true', '"broken":false')
    write(base .. "/kept/config.json", config)
    run_well("--resume", base .. "/kept")
    run_well("--out", base .. "/whole")
    same_results(base .. "/whole", base .. "/kept")
  end)

  -- In one process's calls, as strace tells them: how many checkpoints were renamed, each after its file was synced and before
  -- its folder was.
  local function count_synced(calls)
    local opened, synced, last, renamed = {}, 0, nil, nil -- paths by descriptor; the path synced last
    for line in calls:gmatch("[^\n]+") do
      local path, number = line:match('openat%(AT_FDCWD, "([^"]*)"'), line:match("= (%d+)$")
      if path and number then opened[number] = path end
      local file = opened[line:match("fsync%((%d+)%)") or ""]
      if file then last = file end
      local from, to = line:match('rename%("([^"]*)", "([^"]*/checkpoint/[^"]*)"')
      if from then
        assert.equal(from, last)
        renamed = to:match("(.*)/")
      elseif renamed and file then
        assert.equal(renamed, file)
        synced, renamed = synced + 1, nil
      end
    end
    assert.is_nil(renamed)
    return synced
  end

  it("writes a checkpoint to the disk before it takes the old one's place", function()
    local logs, synced = base .. "/logs", 0
    assert(lfs.mkdir(logs))
    local traced = { "strace", "-ff", "-o", logs .. "/of", "-e", "trace=openat,fsync,rename", "./plumb", script, "--quick", "--out",
      base .. "/run", "--checkpoint-every", "0" }
    local tried, result = pcall(process.run, traced)
    if not tried or result.code ~= 0 then return pending("strace can't be used here") end
    for name in lfs.dir(logs) do
      if name:find("^of") then synced = synced + count_synced(read(logs .. "/" .. name)) end
    end
    assert.is_true(synced >= 12, synced)
  end)

  it("is not resumed where that makes no sense", function()
    run_well("--out", base .. "/done", "--quick")
    assert.matches("has finished; %-%-config .*done/config.json repeats it", refused("--resume", base .. "/done"))
    assert.matches("is no folder", refused("--resume", base .. "/nowhere"))
    lfs.mkdir(base .. "/empty")
    assert.matches("can't read the config", refused("--resume", base .. "/empty"))
    run("--out", base .. "/run", "--quick", "--broken")
    for _, option in ipairs { "--epochs=3", "--seed=2", "--quick", "--out=x", "--seeds=2", "--config=x" } do
      assert.matches(option:match("[^=]+"):gsub("%-", "%%-") .. " can't be given with %-%-resume",
        refused("--resume", base .. "/run", option))
    end
    local other = write(base .. "/other.lua", SCRIPT:gsub('"story"', '"other"'))
    local result = process.run { "./plumb", other, "--resume", base .. "/run" }
    assert.equal(2, result.code)
    assert.matches("belongs to another experiment, story", result.stderr)
  end)

  it("is made again from config.json alone", function()
    run_well("--out", base .. "/a", "--epochs", "4", "--rate", "0.123456789012345678", "--seed", "5")
    run_well("--config", base .. "/a/config.json", "--out", base .. "/b", "--threads", "1")
    same_results(base .. "/a", base .. "/b")
    local a, b = json.decode(read(base .. "/a/config.json")), json.decode(read(base .. "/b/config.json"))
    assert.same({ a.settings, a.seed, a.quick }, { b.settings, b.seed, b.quick })
    run_well("--config", base .. "/a/config.json", "--out", base .. "/c", "--seed", "6", "--epochs", "1") -- options come first
    local c = json.decode(read(base .. "/c/config.json"))
    assert.same({ 6, 1, a.settings.rate }, { c.seed, c.settings.epochs, c.settings.rate })
  end)

  it("says what is wrong with a config.json", function()
    run_well("--out", base .. "/a", "--quick")
    local text = read(base .. "/a/config.json")
    local function with(change, replacement)
      local changed, count = text:gsub(change, replacement)
      assert.equal(1, count)
      return refused("--config", write(base .. "/config.json", changed), "--out", base .. "/x")
    end
    assert.matches("the config's epochs must be a whole number", with('"epochs":2', '"epochs":"two"'))
    assert.matches("a setting 'epoch', which the script doesn't have", with('"epochs":2', '"epoch":2'))
    assert.matches("the config's seed must be at least 0", with('"seed":1', '"seed":-1'))
    assert.matches("not the config.json of a run", with("^{", "["))
    assert.matches("can't read the config", refused("--config", base .. "/none.json"))
    assert.matches("%-%-quick can't be given with %-%-config", refused("--config", base .. "/a/config.json", "--quick"))
    assert.is_nil(lfs.attributes(base .. "/x"))
  end)

  it("repeated with --seeds gives mean and standard deviation, and each run as if alone", function()
    local output = run_well("--quick", "--seeds", "3", "--seed", "4", "--out", base .. "/all", "--threads", "2")
    assert.matches("seeds 4 to 6, quick", output)
    assert.matches("[seed 5] story: results go to", output, 1, true)
    local sum, squares, values = 0, 0, {}
    local rows = { "seed," .. read(base .. "/all/seed-4/metrics.csv"):match("[^\n]*") }
    for seed = 4, 6 do
      local out = base .. "/alone-" .. seed
      run_well("--quick", "--seed", tostring(seed), "--out", out)
      same_results(out, base .. "/all/seed-" .. seed)
      values[#values + 1] = json.decode(read(out .. "/summary.json")).first.value
      for line in read(out .. "/metrics.csv"):gsub("^[^\n]*\n", ""):gmatch("[^\n]+") do rows[#rows + 1] = seed .. "," .. line end
    end
    for _, value in ipairs(values) do sum = sum + value end
    for _, value in ipairs(values) do squares = squares + (value - sum / 3) ^ 2 end
    local summary = json.decode(read(base .. "/all/summary.json"))
    assert.is_true(support.near(summary.first.value, sum / 3, 1e-12))
    assert.is_true(support.near(summary.first.std, math.sqrt(squares / 2), 1e-12))
    assert.same(values, summary.first.values)
    assert.equal("sum of the norms", summary.first.meaning)
    assert.same({ value = "2 does not hold, 1 holds", values = { "does not hold", "holds", "does not hold" },
      meaning = "the seed is odd", numbers = "seed 4; seed 5; seed 6" }, summary.odd)
    assert.matches("the seed is odd: 2 DOES NOT HOLD, 1 HOLDS %(seed 4; seed 5; seed 6%)", output)
    assert.equal(table.concat(rows, "\n") .. "\n", read(base .. "/all/metrics.csv"))
    run_well("--config", base .. "/all/config.json", "--out", base .. "/again")
    same_results(base .. "/all", base .. "/again")
    run_well("--config", base .. "/all/seed-5/config.json", "--out", base .. "/five")
    same_results(base .. "/five", base .. "/all/seed-5")
  end)

  it("repeated with --seeds and stopped goes on with what is missing", function()
    run_well("--seeds", "3", "--quick", "--out", base .. "/whole")
    local result = run("--seeds", "3", "--quick", "--out", base .. "/run", "--broken")
    assert.equal(1, result.code)
    assert.matches("3 of 3 trials failed", result.stderr)
    assert.matches("--resume .*/run goes on with what is missing", result.stderr)
    for _, folder in ipairs { "run", "run/seed-1", "run/seed-2", "run/seed-3" } do
      local path = base .. "/" .. folder .. "/config.json"
      write(path, (read(path):gsub('"broken":true', '"broken":false')))
    end
    folders.remove(base .. "/run/seed-2")
    run_well("--resume", base .. "/run/seed-1")
    local output = run_well("--resume", base .. "/run")
    assert.is_nil(output:find("[seed 1]", 1, true))
    assert.is_nil(lfs.attributes(base .. "/run/checkpoint"))
    assert.matches("[seed 2] story: results go to", output, 1, true)
    assert.matches("[seed 3] story: goes on in", output, 1, true)
    same_results(base .. "/whole", base .. "/run")
  end)

  it("has its statistics right", function()
    local mean, deviation = repeats.statistics { 2, 4, 4, 4, 5, 5, 7, 9 }
    assert.is_true(support.near(mean, 5, 1e-15) and support.near(deviation, math.sqrt(32 / 7), 1e-15))
    assert.same({ 3 }, { repeats.statistics { 3 } })
    assert.same({}, { repeats.statistics { "yes", 3 } })
    mean, deviation = repeats.statistics { 1, "nan" }
    assert.is_true(mean ~= mean and deviation ~= deviation)
    mean, deviation = repeats.statistics { 1e9 + 1, 1e9 + 2, 1e9 + 3 }
    assert.same({ 1e9 + 2, 1 }, { mean, deviation })
  end)
end)
