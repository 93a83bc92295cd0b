--- plumb beside PyTorch on the same machine, in one run, alternating; see tests/bench/README.md.
--
-- ./plumb tests/bench/run.lua [WORKLOAD ...]: prints a table and writes build/bench.json. Each side measures the median of
-- five repeats of a few hundred steps, at each of its thread counts; the better one counts. --peak WORKLOAD prints the most
-- memory that training takes, in MB.
local plumb = require "plumb"
local process = plumb.core.process
local nn, optim = plumb.nn, plumb.optim
package.path = arg[0]:match("^(.*)/") .. "/?.lua;" .. package.path
local second_order = require "second_order"

local REPEATS, SECONDS = 5, 0.4

local function network(widths, activation)
  local layers = {}
  for i = 1, #widths - 1 do
    layers[#layers + 1] = nn.Linear(widths[i], widths[i + 1])
    if i < #widths - 1 then layers[#layers + 1] = activation() end
  end
  return nn.Sequential(layers)
end

local function function_fit(widths, points, batch)
  local x = plumb.linspace(1e-4, 1, points):reshape(-1, 1)
  return { model = network(widths, nn.LeakyReLU), set = { x = x, y = (x * 5 * math.pi):sin():sign() },
    batch = batch or points, loss = nn.MSELoss() }
end

-- Random images and labels of MNIST's shape, as on the other side.
local function classifier(hidden, batch)
  local n = math.max(6000, 20 * batch)
  return { model = network({ 784, hidden, 10 }, nn.ReLU), batch = batch, loss = nn.CrossEntropyLoss(),
    set = { x = plumb.rand(n, 784):evaluate(), y = plumb.randint(1, 10, { n }):evaluate() } }
end

-- The networks of scripts/train_cnn.lua on as many images as MNIST has.
local function stage(inputs, outputs)
  return nn.Sequential { nn.Conv2d(inputs, outputs, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2) }
end
local function simple()
  return nn.Sequential { stage(1, 32), stage(32, 64), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10) }
end
local function advanced()
  return nn.Sequential { stage(1, 32), stage(32, 64), stage(64, 128), nn.Flatten(), nn.Dropout(0.25), nn.Linear(1152, 256),
    nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10) }
end
local function convolutional(build, batch)
  local thousand = plumb.randint(0, 255, { 1000, 1, 28, 28 }):cast("uint8"):evaluate()
  local images = {}
  for k = 1, 60 do images[k] = thousand end
  return { model = build(), batch = batch, loss = nn.CrossEntropyLoss(), steps = math.max(5, 1200 // batch),
    set = { images = plumb.concat(images, 1):evaluate(), y = plumb.randint(1, 10, { 60000 }):evaluate() } }
end

local deep, middle, shallow = { 1, 5, 10, 10, 10, 10, 10, 5, 1 }, { 1, 10, 18, 15, 4, 1 }, { 1, 190, 1 }
local workloads = {
  { "deep300", function() return function_fit(deep, 300) end, limit = 1 / 5 },
  { "middle300", function() return function_fit(middle, 300) end },
  { "shallow300", function() return function_fit(shallow, 300) end },
  { "deep128", function() return function_fit(deep, 10000, 128) end },
  { "mlp64", function() return classifier(512, 64) end, limit = 1 / 1.5 },
  { "mlp100", function() return classifier(512, 100) end },
  { "mlp1000", function() return classifier(512, 1000) end, limit = 1 },
  { "width50", function() return classifier(50, 600) end },
  { "width2000", function() return classifier(2000, 600) end },
  { "simple64", function() return convolutional(simple, 64) end, limit = 1 / 2 },
  { "simple600", function() return convolutional(simple, 600) end, limit = 1 / 2, memory_limit = 1 / 2 },
  { "advanced64", function() return convolutional(advanced, 64) end, limit = 1 / 2 },
  { "advanced600", function() return convolutional(advanced, 600) end, limit = 1 / 2, memory_limit = 1 / 2 },
  { "gradient_norm", second_order.gradient_norm, limit = 1 / 10, of_steps = true },
  { "hessian", second_order.hessian, limit = 1 / 10, of_steps = true },
  { "hvp", second_order.hvp, of_steps = true },
  { "mlp_gradient", second_order.mlp_gradient, of_steps = true },
  { "mlp_hvp", second_order.mlp_hvp, of_steps = true },
}

local function median(list)
  table.sort(list)
  return (list[(#list + 1) // 2] + list[#list // 2 + 1]) / 2
end

-- Trains for some epochs, or for w.steps steps where those are given. Returns seconds.
local function train(w, epochs)
  local steps_an_epoch = math.ceil(#w.set.y / w.batch)
  return plumb.fit(w.model, w.set, { loss = w.loss, optimizer = optim.Adam { lr = 1e-3 }, epochs = epochs,
    batch = w.batch, shuffle = steps_an_epoch > 1, progress = false,
    on_step = w.steps and function(run) return run.step < w.steps end }).seconds
end

-- Seconds per step of plumb.fit, as a user calls it: the time of whole runs divided by their steps.
local function measure(make)
  local w, times = make(), {}
  local steps_an_epoch = w.steps or math.ceil(#w.set.y / w.batch)
  local function run(epochs) return train(w, epochs) end
  run(1)
  if w.steps then
    for i = 1, REPEATS do times[i] = run(1) / w.steps end
    return median(times)
  end
  local epochs = math.max(1, math.floor(SECONDS / run(1) + 0.5))
  for i = 1, REPEATS do times[i] = run(epochs) / (epochs * steps_an_epoch) end
  return median(times)
end

-- Seconds per step of a function step(n).
local function measure_steps(make)
  local step, times = make(), {}
  local function run(n)
    local started = process.time()
    step(n)
    return process.time() - started
  end
  run(3)
  local n = math.max(1, math.floor(SECONDS / (run(10) / 10) + 0.5))
  for i = 1, REPEATS do times[i] = run(n) / n end
  return median(times)
end

local function best_of_threads(workload)
  local measure_workload = workload.of_steps and measure_steps or measure
  local best, at = math.huge, nil
  for _, threads in ipairs { 1, math.max(2, plumb.threads()) } do
    plumb.threads(threads)
    local seconds = measure_workload(workload[2])
    if seconds < best then best, at = seconds, threads end
  end
  return best, at
end

local function peer(workload)
  local result, message = process.run({ "/usr/bin/python3", "tests/bench/peer_torch.py", workload }, { timeout = 600 })
  if not result or result.code ~= 0 then
    error("the peer did not run (python3-torch is needed): " .. (message or result.stderr), 0)
  end
  return plumb.files.json_decode(result.stdout)
end

-- Starting the program, against importing the other: wall seconds of a whole process, and its peak memory in MB.
local function startup()
  local times, report = {}, "for line in io.lines('/proc/self/status') do print(line:match('VmHWM:%s*(%d+)')) end"
  for i = 1, REPEATS do
    local started = process.time()
    process.run({ "./plumb", "-e", "" }, {})
    times[i] = process.time() - started
  end
  local memory = process.run({ "./plumb", "-e", report }, {}).stdout:match("%d+") / 1024
  return median(times), memory
end

-- The most memory in MB that this process, or another plumb that trains the workload, has taken.
local function own_peak()
  for line in io.lines("/proc/self/status") do
    local kilobytes = line:match("VmHWM:%s*(%d+)")
    if kilobytes then return kilobytes / 1024 end
  end
end
local function peak(name)
  local result = process.run({ "./plumb", "tests/bench/run.lua", "--peak", name }, { timeout = 600 })
  if not result or result.code ~= 0 then error("no peak of " .. name, 0) end
  return tonumber(result.stdout)
end
if arg[1] == "--peak" then
  for _, workload in ipairs(workloads) do
    if workload[1] == arg[2] then train(workload[2](), 1) end
  end
  print(own_peak())
  os.exit(0)
end

local wanted = {}
for _, name in ipairs(arg) do wanted[name] = true end

local rows = {}
print(("%-12s %12s %12s %8s  %s"):format("workload", "plumb us", "PyTorch us", "ratio", "asked"))
for _, workload in ipairs(workloads) do
  local name = workload[1]
  if #arg == 0 or wanted[name] then
    local before = best_of_threads(workload)
    local other = peer(name)
    local after, threads = best_of_threads(workload)
    local mine = median { before, after }
    local ratio = mine / other.seconds_per_step
    print(("%-12s %12.1f %12.1f %8.3f  %s"):format(name, mine * 1e6, other.seconds_per_step * 1e6, ratio,
      workload.limit and ("%.3f %s"):format(workload.limit, ratio <= workload.limit and "ok" or "MISSED") or ""))
    rows[#rows + 1] = { workload = name, plumb_seconds = mine, plumb_threads = threads,
      peer_seconds = other.seconds_per_step, peer_threads = other.threads, peer_version = other.torch, ratio = ratio }
    if workload.memory_limit then
      local mb = peak(name)
      print(("%-12s %12.1f %12.1f %8.3f  %.3f %s"):format("  MB", mb, other.peak_rss_mb, mb / other.peak_rss_mb,
        workload.memory_limit, mb / other.peak_rss_mb <= workload.memory_limit and "ok" or "MISSED"))
      rows[#rows].plumb_mb, rows[#rows].peer_mb = mb, other.peak_rss_mb
    end
  end
end
if #arg == 0 or wanted.startup then
  local seconds, memory = startup()
  local other = peer("import")
  print(("%-12s %12.1f %12.1f %8.3f  %s"):format("start (ms)", seconds * 1e3, other.seconds_per_step * 1e3,
    seconds / other.seconds_per_step, seconds < 0.02 and "< 20 ms ok" or "< 20 ms MISSED"))
  print(("%-12s %12.1f %12.1f %8.3f  %s"):format("start (MB)", memory, other.peak_rss_mb, memory / other.peak_rss_mb,
    memory < 20 and "< 20 MB ok" or "< 20 MB MISSED"))
  rows[#rows + 1] = { workload = "start", plumb_seconds = seconds, plumb_mb = memory, peer_seconds = other.seconds_per_step,
    peer_mb = other.peak_rss_mb, peer_version = other.torch, ratio = seconds / other.seconds_per_step }
end
plumb.core.files.make_directory("build")
plumb.files.write("build/bench.json", plumb.files.json_encode(rows) .. "\n")
