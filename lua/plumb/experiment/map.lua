--- experiment.map: trials side by side in worker processes.
local core = require "plumb.core"
local pack = require "plumb.pack"
local progress = require "plumb.progress"
local report = require "plumb.report"
local tensor = require "plumb.tensor"
local text = require "plumb.experiment.text"
local crew = require "plumb.experiment.crew"
local worker = require "plumb.experiment.worker"

local process = core.process

local ATTEMPTS = 2 -- of a trial whose worker dies
local LONG = 60    -- bytes of a trial's value in messages
local SIGNALS = { [2] = "interrupted", [6] = "aborted", [9] = "killed", [11] = "crashed", [15] = "ended" }

-- ---- words -------------------------------------------------------------------------------------------------------

local function word(value)
  local kind = type(value)
  return (kind == "number" or kind == "string" or kind == "boolean") and text.short(value):gsub("%c", " ") or nil
end

-- The numbers and texts of a trial: "0.1", or of a table "3, lr = 0.1".
local function brief(value)
  if type(value) ~= "table" then return word(value) end
  local words, named = {}, {}
  for _, entry in ipairs(value) do words[#words + 1] = word(entry) end
  for key, entry in pairs(value) do
    if type(key) == "string" and word(entry) then named[#named + 1] = ("%s = %s"):format(key, word(entry)) end
  end
  table.sort(named)
  table.move(named, 1, #named, #words + 1, words)
  return #words > 0 and table.concat(words, ", ") or nil
end

local function title_of(job, number)
  return job.title and job.title(job.trials[number], number) or "trial " .. number
end

-- "trial 3 (seed = 7)"
local function name_of(job, number)
  if job.title then return title_of(job, number) end
  local value = brief(job.trials[number])
  if value and #value > LONG then value = value:sub(1, utf8.offset(value, 0, LONG) - 1) .. "..." end
  return value and ("trial %d (%s)"):format(number, value) or ("trial %d"):format(number)
end

local function prefix_of(job, one) return one.trial and ("[%s] "):format(title_of(job, one.trial)) or "" end

-- ---- trials ------------------------------------------------------------------------------------------------------

local function give_trial(job, one)
  local number = table.remove(job.waiting, 1)
  one.trial, one.note = number, nil
  job.attempts[number] = job.attempts[number] + 1
  if not one.ready then
    one:send("setup", job.setup)
    one:send("job", job.bytes)
    one.ready = true
  end
  one:send("trial", job.values[number])
end

local function fail_trial(job, number, message)
  job.failures[number] = message
  job.done = job.done + 1
  local earlier = job.shown[message]
  job.shown[message] = earlier or number
  crew.show(io.stderr, ("%s: %s failed%s"):format(job.label, name_of(job, number),
    earlier and (" as trial %d did"):format(earlier) or ": " .. message))
end

local function take_result(job, number, result)
  job.results[number], job.rows[number] = result.value, result.rows
  job.done = job.done + 1
end

-- Rows of the trials before come first, whichever trial ends first.
local function deliver_rows(job)
  while job.delivered < #job.trials do
    local number = job.delivered + 1
    if not job.rows[number] and not job.failures[number] then return end
    for _, row in ipairs(job.rows[number] or {}) do job.on_row(row, number) end
    job.rows[number], job.delivered = nil, number
  end
end

-- A global that is not there is nil, also where the parent's globals are so strict that asking is an error; one that can't
-- travel is an error in the trial that asked.
local function pack_global(job, number, name)
  local environment = job.environments[number]
  local found, value = pcall(function() return environment[name] end)
  return pack.encode(found and value or nil, "experiment.map", "f > " .. name, job.environments)
end

local function reply_global(job, one, payload)
  local packed, bytes = pcall(pack_global, job, ("<I4s8"):unpack(payload))
  one:send(packed and "global" or "no global", bytes)
end

local function end_trial(job, number, payload)
  local result = pack.decode(payload, function() return _G end)
  take_result(job, number, result)
  if job.keeper then job.keeper.save(number, result) end
  deliver_rows(job)
end

local replies = {
  done = function(job, one, payload)
    one:pass_output(prefix_of(job, one), true)
    end_trial(job, one.trial, payload)
    one.trial = nil
  end,
  failed = function(job, one, payload)
    one:pass_output(prefix_of(job, one), true)
    fail_trial(job, one.trial, payload)
    one.trial = nil
    deliver_rows(job)
  end,
  global = reply_global,
  note = function(_, one, payload) one.note = payload end,
}

-- Its process has ended. The trial that it was at is tried again, once, behind the others.
local function bury(job, place, how, code)
  local one = table.remove(job.workers, place)
  one:pass_output(prefix_of(job, one), true)
  local number = one.trial
  if not number then return end
  local fate = how == "signal" and ("was %s by signal %d"):format(SIGNALS[code] or "ended", code)
    or ("ended with exit code %d"):format(code)
  local message = ("its worker, process %d, %s"):format(one.pid, fate)
  if job.attempts[number] < ATTEMPTS then
    crew.show(io.stderr, ("%s: warning: %s: %s; the trial is tried again"):format(job.label, name_of(job, number), message))
    job.waiting[#job.waiting + 1] = number
  else
    fail_trial(job, number, message .. ", as the one before")
    deliver_rows(job)
  end
end

local function serve(job, place)
  local one = job.workers[place]
  local how, code = one.process:status() -- before reading: what a dying process wrote is there then
  one:write()
  one:pass_output(prefix_of(job, one), false)
  repeat
    local kind, payload = one:next_reply()
    if kind then replies[kind](job, one, payload) end
  until not kind and not payload
  if how then bury(job, place, how, code) end
end

local function staff(job)
  for _, one in ipairs(job.workers) do
    if not one.trial and job.waiting[1] then give_trial(job, one) end
  end
  while job.waiting[1] and #job.workers < job.limit do
    job.workers[#job.workers + 1] = crew.start()
    give_trial(job, job.workers[#job.workers])
  end
  for _, one in ipairs(job.workers) do one:write() end
end

local function running_note(job)
  local notes = {}
  for _, one in ipairs(job.workers) do
    if one.trial then
      notes[#notes + 1] = title_of(job, one.trial) .. (one.note and ": " .. one.note:gsub("%s%s+", " ") or "")
    end
  end
  return table.concat(notes, "; ")
end

local function run_job(job)
  local bar <close> = progress.new { label = job.label, total = #job.trials }
  while job.done < #job.trials do
    staff(job)
    local processes = {}
    for i, one in ipairs(job.workers) do processes[i] = one.process end
    process.wait_for_workers(processes)
    for place = #job.workers, 1, -1 do serve(job, place) end
    bar:update(job.done, function() return running_note(job) end)
  end
end

-- Within a worker: one after another, here.
local function run_here(job)
  local bar <close> = progress.new { label = job.label, total = #job.trials }
  for _, number in ipairs(job.waiting) do
    local finished, value = worker.perform(job, job.values[number], function(at, name) return pack_global(job, at, name) end)
    if finished then
      end_trial(job, number, value)
    else
      fail_trial(job, number, value)
      deliver_rows(job)
    end
    bar:update(job.done)
  end
end

local function stop_workers(job)
  for _, one in ipairs(job.workers) do one.process:stop() end
  job.workers = {}
end

-- ---- the function ------------------------------------------------------------------------------------------------

-- Beside those that help shows: title(trial, number), the words for a trial; what a run does with rows, on_row(row, number), and
-- with trials that ended before it was stopped, keeper (plumb.experiment.recovery).
local defaults = { workers = report.none, label = "trials", errors = "raise", title = report.none, on_row = report.none,
  keeper = report.none }

local function check(trials, f, given)
  if type(trials) ~= "table" then report.fail("experiment.map: the trials are a list, not %s", type(trials)) end
  for key in pairs(trials) do
    if math.type(key) ~= "integer" or key < 1 or key > #trials then
      report.fail("experiment.map: the trials are a list without gaps; it has an entry '%s'", tostring(key))
    end
  end
  local meta = getmetatable(f)
  if type(f) ~= "function" and not (type(meta) == "table" and meta.__call) then
    report.fail("experiment.map: a function of a trial was expected, not %s", type(f))
  end
  local options = report.options("experiment.map", given, defaults)
  options.workers = report.integer("experiment.map", "workers", options.workers or core.threads(), 1, 1024)
  if type(options.label) ~= "string" then report.fail("experiment.map: label must be a text, not %s", type(options.label)) end
  if options.errors ~= "raise" and options.errors ~= "return" then
    report.fail("experiment.map: errors must be 'raise' or 'return', not %s", tostring(options.errors))
  end
  return options
end

-- Each trial's random numbers start from a seed of its own, drawn here: they do not depend on who runs it, or when.
local function draw_seeds(count)
  if count == 0 then return {} end
  local uniform = core.random("uniform", { count }, "float64", tensor.next_key()):tolist()
  for i, u in ipairs(uniform) do uniform[i] = math.floor(u * 2 ^ 53) end
  return uniform
end

local function new_job(trials, f, options, seeds)
  local job = { trials = trials, label = options.label, limit = math.min(options.workers, #trials), workers = {}, waiting = {},
    attempts = {}, values = {}, results = {}, failures = {}, shown = {}, rows = {}, tensors = {}, done = 0, delivered = 0,
    on_row = options.on_row or function() end, title = options.title, keeper = options.keeper }
  job.environments = {}
  job.bytes = pack.encode(f, "experiment.map", "f", job.environments)
  job.setup = pack.encode { path = package.path, cpath = package.cpath, budget = core.memory().budget,
    dtype = tensor.get_default_dtype() }
  for i, trial in ipairs(trials) do
    local ended = options.keeper and options.keeper.load(i)
    if ended then
      take_result(job, i, ended)
    else
      job.waiting[#job.waiting + 1], job.attempts[i] = i, 0
      job.values[i] = pack.encode({ number = i, value = trial, seed = seeds[i], recovery = options.keeper
        and options.keeper.within(i) }, "experiment.map", ("trial %d"):format(i), job.environments)
    end
  end
  deliver_rows(job)
  return setmetatable(job, { __close = stop_workers })
end

local function raise_failures(job)
  local count, first = 0, nil
  for i = #job.trials, 1, -1 do
    if job.failures[i] then count, first = count + 1, i end
  end
  if count == 0 then return end
  report.fail("experiment.map: %d of %d trials failed; %s: %s", count, #job.trials, name_of(job, first),
    job.failures[first]:match("^[^\n]*"))
end

--- experiment.map(trials, f, options) -> results: f(trial, number) for each of a list of trials (seeds, widths, tables of
--- settings), in worker processes side by side, and what f returned, in the order of the trials.
---
--- f's local variables, and the globals it uses, travel to the workers as they are: numbers, strings, tensors, tables, models,
--- functions, compiled functions. What f changes stays in its trial. Results travel the same way. Files, coroutines and
--- gnuplot windows can't travel. Modules are those of `require`, loaded anew.
--- A result does not depend on how many workers there are: each trial begins with random numbers of its own (a seed drawn
--- from those of manual_seed) and each worker computes with one thread. What f prints is shown with the trial's number.
---
--- options: workers = plumb.threads(), label = "trials" (of the progress line), errors = "raise". An error in f is shown at
--- once, with its traceback; the other trials go on, and in the end map raises an error, or with errors = "return" returns
--- the results and a table of messages by trial. A trial whose worker dies is tried once more.
local function map(trials, f, given)
  local options = check(trials, f, given)
  local state = tensor.get_rng_state()
  local job <close> = new_job(trials, f, options, draw_seeds(#trials))
  if worker.is_worker() then
    state.stream = tensor.get_rng_state().stream
    run_here(job)
    tensor.set_rng_state(state)
  else
    run_job(job)
  end
  if options.errors == "return" then return job.results, job.failures end
  raise_failures(job)
  return job.results
end

return map
