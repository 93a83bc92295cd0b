--- A process of plumb that runs trials for another one: what experiment.map starts.
--
-- Requests come on descriptor 3 and replies go out on 4, as <kind><payload>, each a string after its length (<s1s8).
--     requests: "setup" (packed table), "job" (packed f), "trial" (packed table), "global" (packed value),
--               "no global" (text: why it can't come)
--     replies:  "done" (packed {value, rows}), "failed" (text), "global" (number of the environment, name), "note" (text)
local core = require "plumb.core"
local pack = require "plumb.pack"
local progress = require "plumb.progress"
local recovery = require "plumb.experiment.recovery"
local tensor = require "plumb.tensor"

local worker = {}

local FRAME = "<s1s8"

local requests, replies -- files
local rows, checkpoints -- of the running trial: what it has recorded, and where it leaves checkpoints

local function send(kind, payload)
  replies:write(FRAME:pack(kind, payload))
  replies:flush()
end

local function read_string(format)
  local bytes = requests:read(format:packsize())
  if not bytes then return nil end
  local length = format:unpack(bytes)
  return length == 0 and "" or requests:read(length)
end

local function receive()
  local kind = read_string("<B")
  return kind, kind and read_string("<I8")
end

-- The globals of a trial: those that look_up(number of the environment, name) gives, packed, when they are first used. What a
-- trial assigns stays its own.
local function environments(look_up)
  local made = {}
  local function environment(number)
    if made[number] then return made[number] end
    local asked = {}
    made[number] = setmetatable({}, { __index = function(own, name)
      if name == "_G" then return own end
      if type(name) ~= "string" or asked[name] then return nil end
      asked[name] = true
      local value = pack.decode(look_up(number, name), environment)
      rawset(own, name, value)
      return value
    end })
    return made[number]
  end
  return environment
end

local function ask_parent(number, name)
  send("global", ("<I4s8"):pack(number, name))
  local kind, bytes = receive()
  if kind == "no global" then error(bytes, 0) end
  return bytes
end

-- A traceback without this file's own part.
local function traceback(message)
  local meta = getmetatable(message)
  if type(message) ~= "string" and not (type(meta) == "table" and meta.__tostring) then
    message = ("(error object is a %s value)"):format(type(message))
  end
  local trace = debug.traceback(tostring(message), 2)
  return (trace:gsub("\n%s*%[C%]: in function 'xpcall'\n.*$", ""))
end

--- worker.is_worker(): does this process run trials for another one?
function worker.is_worker() return requests ~= nil end

--- worker.record(row): a row for the parent's metrics; from within a trial.
function worker.record(row)
  rows[#rows + 1] = row
  if checkpoints then checkpoints:note(row) end
end

--- worker.checkpoints() -> those of the trial (plumb.experiment.recovery), or nil.
function worker.checkpoints() return checkpoints end

--- worker.perform(job, trial, look_up) -> true and the packed {value =, rows =}, or false and a traceback: one trial, with all
--- that f uses made anew, so that it does not matter which trials this process has run before. job.bytes is the packed f,
--- job.tensors keeps its tensors from trial to trial; trial is a packed {number =, value =, seed =, recovery =}.
function worker.perform(job, trial, look_up)
  local outer_rows, outer_checkpoints = rows, checkpoints
  local environment = environments(look_up)
  local f = pack.decode(job.bytes, environment, job.tensors)
  trial = pack.decode(trial, environment)
  tensor.manual_seed(trial.seed)
  rows, checkpoints = {}, nil
  if trial.recovery then
    trial.recovery.warn = function(message) io.stderr:write("warning: ", message, "\n") end
    checkpoints = recovery.new(trial.recovery)
  end
  local finished, value = xpcall(f, traceback, trial.value, trial.number)
  if finished then
    finished, value = pcall(pack.encode, { value = value, rows = rows }, "experiment.map", "f's result", {})
  end
  rows, checkpoints = outer_rows, outer_checkpoints
  return finished, value
end

local function run_trial(job, trial)
  tensor.set_default_dtype(job.dtype)
  local finished, value = worker.perform(job, trial, ask_parent)
  io.stdout:flush()
  send(finished and "done" or "failed", value)
end

local function set_up(job, setup)
  package.path, package.cpath = setup.path, setup.cpath
  core.memory_budget(setup.budget)
  job.dtype = setup.dtype
end

--- worker.serve(parent): runs trials until the process `parent`, which started this one, wants no more.
function worker.serve(parent)
  core.process.obey(parent)
  core.threads(1)
  requests, replies = assert(io.open("/dev/fd/3", "rb")), assert(io.open("/dev/fd/4", "wb"))
  io.stdout:setvbuf("line")
  progress.relay(function(line) send("note", line) end)
  local job = { tensors = {} }
  local actions = {
    setup = function(bytes) set_up(job, pack.decode(bytes)) end,
    job = function(bytes) job.bytes = bytes end,
    trial = function(bytes) run_trial(job, bytes) end,
  }
  for kind, payload in receive do actions[kind](payload) end
end

return worker
