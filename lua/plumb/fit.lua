--- plumb.fit: the training loop that everyone writes.
local core = require "plumb.core"
local report = require "plumb.report"
local batches = require "plumb.fit.batches"
local schedule = require "plumb.fit.schedule"
local set = require "plumb.data.set"
local nn = require "plumb.nn"
local optim = require "plumb.optim"
local progress = require "plumb.progress"
local recorder = require "plumb.measure.recorder"
local transform = require "plumb.transform"

local EVALUATION_BATCH = 500 -- images of a batch take much memory between their layers
local SAFE_STEPS = 100

local Run = { doc = [[
A run, as plumb.fit returns it: what was recorded, one entry per epoch: train_loss (the mean over the epoch's batches), and
with `validate` test_loss; for classification train_accuracy and test_accuracy. Also epoch, step, seconds, stopped.]] }
Run.__index = Run
Run.__name = "plumb.Run"
Run.__tostring = function(run)
  local last = run.train_loss[#run.train_loss]
  return ("run: %d epochs, %d steps, %.1f s, training loss %s%s"):format(run.epoch, run.step, run.seconds,
    last and ("%.6g"):format(last) or "none", run.stopped and ", stopped: " .. run.stopped or "")
end

--- run:watch(options): from here on the run's losses are drawn live while it trains, in a window or in the terminal; call it in
--- a hook, or give fit the option watch. options: interval = seconds between figures, 1, logy = true, as = "window" or "text".
function Run:watch(options)
  self.watcher = require("plumb.plot.watch").new(self, options)
  return self
end

-- ---- checks ----

local function all_finite(t) return (t * 0):sum():item() == 0 end

local defaults = { loss = report.none, optimizer = report.none, epochs = 1, validate = report.none, on_step = report.none,
  on_epoch = report.none, progress = true, watch = false, schedule = report.none, clip_norm = report.none,
  clip_value = report.none, record = report.none }
for name, value in pairs(batches.defaults) do defaults[name] = value end

-- Something that can be called; nn.MSELoss without its () can be too, but is a mistake.
local function check_callable(name, f, example)
  local meta = getmetatable(f)
  if type(f) == "table" and rawget(f, "__call") and rawget(f, "name") then
    report.fail("fit: %s is nn.%s without its ()", name, f.name)
  end
  if type(f) ~= "function" and not (type(meta) == "table" and meta.__call) then
    report.fail("fit: %s must be %s, not %s", name, example, type(f))
  end
end

local function check_optimizer(optimizer)
  if optim.name_of(optimizer) then return end
  for name, class in pairs(optim) do
    if class == optimizer then report.fail("fit: the optimizer is optim.%s without its {}", name) end
  end
  for _, method in ipairs { "start", "numbers", "update" } do -- a user's own keeps the contract of plumb.optim
    if type(optimizer) ~= "table" or type(optimizer[method]) ~= "function" then
      report.fail("fit: the optimizer must be one such as optim.Adam{lr = 1e-3}, not %s", type(optimizer))
    end
  end
end

local function check_limits(options)
  for _, name in ipairs { "clip_norm", "clip_value" } do
    if options[name] ~= nil then report.number("fit", name, options[name], 0) end
  end
  if options.clip_norm and options.clip_value then report.fail("fit: clip_norm or clip_value, not both") end
end

local function check_options(model, train, given)
  local options = report.options("fit", given, defaults)
  if not nn.Module.is(model) then report.fail("fit: the model must be a module, not %s", type(model)) end
  if model:root() ~= model then report.fail("fit: %s is part of a larger model; train that", model:place()) end
  if model.size == 0 then report.fail("fit: %s has no parameters to train", model:describe_self()) end
  if options.loss == nil or options.optimizer == nil then
    report.fail("fit: needs loss (e.g. nn.MSELoss()) and optimizer (e.g. optim.Adam{lr = 1e-3})")
  end
  check_callable("the loss", options.loss, "a function of (output, target) such as nn.MSELoss()")
  check_optimizer(options.optimizer)
  for _, hook in ipairs { "on_step", "on_epoch" } do
    if options[hook] ~= nil then check_callable(hook, options[hook], "a function") end
  end
  if type(options.progress) ~= "boolean" and type(options.progress) ~= "string" then
    report.fail("fit: progress must be true, false or a label, not %s", type(options.progress))
  end
  if type(options.watch) ~= "boolean" and type(options.watch) ~= "table" then
    report.fail("fit: watch must be true, false or a table of options, not %s", type(options.watch))
  end
  report.integer("fit", "epochs", options.epochs, 0)
  batches.check(train, given or {}, options)
  check_limits(options)
  batches.check_set("the training set", train, model.theta:dtype())
  if not all_finite(model.theta) then report.fail("fit: the model's parameters are not finite before the training") end
  if options.validate ~= nil then batches.check_set("validate", options.validate, model.theta:dtype()) end
  return options
end

-- Labels that the model has no output for, found before the training instead of in the middle of it. The model is asked with
-- two samples, of which a layer that always takes the batch's statistics has a variance.
local function check_labels(who, labelled, model)
  local y = labelled.y
  if y:dim() ~= 1 or y:dtype() ~= "int64" then return end -- the loss knows what to say
  local sample = set.numbers(set.inputs(labelled):slice(1, 1, math.min(2, #y)), model.theta:dtype())
  local classes = model:at(model.theta, { training = false })(sample):size(-1)
  local low, high = y:min():item(), y:max():item()
  if low < 1 or high > classes then
    report.fail("fit: the labels of %s are from %d to %d, but must be from 1 to %d, the model's outputs", who, low, high,
      classes)
  end
end

-- ---- the compiled parts ----

local function classifies(options, train)
  if type(options.loss) == "table" and options.loss.classifies ~= nil then return options.loss.classifies end
  return options.loss == nn.cross_entropy and train.y:dtype() == "int64"
end

local function clipped(options, gradient)
  if options.clip_norm then return (optim.clip_norm(gradient, options.clip_norm)) end
  return options.clip_value and optim.clip_value(gradient, options.clip_value) or gradient
end

-- Everything of one step: the batch, loss, gradient and update, from the arguments that train_epoch lists. A step whose loss
-- is not finite changes nothing.
local function compile_step(model, options, with_accuracy, state_count, source, recorders)
  local loss_of, optimizer = options.loss, options.optimizer
  local has_buffers, draws = model.buffer_size > 0, model:draws()
  return transform.compile(function(theta, ...)
    local arguments, taken = { ... }, 0
    local function take(wanted)
      if not wanted then return nil end
      taken = taken + 1
      return arguments[taken]
    end
    local state = {}
    for i = 1, state_count do state[i] = take(true) end
    local buffers, x, y, index, key = take(has_buffers), take(true), take(true), take(source.indexed), take(draws)
    local numbers = table.move(arguments, taken + 1, #arguments, 1, {})
    local xs, ys = source.pick(x, y, index)
    local pass = { training = true, buffers = buffers, key = key }
    local loss, accuracy, new_buffers, gradient = core.value_and_grad(function(parameters)
      local output, updated = model:at(parameters, pass)(xs)
      local value = loss_of(output, ys)
      return value, with_accuracy and nn.accuracy(output, ys) or value, updated
    end, 1, nil, theta)
    local new_theta, new_state = optimizer:update(theta, clipped(options, gradient), state, numbers)
    local finite = loss:isfinite()
    local results = { core.where(finite, new_theta, theta) }
    for i, tensor in ipairs(new_state) do results[i + 1] = core.where(finite, tensor, state[i]) end
    if has_buffers then results[#results + 1] = core.where(finite, new_buffers, buffers) end
    results[#results + 1], results[#results + 2] = loss, accuracy
    local recorded = recorder.tensors(recorders, { loss = loss, gradient = gradient, theta = theta, new_theta = new_theta })
    return table.unpack(table.move(recorded, 1, #recorded, #results + 1, results))
  end)
end

--- fit.evaluation(model, loss, with_accuracy) -> function(set) -> the mean loss, and the accuracy or nil: fit's measure of a
--- model on a data set or loader, in batches and in evaluation mode, whatever mode the model is in.
local function make_evaluation(model, loss_of, with_accuracy)
  local evaluate = transform.compile(function(theta, x, y, buffers)
    local output = model:at(theta, { training = false, buffers = buffers })(set.numbers(x, theta:dtype()))
    local loss = loss_of(output, y)
    return loss, with_accuracy and nn.accuracy(output, y) or loss
  end)
  return function(given)
    local loss, accuracy = 0, 0
    local theta, buffers = model.theta, model.buffer_size > 0 and { model.buffers } or {}
    for share, x, y in batches.in_order(given, EVALUATION_BATCH) do
      local batch_loss, batch_accuracy = evaluate(theta, x, y, table.unpack(buffers))
      loss, accuracy = loss + share * batch_loss:item(), accuracy + share * batch_accuracy:item()
    end
    return loss, with_accuracy and accuracy or nil
  end
end

-- ---- the loop ----

-- nan has a sign in C's text, which means nothing.
local function number_text(x) return x ~= x and "nan" or tostring(x) end

-- A gradient can be infinite where its loss is finite, and spoils the parameters. That is found at the end of an epoch, once
-- in SAFE_STEPS steps, or by the next loss; then those that were last known to be finite come back.
local function check_parameters(run, loop)
  local theta = loop.theta:get()
  if not all_finite(theta) then
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
    run.step, run.epoch + 1, all_finite(batch) and "A smaller learning rate may help" or "x of that batch is not finite")
end

-- What a hook may have changed: the optimiser's settings ask for another compiled step; the model must still be there.
local function refresh(run, loop)
  local optimizer = loop.options.optimizer
  if run.model:variable() ~= loop.theta or loop.buffers and run.model:buffer_variable() ~= loop.buffers then
    report.fail("fit: a hook gave the model other parameters (by double, float, or by making it part of another model)")
  end
  if not loop.step or loop.version ~= optimizer.version then
    loop.step = compile_step(run.model, loop.options, loop.with_accuracy, #loop.state, loop.source, loop.recorders)
    loop.version = optimizer.version
  end
end

-- What the compiled step takes: theta, the optimiser's state, buffers if there are any, the batch as its source has it (x, y and
-- perhaps its places in them), a key if random numbers are drawn, the optimiser's numbers.
local function step_arguments(run, loop, x, y, index)
  local arguments = { loop.theta, table.unpack(loop.state) }
  if loop.buffers then arguments[#arguments + 1] = loop.buffers end
  local at = #arguments
  arguments[at + 1], arguments[at + 2], arguments[at + 3] = x, y, index
  if loop.draws then arguments[#arguments + 1] = core.from_nested({ loop.options.seed, run.step }, "int64") end
  local numbers = loop.options.optimizer:numbers(run.step)
  return table.move(numbers, 1, #numbers, #arguments + 1, arguments)
end

-- One pass over the training set. Returns the means of loss and accuracy over its samples.
local function train_epoch(run, loop)
  local options, source = loop.options, loop.source
  local loss_sum, accuracy_sum = 0, 0
  loop.schedule:at("epoch", run.epoch + 1)
  for n, x, y, index in source:epoch(run.epoch + 1) do
    loop.schedule:at("step", run.step + 1)
    refresh(run, loop)
    run.step = run.step + 1
    local results = { loop.step(table.unpack(step_arguments(run, loop, x, y, index))) }
    local loss = results[1]:item()
    if loss ~= loss or loss == math.huge or loss == -math.huge then
      fail_at_loss(run, loop, loss, source.inputs(x, y, index))
    end
    loss_sum, accuracy_sum = loss_sum + n * loss, accuracy_sum + n * results[2]:item()
    run.loss = loss
    recorder.keep(loop.recorders, run.recorded, results, 3)
    if run.watcher then run.watcher:update() end
    if options.on_step and options.on_step(run, loss) == false then run.stopped = "by on_step" break end
    loop.bar:update(run.step, loop.note)
  end
  if run.step - loop.safe_step >= SAFE_STEPS then check_parameters(run, loop) end
  return loss_sum / source.count, accuracy_sum / source.count
end

local function record_epoch(run, loop, loss, accuracy)
  run.epoch = run.epoch + 1
  run.train_loss[run.epoch] = loss
  if loop.with_accuracy then run.train_accuracy[run.epoch] = accuracy end
  if loop.options.validate then
    local test_loss, test_accuracy = loop.evaluate(loop.validate)
    run.test_loss[run.epoch] = test_loss
    if loop.with_accuracy then run.test_accuracy[run.epoch] = test_accuracy end
  end
end

local function new_run(model, options)
  return setmetatable({ model = model, optimizer = options.optimizer, epoch = 0, step = 0, seconds = 0,
    train_loss = {}, test_loss = {}, train_accuracy = {}, test_accuracy = {}, recorded = {} }, Run)
end

-- Puts the model into training mode until the result is closed, by an error too.
local function in_training_mode(model)
  local modes = {}
  model:each_module(function(module) modes[module] = module.training end)
  model:train()
  return setmetatable({}, { __close = function()
    for module, mode in pairs(modes) do module.training = mode end
  end })
end

--- fit(model, train, options) -> run: trains the model on the data set {x =, y =}, or on a loader (data.loader), which then has
--- batch, seed and the like. uint8 images are numbers in [0, 1] to the model and stay uint8 in memory.
--- options: loss, optimizer (both needed), epochs = 1, batch = 64, validate = data set or loader, seed = 0 (of the shuffling),
--- shuffle = true, drop_last = false (leave out a last, shorter batch), augment = {shift = pixels, flip = true} and normalize =
--- {mean =, std =} (see data.loader; a set to validate on is normalised alike, not augmented), schedule = optim.StepLR{...} (it
--- sets run.optimizer's rate, and gives it back at the end), clip_norm or clip_value = the limit of the gradient's norm, or of
--- its elements (optim.clip_norm), on_step = function(run, loss), on_epoch = function(run), progress = true (or a label),
--- watch = false (true, or the options of run:watch: the losses are drawn live).
--- A hook that returns false stops the training. A loss that is not finite is an error that names the step; the parameters are
--- then those before it, or, where an infinite gradient had spoiled them, the last ones known to be finite. While it trains the
--- model is in training mode, afterwards in the mode it had; `validate` is measured in evaluation mode. Dropout draws by seed
--- and step; with a loader, by its seed unless one is given.
--- record = {"gradient_norm", "loss", name = function(step) ... end}: numbers of every step, in run.recorded.gradient_norm, ...:
--- the norm of the batch's gradient (before it is clipped), its loss, and what functions make of step = {loss, gradient, theta,
--- new_theta}, a tensor of one element. They are part of the compiled step. measure.recorder(model): the norms of all layers.
local function fit(model, train, given)
  local options = check_options(model, train, given)
  local with_accuracy = classifies(options, train)
  if with_accuracy then
    check_labels("the training set", train, model)
    if options.validate then check_labels("validate", options.validate, model) end
  end
  local run = new_run(model, options)
  local source = batches.source(train, options, model.theta:dtype())
  run.steps_per_epoch = source.steps
  if options.watch then run:watch(options.watch ~= true and options.watch or nil) end
  local steps = source.steps * options.epochs
  schedule.check(options.schedule, options.optimizer, steps)
  local follower <close> = schedule.follow(options.schedule, options.optimizer)
  local quiet = options.progress == false
  local bar <close> = quiet and setmetatable({ update = function() end }, { __close = function() end })
    or progress.new { label = options.progress == true and "training" or options.progress, total = steps }
  local _ <close> = in_training_mode(model)
  local state = {}
  for i, tensor in ipairs(options.optimizer:start(model.theta)) do state[i] = core.variable(tensor:evaluate()) end
  local loop = { options = options, source = source, theta = model:variable(), state = state, bar = bar,
    buffers = model.buffer_size > 0 and model:buffer_variable() or nil, draws = model:draws(),
    safe_theta = model.theta, safe_buffers = model.buffer_size > 0 and model.buffers or nil, safe_step = 0,
    with_accuracy = with_accuracy, schedule = follower, recorders = recorder.read(options.record),
    evaluate = make_evaluation(model, options.loss, with_accuracy),
    validate = batches.validation(options.validate, source, EVALUATION_BATCH),
    note = function() return ("epoch %d, loss %.4g"):format(math.min(run.epoch + 1, options.epochs), run.loss) end }
  local started = core.process.time()
  for _ = 1, options.epochs do
    local loss, accuracy = train_epoch(run, loop)
    if run.stopped then break end
    record_epoch(run, loop, loss, accuracy)
    run.seconds = core.process.time() - started
    if options.on_epoch and options.on_epoch(run) == false then run.stopped = "by on_epoch" break end
  end
  run.seconds = core.process.time() - started
  check_parameters(run, loop)
  if run.watcher then run.watcher:finish() end
  return run
end

return setmetatable({ Run = Run, evaluation = make_evaluation, doc = fit },
  { __call = function(_, ...) return fit(...) end, __index = { fit = fit } })
