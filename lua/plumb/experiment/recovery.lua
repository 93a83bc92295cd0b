--- How a run that was stopped goes on. The script starts again from its top, with the same settings and so the same numbers;
--- what takes long finds in DIR/checkpoint/ how far it had come: trainings (run:fit) go on from their last checkpoint, trials
--- (run:map) that had ended are not run again. Each has a file of its own, named by the order of the calls; one more has the
--- seconds that the run's processes have taken, each of them up to its last checkpoint.
local checkpoint = require "plumb.files.checkpoint"
local core = require "plumb.core"
local files = require "plumb.files"
local text = require "plumb.experiment.text"

local core_files, time = core.files, core.process.time

local recovery = {}

local TIME = "/checkpoint/time.safetensors"

local Recovery = {}
Recovery.__index = Recovery

--- recovery.new{folder =, every = seconds, resuming =, warn = function} -> the checkpoints of a run.
function recovery.new(given)
  given.counts = { fit = 0, map = 0 }
  given.prefix = given.prefix or ""
  local self = setmetatable(given, Recovery)
  self.began = self.began or time() - self:seconds_before()
  return self
end

--- recovery:within(prefix) -> a table that makes the checkpoints of one trial, in whichever process that is.
function Recovery:within(prefix)
  return { folder = self.folder, every = self.every, resuming = self.resuming, prefix = prefix, began = self.began }
end

-- What earlier processes noted. It decides no result: a damaged file costs a warning.
function Recovery:seconds_before()
  local path = self.folder .. TIME
  if not self.resuming or not core_files.exists(path) then return 0 end
  local ok, saved = pcall(files.load_checkpoint, path)
  if ok then return saved.seconds end
  self.warn(("%s; the time that the run took before is lost"):format(saved))
  return 0
end

--- recovery:seconds() -> how long the run has taken: this process, and those before up to their last checkpoints.
function Recovery:seconds() return time() - self.began end

-- "DIR/checkpoint/map-1-trial-3-fit-1.safetensors" for the first run:fit in the third trial of the first run:map.
function Recovery:next_path(kind)
  self.counts[kind] = self.counts[kind] + 1
  return ("%s/checkpoint/%s%s-%d"):format(self.folder, self.prefix, kind, self.counts[kind])
end

-- What was saved; nil when there is nothing, or the run is a new one. Damage raises.
function Recovery:load(path)
  if not self.resuming or not core_files.exists(path) then return nil end
  local ok, value = pcall(files.load_checkpoint, path)
  if not ok then text.fail("%s. Without that file this part of the run begins anew", value) end
  return value
end

-- Writes a checkpoint's parts, and the seconds so far. A disk that refuses is a warning, and the checkpoint before stays.
function Recovery:write(path, parts)
  local ok, message = pcall(core_files.make_directory, self.folder .. "/checkpoint")
  if ok and path then ok, message = pcall(core_files.write_atomically, path, parts) end
  if ok then
    local noted = checkpoint.encode({ seconds = self:seconds() }, "run")
    ok, message = pcall(core_files.write_atomically, self.folder .. TIME, noted)
  end
  if ok then
    self.refused = nil
  elseif message ~= self.refused then
    self.refused = message
    self.warn(("no checkpoint: %s; the one before stays, and the run goes on"):format(message))
  end
end

--- recovery:note_time(): keeps the seconds so far, where something has ended that keeps its own results.
function Recovery:note_time() self:write() end

--- recovery:remove(): the run has finished.
function Recovery:remove()
  local ok, message = pcall(core_files.remove_directory, self.folder .. "/checkpoint")
  if not ok then self.warn(message) end
end

local MEASURED = { "train_loss", "test_loss", "train_accuracy", "test_accuracy" }

-- An on_epoch hook that does what `hook` does and records the epoch's row.
local function recording(run, row, hook)
  if type(row) ~= "table" then text.fail("run:fit: row must be a table of columns, {network = \"Deep\"}, not a %s", type(row)) end
  if hook ~= nil and type(hook) ~= "function" then
    text.fail("run:fit: on_epoch must be a function beside row, not a %s", type(hook))
  end
  return function(history)
    local epoch, verdict = history.epoch, hook and hook(history)
    local recorded = { epoch = epoch }
    for _, name in ipairs(MEASURED) do recorded[name] = history[name][epoch] end
    for name, value in pairs(row) do recorded[name] = value end
    run:record(recorded)
    return verdict
  end
end

--- recovery:fit(run, model, train, options) -> history: plumb.fit with checkpoints, and with rows for its epochs (see run:fit).
--- run:record is called for the rows that were recorded before the last checkpoint.
function Recovery:fit(run, model, train, given)
  local options = {}
  for name, value in pairs(type(given) == "table" and given or {}) do options[name] = value end
  for _, name in ipairs { "checkpoint", "checkpoint_every", "resume" } do
    if options[name] ~= nil then text.fail("run:fit: %s is what run:fit is for; leave it out", name) end
  end
  if options.row ~= nil then options.on_epoch, options.row = recording(run, options.row, options.on_epoch), nil end
  local path = self:next_path("fit") .. ".safetensors"
  local saved = self:load(path)
  local rows = saved and saved.rows or {}
  for _, row in ipairs(rows) do run:record(row) end
  options.resume = saved and saved.fit
  options.checkpoint_every = self.every
  options.checkpoint = function(history)
    self:write(path, checkpoint.encode({ fit = history:state(), rows = rows }, "run:fit"))
  end
  local _ <close> = self:collect(rows)
  return require("plumb.fit")(model, train, options)
end

-- Rows that are recorded from here on are added to the list, until the result is closed.
function Recovery:collect(rows)
  local before = self.rows
  self.rows = rows
  return setmetatable({}, { __close = function() self.rows = before end })
end

--- recovery:note(row): a row has been recorded.
function Recovery:note(row)
  if not self.rows then return end
  local copy = {}
  for name, value in pairs(row) do copy[name] = text.scalar(value) end
  self.rows[#self.rows + 1] = copy
end

--- recovery:map() -> trials: trials.load(number) -> {value =, rows =} or nil; trials.save(number, result); trials.prefix(number).
function Recovery:map()
  local path = self:next_path("map")
  local name = path:match("[^/]*$")
  local function file(number) return ("%s-trial-%d.safetensors"):format(path, number) end
  return {
    load = function(number) return self:load(file(number)) end,
    save = function(number, result)
      local plain, parts = pcall(checkpoint.encode, result, "run:map")
      if plain then self:write(file(number), parts) end -- a trial that returns functions or models is run again
    end,
    within = function(number) return self:within(("%s-trial-%d-"):format(name, number)) end,
  }
end

return recovery
