--- Where a training stands, as a table of tensors, numbers and texts: what run:state() gives and fit{resume = ...} takes.
--
-- `loop` is plumb.fit's: theta and buffers (variables), state (the optimiser's variables), options, and the position in the
-- epoch: batch (how many are done), loss_sum and accuracy_sum (over their samples), pending (the hook that was broken off).
local core = require "plumb.core"
local format = require "plumb.format"
local optim = require "plumb.optim"
local report = require "plumb.report"
local tensor = require "plumb.tensor"

local state = {}

local VERSION = 1
local LISTS = { "train_loss", "test_loss", "train_accuracy", "test_accuracy" }
local COUNTERS = { "epoch", "step", "seconds" }
local SCHEDULED = { lr = true, momentum = true, betas = true } -- what a schedule sets, from the step alone

-- Tables are copied, so that what happens later changes nothing of it.
local function copy(value)
  if type(value) ~= "table" then return value end
  local new = {}
  for key, entry in pairs(value) do new[key] = copy(entry) end
  return new
end

local function recorded_names(recorders)
  local names = {}
  for i, entry in ipairs(recorders) do names[i] = entry.name end
  return "{" .. table.concat(names, ", ") .. "}"
end

-- What must be the same for a state to make sense, with the words for it.
local function signature(run, loop)
  local made = loop.source.loader or loop.options
  return {
    { "a model with", loop.theta:get():numel(), "parameters" },
    { "parameters of dtype", loop.theta:get():dtype() },
    { "a model with", loop.buffers and loop.buffers:get():numel() or 0, "running statistics" },
    { "the optimizer", optim.name_of(run.optimizer) or "of your own" },
    { "a training set of", loop.source.count, "samples" },
    { "batch =", made.batch },
    { "seed =", made.seed },
    { "shuffle =", tostring(made.shuffle) },
    { "shift =", made.shift or 0 },
    { "flip =", tostring(made.flip or false) },
    { "record =", recorded_names(loop.recorders) },
  }
end

local function settings_of(loop)
  local kept = {}
  for name, value in pairs(loop.options.optimizer.settings or {}) do
    if not (loop.options.schedule and SCHEDULED[name]) then kept[name] = copy(value) end
  end
  return kept
end

--- state.take(run, loop) -> the state, a copy.
function state.take(run, loop)
  local taken = { version = VERSION, signature = signature(run, loop), stopped = run.stopped, loss = run.loss,
    theta = loop.theta:get(), buffers = loop.buffers and loop.buffers:get(), optimizer = {}, settings = settings_of(loop),
    batch = loop.batch, loss_sum = loop.loss_sum, accuracy_sum = loop.accuracy_sum,
    pending = not loop.running and loop.pending or nil, random = not loop.running and loop.random or tensor.get_rng_state(),
    recorded = copy(run.recorded), kept = copy(run.kept) }
  for _, name in ipairs(COUNTERS) do taken[name] = run[name] end
  for _, name in ipairs(LISTS) do taken[name] = copy(run[name]) end
  for i, variable in ipairs(loop.state) do taken.optimizer[i] = variable:get() end
  return taken
end

-- ---- putting it back ----

local function check_tensor(what, given, variable)
  local wanted = variable:get()
  if not core.is_tensor(given) or given:dtype() ~= wanted:dtype() or format.shape(given) ~= format.shape(wanted) then
    report.fail("fit: %s of the state to resume from must be a %s tensor of shape %s, not %s", what, wanted:dtype(),
      format.shape(wanted), core.is_tensor(given) and given:dtype() .. " of shape " .. format.shape(given) or type(given))
  end
end

local function check_numbers(given)
  for _, name in ipairs { "epoch", "step", "seconds", "batch", "loss_sum", "accuracy_sum" } do
    if type(given[name]) ~= "number" then
      report.fail("fit: %s of the state to resume from must be a number, not %s", name, type(given[name]))
    end
  end
  for _, name in ipairs { "optimizer", "settings", "random", "recorded", "kept", "signature", table.unpack(LISTS) } do
    if type(given[name]) ~= "table" then
      report.fail("fit: %s of the state to resume from must be a table, not %s", name, type(given[name]))
    end
  end
end

local function check_signature(given, own)
  for i, line in ipairs(own) do
    local theirs = type(given[i]) == "table" and given[i] or {}
    if theirs[2] ~= line[2] then
      local words = line[1] .. " %s" .. (line[3] and " " .. line[3] or "")
      report.fail("fit: the state to resume from is that of " .. words .. ", not of " .. words, tostring(theirs[2]),
        tostring(line[2]))
    end
  end
end

-- Everything that could refuse the state is found before anything is changed.
local function check(run, loop, given)
  if type(given) ~= "table" or given.version ~= VERSION then
    report.fail("fit: resume takes what run:state() gave, not %s",
      type(given) == "table" and "a table without its version" or type(given))
  end
  check_numbers(given)
  check_signature(given.signature, signature(run, loop))
  check_tensor("theta", given.theta, loop.theta)
  if loop.buffers then check_tensor("buffers", given.buffers, loop.buffers) end
  for i, variable in ipairs(loop.state) do check_tensor(("optimizer[%d]"):format(i), given.optimizer[i], variable) end
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  return true
end

--- state.put(run, loop, given): run, loop, model, optimiser and the random numbers are again as they were when the state was
--- taken. A state of another training is an error that says what differs; then nothing is changed.
function state.put(run, loop, given)
  check(run, loop, given)
  local optimizer = loop.options.optimizer
  for name, value in pairs(given.settings) do
    if optimizer.settings and not same(optimizer.settings[name], value) then optimizer[name] = copy(value) end
  end
  tensor.set_rng_state(given.random)
  loop.theta:set(given.theta)
  if loop.buffers then loop.buffers:set(given.buffers) end
  for i, variable in ipairs(loop.state) do variable:set(given.optimizer[i]) end
  for _, name in ipairs(COUNTERS) do run[name] = given[name] end
  for _, name in ipairs(LISTS) do run[name] = copy(given[name]) end
  run.stopped, run.loss = given.stopped, given.loss
  run.recorded, run.kept = copy(given.recorded), copy(given.kept)
  loop.batch, loop.loss_sum, loop.accuracy_sum = given.batch, given.loss_sum, given.accuracy_sum
  loop.pending = given.pending
end

return state
