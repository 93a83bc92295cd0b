--- The run of an experiment as a trial sees it, in the process that works for it: settings and words, but no files.
local metrics = require "plumb.experiment.metrics"
local report = require "plumb.report"
local worker = require "plumb.experiment.worker"

local Remote = {}
Remote.__index = Remote
Remote.__name = "plumb.run"

--- Remote.of(run): what travels to a worker in the run's place.
function Remote.of(run)
  return setmetatable({ name = run.name, seed = run.seed, quick = run.quick, threads = 1, settings = run.settings,
    folder = run.folder, columns = run.metrics.declared and run.metrics.columns or nil }, Remote)
end

function Remote:path(name) return self.folder .. "/" .. name end

function Remote.say(_, line, ...)
  print(select("#", ...) > 0 and line:format(...) or line)
end

function Remote:warn(message) io.stderr:write(("%s: warning: %s\n"):format(self.name, message)) end

--- run:record(row) within a trial: the row is written with the trial's number, after those of the trials before it.
function Remote:record(row)
  local copy, known = {}, { trial = true }
  for _, name in ipairs(self.columns or {}) do known[name] = true end
  metrics.check(row, known, self.columns)
  for name, value in pairs(row) do copy[name] = value end
  worker.record(copy)
end

--- run:fit within a trial: its checkpoints are the trial's own.
function Remote:fit(model, train, options) return worker.checkpoints():fit(self, model, train, options) end

--- run:map within a trial: one after another.
function Remote:map(trials, f, given)
  local own = { label = self.name, keeper = worker.checkpoints():map(), on_row = function(row) self:record(row) end }
  for name, value in pairs(type(given) == "table" and given or {}) do own[name] = value end
  return require("plumb.experiment.map")(trials, f, own)
end

--- run:seeds(count) -> a list of so many seeds for the trials of this run: (run.seed - 1) count + 1 and those that follow, so
--- that runs with different seeds, such as those of --seeds, share no trial.
function Remote:seeds(count)
  report.integer("run:seeds", "count", count, 1)
  local seeds = {}
  for i = 1, count do seeds[i] = (self.seed - 1) * count + i end
  return seeds
end

for _, name in ipairs { "figure", "summary", "verdict", "finish" } do
  Remote[name] = function()
    report.fail("run:%s cannot be called within a trial: return what it needs, and call it with the results of run:map", name)
  end
end

return Remote
