--- plumb beside PyTorch on the same machine, in one run, alternating; see tests/bench/README.md.
--
-- ./plumb tests/bench/run.lua [WORKLOAD ...]: prints a table and writes build/bench.json. Each side measures the median of
-- five repeats of a few hundred steps, at each of its thread counts; the better one counts.
local plumb = require "plumb"
local process = plumb.core.process
local nn, optim = plumb.nn, plumb.optim

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
}

local function median(list)
  table.sort(list)
  return (list[(#list + 1) // 2] + list[#list // 2 + 1]) / 2
end

-- Seconds per step of plumb.fit, as a user calls it: the time of whole runs divided by their steps.
local function measure(make)
  local w, times = make(), {}
  local steps_an_epoch = math.ceil(#w.set.x / w.batch)
  local function run(epochs)
    return plumb.fit(w.model, w.set, { loss = w.loss, optimizer = optim.Adam { lr = 1e-3 }, epochs = epochs,
      batch = w.batch, shuffle = steps_an_epoch > 1, progress = false }).seconds
  end
  run(1)
  local epochs = math.max(1, math.floor(SECONDS / run(1) + 0.5))
  for i = 1, REPEATS do times[i] = run(epochs) / (epochs * steps_an_epoch) end
  return median(times)
end

local function best_of_threads(make)
  local best, at = math.huge, nil
  for _, threads in ipairs { 1, math.max(2, plumb.threads()) } do
    plumb.threads(threads)
    local seconds = measure(make)
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

local wanted = {}
for _, name in ipairs(arg) do wanted[name] = true end

local rows = {}
print(("%-12s %12s %12s %8s  %s"):format("workload", "plumb us", "PyTorch us", "ratio", "asked"))
for _, workload in ipairs(workloads) do
  local name, make = workload[1], workload[2]
  if #arg == 0 or wanted[name] then
    local before = best_of_threads(make)
    local other = peer(name)
    local after, threads = best_of_threads(make)
    local mine = median { before, after }
    local ratio = mine / other.seconds_per_step
    print(("%-12s %12.1f %12.1f %8.3f  %s"):format(name, mine * 1e6, other.seconds_per_step * 1e6, ratio,
      workload.limit and ("%.3f %s"):format(workload.limit, ratio <= workload.limit and "ok" or "MISSED") or ""))
    rows[#rows + 1] = { workload = name, plumb_seconds = mine, plumb_threads = threads,
      peer_seconds = other.seconds_per_step, peer_threads = other.threads, peer_version = other.torch, ratio = ratio }
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
