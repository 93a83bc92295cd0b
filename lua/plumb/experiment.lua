--- Experiments: a script declares its settings, runs, and leaves a folder that says what was done and what came out.
--
--     local run = experiment.start{ name = "decay", description = "...", settings = {{ name = "epochs", default = 100 }} }
--     for epoch = 1, run.settings.epochs do
--       run:record{ epoch = epoch, loss = loss }                 -- a row of metrics.csv
--     end
--     run:figure("loss", plot.lines(losses))                     -- loss.svg, loss.png, loss.gp
--     run:summary("loss", loss, "mean squared error at the end") -- an entry of summary.json
--     run:verdict("falls", "the loss falls", loss < first, ("%.3g from %.3g"):format(loss, first))
--     run:finish()
--
-- Trials that do not need each other run side by side: local results = run:map({1, 2, 3}, function(seed) ... end).
--
-- Whatever makes a run impossible (a wrong option, an output folder that can't be used) is said on standard error before
-- any work, with exit code 2. In the JSON files numbers that are not finite are the strings "nan", "inf" and "-inf".

local text = require "plumb.experiment.text"
local options = require "plumb.experiment.options"
local folder = require "plumb.experiment.folder"
local metrics = require "plumb.experiment.metrics"
local config = require "plumb.experiment.config"
local map = require "plumb.experiment.map"
local recovery = require "plumb.experiment.recovery"
local remote = require "plumb.experiment.remote"
local repeats = require "plumb.experiment.repeats"
local results = require "plumb.experiment.results"
local progress = require "plumb.progress"

local experiment = { map = map, Remote = remote }

local FIELDS = { name = "string", description = "string", settings = "table", columns = "table", arguments = "table",
                 exit = "function" }

local Run = {}
Run.__index = Run
Run.__name = "plumb.run"
Run.__transfer = remote.of

-- ---- starting ----------------------------------------------------------------------------------------------------

local function check_request(request)
  if type(request) ~= "table" then text.fail("experiment.start: expected a table, not a %s", type(request)) end
  for field, value in pairs(request) do
    local expected = FIELDS[field]
    if not expected then text.fail("experiment.start: there is no field '%s'", tostring(field)) end
    if type(value) ~= expected then
      text.fail("experiment.start: %s must be a %s, not a %s", field, expected, type(value))
    end
  end
  if not (request.name or ""):find("^%w[%w_-]*$") then
    text.fail("experiment.start: a name made of letters, digits, _ and - is needed")
  end
end

-- How this program was started: all words, and those up to the script.
local function command_words(request)
  local all, start = {}, {}
  if request.arguments or not arg then
    start[1] = request.name
  else
    local first = 0
    while arg[first - 1] do first = first - 1 end
    for i = first, 0 do start[#start + 1] = arg[i] end
  end
  local arguments = request.arguments or arg or {}
  table.move(start, 1, #start, 1, all)
  table.move(arguments, 1, #arguments, #start + 1, all)
  return all, start, arguments
end

-- The settings as they are used: a misspelt name is an error instead of nil, and nothing can make config.json untrue.
local function sealed(values, names)
  return setmetatable({}, {
    __index = function(_, name)
      if values[name] ~= nil then return values[name] end
      local meant = text.nearest(tostring(name), names)
      text.fail("run.settings has no '%s'%s", tostring(name), meant and "; did you mean '" .. meant .. "'?" or "")
    end,
    __newindex = function(_, name) text.fail("run.settings.%s can't be changed: the settings are fixed", tostring(name)) end,
    __pairs = function() return pairs(values) end,
  })
end

local function own_settings(settings, values)
  local own, names, listed = {}, {}, {}
  for _, setting in ipairs(settings) do
    if setting.own then
      own[setting.name] = values[setting.name]
      names[#names + 1] = setting.name
      listed[#listed + 1] = { setting.name, values[setting.name] }
    end
  end
  return sealed(own, names), text.object(listed)
end

-- Tells plumb about the threads; returns what it then has. A message instead of the number when it refuses.
local function use_threads(plumb, wanted)
  if type(plumb.threads) ~= "function" then return nil end
  if wanted then
    local ok, message = pcall(plumb.threads, wanted)
    if not ok then return nil, ("option --threads: %s"):format(message) end
  end
  return plumb.threads()
end

-- The folder of a new run, or of the one that goes on; or nil and a message.
local function take_folder(request, values, given, config_text)
  if values.resume ~= "" then return values.resume:gsub("(.)/+$", "%1"), nil end
  return folder.claim{ name = request.name, out = given.out, parent = values.out, overwrite = values.overwrite,
                       config = config_text }
end

-- Everything that can refuse a run. Returns the Run, or nil and a message.
local function prepare(request, settings, values, given, command)
  local found, plumb = pcall(require, "plumb")
  plumb = found and plumb or {}
  local threads, message = use_threads(plumb, given.threads)
  if message then return nil, message end
  local run = setmetatable({ name = request.name, seed = values.seed, quick = values.quick, threads = threads,
                             resumed = values.resume ~= "", results = results.new() }, Run)
  local listed
  run.settings, listed = own_settings(settings, values)
  for _, setting in ipairs(settings) do
    message = setting.missing and setting.missing(values[setting.name])
    if message then return nil, message end
  end
  run.folder, message = take_folder(request, values, given, config.text{ name = request.name, plumb = plumb, threads = threads,
    description = request.description, settings = listed, values = values, command = command })
  if not run.folder then return nil, message end
  local function warn(warning) run:warn(warning) end
  run.metrics, message = metrics.new(run:path("metrics.csv"), request.columns, warn)
  if not run.metrics then return nil, message end
  run.recovery = recovery.new{ folder = run.folder, every = values.checkpoint_every, resuming = run.resumed, warn = warn }
  return run
end

-- The values of the command line, and which were given; "help" and its text; nil and a message.
local function read_values(request, settings, arguments, command)
  local preset = repeats.preset()
  if preset then return preset.values, preset.given, preset.command end
  local values, given = options.parse(settings, arguments, { command = command, description = request.description,
    base = function(chosen) return config.base(chosen, settings, request.name) end })
  return values, given, text.shell((command_words(request)))
end

-- All seeds of --seeds instead of one run; ends the program.
local function repeat_run(run, values, start, arguments, exit)
  run.metrics:finish()
  local ok, message = pcall(repeats.run, run, values, start, arguments)
  if ok then return exit(0) end
  io.stderr:write(("%s: %s\n--resume %s goes on with what is missing.\n"):format(run.name, message, text.shell{ run.folder }))
  return exit(1)
end

--- experiment.start{name =, description =, settings =, columns =}: reads the command line, makes the run folder, and
--- returns the run, with run.settings (by name), run.seed, run.quick, run.threads and run.folder. A run that was stopped goes on
--- with --resume DIR: the script starts again, and run:fit and run:map find what was done. --seeds N ends the program here, after
--- running the whole script with N seeds.
--- settings: a list, in the order that --help shows, of {name =, default =, quick = the value under --quick, help =, choices =
--- {...}, minimum =, maximum =, of a list ascending = true and length = {least, most}, check = function(value) returning true,
--- or false and a message}. The default's type is the setting's: integer, number, string, boolean (--name, --no-name) or list of
--- numbers. A setting that stands for something the run needs, such as data, has missing = function(value) returning nil, or a
--- message when it is not there; asked before any work (data.setting).
--- columns: the columns of metrics.csv; without them they follow from the rows.
--- For tests: arguments = list of strings instead of the command line, exit = function(code) instead of os.exit.
function experiment.start(request)
  check_request(request)
  local settings = options.declare(request.settings or {})
  local exit = request.exit or function(code) os.exit(code, true) end
  local _, start, arguments = command_words(request)
  local command = text.shell(start)
  local values, given, complete = read_values(request, settings, arguments, command)
  if values == "help" then
    io.stdout:write(given)
    return exit(0)
  end
  local run, message = nil, given
  if values then run, message = prepare(request, settings, values, given, complete) end
  if not run then
    io.stderr:write(("%s: %s\nTry '%s --help'.\n"):format(request.name, message, command))
    return exit(2)
  end
  local seeds = values.seeds > 1 and ("seeds %d to %d"):format(run.seed, run.seed + values.seeds - 1) or "seed " .. run.seed
  run:say("%s: %s %s/ (%s%s)", run.name, run.resumed and "goes on in" or "results go to", run.folder, seeds,
    run.quick and ", quick" or "")
  if values.seeds > 1 then return repeat_run(run, values, start, arguments, exit) end
  return run
end

-- ---- while it runs -----------------------------------------------------------------------------------------------

--- run:path(name): the path of a file in the run folder.
function Run:path(name) return self.folder .. "/" .. name end

--- run:say(line, ...): prints a line, formatted as by string.format when there is more than the line.
function Run.say(_, line, ...)
  if select("#", ...) > 0 then line = line:format(...) end
  progress.hide()
  io.stdout:write(tostring(line), "\n")
  io.stdout:flush()
end

--- run:warn(message): says on standard error what went wrong without ending the run.
function Run:warn(message)
  progress.hide()
  io.stderr:write(("%s: warning: %s\n"):format(self.name, message))
end

--- run:record{name = value, ...}: adds a row to metrics.csv. Values are numbers, strings, booleans or tensors of one
--- element; missing columns stay empty, new ones are added behind unless the columns were declared.
function Run:record(row)
  self.metrics:record(row)
  self.recovery:note(row)
end

--- run:fit(model, train, options) -> history: plumb.fit, but the training can be stopped at any moment, also by kill -9 or a
--- power cut: with --resume it goes on from its last checkpoint (see --checkpoint-every) and ends with the same bits. Rows that
--- its hooks record are kept with it; what else they gather must stand in history.kept, a table of tensors and plain values.
--- One option more than plumb.fit has: row = {network = "Deep"} makes each epoch a row of metrics.csv, with these columns and
--- epoch, train_loss, train_accuracy and, where there is a `validate`, test_loss and test_accuracy (accuracies of classifiers).
function Run:fit(model, train, given) return self.recovery:fit(self, model, train, given) end

Run.seeds = remote.seeds

--- run:map(trials, f, {errors =, label =}) -> results: experiment.map with --threads worker processes. f may use the run:
--- run.settings, run.seed, run:say, run:fit, and run:record, whose rows get a column `trial` and are written in the order of the
--- trials. With --resume a trial that had ended is not run again, if its result holds tensors and plain values only.
function Run:map(trials, f, given)
  local own = { workers = self.threads, label = self.name }
  for name, value in pairs(type(given) == "table" and given or {}) do own[name] = value end
  local with_number = not self.metrics.declared or self.metrics.known.trial
  own.keeper = self.recovery:map()
  own.on_row = function(row, number)
    if with_number and row.trial == nil then row.trial = number end
    self:record(row)
  end
  return map(trials, f, own)
end

--- run:figure(name, figure, caption): saves name.gp, name.svg and name.png in the run folder; the caption, a sentence that says
--- what to look for, goes to run.json for reports. Trouble with gnuplot or the disk is a warning. The same name again replaces
--- the figure. Returns whether all three are there.
function Run:figure(name, figure, caption)
  if type(name) ~= "string" or not name:find("^[%w_][%w_.-]*$") then
    text.fail("run:figure: the name '%s' must be made of letters, digits, _, - and .", tostring(name))
  end
  local whole, message = self.results:figure(self:path(name), name, figure, caption)
  if not whole then self:warn(message) end
  return whole
end

-- ---- results -----------------------------------------------------------------------------------------------------

--- run:summary(name, value, meaning): a result (number, string, boolean or tensor of one element) and what it means, in
--- words with the unit.
function Run:summary(name, value, meaning) self.results:summary(name, value, meaning) end

--- run:verdict(name, claim, outcome, numbers): what this run says of a claim, a sentence that can be true or false, such as "the
--- deep network ends at a smaller loss than the shallow one". outcome: true (holds), false (does not hold) or "not converged",
--- where the run can't tell; numbers: the figures that decide it, in words. It is printed, and stands in summary.json as
--- {value = "holds", meaning = claim, numbers =}.
function Run:verdict(name, claim, outcome, numbers) self.results:verdict(name, claim, outcome, numbers) end

--- run:finish(): writes summary.json and run.json (the figures and their captions, the seconds it took: of a run that was
--- stopped all processes together, each up to its last checkpoint) and prints what came out and where the figures are. Raises
--- when the results can't be written, after printing them.
function Run:finish()
  if self.finished then text.fail("run:finish: the run has already finished") end
  self.finished = true
  local seconds = self.recovery:seconds()
  local recorded, record_message = self.metrics:finish()
  local written, message = self.results:write(self.folder, seconds)
  if recorded and written then self.recovery:remove() end
  self:say("\n%s took %.1f s", self.name, seconds)
  self.results:print(function(line) self:say(line) end, self.folder)
  if not recorded then error(("%s is not complete: %s"):format(self:path("metrics.csv"), record_message), 2) end
  if not written then error(message, 2) end
end

return experiment
