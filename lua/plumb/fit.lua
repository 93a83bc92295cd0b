--- plumb.fit: the training loop that everyone writes.
local core = require "plumb.core"
local report = require "plumb.report"
local batches = require "plumb.fit.batches"
local schedule = require "plumb.fit.schedule"
local set = require "plumb.data.set"
local files = require "plumb.files"
local nn = require "plumb.nn"
local optim = require "plumb.optim"
local progress = require "plumb.progress"
local recorder = require "plumb.measure.recorder"
local run_state = require "plumb.fit.state"
local training = require "plumb.fit.training"
local transform = require "plumb.transform"

-- How many samples are evaluated at a time: images take much memory between their layers, rows little.
local function evaluation_batch(model)
  for _, parameter in ipairs(model:parameters()) do
    if #parameter.value:shape() > 2 then return 500 end
  end
  return 2000
end

local Run = { doc = [[
A run, as plumb.fit returns it: what was recorded, one entry per epoch: train_loss (the mean over the epoch's batches), and
with `validate` test_loss; for classification train_accuracy and test_accuracy. Also epoch, step, seconds, stopped, and
kept, a table for what hooks want to keep (tensors, numbers, texts): it is part of run:state(). run:resume() goes on with a
training that was stopped.]] }
Run.__index = Run
Run.__name = "plumb.Run"
Run.__tostring = function(run)
  local last = run.train_loss[#run.train_loss]
  return ("run: %d epochs, %d steps, %.1f s, training loss %s%s"):format(run.epoch, run.step, run.seconds,
    last and ("%.6g"):format(last) or "none",
    run.stopped and (", stopped %s; run:resume() goes on"):format(run.stopped) or "")
end

--- run:watch(options): from here on the run's losses are drawn live while it trains, in a window or in the terminal; call it in
--- a hook, or give fit the option watch. options: interval = seconds between figures, 1, logy = true, as = "window", "sixel" or
--- "text".
function Run:watch(options)
  self.watcher = require("plumb.plot.watch").new(self, options)
  return self
end

-- ---- checks ----

local defaults = { loss = report.none, optimizer = report.none, epochs = 1, validate = report.none, on_step = report.none,
  on_epoch = report.none, progress = true, watch = false, schedule = report.none, clip_norm = report.none,
  clip_value = report.none, record = report.none, checkpoint = report.none, checkpoint_every = 30, resume = report.none }
for name, value in pairs(batches.defaults) do defaults[name] = value end

-- Something that can be called; nn.MSELoss without its () can be too, but is a mistake.
local function check_callable(who, name, f, example)
  local meta = getmetatable(f)
  if type(f) == "table" and rawget(f, "__call") and rawget(f, "name") then
    report.fail("%s: %s is nn.%s without its ()", who, name, f.name)
  end
  if type(f) ~= "function" and not (type(meta) == "table" and meta.__call) then
    report.fail("%s: %s must be %s, not %s", who, name, example, type(f))
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

-- A path as a function that writes there, and a file to resume from as what is in it.
local function check_checkpoints(options)
  report.number("fit", "checkpoint_every", options.checkpoint_every, 0)
  local path = options.checkpoint
  if type(path) == "string" then
    options.checkpoint = function(run)
      local ok, message = pcall(files.save_checkpoint, path, run:state())
      if not ok then
        progress.hide()
        io.stderr:write(("fit: warning: no checkpoint: %s; the one before stays\n"):format(message))
      end
    end
  elseif path ~= nil then
    check_callable("fit", "checkpoint", path, "a file's name or a function of the run")
  end
  if type(options.resume) == "string" then
    local ok, value = pcall(files.load_checkpoint, options.resume)
    if not ok then report.fail("fit: resume: %s", value) end
    options.resume = value
  end
end

local function check_options(model, train, given)
  local options = report.options("fit", given, defaults)
  if not nn.Module.is(model) then report.fail("fit: the model must be a module, not %s", type(model)) end
  if model:root() ~= model then report.fail("fit: %s is part of a larger model; train that", model:place()) end
  if model.size == 0 then report.fail("fit: %s has no parameters to train", model:describe_self()) end
  if options.loss == nil or options.optimizer == nil then
    report.fail("fit: needs loss (e.g. nn.MSELoss()) and optimizer (e.g. optim.Adam{lr = 1e-3})")
  end
  check_callable("fit", "the loss", options.loss, "a function of (output, target) such as nn.MSELoss()")
  check_optimizer(options.optimizer)
  for _, hook in ipairs { "on_step", "on_epoch" } do
    if options[hook] ~= nil then check_callable("fit", hook, options[hook], "a function") end
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
  batches.check_set("fit", "the training set", train, model.theta:dtype())
  if not training.all_finite(model.theta) then report.fail("fit: the model's parameters are not finite before the training") end
  if options.validate ~= nil then batches.check_set("fit", "validate", options.validate, model.theta:dtype()) end
  check_checkpoints(options)
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
    for i, new in ipairs(new_state) do results[i + 1] = core.where(finite, new, state[i]) end
    if has_buffers then results[#results + 1] = core.where(finite, new_buffers, buffers) end
    results[#results + 1], results[#results + 2] = loss, accuracy
    local recorded = recorder.tensors(recorders, { loss = loss, gradient = gradient, theta = theta, new_theta = new_theta })
    return table.unpack(table.move(recorded, 1, #recorded, #results + 1, results))
  end)
end

--- fit.evaluation(model, loss, with_accuracy) -> function(set, theta = model.theta) -> the mean loss, and the accuracy or nil:
--- fit's measure of a model on a data set or loader, in batches and in evaluation mode, whatever mode the model is in.
local function make_evaluation(model, loss_of, with_accuracy)
  local who = "fit.evaluation"
  if not nn.Module.is(model) then report.fail("%s: the model must be a module, not %s", who, type(model)) end
  check_callable(who, "the loss", loss_of, "a function of (output, target) such as nn.cross_entropy")
  local evaluate = transform.compile(function(theta, x, y, buffers)
    local output = model:at(theta, { training = false, buffers = buffers })(set.numbers(x, theta:dtype()))
    local loss = loss_of(output, y)
    return loss, with_accuracy and nn.accuracy(output, y) or loss
  end)
  local size = evaluation_batch(model)
  return function(given, theta)
    local loss, accuracy = 0, 0
    theta = theta or model.theta
    batches.check_set(who, "the set", given, theta:dtype())
    local buffers = model.buffer_size > 0 and { model.buffers } or {}
    for share, x, y in batches.in_order(given, size) do
      local batch_loss, batch_accuracy = evaluate(theta, x, y, table.unpack(buffers))
      loss, accuracy = loss + share * batch_loss:item(), accuracy + share * batch_accuracy:item()
    end
    return loss, with_accuracy and accuracy or nil
  end
end

--- fit.scores(model, loss, {train = set, test = set or loader, ...}) -> function(theta = model.theta) -> what fit.evaluation
--- says of a classifier on each set, by name: {train_loss =, train_accuracy =, test_loss =, test_accuracy =, ...}.
local function make_scores(model, loss_of, sets)
  local evaluate = make_evaluation(model, loss_of, true)
  if type(sets) ~= "table" then report.fail("fit.scores: the sets are a table such as {test = set}, not %s", type(sets)) end
  return function(theta)
    local scores = {}
    for name, given in pairs(sets) do scores[name .. "_loss"], scores[name .. "_accuracy"] = evaluate(given, theta) end
    return scores
  end
end

-- ---- runs ----

local loops = setmetatable({}, { __mode = "k" }) -- of a run: what it goes on with

local function loop_of(run, who)
  local loop = loops[run]
  if not loop then report.fail("%s: this run belongs to another process, or is a copy", who) end
  return loop
end

local function new_run(model, options)
  return setmetatable({ model = model, optimizer = options.optimizer, epoch = 0, step = 0, seconds = 0,
    train_loss = {}, test_loss = {}, train_accuracy = {}, test_accuracy = {}, recorded = {}, kept = {} }, Run)
end

--- run:state() -> a table of tensors, numbers and texts: weights, optimiser state, random numbers, position in the data, what was
--- recorded, run.kept. plumb.files.save_checkpoint(path, run:state()) keeps it; plumb.fit(model, train, {resume = state, ...})
--- goes on from there, to the same bits. Also from within a hook.
function Run:state() return run_state.take(self, loop_of(self, "run:state")) end

--- run:resume() -> run: goes on where Ctrl-C or a hook has stopped the training, with the model as it is now (nothing changed:
--- to the same bits as without the stop). A hook that was broken off is called again.
function Run:resume()
  local loop = loop_of(self, "run:resume")
  if loop.running then report.fail("run:resume: the training is going on") end
  return training.go(self, loop)
end

local function new_loop(run, model, train, options, with_accuracy)
  local source, variables, recorders = batches.source(train, options, model.theta:dtype()), {}, recorder.read(options.record)
  schedule.check(options.schedule, options.optimizer, source.steps * options.epochs)
  for i, start in ipairs(options.optimizer:start(model.theta)) do variables[i] = core.variable(start:evaluate()) end
  local has_buffers = model.buffer_size > 0
  return { options = options, source = source, with_accuracy = with_accuracy, state = variables, theta = model:variable(),
    recorders = recorders,
    buffers = has_buffers and model:buffer_variable() or nil, draws = model:draws(),
    batch = 0, loss_sum = 0, accuracy_sum = 0,
    safe_theta = model.theta, safe_buffers = has_buffers and model.buffers or nil, safe_step = 0,
    compile_step = function() return compile_step(model, options, with_accuracy, #variables, source, recorders) end,
    evaluate = make_evaluation(model, options.loss, with_accuracy),
    validate = batches.validation(options.validate, source, evaluation_batch(model)),
    note = function() return ("epoch %d, loss %.4g"):format(math.min(run.epoch + 1, options.epochs), run.loss) end }
end

--- fit(model, train, options) -> run: trains the model on the data set {x =, y =}, or on a loader (data.loader), which then has
--- batch, seed and the like. uint8 images are numbers in [0, 1] to the model and stay uint8 in memory; some processors multiply
--- them as they are, which may round otherwise than products of float32 images.
--- options: loss, optimizer (both needed), epochs = 1, batch = 64, validate = data set or loader, seed = 0 (of the shuffling),
--- shuffle = true, drop_last = false (leave out a last, shorter batch), augment = {shift = pixels, flip = true} and normalize =
--- {mean =, std =} (see data.loader; a set to validate on is normalised alike, not augmented), schedule = optim.StepLR{...} (it
--- sets run.optimizer's rate, and gives it back at the end), clip_norm or clip_value = the limit of the gradient's norm, or of
--- its elements (optim.clip_norm), on_step = function(run, loss), on_epoch = function(run), progress = true (or a label),
--- watch = false (true, or the options of run:watch: the losses are drawn live),
--- checkpoint = "file.safetensors" or function(run): where run:state() goes now and then, checkpoint_every = 30 (seconds;
--- 0: after each step), resume = run:state() of an earlier run or its file.
--- A hook that returns false stops the training. A loss that is not finite is an error that names the step; the parameters are
--- then those before it, or, where an infinite gradient had spoiled them, the last ones known to be finite. While it trains the
--- model is in training mode, afterwards in the mode it had; `validate` is measured in evaluation mode. Dropout draws by seed
--- and step; with a loader, by its seed unless one is given. Ctrl-C stops between two steps: the run is returned and
--- run:resume() goes on.
--- record = {"gradient_norm", "loss", "gradient_loss_ratio", name = function(step) ... end}: numbers of every step, in
--- run.recorded.gradient_norm, ...: the norm of the batch's gradient (before it is clipped), its loss, the ratio of the two, and
--- what functions make of step = {loss, gradient, theta, new_theta}, a tensor of one element. They are part of the compiled
--- step. measure.recorder(model): the norms of all layers.
local function fit(model, train, given)
  local options = check_options(model, train, given)
  local with_accuracy = classifies(options, train)
  if with_accuracy then
    check_labels("the training set", train, model)
    if options.validate then check_labels("validate", options.validate, model) end
  end
  local run = new_run(model, options)
  local loop = new_loop(run, model, train, options, with_accuracy)
  loops[run], run.steps_per_epoch = loop, loop.source.steps
  if options.resume ~= nil then
    run_state.put(run, loop, options.resume)
    options.resume = nil
    loop.safe_theta, loop.safe_buffers, loop.safe_step = model.theta, loop.buffers and model.buffers, run.step
    if run.stopped and run.stopped ~= "by Ctrl-C" then return run end -- as it was without the break
    run.stopped = nil
  end
  if options.watch then run:watch(options.watch ~= true and options.watch or nil) end
  return training.go(run, loop)
end

return setmetatable({ Run = Run, evaluation = make_evaluation, scores = make_scores, doc = fit },
  { __call = function(_, ...) return fit(...) end, __index = { fit = fit } })
