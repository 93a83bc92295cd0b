--- The experiments of a report, each a process of plumb, as many side by side as there are cores.
--
-- Many small computations leave cores idle that a second experiment can use, so experiments run side by side on one thread each
-- as long as enough of them wait. (Six quick experiments on two cores took 40 s one after another with two threads, and 59 s of
-- one core with one thread each: two cores do that in 30 s.) Those that take longest begin first.
local core = require "plumb.core"
local crew = require "plumb.experiment.crew"
local progress = require "plumb.progress"
local child = require "plumb.experiment.report.child"
local run_folder = require "plumb.experiment.report.run_folder"

local process, files = core.process, core.files

local conduct = {}

local SIGNALS = { [2] = "interrupted", [6] = "aborted", [9] = "killed", [11] = "crashed", [15] = "ended" }
local SHOWN_LINES = 6 -- of what a failed experiment has said

-- What the script is started with: on from where it was stopped, or from its beginning.
local function words_of(job, section, threads)
  local words = { [-1] = job.program, [0] = section.script }
  local function add(...) table.move({ ... }, 1, select("#", ...), #words + 1, words) end
  if run_folder.state(section.folder) == "begun" and job.resuming then
    add("--resume", section.folder)
  else
    add(table.unpack(section.arguments))
    add("--out", section.folder)
  end
  add("--threads", ("%d"):format(threads))
  return words
end

local function free_cores(job)
  local free = job.cores
  for _, one in ipairs(job.running) do free = free - one.threads end
  return free
end

local function start(job, section, threads)
  files.make_directory(section.folder)
  local log = assert(io.open(section.folder .. "/output.log", job.resuming and "ab" or "wb"))
  local one = crew.start(child.arguments(words_of(job, section, threads)))
  one.section, one.threads, one.log, one.complaints = section, threads, log, {}
  one.show = function(stream, line)
    log:write(line, "\n")
    log:flush()
    if stream == io.stderr then one.complaints[#one.complaints + 1] = line end
  end
  job.running[#job.running + 1] = one
end

-- The longest first; a core that nobody else waits for is shared out.
local function staff(job)
  while job.waiting[1] and free_cores(job) > 0 do
    local threads = (free_cores(job) + #job.waiting - 1) // #job.waiting
    local section = table.remove(job.waiting, 1)
    local ok, message = pcall(start, job, section, threads)
    if not ok then job.ended(section, tostring(message)) end
  end
end

-- The last words of what it wrote to standard error, without the traceback and the advice to ask for --help.
local function last_words(complaints)
  local said = {}
  for _, line in ipairs(complaints) do
    if line:find("^stack traceback:") then break end
    if not line:find("^Try '") then said[#said + 1] = line end
  end
  return table.concat(said, "\n", math.max(1, #said - SHOWN_LINES + 1))
end

local function failure_of(one, how, code)
  if how == "signal" then return ("Its process was %s by signal %d."):format(SIGNALS[code] or "ended", code) end
  local said = last_words(one.complaints)
  if code ~= 0 then return said ~= "" and said or ("It ended with exit code %d and said nothing."):format(code) end
  if run_folder.state(one.section.folder) ~= "finished" then return "It ended without a summary.json." end
end

local function serve(job, place)
  local one = job.running[place]
  local how, code = one.process:status() -- before reading: what a dying process wrote is there then
  one:pass_output("", how ~= nil)
  repeat
    local kind, payload = one:next_reply()
    if kind == "note" then one.note = payload end
  until not kind and not payload
  if not how then return end
  table.remove(job.running, place)
  one.log:close()
  job.done = job.done + 1
  job.ended(one.section, failure_of(one, how, code))
end

local function running_note(job)
  local notes = {}
  for i, one in ipairs(job.running) do
    local so_far = (one.note or ""):match("^.-%d%%") -- "sinc, Deep   12%" of what is in the script's own line
    notes[i] = one.section.name .. (so_far and ": " .. so_far:gsub("%s%s+", " ") or "")
  end
  return table.concat(notes, "; ")
end

local function stop(job)
  for _, one in ipairs(job.running) do
    one.process:stop()
    one.log:close()
  end
end

--- conduct.run{sections =, cores =, program = the word that started plumb, resuming =, ended = function(section, message)}: runs
--- the script of each section, {name =, script =, folder =, arguments =, seconds = about so many}, and calls `ended` when it has
--- ended, with a message where it has failed. What it prints goes to output.log in its folder. Within process.attempt, Ctrl-C is
--- an error; whenever this raises, those that run are stopped.
function conduct.run(job)
  job.waiting = table.move(job.sections, 1, #job.sections, 1, {})
  table.sort(job.waiting, function(a, b)
    if a.seconds ~= b.seconds then return a.seconds > b.seconds end
    return a.name < b.name
  end)
  job.running, job.done = {}, 0
  local _ <close> = setmetatable(job, { __close = stop })
  local bar <close> = progress.new { label = "report", total = #job.sections, pace = false }
  while true do
    staff(job)
    if #job.running == 0 then break end
    if process.interrupted() then error("interrupted!", 0) end
    local processes = {}
    for i, one in ipairs(job.running) do processes[i] = one.process end
    process.wait_for_workers(processes)
    for place = #job.running, 1, -1 do serve(job, place) end
    bar:update(job.done, function() return running_note(job) end)
  end
end

return conduct
