--- Trainings that go on: run:state(), fit{resume = ...}, run:resume(), checkpoint files.

local plumb = require "plumb"
local folders = require "folders"
local support = require "support"

local nn, optim, files, process = plumb.nn, plumb.optim, plumb.files, plumb.core.process
local checkpoint = require "plumb.files.checkpoint"

local LISTS = { "train_loss", "test_loss", "train_accuracy", "test_accuracy" }

local function hex(list)
  local out = {}
  for i, x in ipairs(list) do out[i] = ("%a"):format(x) end
  return table.concat(out, " ")
end

-- Two runs ended alike in all that a run is.
local function same_runs(a, b, what)
  support.same_bits(a.model.theta, b.model.theta, what .. ": theta")
  if a.model.buffer_size > 0 then support.same_bits(a.model.buffers, b.model.buffers, what .. ": buffers") end
  assert.same({ a.epoch, a.step, a.stopped }, { b.epoch, b.step, b.stopped }, what)
  for _, name in ipairs(LISTS) do assert.equal(hex(a[name]), hex(b[name]), what .. ": " .. name) end
end

-- ---- what is trained ----

local function points(n, seed)
  local x = plumb.rand({ n, 3 }, { seed = seed })
  return { x = x, y = (x * 4):sin() }
end

local function images(n, seed)
  return { x = plumb.rand({ n, 1, 4, 4 }, { seed = seed }), y = plumb.randint(1, 3, { n }, { seed = seed }) }
end

local function multilayer() return nn.Sequential { nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3) } end

-- Each case makes a model, data, and the options anew, as a script does that starts again.
local cases = {
  ["Adam, shuffled, a short last batch"] = function()
    return multilayer(), points(22, 1), { loss = nn.MSELoss(), optimizer = optim.Adam { lr = 0.01 }, batch = 5, seed = 3 }
  end,
  ["SGD in order, with validation"] = function()
    return multilayer(), points(20, 1), { loss = nn.MSELoss(), optimizer = optim.SGD { lr = 0.05 }, batch = 6, shuffle = false,
      validate = points(7, 2) }
  end,
  ["SGD with momentum and clipping, in float64"] = function()
    local set = points(20, 1)
    return multilayer():double(), { x = set.x:double(), y = set.y:double() }, { loss = nn.MSELoss(), batch = 8,
      optimizer = optim.SGD { lr = 0.05, momentum = 0.9, nesterov = true, weight_decay = 0.01 }, clip_norm = 0.5, seed = 5 }
  end,
  ["AdamW with a rate for each step"] = function()
    return multilayer(), points(20, 1), { loss = nn.MSELoss(), optimizer = optim.AdamW { lr = 0.01 }, batch = 8,
      schedule = optim.OneCycleLR { max_lr = 0.1, total_steps = 9 } }
  end,
  ["RMSprop with a rate for each epoch"] = function()
    return multilayer(), points(20, 1), { loss = nn.MSELoss(), optimizer = optim.RMSprop { lr = 0.01 }, batch = 8,
      schedule = optim.StepLR { step_size = 1, gamma = 0.5 } }
  end,
  ["a hook that changes the rate"] = function()
    return multilayer(), points(20, 1), { loss = nn.MSELoss(), optimizer = optim.Adam { lr = 0.01 }, batch = 8,
      on_epoch = function(run) run.optimizer.lr = run.optimizer.lr / 2 end }
  end,
  ["dropout and running statistics"] = function()
    return nn.Sequential { nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3) },
      images(22, 1), { loss = nn.CrossEntropyLoss(), optimizer = optim.Adam(), batch = 8, validate = images(9, 2), seed = 7 }
  end,
  ["augmented images from a loader"] = function()
    return nn.Sequential { nn.Flatten(), nn.Linear(16, 3) }, images(22, 1), { loss = nn.CrossEntropyLoss(),
      optimizer = optim.Adam(), batch = 8, augment = { shift = 1, flip = true }, normalize = { mean = 0.5, std = 0.2 } }
  end,
}

-- Trains a case; `more` are further options.
local function train(case, seed, more)
  plumb.manual_seed(seed)
  local model, set, options = case()
  options.epochs, options.progress = options.epochs or 3, false
  for name, value in pairs(more or {}) do options[name] = value end
  return plumb.fit(model, set, options)
end

local function in_a_file(base, value)
  local path = base .. "/state.safetensors"
  files.save_checkpoint(path, value)
  return files.load_checkpoint(path)
end

describe("a training's state", function()
  local base

  before_each(function() base = folders.new() end)
  after_each(function() folders.remove(base) end)

  for name, case in pairs(cases) do
    it("taken after any step resumes to the same bits: " .. name, function()
      local states, at = {}, {}
      local whole = train(case, 1, { checkpoint_every = 0, checkpoint = function(run)
        states[#states + 1], at[#at + 1] = run:state(), run.step
      end })
      local random = plumb.rand(3)
      assert.equal(whole.step, at[#at])
      assert.is_true(#states > whole.step)
      for i, state in ipairs(states) do
        local resumed = train(case, 2, { resume = in_a_file(base, state) })
        same_runs(whole, resumed, ("from checkpoint %d, step %d"):format(i, at[i]))
        support.same_bits(random, plumb.rand(3), "random numbers afterwards")
      end
    end)

    it("stopped by a hook and resumed in place comes to the same bits: " .. name, function()
      local whole = train(case, 1)
      for stop = 1, whole.step do
        local run = train(case, 1, { on_step = function(run) return run.step ~= stop end })
        assert.same({ stop, "by on_step" }, { run.step, run.stopped })
        assert.equal(run, run:resume())
        same_runs(whole, run, "from step " .. stop)
      end
    end)
  end

  it("may be taken within hooks, is a copy, and holds what hooks keep", function()
    local case, states = cases["Adam, shuffled, a short last batch"], {}
    local function hooks(list)
      return { on_step = function(run)
        run.kept.steps = (run.kept.steps or 0) + 1
        if run.step == 7 then list[1] = run:state() end
      end, on_epoch = function(run)
        run.kept.thetas = run.kept.thetas or {}
        run.kept.thetas[run.epoch] = run.model.theta
        if run.epoch == 2 then list[2] = run:state() end
      end }
    end
    local whole = train(case, 1, hooks(states))
    assert.equal(15, whole.kept.steps)
    for _, state in ipairs(states) do
      local kept = { steps = state.kept.steps, thetas = state.kept.thetas and #state.kept.thetas }
      local again = hooks({})
      again.resume = in_a_file(base, state)
      local resumed = train(case, 2, again)
      same_runs(whole, resumed, "from a hook's state")
      assert.equal(15, resumed.kept.steps)
      for epoch = 1, 3 do support.same_bits(whole.kept.thetas[epoch], resumed.kept.thetas[epoch], "theta of an epoch") end
      assert.same(kept, { steps = state.kept.steps, thetas = state.kept.thetas and #state.kept.thetas })
    end
  end)

  it("of a finished training goes on to more epochs; one that a hook has ended stays as it is", function()
    local case = cases["SGD in order, with validation"]
    local function early(run) return run.epoch < 2 end
    local long, short = train(case, 1, { epochs = 5 }), train(case, 1, { epochs = 2 })
    same_runs(long, train(case, 2, { epochs = 5, resume = short:state() }), "2 + 3 epochs")
    same_runs(short, train(case, 2, { epochs = 2, resume = short:state() }), "2 + 0 epochs")
    local ended = train(case, 1, { epochs = 5, on_epoch = early })
    same_runs(ended, train(case, 2, { epochs = 5, resume = ended:state(), on_epoch = early }), "ended")
    assert.equal("by on_epoch", ended.stopped)
    ended:resume():resume():resume() -- against the hook, which stops it at each epoch
    ended.stopped = nil
    same_runs(long, ended, "resumed against the hook")
  end)

  it("goes on from a changed model, and says when it cannot", function()
    local case = cases["SGD in order, with validation"]
    local run = train(case, 1, { on_step = function(run) return run.step ~= 5 end })
    run.model.theta = run.model.theta * 0
    run:resume()
    assert.is_true(run.model.theta:abs():max():item() < 1)
    assert.equal(12, run.step)
    run = train(case, 1, { on_step = function(r) return r.step ~= 5 end })
    run.model:double()
    assert.matches("other parameters", support.message_of(function() run:resume() end))
    local copied = plumb.experiment.map({ 1 }, function() return train(case, 1) end)[1]
    assert.matches("run:resume: this run belongs to another process", support.message_of(copied.resume, copied))
    assert.matches("run:state: this run belongs to another process", support.message_of(copied.state, copied))
    train(case, 1, { on_step = function(r)
      assert.matches("the training is going on", support.message_of(r.resume, r))
      return false
    end })
  end)

  it("of another training is an error that says what differs, and changes nothing", function()
    local case = cases["Adam, shuffled, a short last batch"]
    local state = train(case, 1):state()
    local function refuses(more, make, ...)
      local model, set, options = (make or case)()
      for name, value in pairs(more) do options[name] = value end
      options.progress = false
      local before, lr = model.theta, options.optimizer.lr
      local random = plumb.get_rng_state()
      local message = support.fails_here(function() return (plumb.fit(model, set, options)) end, ...)
      support.same_bits(before, model.theta, "theta after " .. message)
      assert.equal(lr, options.optimizer.lr)
      assert.same(random, plumb.get_rng_state())
    end
    refuses({ resume = state, batch = 6 }, nil, "batch = 5, not of batch = 6")
    refuses({ resume = state, seed = 4 }, nil, "seed = 3, not of seed = 4")
    refuses({ resume = state, shuffle = false }, nil, "shuffle = true, not of shuffle = false")
    refuses({ resume = state, optimizer = optim.SGD { lr = 0.3 } }, nil, "the optimizer Adam, not of the optimizer SGD")
    refuses({ resume = state }, function()
      local _, set, options = case()
      return nn.Linear(3, 3), set, options
    end, "a model with 59 parameters, not of a model with 12 parameters")
    refuses({ resume = state }, function()
      local model, _, options = case()
      return model, points(21, 1), options
    end, "a training set of 22 samples, not of a training set of 21")
    refuses({ resume = 5 }, nil, "resume takes what run:state() gave, not number")
    refuses({ resume = {} }, nil, "a table without its version")
    for name, wrong in pairs { theta = 3, optimizer = {}, step = "x", train_loss = 1, kept = 1, random = {}, signature = {} } do
      local damaged = {}
      for key, value in pairs(state) do damaged[key] = value end
      damaged[name] = wrong
      refuses({ resume = damaged }, nil, name == "random" and "seed" or name == "signature" and "is that of" or name)
    end
    refuses({ resume = base .. "/nowhere.safetensors" }, nil, "resume", "nowhere.safetensors")
    refuses({ checkpoint = 5 }, nil, "checkpoint must be a file's name or a function")
    refuses({ checkpoint_every = -1 }, nil, "checkpoint_every")
  end)

  it("is kept by fit itself where `checkpoint` names a file", function()
    local case, path = cases["SGD with momentum and clipping, in float64"], base .. "/fit.safetensors"
    local whole = train(case, 1)
    train(case, 1, { checkpoint = path })
    same_runs(whole, train(case, 2, { resume = path, checkpoint = path }), "from the last checkpoint")
    local ok = pcall(train, case, 1, { checkpoint = path, checkpoint_every = 0, on_step = function(run)
      if run.step == 5 then error("broken") end
    end })
    assert.is_false(ok)
    assert.equal(4, files.load_checkpoint(path).step)
    same_runs(whole, train(case, 2, { resume = path }), "from step 4")
  end)

  it("is not kept when the parameters are not finite", function()
    local case, path = cases["SGD in order, with validation"], base .. "/fit.safetensors"
    local message = support.message_of(train, case, 1, { checkpoint = path, checkpoint_every = 0, on_step = function(run)
      if run.step == 5 then run.model.theta = run.model.theta / 0 end
    end })
    assert.matches("not finite", message)
    assert.equal(4, files.load_checkpoint(path).step)
  end)
end)

describe("a checkpoint file", function()
  local base, path

  before_each(function()
    base = folders.new()
    path = base .. "/c.safetensors"
  end)
  after_each(function() folders.remove(base) end)

  it("keeps every bit of tensors and plain values", function()
    local shared = { 1 }
    local value = { tensors = { plumb.randn(2, 3), plumb.tensor({ 1 / 3 }, { dtype = "float64" }), plumb.zeros(0, 2),
        plumb.tensor({ math.mininteger }, { dtype = "int64" }), plumb.tensor({ 255 }, { dtype = "uint8" }) },
      numbers = { 0.1, -0.0, math.huge, 5e-324, math.maxinteger }, nan = 0 / 0, text = "\0\255\n", yes = true, no = false,
      a = shared, b = shared }
    files.save_checkpoint(path, value)
    local back = files.load_checkpoint(path)
    for i, t in ipairs(value.tensors) do
      assert.equal(t:dtype(), back.tensors[i]:dtype())
      assert.same(t:shape(), back.tensors[i]:shape())
      assert.equal(plumb.core.files.bytes(t), plumb.core.files.bytes(back.tensors[i]))
    end
    assert.equal(hex(value.numbers), hex(back.numbers))
    assert.equal("integer", math.type(back.numbers[5]))
    assert.is_true(back.nan ~= back.nan)
    assert.same({ value.text, true, false }, { back.text, back.yes, back.no })
    assert.equal(back.a, back.b)
    assert.is_table((files.load(path))) -- other programs can read its tensors
  end)

  it("with any flipped bit, or cut off anywhere, is an error that names it", function()
    files.save_checkpoint(path, { theta = plumb.randn(3), epoch = 2, list = { 0.5, 1.5 } })
    local bytes = folders.read(path)
    local accepted, messages = 0, {}
    local function try(changed)
      local ok, message = pcall(checkpoint.decode, changed)
      if ok then accepted = accepted + 1 else messages[message] = true end
    end
    for i = 1, #bytes do
      for bit = 0, 7 do try(bytes:sub(1, i - 1) .. string.char(bytes:byte(i) ~ (1 << bit)) .. bytes:sub(i + 1)) end
      try(bytes:sub(1, i - 1))
      try(bytes:sub(1, i - 1) .. ("\0"):rep(#bytes - i + 1)) -- as a crash leaves a file that was not synced
    end
    try(bytes .. "\0")
    assert.equal(0, accepted)
    for message in pairs(messages) do assert.matches("^it is damaged", message) end
    folders.write(path, bytes:sub(1, -2))
    support.fails_here(function() return (files.load_checkpoint(path)) end, path, "it is damaged")
  end)

  it("of something else, of a later format or with code in it is an error", function()
    files.save(path, { theta = plumb.zeros(2) })
    support.fails_here(function() return (files.load_checkpoint(path)) end, "not a checkpoint of plumb")
    support.fails_here(function() return (files.load_checkpoint(base .. "/none")) end, "cannot read", "none")
    support.fails_here(function() return (files.load_checkpoint(3)) end, "a path is a string, not a number")
    files.save_checkpoint(path, { 1 })
    local function forge(pattern, replacement, zeros)
      local bytes = folders.read(path):gsub(pattern, replacement)
      bytes = bytes:gsub('("crc32":")%x+', "%1" .. zeros)
      local sum = ("%08x"):format(plumb.core.files.crc32 { bytes })
      return pcall(checkpoint.decode, (bytes:gsub('("crc32":")%x+', "%1" .. sum)))
    end
    assert.matches("format 'plumb checkpoint 9'", select(2, forge("plumb checkpoint 1", "plumb checkpoint 9", "00000000")))
    local code = string.dump(function() return 1 end)
    local packed = require("plumb.pack").encode({ function() return 1 end }, "x", "x")
    assert.truthy(packed:find(code:sub(1, 4), 1, true))
    local parts = require("plumb.files.safetensors").encode({ plain = plumb.core.files.from_bytes(packed, "uint8", { #packed }) },
      { format = "plumb checkpoint 1", crc32 = "00000000" })
    folders.write(path, table.concat(parts))
    assert.matches("unknown kind of value", select(2, forge("^", "", "00000000")))
  end)

  it("holds no functions, files or objects; a mistake leaves the old one", function()
    files.save_checkpoint(path, { 1 })
    local file <close> = io.open("/dev/null")
    for what, wrong in pairs { ["state.a.f is a function"] = { a = { f = print } }, ["state%[2%] is a file"] = { 1, file },
      ["state.model is a table with a metatable"] = { model = nn.ReLU() }, ["state.v is a plumb.Variable"] = { v =
        plumb.variable(plumb.zeros(1)) }, ["state.c is a coroutine"] = { c = coroutine.create(print) } } do
      assert.matches(what, support.message_of(files.save_checkpoint, path, wrong))
    end
    assert.matches("cannot write /nowhere/x", support.message_of(files.save_checkpoint, "/nowhere/x", { 1 }))
    assert.same({ 1 }, files.load_checkpoint(path))
  end)

  it("stays when the disk is full, and the training goes on", function()
    local script = folders.write(base .. "/script.lua", [[
      local plumb = require "plumb"
      local nn, path = plumb.nn, ...
      plumb.manual_seed(1)
      local x = plumb.rand(8, 2)
      local run = plumb.fit(nn.Linear(2, 2), { x = x, y = x }, { loss = nn.MSELoss(), optimizer = plumb.optim.Adam(), epochs = 4,
        progress = false, checkpoint = path, checkpoint_every = 0, on_epoch = function(run)
          if run.epoch == 3 then run.kept.big = plumb.zeros(100000) end
        end })
      print(run.epoch)
    ]])
    -- Files of at most 32 blocks of 512 bytes.
    local result = process.run { "sh", "-c", 'ulimit -f 32; exec ./plumb "$@"', "sh", script, path }
    assert.same({ 0, "4\n" }, { result.code, result.stdout }, result.stderr)
    assert.matches("warning: no checkpoint: cannot write .*File too large; the one before stays", result.stderr)
    local state = files.load_checkpoint(path)
    assert.same({ 3, 3 }, { state.step, 3 })
    assert.same({ "c.safetensors", "script.lua" }, folders.list(base))
  end)
end)

describe("Ctrl-C", function()
  -- At the prompt, without a terminal. The signal comes from a process in the background, since os.execute ignores it.
  local STATEMENTS = [[
    plumb.manual_seed(1)
    x = plumb.rand(300, 3)
    set = { x = x, y = x:sin() }
    function model() plumb.manual_seed(2) return nn.Sequential { nn.Linear(3, 20), nn.Tanh(), nn.Dropout(0.1), nn.Linear(20, 3) } end
    function adam(on_step) return { loss = nn.MSELoss(), optimizer = optim.Adam {}, validate = set, on_step = on_step } end
    function options(on_step) o = adam(on_step) o.epochs = 4000 o.batch = 20 o.progress = false return o end
    function interrupt() os.execute("(sleep 0.05; kill -INT $PPID) &") end
    function from(step) return function(run) if run.step == step then interrupt() end end end
    run = plumb.fit(model(), set, options(from(10)))
    print("first", run.stopped, run.step < 60000)
    stop = run.step
    theta = run.model.theta
    print("looked at", theta:isfinite():min():item(), run.model(x):size(1), tostring(run):match("stopped by Ctrl.C; run:resume.. goes on"))
    interrupt() run:resume()
    print("second", run.stopped, run.step > stop, run.step < 60000)
    run:resume()
    print("end", run.stopped, run.step)
    whole = plumb.fit(model(), set, options())
    print("same", plumb.core.files.bytes(whole.model.theta) == plumb.core.files.bytes(run.model.theta))
    function losses(run) return table.concat(run.train_loss, " ") .. table.concat(run.test_loss, " ") end
    same = losses(run) == losses(whole)
    print("same losses", same)
    waited = false
    function hook(run) if run.step == 5 then drawn = plumb.rand(1):item() pause() end end
    function pause() if not waited then waited = true interrupt() while true do end end end
    run = plumb.fit(model(), set, options(hook))
    print("in a hook", run.stopped, run.step)
    first = drawn
    plumb.rand(5):evaluate()
    print("drawn later", run:state().random.stream < plumb.get_rng_state().stream)
    run:resume()
    print("drew", drawn == first)
    print("same", plumb.core.files.bytes(whole.model.theta) == plumb.core.files.bytes(run.model.theta))
  ]]

  it("pauses a training at the prompt, which goes on to the same bits", function()
    local statements = STATEMENTS:gsub("\n%s+", "\n")
    local result = process.run({ "./plumb", "-i" }, { stdin = statements, timeout = 120 })
    assert.equal(0, result.code, result.stderr)
    local lines = {}
    for _, said in ipairs { "first", "looked at", "second", "end", "same", "same losses", "in a hook", "drawn later", "drew" } do
      lines[said] = result.stdout:match(said .. "\t([^\n]*)\n") or "nothing"
    end
    assert.same({ first = "by Ctrl-C\ttrue", ["looked at"] = "1.0\t300\tstopped by Ctrl-C; run:resume() goes on",
      second = "by Ctrl-C\ttrue\ttrue", ["end"] = "nil\t60000", same = "true", ["same losses"] = "true",
      ["in a hook"] = "by Ctrl-C\t5", ["drawn later"] = "true", drew = "true" }, lines, result.stdout .. result.stderr)
    assert.equal(2, select(2, result.stdout:gsub("same\ttrue", "")))
  end)

  it("in a script ends it, with its checkpoint", function()
    local base = folders.new()
    local script = folders.write(base .. "/script.lua", [[
      local plumb = require "plumb"
      local x = plumb.rand(100, 2)
      local run = plumb.fit(plumb.nn.Linear(2, 2), { x = x, y = x }, { loss = plumb.nn.MSELoss(), optimizer = plumb.optim.Adam(),
        epochs = 100000000, progress = false, checkpoint = ..., on_step = function(run)
          if run.step == 10 then os.execute("(sleep 0.05; kill -INT $PPID) &") end
        end })
      print("after the training")
    ]])
    local result = process.run({ "./plumb", script, base .. "/c.safetensors" }, { timeout = 60 })
    assert.same({ 1, "" }, { result.code, result.stdout })
    assert.matches("interrupted!", result.stderr)
    local state = files.load_checkpoint(base .. "/c.safetensors")
    assert.equal("by Ctrl-C", state.stopped)
    assert.is_true(state.step > 10)
    folders.remove(base)
  end)
end)

describe("kill -9", function()
  local KILLS = tonumber(os.getenv("PLUMB_KILLS")) or 25
  local base

  before_each(function() base = folders.new() end)
  after_each(function() folders.remove(base) end)

  -- Trains with a checkpoint after each step, and says so in the file `said` when it is on the disk.
  local SCRIPT = [[
    local plumb = require "plumb"
    local nn, files, base = plumb.nn, plumb.files, ...
    local path = base .. "/c.safetensors"
    plumb.manual_seed(1)
    local x = plumb.rand({ 64, 4 }, { seed = 2 })
    local exists = io.open(path)
    local said = io.open(base .. "/said", "a")
    local run = plumb.fit(nn.Sequential { nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 4) },
      { x = x, y = x:sin() }, { loss = nn.MSELoss(), optimizer = plumb.optim.Adam { lr = 0.01 }, epochs = 100000000, batch = 10,
      progress = false, checkpoint_every = 0, resume = exists and path or nil,
      on_step = function(run) return run.step < (tonumber(arg[2]) or math.huge) end,
      checkpoint = function(run)
        files.save_checkpoint(path, run:state())
        said:write(run.step, "\n")
        said:flush()
      end })
    files.save(base .. "/end.safetensors", run.model:state_dict())
  ]]

  it(("at %d random moments loses no checkpoint that was acknowledged, nor a bit"):format(KILLS), function()
    local script = folders.write(base .. "/script.lua", SCRIPT)
    folders.write(base .. "/said", "")
    local random, last, reached = support.generator(os.time()), 0, 0
    local function said() return #folders.read(base .. "/said") end
    for kill = 1, KILLS do
      local child <close> = process.start_worker { script, base }
      local before, deadline = said(), process.time() + 60
      while kill % 2 == 0 and said() == before do -- every other time while it trains, else perhaps while it starts
        assert(process.time() < deadline and not child:status(), "no checkpoint")
        process.wait_for_workers { child }
      end
      process.run { "sleep", ("%.3f"):format(random(0, 0.04)) }
      os.execute("kill -9 " .. child:pid())
      while not child:status() do process.wait_for_workers { child } end
      for line in folders.read(base .. "/said"):gmatch("(%d+)\n") do last = math.tointeger(line) end
      if last > 0 then
        local known = math.max(last, reached) -- a step that is saved may be said no more, and the next one, too
        reached = files.load_checkpoint(base .. "/c.safetensors").step
        assert.is_true(reached == known or reached == known + 1, ("step %d after %d"):format(reached, known))
      end
    end
    assert.is_true(reached > 0)
    local stop = tostring(reached + 20)
    assert.equal(0, process.run({ "./plumb", script, base, stop }).code)
    local resumed = files.load(base .. "/end.safetensors")
    os.remove(base .. "/c.safetensors")
    assert.equal(0, process.run({ "./plumb", script, base, stop }).code)
    for name, t in pairs(files.load(base .. "/end.safetensors")) do support.same_bits(t, resumed[name], name) end
  end)
end)
