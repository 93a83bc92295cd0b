--- Starting experiments within the specs as from a command line, with what they print caught.
local experiment = require "plumb.experiment"

local experiments = {}

local function fake_stream()
  local stream = { bytes = "" }
  function stream:write(...) self.bytes = self.bytes .. table.concat({ ... }) return self end
  function stream:flush() return self end
  return stream
end

-- luacheck: push ignore 122 (fields of io are replaced and put back)
--- caught(f): runs f with standard output and standard error caught; returns them and what f returned, or raises its error.
function experiments.caught(f)
  local stdout, stderr = io.stdout, io.stderr
  local out, err = fake_stream(), fake_stream()
  io.stdout, io.stderr = out, err
  local results = table.pack(pcall(f))
  io.stdout, io.stderr = stdout, stderr
  if not results[1] then error(results[2], 0) end
  return out.bytes, err.bytes, table.unpack(results, 2, results.n)
end
-- luacheck: pop

--- settings of every kind
experiments.SETTINGS = {
  { name = "epochs", default = 100, quick = 5, minimum = 1, help = "passes over the training set" },
  { name = "share", default = 1.0, quick = 0.5, help = "share of the labels that are random",
    check = function(value) return value >= 0 and value <= 1, "must be between 0 and 1" end },
  { name = "dataset", default = "mnist", choices = { "mnist", "fashion_mnist" }, help = "the images" },
  { name = "train_samples", default = 0, minimum = 0, help = "images to train with, 0 for all of them; a long explanation "
    .. "that has to go on in the next line and in the one after it, too" },
  { name = "augment", default = false, help = "shift the images" },
  { name = "shuffle", default = true, quick = false, help = "a new order in each epoch" },
  { name = "widths", default = { 50, 100 }, quick = { 5 }, help = "hidden units" },
  { name = "rates", default = { 0, 0.5 }, help = "learning rates" },
  { name = "offset", default = -0.5, help = "an offset" },
}

--- start(arguments, request) -> run, what was printed, standard error, the exit code. request: fields for experiment.start.
function experiments.start(arguments, request)
  local code
  local full = { name = "labels", description = "Can a network fit random labels?", settings = experiments.SETTINGS,
                 arguments = arguments, exit = function(value) code = value end }
  for field, value in pairs(request or {}) do full[field] = value end
  local out, err, run = experiments.caught(function() return experiment.start(full) end)
  return run, out, err, code
end

return experiments
