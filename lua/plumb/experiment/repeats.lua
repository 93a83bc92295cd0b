--- --seeds N: the whole script with N seeds, side by side, and the mean and standard deviation of what came out.
local core = require "plumb.core"
local json = require "plumb.files.json"
local folder = require "plumb.experiment.folder"
local map = require "plumb.experiment.map"
local tensor = require "plumb.tensor"
local text = require "plumb.experiment.text"

local repeats = {}

local preset -- in a worker: the values of the run that its script is about to start

--- repeats.preset() -> what experiment.start takes in place of a command line, or nil: {values =, given =, command =}.
function repeats.preset()
  local now = preset
  preset = nil
  return now
end

-- One run, in a worker: the script, as if it stood alone.
local function work(one)
  local environment = setmetatable({ arg = one.arg }, { __index = _G })
  environment._G = environment
  local chunk = assert(loadfile(one.arg[0], nil, environment))
  tensor.manual_seed(0)
  tensor.set_default_dtype("float32")
  preset = one
  chunk(table.unpack(one.arg))
end
repeats.work = work

local function read_summary(path)
  local file <close> = io.open(path .. "/summary.json", "rb")
  local read, summary = pcall(json.decode, file and file:read("a") or "")
  return read and type(summary) == "table" and summary or {}
end

-- ---- statistics --------------------------------------------------------------------------------------------------

local NOT_FINITE = { nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge }

--- repeats.statistics(list) -> mean, standard deviation of a sample (over n - 1; nil for one number). nil for texts.
function repeats.statistics(list)
  local n, mean, squares = #list, 0, 0
  for i, value in ipairs(list) do
    value = NOT_FINITE[value] or value
    if type(value) ~= "number" then return nil end
    local delta = value - mean -- Welford 1962
    mean = mean + delta / i
    squares = squares + delta * (value - mean)
  end
  return mean, n > 1 and math.sqrt(squares / (n - 1)) or nil
end

-- The first run's entries, by name, with the values of all: {name =, meaning =, values = {...}, numbers = {...} of a verdict}.
local function collect(run, paths)
  local summaries, entries = {}, {}
  for i, path in ipairs(paths) do summaries[i] = read_summary(path) end
  for _, name in ipairs(json.keys(summaries[1] or {})) do
    local first = summaries[1][name]
    local entry = { name = name, meaning = first.meaning, values = {}, numbers = first.numbers and {} }
    for i in ipairs(paths) do
      local own = summaries[i][name] or {}
      entry.values[i] = own.value
      if entry.numbers then entry.numbers[i] = own.numbers end
    end
    if #entry.values == #paths then entries[#entries + 1] = entry else run:warn(("not every seed has a '%s'"):format(name)) end
  end
  return entries
end

-- "yes, yes, no" as "2 yes, 1 no"
local function count_words(values)
  local counts, order = {}, {}
  for _, value in ipairs(values) do
    local word = text.short(value)
    if not counts[word] then order[#order + 1] = word end
    counts[word] = (counts[word] or 0) + 1
  end
  for i, word in ipairs(order) do order[i] = counts[word] .. " " .. word end
  return table.concat(order, ", ")
end

local function report(run, entries, count)
  for _, entry in ipairs(entries) do
    local mean, deviation = repeats.statistics(entry.values)
    entry.value, entry.std = mean or count_words(entry.values), deviation
    if mean then entry.shown = text.short(mean + 0.0) .. (deviation and " +- " .. text.short(deviation + 0.0) or "") end
    entry.numbers = entry.numbers and table.concat(entry.numbers, "; ")
    run.results:add(entry)
  end
  run:say("\n%s with %d seeds: mean +- standard deviation", run.name, count)
  run.results:print(function(line) run:say("%s", line) end, run.folder)
  local ok, message = run.results:write(run.folder, run.recovery:seconds())
  if not ok then error(message, 0) end
  run.recovery:remove()
end

-- metrics.csv: the rows of all seeds, with a first column `seed`, where they have the same columns.
local function join_metrics(run, paths, first_seed)
  local parts, header = {}, nil
  for i, path in ipairs(paths) do
    local file <close> = io.open(path .. "/metrics.csv", "rb")
    if not file then return end
    local own = file:read("l")
    if header and own ~= header then return end
    header = own
    for line in file:lines() do parts[#parts + 1] = ("%d,%s\n"):format(first_seed + i - 1, line) end
  end
  if not header or ("," .. header .. ","):find(",seed,", 1, true) then return end
  local ok, message = folder.write(run:path("metrics.csv"), { "seed,", header, "\n", table.concat(parts) })
  if not ok then run:warn(message) end
end

-- ---- all of it ---------------------------------------------------------------------------------------------------

-- The runs have checkpoints of their own; what is kept beside them is the time.
local function keeper_of(run)
  local function nothing() end
  return { load = nothing, within = nothing, save = function() run.recovery:note_time() end }
end

--- repeats.run(run, values, start, arguments): makes the runs DIR/seed-1 ... and of all DIR/summary.json and DIR/metrics.csv.
--- Those that had finished before the run was stopped stay; a run that fails is an error when the others are done.
function repeats.run(run, values, start, arguments)
  local paths, waiting = {}, {}
  for seed = values.seed, values.seed + values.seeds - 1 do
    local path = run:path("seed-" .. seed)
    paths[#paths + 1] = path
    if not (run.resumed and core.files.exists(path .. "/summary.json")) then
      local own = {}
      for name, value in pairs(values) do own[name] = value end
      own.seed, own.seeds, own.overwrite = seed, 1, true
      own.resume = run.resumed and core.files.exists(path .. "/config.json") and path or ""
      waiting[#waiting + 1] = { seed = seed, values = own, given = { out = path }, arg = arguments,
        command = ("%s --config %s"):format(text.shell(start), text.shell { path .. "/config.json" }) }
    end
  end
  map(waiting, work, { workers = run.threads, label = run.name, title = function(one) return "seed " .. one.seed end,
    keeper = keeper_of(run) })
  join_metrics(run, paths, values.seed)
  report(run, collect(run, paths), #paths)
end

return repeats
