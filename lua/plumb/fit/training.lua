--- The loop of plumb.fit: steps, epochs and hooks, and where it can be left and entered again.
--
-- The position is run.epoch, the epochs that are complete and recorded; loop.batch, the batches done in the next one, with
-- loss_sum and accuracy_sum over their samples; and loop.pending, the hook that has been called and has not returned. It moves
-- only when what it stands for is done, so the loop can be broken off anywhere (Ctrl-C) and goes on with the same bits.
local core = require "plumb.core"
local progress = require "plumb.progress"
local recorder = require "plumb.measure.recorder"
local report = require "plumb.report"
local schedule = require "plumb.fit.schedule"
local tensor = require "plumb.tensor"

local training = {}

local SAFE_STEPS = 100

local process = core.process

--- training.all_finite(t): is every element a number, and not infinite? Their sum tells, unless it is itself too large.
function training.all_finite(t)
  local sum = t:sum():item()
  return sum - sum == 0 or (t * 0):sum():item() == 0
end

-- ---- values that are not finite ----

-- nan has a sign in C's text, which means nothing.
local function number_text(x) return x ~= x and "nan" or tostring(x) end

-- A gradient can be infinite where its loss is finite, and spoils the parameters. That is found at the end of an epoch, once
-- in SAFE_STEPS steps, or by the next loss; then those that were last known to be finite come back.
local function check_parameters(run, loop)
  local theta = loop.theta:get()
  if not training.all_finite(theta) then
    loop.theta:set(loop.safe_theta)
    if loop.buffers then loop.buffers:set(loop.safe_buffers) end
    report.fail("fit: a gradient was not finite by step %d (epoch %d), though the loss was; the parameters are again those "
      .. "after step %d", run.step, run.epoch + 1, loop.safe_step)
  end
  loop.safe_theta, loop.safe_step = theta, run.step
  loop.safe_buffers = loop.buffers and loop.buffers:get()
end

local function fail_at_loss(run, loop, loss, batch)
  check_parameters(run, loop)
  report.fail("fit: the loss is %s at step %d (epoch %d); the parameters are those before that step. %s", number_text(loss),
    run.step, run.epoch + 1,
    training.all_finite(batch) and "A smaller learning rate may help" or "x of that batch is not finite")
end

-- ---- one step ----

-- What a hook, a schedule, or what came before run:resume(), may have changed: the optimiser's settings ask for another compiled
-- step; the model must still be there.
local function refresh(run, loop)
  local optimizer = loop.options.optimizer
  local model, buffers = run.model, loop.buffers
  if not loop.is_checked and (model:variable() ~= loop.theta or buffers and model:buffer_variable() ~= buffers) then
    report.fail("fit: a hook gave the model other parameters (by double, float, or by making it part of another model)")
  end
  loop.is_checked = true
  if not loop.step or loop.version ~= optimizer.version then
    loop.step, loop.version = loop.compile_step(), optimizer.version
    loop.arguments = { loop.theta, table.unpack(loop.state) }
    loop.arguments[#loop.arguments + 1] = loop.buffers
    loop.constant = #loop.arguments
    loop.numbers = optimizer.numbers -- looking it up takes a call
  end
end

-- What the compiled step takes: theta, the optimiser's state, buffers if there are any, the batch as its source has it (x, y and
-- perhaps its places in them), a key if random numbers are drawn, the optimiser's numbers. The table is that of every step.
local function step_arguments(loop, step, x, y, index)
  local arguments, at = loop.arguments, loop.constant
  arguments[at + 1], arguments[at + 2], at = x, y, at + 2
  if index then arguments[at + 1], at = index, at + 1 end
  if loop.draws then arguments[at + 1], at = core.from_nested({ loop.options.seed, step }, "int64"), at + 1 end
  local numbers = loop.numbers(loop.options.optimizer, step)
  table.move(numbers, 1, #numbers, at + 1, arguments)
  return table.unpack(arguments, 1, at + #numbers)
end

-- A hook that is broken off is called again when the training goes on.
local function call_hook(run, loop, name, ...)
  local hook = loop.options[name]
  if not hook then return end
  loop.is_checked = false
  loop.pending, loop.before_hook = name, tensor.get_rng_state() -- so that it draws the same numbers when it is called again
  local verdict = hook(run, ...)
  loop.pending = nil
  if verdict == false then run.stopped = "by " .. name end
end

local function take_step(run, loop, n, x, y, index)
  local step = run.step + 1
  loop.schedule:at("step", step)
  loop.is_checked = loop.is_checked and not loop.options.schedule
  refresh(run, loop)
  local results = { loop.step(step_arguments(loop, step, x, y, index)) }
  local loss, accuracy = results[1]:item(), results[2]:item()
  run.step = step
  if loss ~= loss or loss == math.huge or loss == -math.huge then
    fail_at_loss(run, loop, loss, loop.source.inputs(x, y, index))
  end
  run.loss, loop.batch = loss, loop.batch + 1
  loop.loss_sum, loop.accuracy_sum = loop.loss_sum + n * loss, loop.accuracy_sum + n * accuracy
  recorder.keep(loop.recorders, run.recorded, results, 3)
  if run.watcher then run.watcher:update() end
  call_hook(run, loop, "on_step", loss)
end

-- ---- epochs ----

local function save_checkpoint(run, loop)
  loop.is_checked = false
  loop.options.checkpoint(run)
  loop.next_checkpoint = process.time() + loop.options.checkpoint_every
end

local function save_when_due(run, loop)
  if not loop.options.checkpoint or process.time() < loop.next_checkpoint then return end
  check_parameters(run, loop)
  save_checkpoint(run, loop)
end

-- The rest of a pass over the training set. Returns whether all of it is done.
local function train_epoch(run, loop)
  local source = loop.source
  loop.schedule:at("epoch", run.epoch + 1)
  if loop.batch < source.steps then
    for n, x, y, index in source:epoch(run.epoch + 1, loop.batch) do
      if process.interrupted() then return false end
      take_step(run, loop, n, x, y, index)
      if run.stopped then return false end
      loop.bar:update(run.step, loop.note)
      save_when_due(run, loop)
    end
  end
  if run.step - loop.safe_step >= SAFE_STEPS then check_parameters(run, loop) end
  return true
end

-- Means over the epoch's samples, and the measures of `validate`.
local function record_epoch(run, loop)
  local epoch, count = run.epoch + 1, loop.source.count
  if loop.validate then
    local test_loss, test_accuracy = loop.evaluate(loop.validate)
    run.test_loss[epoch], run.test_accuracy[epoch] = test_loss, test_accuracy
  end
  run.train_loss[epoch] = loop.loss_sum / count
  if loop.with_accuracy then run.train_accuracy[epoch] = loop.accuracy_sum / count end
  run.epoch, loop.batch, loop.loss_sum, loop.accuracy_sum = epoch, 0, 0, 0
  run.seconds = process.time() - loop.started
end

local function advance(run, loop)
  if loop.pending then call_hook(run, loop, loop.pending, loop.pending == "on_step" and run.loss or nil) end
  while not run.stopped and run.epoch < loop.options.epochs do
    if not train_epoch(run, loop) then return end
    record_epoch(run, loop)
    call_hook(run, loop, "on_epoch")
    save_when_due(run, loop)
  end
end

-- ---- from start to end ----

-- Puts the model into training mode until the result is closed, by an error too.
local function in_training_mode(model)
  local modes = {}
  model:each_module(function(module) modes[module] = module.training end)
  model:train()
  return setmetatable({}, { __close = function()
    for module, mode in pairs(modes) do module.training = mode end
  end })
end

local function new_bar(run, loop)
  local label = loop.options.progress
  if label == false then return setmetatable({ update = function() end }, { __close = function() end }) end
  return progress.new { label = label == true and "training" or label, total = loop.source.steps * loop.options.epochs,
    done = run.step }
end

-- A statement such as `run = plumb.fit(...)` shows nothing itself.
local function tell_stop(run, loop)
  if loop.options.progress == false then return end
  progress.hide()
  io.stderr:write(("training stopped by Ctrl-C after step %d of %d; run:resume() goes on\n"):format(run.step,
    loop.source.steps * loop.options.epochs))
end

-- What is done until the training ends or is stopped.
local function train(run, loop)
  loop.started, loop.running, loop.is_checked, run.stopped = process.time() - run.seconds, true, false, nil
  if loop.random then tensor.set_rng_state(loop.random) end
  local follower <close> = schedule.follow(loop.options.schedule, loop.options.optimizer)
  local bar <close> = new_bar(run, loop)
  local _ <close> = in_training_mode(run.model)
  loop.schedule, loop.bar = follower, bar
  loop.next_checkpoint = process.time() + loop.options.checkpoint_every
  advance(run, loop)
end

-- What is done then, however it ended.
local function leave(run, loop, well)
  if run.watcher then
    if well and not process.interrupted() then run.watcher:finish() else run.watcher:close() end
  end
  if run.stopped == "by Ctrl-C" then tell_stop(run, loop)
  elseif well then check_parameters(run, loop) end
  if loop.options.checkpoint and (well or run.stopped) then save_checkpoint(run, loop) end
end

local function train_and_leave(run, loop)
  local well, message = process.attempt(train, run, loop)
  loop.running, loop.step, loop.arguments = false, nil, nil
  loop.random = loop.pending and loop.before_hook or tensor.get_rng_state()
  run.seconds = process.time() - loop.started
  if process.interrupted() then run.stopped = "by Ctrl-C" end
  leave(run, loop, well)
  if not well and not run.stopped then error(message, 0) end
end

--- training.go(run, loop) -> run: trains from the present position to the end, or until a hook or Ctrl-C stops it. Ctrl-C,
--- however often it is pressed, never keeps the run from whoever called this: all that takes time is within an attempt.
function training.go(run, loop)
  local ok, message = process.attempt(train_and_leave, run, loop)
  if not ok and not process.interrupted() then error(message, 0) end
  return run
end

return training
