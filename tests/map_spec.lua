--- experiment.map: trials in worker processes.

local lfs = require "lfs"

local plumb = require "plumb"
local folders = require "folders"
local support = require "support"

local nn, optim, process = plumb.nn, plumb.optim, plumb.core.process
local map = plumb.experiment.map

local function bits(number) return math.type(number) == "integer" and number or string.pack("<d", number) end

-- Runs f with what goes to standard output and standard error caught; returns both and what f returned, or its error.
-- luacheck: push ignore 122
local function caught(f)
  local stdout, stderr, out, err = io.stdout, io.stderr, {}, {}
  local function catcher(list)
    return { write = function(_, ...) list[#list + 1] = table.concat { ... } end, flush = function() end }
  end
  io.stdout, io.stderr = catcher(out), catcher(err)
  local results = table.pack(pcall(f))
  io.stdout, io.stderr = stdout, stderr
  return table.concat(out), table.concat(err), table.unpack(results, 1, results.n)
end
-- luacheck: pop

local function is_running(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then return false end
  local state = file:read("a"):match("%) (%a)")
  file:close()
  return state ~= "Z"
end

local function wait_until(condition, what)
  local deadline = process.time() + 20
  while not condition() do
    if process.time() > deadline then error("waited in vain: " .. what, 2) end
    process.run { "sleep", "0.02" }
  end
end

describe("experiment.map", function()
  local base

  before_each(function() base = folders.new() end)
  after_each(function() folders.remove(base) end)

  describe("what travels", function()
    it("results come in the order of the trials", function()
      local results = map({ 5, 1, 3, 2, 4 }, function(n, number)
        process.run { "sleep", tostring(0.01 * n) }
        return { n = n, number = number }
      end, { workers = 3 })
      assert.same({ { n = 5, number = 1 }, { n = 1, number = 2 }, { n = 3, number = 3 }, { n = 2, number = 4 },
        { n = 4, number = 5 } }, results)
      assert.same({}, map({}, function() error("never called") end))
    end)

    it("numbers keep all their bits, there and back", function()
      local numbers = { 0.0, -0.0, 1 / 3, -1e308, 5e-324, math.huge, -math.huge, 0 / 0, -(0 / 0), math.pi, 0, -1,
        math.maxinteger, math.mininteger, 2 ^ 53 + 2 }
      local back = map({ numbers }, function(list) return { list, ("%a"):format(list[2]) } end)[1]
      for i, number in ipairs(numbers) do
        assert.equal(math.type(number), math.type(back[1][i]))
        assert.equal(bits(number), bits(back[1][i]))
      end
      assert.equal("-0x0p+0", back[2])
    end)

    it("strings, booleans, nested, shared and cyclic tables", function()
      local all = {}
      for i = 0, 255 do all[i] = string.char(i) end
      local shared = { 1 }
      local value = { bytes = table.concat(all, "", 0), empty = "", yes = true, no = false, shared, shared, [3.5] = "x",
        [true] = { { { "deep" } } }, list = { 1, nil, 3 } }
      value.self = value
      local back = map({ value }, function(v)
        assert(v.self == v and v[1] == v[2])
        v[1][1] = 2
        return v
      end)[1]
      assert.equal(value.bytes, back.bytes)
      assert.equal("", back.empty)
      assert.is_true(back.yes)
      assert.is_false(back.no)
      assert.equal(back, back.self)
      assert.equal(back[1], back[2])
      assert.equal(2, back[1][1])
      assert.equal(1, shared[1])
      assert.equal("x", back[3.5])
      assert.equal("deep", back[true][1][1][1])
      assert.same({ 1, nil, 3 }, back.list)
    end)

    it("false, nil and only the first value", function()
      assert.same({ false, nil, 7 }, map({ 1, 2, 3 }, function(n)
        if n == 1 then return false end
        if n == 3 then return 7, 8 end
      end))
    end)

    it("tensors of every dtype and shape", function()
      local nan = 0 / 0
      local tensors = {
        plumb.tensor({ 1 / 3, -0.0, nan, math.huge, -math.huge, 1e-45 }), plumb.tensor(2.5),
        plumb.tensor({ { 1 / 3, nan }, { 5e-324, -0.0 } }, { dtype = "float64" }),
        plumb.tensor({ math.maxinteger, math.mininteger, 0 }, { dtype = "int64" }),
        plumb.tensor({ { { 0, 255 } } }, { dtype = "uint8" }), plumb.zeros(0, 3), plumb.zeros(2, 1, 3, 1, 2),
        plumb.randn(4, 5):transpose(1, 2), plumb.randn(10):slice(1, 3, 7),
      }
      local back = map({ tensors }, function(list) return { list, list[8] * 1 } end)[1]
      for i, t in ipairs(tensors) do
        assert.equal(t:dtype(), back[1][i]:dtype())
        assert.same(t:shape(), back[1][i]:shape())
        assert.equal(plumb.core.files.bytes(t), plumb.core.files.bytes(back[1][i]))
      end
      support.same_bits(tensors[8], back[2], "a view")
    end)

    it("megabytes, both ways and to several workers at once", function()
      local x = plumb.randn(1000, 1000)
      local sum = x:sum():item()
      for _, result in ipairs(map({ 1, 2, 3, 4 }, function(n) return { x + n, x:sum():item() } end, { workers = 4 })) do
        assert.equal(sum, result[2])
        assert.same({ 1000, 1000 }, result[1]:shape())
      end
    end)

    it("functions with their local variables, shared, recursive or of other functions", function()
      local count = 0
      local function up() count = count + 1 return count end
      local function down() count = count - 1 return count end
      local factorial
      factorial = function(n) return n < 2 and 1 or n * factorial(n - 1) end
      local made = (function(step) return function(n) return n + step end end)(10)
      local results = map({ 4, 5 }, function(n) up() up() down() return { count, factorial(n), made(n) } end, { workers = 1 })
      assert.same({ { 1, 24, 14 }, { 1, 120, 15 } }, results) -- the second trial starts like the first
      assert.equal(0, count)
    end)

    it("models, optimisers, compiled functions, gradients and library functions", function()
      plumb.manual_seed(3)
      local model = nn.Sequential { nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1) }
      local x, y, sgd = plumb.randn(8, 2), plumb.randn(8, 1), optim.SGD { lr = 0.1, momentum = 0.9 }
      local loss = function(theta) return nn.mse_loss(model:at(theta)(x), y) end
      local gradient, double = plumb.grad(loss), plumb.compile(function(t) return t * 2 end)
      local randn, Linear = plumb.randn, nn.Linear
      model.theta = sgd:step(model.theta, gradient(model.theta))
      local function story()
        for _ = 1, 3 do model.theta = sgd:step(model.theta, double(gradient(model.theta))) end
        return { theta = model.theta, model = model, kind = getmetatable(model[1]) == Linear and randn == plumb.randn }
      end
      local theta = model.theta
      local there = map({ 1 }, story)[1]
      support.same_bits(theta, model.theta, "the parent's model stays")
      assert.is_true(there.kind)
      support.same_bits(there.model(x), story().model(x), "the trial's model")
      support.same_bits(there.theta, model.theta, "the same steps here")
    end)

    it("a whole run of fit", function()
      local x = plumb.linspace(0, 1, 20):reshape(-1, 1)
      local run = map({ 1 }, function(seed)
        plumb.manual_seed(seed)
        local model = nn.Sequential { nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1) }
        return plumb.fit(model, { x = x, y = x * x }, { loss = nn.MSELoss(), optimizer = optim.Adam(), epochs = 3 })
      end)[1]
      assert.equal(3, #run.train_loss)
      assert.matches("3 epochs", tostring(run))
      assert.same({ 20, 1 }, run.model(x):shape())
    end)

    it("globals, when they are used, and those of the environment that f sees", function()
      local environment = setmetatable({ factor = 3, helper = function(n) return n * 10 end }, { __index = _G })
      local f = load([[
        local n = ...
        made_here = n
        return { n * factor, helper(n), made_here, missing, _G.factor, tostring(type(print)) }
      ]], "=chunk", "t", environment)
      assert.same({ { 3, 10, 1, nil, 3, "function" }, { 6, 20, 2, nil, 3, "function" } }, map({ 1, 2 }, f, { workers = 1 }))
      assert.is_nil(environment.made_here)
    end)

    it("functions as trials, each with its own globals", function()
      local one = load("return name .. (helper and helper() or '')", "=one", "t", { name = "one" })
      local two = load("return name .. helper()", "=two", "t", { name = "two",
        helper = load("return suffix", "=helper", "t", { suffix = " with helper" }) })
      assert.same({ "one", "two with helper" }, map({ one, two }, function(f) return f() end))
      assert.same({ "one", "two with helper" }, map({ 1 }, function() -- and of a map within
        return map({ one, two }, function(f) return f() end)
      end)[1])
    end)

    it("settings of plumb and of require", function()
      folders.write(base .. "/map_helper.lua", "local helper = { calls = 0 } return helper")
      local path = package.path
      package.path = base .. "/?.lua;" .. path
      plumb.set_default_dtype("float64")
      local helper = require "map_helper"
      local results = map({ 1 }, function()
        return { require "map_helper" == helper, plumb.zeros(1):dtype(), plumb.threads(), lfs.currentdir() }
      end)[1]
      plumb.set_default_dtype("float32")
      package.path, package.loaded.map_helper = path, nil
      assert.same({ true, "float64", 1, lfs.currentdir() }, results)
    end)

    it("what cannot travel is named before any work", function()
      local file <close> = io.open("/dev/null")
      local thing = { inner = { file = file, thread = coroutine.create(print) } }
      local helper = function() return thing end
      support.fails_here(function() return (map({ 1 }, function() return helper() end)) end,
        "f > helper > thing.inner.", "cannot be sent to another process")
      support.fails_here(function() return (map({ 1, thing.inner }, print)) end, "trial 2.value.", "cannot be sent")
      local _, err, ok, message = caught(function() return map({ 1 }, function() return { a = coroutine.create(print) } end) end)
      assert.is_false(ok)
      assert.matches("f's result.value.a is a coroutine, which cannot be sent", message)
      assert.matches("trial 1 %(1%) failed", err)
    end)
  end)

  describe("a result", function()
    it("does not depend on how many workers there are, nor on the trials before", function()
      local function story(width)
        local model = nn.Sequential { nn.Linear(1, width), nn.ReLU(), nn.Linear(width, 1) }
        local x = plumb.randn(50, 1)
        local run = plumb.fit(model, { x = x, y = x:sin() }, { loss = nn.MSELoss(), optimizer = optim.Adam(), epochs = 4, batch = 8 })
        return { model.theta, run.train_loss, plumb.rand(1):item() }
      end
      local reference
      for _, workers in ipairs { 1, 2, 5 } do
        plumb.manual_seed(7)
        local results = map({ 3, 4, 5, 3, 4 }, story, { workers = workers })
        reference = reference or results
        for i, result in ipairs(results) do
          support.same_bits(reference[i][1], result[1], "theta of trial " .. i)
          assert.same(reference[i][2], result[2])
          assert.equal(reference[i][3], result[3])
        end
      end
      assert.not_equal(reference[1][3], reference[4][3]) -- each trial has random numbers of its own
      assert.not_equal(reference[1][3], map({ 3 }, story)[1][3])
      plumb.manual_seed(8)
      assert.not_equal(reference[1][3], map({ 3 }, story)[1][3])
    end)

    it("keeps to its trial what the trial changes", function()
      local list, t = { 0 }, plumb.zeros(2)
      local results = map({ 1, 2, 3 }, function(n)
        list[1], t[1] = list[1] + n, t[1] + n
        return { list[1], t[1]:item() }
      end, { workers = 1 })
      assert.same({ { 1, 1 }, { 2, 2 }, { 3, 3 } }, results)
      assert.equal(0, list[1])
      assert.equal(0, t[1]:item())
    end)

    it("of a map within a map is that of the trials one after another", function()
      local results = map({ 1, 2 }, function(a) return map({ 10, 20 }, function(b) return a + b end) end)
      assert.same({ { 11, 21 }, { 12, 22 } }, results)
    end)
  end)

  describe("trouble", function()
    it("an error in f comes with trial and traceback; the others go on", function()
      local function fails(n)
        if n.seed == 2 then error("no luck with " .. n.seed) end
        return n.seed
      end
      local trials = { { seed = 1 }, { seed = 2, name = "two" }, { seed = 3 } }
      local _, err, ok, message = caught(function() return map(trials, fails, { label = "lab" }) end)
      assert.is_false(ok)
      assert.matches("1 of 3 trials failed; trial 2 %(name = two, seed = 2%)", message)
      assert.matches("map_spec.lua:%d+: no luck with 2", message)
      assert.matches("lab: trial 2 .- failed: .-no luck with 2\nstack traceback:.-map_spec.lua:%d+: in function", err)
      local _, _, _, results, failures = caught(function() return map(trials, fails, { errors = "return" }) end)
      assert.same({ 1, nil, 3 }, results)
      assert.matches("no luck", failures[2])
    end)

    it("an error value that is no text, and the same error in many trials", function()
      local _, err, _, _, failures = caught(function()
        return map({ 1, 2, 3 }, function(n) error(n < 3 and {} or nil) end, { errors = "return", workers = 1 })
      end)
      assert.matches("error object is a table value", failures[1])
      assert.matches("error object is a nil value", failures[3])
      assert.matches("trial 2 %(2%) failed as trial 1 did", err)
    end)

    it("a killed worker is named and its trial tried once more", function()
      local marker = base .. "/tried"
      local function story(n)
        if n == 2 and not io.open(marker) then
          io.open(marker, "w"):close()
          os.execute("kill -9 $PPID")
        end
        return n * 2
      end
      local _, err, ok, results = caught(function() return map({ 1, 2, 3, 4 }, story, { workers = 2 }) end)
      assert.is_true(ok)
      assert.same({ 2, 4, 6, 8 }, results)
      assert.matches("trial 2 %(2%): its worker, process %d+, was killed by signal 9; the trial is tried again", err)
    end)

    it("a trial that kills every worker fails; the rest is unharmed", function()
      for _, way in ipairs { { "kill -9 $PPID", "was killed by signal 9" }, { "kill -ABRT $PPID", "was aborted by signal 6" } } do
        local _, _, _, results, failures = caught(function()
          return map({ 1, 2, 3 }, function(n) if n == 2 then os.execute(way[1]) end return n end, { errors = "return" })
        end)
        assert.same({ 1, nil, 3 }, results)
        assert.matches(way[2], failures[2])
        assert.matches("as the one before", failures[2])
      end
      local _, _, _, _, failures = caught(function() return map({ 1 }, function() os.exit(3) end, { errors = "return" }) end)
      assert.matches("ended with exit code 3", failures[1])
    end)

    it("is named shortly, whatever the trial is", function()
      local long = ("x\n"):rep(100) .. ("é"):rep(50)
      local cyclic = { "a", lr = 0.5 }
      cyclic[2], cyclic.self = cyclic, cyclic
      local _, err = caught(function()
        return map({ long, cyclic, { {} }, "\255" }, function() error("no") end, { errors = "return", workers = 1 })
      end)
      assert.matches("trial 1 %(x x [x ]+%.%.%.%) failed", err)
      assert.matches("trial 2 %(a, lr = 0.5%) failed", err)
      assert.matches("trial 3 failed", err)
      assert.matches("trial 4 %(\255%) failed", err)
    end)

    it("wrong arguments are errors at the caller's line", function()
      support.fails_here(function() return (map(3, print)) end, "the trials are a list, not number")
      support.fails_here(function() return (map({ 1, nil, 3, x = 2 }, print)) end, "an entry 'x'")
      support.fails_here(function() return (map({ 1 }, 3)) end, "a function of a trial was expected, not number")
      support.fails_here(function() return (map({ 1 }, print, { workers = 0 })) end, "workers must be a number from 1 to 1024, not 0")
      support.fails_here(function() return (map({ 1 }, print, { wrkers = 2 })) end, "there is no option 'wrkers'")
      support.fails_here(function() return (map({ 1 }, print, { errors = "ignore" })) end, "'raise' or 'return'")
      support.fails_here(function() return (map({ 1 }, print, { label = 5 })) end, "label")
    end)

    it("leaves no process, no memory and no descriptor behind", function()
      local function descriptors()
        local count = 0
        for _ in lfs.dir("/proc/self/fd") do count = count + 1 end
        return count
      end
      local x = plumb.randn(100, 100)
      local function once(fails)
        local pids = {}
        caught(function()
          for i, pid in ipairs(map({ 1, 2, 3 }, function(n)
            if fails and n == 3 then error("x") end
            return { process.pid(), x * n }
          end, { workers = 3, errors = fails and "raise" or "return" })) do pids[i] = pid[1] end
        end)
        for _, pid in ipairs(pids) do assert.is_false(is_running(pid)) end
      end
      once()
      local memory, open = support.live_bytes(), descriptors()
      for i = 1, 4 do once(i % 2 == 0) end
      assert.equal(memory, support.live_bytes())
      assert.equal(open, descriptors())
    end)

    -- A script whose trials write their process ids and wait; returns its process and those of its workers.
    local function start_script()
      local script = folders.write(base .. "/script.lua", ([[
        local process = require("plumb").core.process
        require("plumb").experiment.map({ 1, 2 }, function(n)
          local file = io.open(%q .. "/pid" .. n, "w")
          file:write(process.pid(), "\n")
          file:close()
          local deadline = process.time() + 60
          while process.time() < deadline do end
        end, { workers = 2 })
      ]]):format(base))
      local parent, pids = process.start_worker { script }, {}
      for n = 1, 2 do
        local path = base .. "/pid" .. n
        wait_until(function()
          local file <close> = io.open(path)
          pids[n] = file and file:read("n", "l")
          return pids[n]
        end, "the script's worker " .. n)
      end
      return parent, pids
    end

    for _, signal in ipairs { "KILL", "TERM", "INT" } do
      it("the workers go with a parent that gets SIG" .. signal, function()
        local parent <close>, pids = start_script()
        assert.is_true(is_running(pids[1]) and is_running(pids[2]))
        os.execute(("kill -%s %d"):format(signal, parent:pid()))
        wait_until(function() return parent:status() end, "the parent's end")
        wait_until(function() return not is_running(pids[1]) and not is_running(pids[2]) end, "the workers' end")
      end)
    end
  end)

  describe("output", function()
    it("is passed on in whole lines with the trial's number", function()
      local out, err = caught(function()
        return map({ 1, 2 }, function(n)
          io.write("begun ")
          print("and ended", n)
          io.stderr:write("error ", n, "\n")
          io.write("without an end")
        end, { workers = 2 })
      end)
      for n = 1, 2 do
        assert.matches(("[trial %d] begun and ended\t%d\n"):format(n, n), out, 1, true)
        assert.matches(("[trial %d] without an end\n"):format(n), out, 1, true)
        assert.matches(("[trial %d] error %d\n"):format(n, n), err, 1, true)
      end
    end)

    it("of thousands of lines arrives whole; input is empty", function()
      local out, _, ok, results = caught(function()
        return map({ 1 }, function()
          for i = 1, 5000 do print(("line %d"):format(i)) end
          return io.read("l") == nil and "nothing"
        end)
      end)
      assert.is_true(ok)
      assert.same({ "nothing" }, results)
      assert.equal(5000, select(2, out:gsub("%[trial 1%] line %d+\n", "")))
    end)

    it("of fit's progress goes into the one line", function()
      local script = folders.write(base .. "/script.lua", [[
        local plumb = require "plumb"
        local x = plumb.linspace(0, 1, 100):reshape(-1, 1)
        plumb.experiment.map({ 1, 2 }, function()
          local model = plumb.nn.Linear(1, 1)
          local start = plumb.core.process.time()
          plumb.fit(model, { x = x, y = x }, { loss = plumb.nn.MSELoss(), optimizer = plumb.optim.SGD(), epochs = 1000000,
            on_epoch = function() return plumb.core.process.time() < start + 1.5 end })
        end, { label = "two fits", workers = 2 })
      ]])
      local result = process.run { "script", "-qec", "stty cols 200; ./plumb " .. script, "/dev/null" }
      assert.equal(0, result.code)
      assert.matches("two fits    0%%  0/2  .-trial 1: training", result.stdout)
      assert.matches("trial 2: training", result.stdout)
      assert.matches("two fits  100%%  2/2  in", result.stdout)
    end)
  end)

  describe("of a run", function()
    local function start(arguments, request)
      local full = { name = "trials", settings = { { name = "epochs", default = 3 } }, exit = function() end,
        arguments = { "--out", base .. "/run", table.unpack(arguments or {}) } }
      for name, value in pairs(request or {}) do full[name] = value end
      local run
      caught(function() run = plumb.experiment.start(full) end)
      return run
    end

    it("records rows in the order of the trials and knows settings", function()
      local threads = plumb.threads()
      local run = start { "--epochs", "2", "--threads", "3" }
      assert.equal(3, run.threads)
      local results, out
      out = caught(function()
        results = run:map({ 5, 6, 7 }, function(seed)
          process.run { "sleep", tostring((8 - seed) / 50) }
          for epoch = 1, run.settings.epochs do run:record { epoch = epoch, loss = seed / epoch } end
          run:say("seed %d of %s", seed, run.name)
          return run.seed + seed
        end)
        run:finish()
      end)
      assert.same({ 6, 7, 8 }, results)
      assert.equal("trial,epoch,loss\n1,1,5\n1,2,2.5\n2,1,6\n2,2,3\n3,1,7\n3,2,3.5\n", folders.read(run:path("metrics.csv")))
      assert.matches("[trial 2] seed 6 of trials", out, 1, true)
      plumb.threads(threads)
    end)

    it("has seeds for its trials, which runs with other seeds do not have", function()
      local function seeds(first) return start({ "--seed", first, "--overwrite" }):seeds(3) end
      assert.same({ { 1, 2, 3 }, { 4, 5, 6 }, { -2, -1, 0 } }, { seeds("1"), seeds("2"), seeds("0") })
      local run = start({ "--overwrite" })
      support.fails_here(function() run:seeds(0) end, "run:seeds", "count")
      local results
      caught(function() results = run:map({ 1 }, function() return run:seeds(2) end) end)
      assert.same({ { 1, 2 } }, results)
    end)

    it("keeps declared columns, and mistakes in rows are the trial's", function()
      local run = start({}, { columns = { "epoch", "loss" } })
      local _, _, _, _, failures = caught(function()
        return run:map({ 1, 2, 3 }, function(n)
          run:record(n == 1 and { epoch = 1, loss = 2 } or n == 2 and { epoch = 1, los = 2 } or { epoch = {} })
        end, { errors = "return" })
      end)
      assert.matches("column 'los' is not among the declared ones", failures[2])
      assert.matches("column 'epoch' is a table", failures[3])
      assert.equal("epoch,loss\n1,2\n", folders.read(run:path("metrics.csv")))
    end)

    it("has no figures and no end within a trial", function()
      local run = start()
      for _, method in ipairs { "figure", "summary", "finish" } do
        local _, _, ok, message = caught(function() return run:map({ 1 }, function() run[method](run, "x") end) end)
        assert.is_false(ok)
        assert.matches(("run:%s cannot be called within a trial"):format(method), message)
      end
    end)
  end)
end)
