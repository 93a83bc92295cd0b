--- plumb beside PyTorch and the machine's limits, in one run, alternating; tests/bench/README.md says how to read it.
---
---     ./plumb tests/bench/run.lua [--alone] [--repeats N] [WORKLOAD ...]
---
--- A workload is a name or the beginning of names: mlp is mlp64, mlp100, ... --alone leaves PyTorch out.
local plumb = require "plumb"
package.path = arg[0]:match("^(.*)/") .. "/?.lua;" .. package.path
local workloads, measuring, report = require "workloads", require "measuring", require "report"
local conversation = require "conversation"
local process, files = plumb.core.process, plumb.files

local PEERS = { "build/peer/bin/python", "/usr/bin/python3" }

local function run(command) return process.run(command, { timeout = 600 }) end

-- ---- the command line ----

local function fail(...)
  io.stderr:write("bench: ", string.format(...), "\n")
  os.exit(2)
end

local function chosen(words)
  if #words == 0 then return workloads end
  local list, taken = {}, {}
  for _, word in ipairs(words) do
    local before = #list
    for _, w in ipairs(workloads) do
      local fits = workloads[word] == w or not workloads[word] and w.name:sub(1, #word) == word
      if fits and not taken[w] then list[#list + 1], taken[w] = w, true end
    end
    if #list == before then fail("there is no workload '%s'", word) end
  end
  return list
end

local function read_arguments()
  local options, words, i = { repeats = 5 }, {}, 1
  while arg[i] do
    if arg[i] == "--alone" then
      options.alone = true
    elseif arg[i] == "--repeats" then
      i = i + 1
      options.repeats = math.tointeger(tonumber(arg[i])) or fail("--repeats takes a whole number")
    elseif arg[i]:sub(1, 1) == "-" then
      fail("there is no option %s", arg[i])
    else
      words[#words + 1] = arg[i]
    end
    i = i + 1
  end
  options.workloads = chosen(words)
  return options
end

-- ---- what is there ----

-- The PyTorchs of this machine. With OpenBLAS also the setting of one thread for PyTorch's loops and two for its products counts.
local function find_peers()
  local peers = {}
  local program = "import torch; print(torch.__version__, torch.backends.mkl.is_available())"
  for _, python in ipairs(PEERS) do
    local result = files and run { python, "-W", "ignore", "-c", program }
    if result and result.code == 0 then
      local version, mkl = result.stdout:match("(%S+) (%S+)")
      peers[#peers + 1] = { python = python, version = version, settings = { "1", "2", mkl ~= "True" and "1+2" or nil } }
    end
  end
  return peers
end

-- MNIST as gzipped files, which the workload load_mnist reads.
local function prepare_data()
  local paths, message = plumb.data.paths("mnist")
  if not paths then fail("%s", message) end
  plumb.core.files.make_directory("build/bench/mnist")
  for part, path in pairs(paths) do
    local target = ("build/bench/mnist/%s-idx%d-ubyte.gz"):format(part, part:find("images") and 3 or 1)
    if not plumb.core.files.exists(target) then
      local result = run { "gzip", path:find("%.gz$") and "-dc" or "-c", "--", path }
      if path:find("%.gz$") then
        local input <close> = assert(io.open(path, "rb"))
        files.write(target, input:read("a"))
      else
        files.write(target, result.stdout)
      end
    end
  end
end

local options = read_arguments()
prepare_data()
local peers = options.alone and {} or find_peers()
if not io.open("build/bench/limits") then error("build/bench/limits is not there: make build/bench/limits, or make bench", 0) end
local limits = conversation.whole { "build/bench/limits" }
print(("limits: sgemm %.0f GFLOP/s (one thread %.0f), dgemm %.0f, memory %.1f GB/s"):format(limits.sgemm / 1e9,
  limits.sgemm_1 / 1e9, limits.dgemm / 1e9, limits.bandwidth / 1e9))
print(report.head(peers))
local rows, disagree = {}, false
for i, w in ipairs(options.workloads) do
  rows[i] = measuring.row(w, peers, limits, options.repeats)
  disagree = disagree or rows[i].disagrees
  print(report.line(rows[i]))
  io.stdout:flush()
end
report.save(rows, limits)
os.exit(not disagree, true)
