--- experiment.map: trials side by side in worker processes.
local core = require "plumb.core"
local pack = require "plumb.experiment.pack"
local progress = require "plumb.progress"
local report = require "plumb.report"
local tensor = require "plumb.tensor"
local text = require "plumb.experiment.text"
local worker = require "plumb.experiment.worker"

local process = core.process

local ATTEMPTS = 2 -- of a trial whose worker dies
local SIGNALS = { [2] = "interrupted", [6] = "aborted", [9] = "killed", [11] = "crashed", [15] = "ended" }

-- ---- words -------------------------------------------------------------------------------------------------------

local function brief(value)
  if type(value) == "number" or type(value) == "string" or type(value) == "boolean" then return text.short(value) end
  if type(value) ~= "table" then return nil end
  local named, words = {}, {}
  for key, entry in pairs(value) do
    local written = type(entry) ~= "table" and brief(entry)
    if type(key) == "string" and written then named[#named + 1] = ("%s = %s"):format(key, written) end
  end
  table.sort(named)
  for i, entry in ipairs(value) do words[i] = brief(entry) end
  table.move(named, 1, #named, #words + 1, words)
  return #words > 0 and table.concat(words, ", ") or nil
end

-- "trial 3 (seed = 7)"
local function name_of(job, number)
  local value = brief(job.trials[number])
  if value and utf8.len(value) and utf8.len(value) > 60 then value = value:sub(1, utf8.offset(value, 58) - 1) .. "..." end
  return value and ("trial %d (%s)"):format(number, value) or ("trial %d"):format(number)
end

local function show(stream, line)
  progress.hide()
  stream:write(line, "\n")
  stream:flush()
end

-- ---- one worker --------------------------------------------------------------------------------------------------

-- {process =, trial = its number or nil, outgoing = strings, sent = bytes of the first, incoming =, lines =}
local function start_worker(job)
  local process_of = process.start_worker { "-E", "-e", ("require('plumb.experiment.worker').serve(%d)"):format(process.pid()) }
  local one = { process = process_of, outgoing = {}, sent = 0, incoming = {}, incoming_bytes = 0,
    lines = { stdout = "", stderr = "" } }
  one.pid = process_of:pid()
  job.workers[#job.workers + 1] = one
  return one
end

local function send(one, kind, payload)
  local queue = one.outgoing
  queue[#queue + 1] = ("<s1I8"):pack(kind, #payload)
  queue[#queue + 1] = payload
end

local function write_requests(one)
  while one.outgoing[1] do
    local count = one.process:write(one.outgoing[1], one.sent + 1)
    if not count then return end -- it is dying: its exit code says more
    one.sent = one.sent + count
    if one.sent < #one.outgoing[1] then return end
    table.remove(one.outgoing, 1)
    one.sent = 0
  end
end

-- Whole lines of what a trial prints, and at its end what is left.
local function pass_output(one, at_end)
  for _, name in ipairs { "stdout", "stderr" } do
    local stream, pending = io[name], one.lines[name]
    repeat
      local bytes = one.process:read(name)
      pending = pending .. (bytes or "")
    until not bytes or bytes == ""
    local prefix = one.trial and ("[trial %d] "):format(one.trial) or ""
    for line in pending:gmatch("([^\n]*)\n") do show(stream, prefix .. line) end
    pending = pending:match("[^\n]*$")
    if at_end and pending ~= "" then
      show(stream, prefix .. pending)
      pending = ""
    end
    one.lines[name] = pending
  end
end

local function next_reply(one)
  local bytes = one.process:read("reply")
  if bytes and bytes ~= "" then
    one.incoming[#one.incoming + 1] = bytes
    one.incoming_bytes = one.incoming_bytes + #bytes
  end
  if one.incoming_bytes < (one.awaited or 1) then return nil, bytes and bytes ~= "" end
  local whole = table.concat(one.incoming)
  local kind_bytes = whole:byte(1)
  local needed = 1 + kind_bytes + 8
  if #whole >= needed then needed = needed + ("<I8"):unpack(whole, kind_bytes + 2) end
  one.incoming, one.awaited = { whole }, needed
  if #whole < needed then return nil, true end
  one.incoming, one.incoming_bytes, one.awaited = { whole:sub(needed + 1) }, #whole - needed, nil
  return whole:sub(2, kind_bytes + 1), whole:sub(kind_bytes + 10, needed)
end

-- ---- trials ------------------------------------------------------------------------------------------------------

local function give_trial(job, one)
  local number = table.remove(job.waiting, 1)
  one.trial, one.note = number, nil
  job.attempts[number] = job.attempts[number] + 1
  if not one.ready then
    send(one, "setup", job.setup)
    send(one, "job", job.bytes)
    one.ready = true
  end
  send(one, "trial", job.values[number])
end

local function fail_trial(job, number, message)
  job.failures[number] = message
  job.done = job.done + 1
  local earlier = job.shown[message]
  job.shown[message] = earlier or number
  show(io.stderr, ("%s: %s failed%s"):format(job.label, name_of(job, number),
    earlier and (" as trial %d did"):format(earlier) or ": " .. message))
end

-- Rows of the trials before come first, whichever trial ends first.
local function deliver_rows(job)
  while job.delivered < #job.trials do
    local number = job.delivered + 1
    if not job.rows[number] and not job.failures[number] then return end
    for _, row in ipairs(job.rows[number] or {}) do job.on_row(row, number) end
    job.rows[number], job.delivered = job.failures[number] and job.rows[number] or {}, number
  end
end

-- A global that is not there is nil, also where the parent's globals are so strict that asking is an error; one that can't
-- travel is an error in the trial that asked.
local function reply_global(job, one, payload)
  local number, name = ("<I4s8"):unpack(payload)
  local environment = job.environments[number]
  local found, value = pcall(function() return environment[name] end)
  local packed, bytes = pcall(pack.encode, found and value or nil, "experiment.map", "f > " .. name)
  local trouble = not found and value or not packed and bytes
  if trouble and tostring(trouble):find("interrupted!", 1, true) then error(trouble, 0) end
  send(one, packed and "global" or "no global", bytes)
end

local replies = {
  done = function(job, one, payload)
    local result = pack.decode(payload, function() return _G end)
    job.results[one.trial], job.rows[one.trial] = result.value, result.rows
    job.done = job.done + 1
    pass_output(one, true)
    one.trial = nil
    deliver_rows(job)
  end,
  failed = function(job, one, payload)
    pass_output(one, true)
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
  pass_output(one, true)
  local number = one.trial
  if not number then return end
  local fate = how == "signal" and ("was %s by signal %d"):format(SIGNALS[code] or "ended", code)
    or ("ended with exit code %d"):format(code)
  local message = ("its worker, process %d, %s"):format(one.pid, fate)
  if job.attempts[number] < ATTEMPTS then
    show(io.stderr, ("%s: warning: %s: %s; the trial is tried again"):format(job.label, name_of(job, number), message))
    job.waiting[#job.waiting + 1] = number
  else
    fail_trial(job, number, message .. ", as the one before")
    deliver_rows(job)
  end
end

local function serve(job, place)
  local one = job.workers[place]
  local how, code = one.process:status() -- before reading: what a dying process wrote is there then
  write_requests(one)
  pass_output(one, false)
  repeat
    local kind, payload = next_reply(one)
    if kind then replies[kind](job, one, payload) end
  until not kind and not payload
  if how then bury(job, place, how, code) end
end

local function staff(job)
  for _, one in ipairs(job.workers) do
    if not one.trial and job.waiting[1] then give_trial(job, one) end
  end
  while job.waiting[1] and #job.workers < job.limit do give_trial(job, start_worker(job)) end
  for _, one in ipairs(job.workers) do write_requests(one) end
end

local function running_note(job)
  local notes = {}
  for _, one in ipairs(job.workers) do
    if one.trial then
      notes[#notes + 1] = "trial " .. one.trial .. (one.note and ": " .. one.note:gsub("%s%s+", " ") or "")
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

local function stop_workers(job)
  for _, one in ipairs(job.workers) do one.process:stop() end
  job.workers = {}
end

-- ---- the function ------------------------------------------------------------------------------------------------

local defaults = { workers = report.none, label = "trials", on_row = report.none, errors = "raise" }

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

-- Within a worker: one after another, here.
local function map_here(trials, f, seeds)
  local results, state = {}, tensor.get_rng_state()
  for i, trial in ipairs(trials) do
    tensor.manual_seed(seeds[i])
    results[i] = f(trial, i)
  end
  tensor.set_rng_state(state)
  return results
end

local function new_job(trials, f, options, seeds)
  local job = { trials = trials, label = options.label, limit = math.min(options.workers, #trials), workers = {}, waiting = {},
    attempts = {}, values = {}, results = {}, failures = {}, shown = {}, rows = {}, done = 0, delivered = 0,
    on_row = options.on_row or function() end }
  job.bytes, job.environments = pack.encode(f, "experiment.map", "f")
  job.setup = pack.encode { path = package.path, cpath = package.cpath, budget = core.memory().budget,
    dtype = tensor.get_default_dtype() }
  for i, trial in ipairs(trials) do
    job.waiting[i], job.attempts[i] = i, 0
    job.values[i] = pack.encode({ number = i, value = trial, seed = seeds[i] }, "experiment.map", ("trial %d"):format(i))
  end
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
  local seeds = draw_seeds(#trials)
  if worker.is_worker() then return map_here(trials, f, seeds), {} end
  local job <close> = new_job(trials, f, options, seeds)
  run_job(job)
  if options.errors == "return" then return job.results, job.failures end
  raise_failures(job)
  return job.results
end

return map
