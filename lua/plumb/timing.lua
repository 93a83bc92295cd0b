--- How long a function takes, and how much memory. A tensor is computed when somebody looks, so the tensors that the function
--- returns are computed within the time.
local core = require "plumb.core"
local report = require "plumb.report"

local timing = {}

local clock = core.process.time

local function seconds_text(seconds)
  if seconds < 1e-6 then return ("%.3g ns"):format(seconds * 1e9) end
  if seconds < 1e-3 then return ("%.3g us"):format(seconds * 1e6) end
  if seconds < 1 then return ("%.3g ms"):format(seconds * 1e3) end
  return ("%.3g s"):format(seconds)
end

local function bytes_text(bytes)
  if bytes < 1e6 then return ("%.3g kB"):format(bytes / 1e3) end
  return bytes < 1e9 and ("%.3g MB"):format(bytes / 1e6) or ("%.3g GB"):format(bytes / 1e9)
end

local function check_function(who, f)
  local meta = getmetatable(f)
  if type(f) ~= "function" and not (type(meta) == "table" and meta.__call) then
    report.fail("%s: a function was expected, not %s: %s(function() return x:matmul(y) end)", who, type(f), who)
  end
end

-- Computes the tensors among some values, and returns all of them.
local function computed(...)
  local tensors = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if core.is_tensor(value) then tensors[#tensors + 1] = value end
  end
  if #tensors > 0 then core.evaluate(table.unpack(tensors)) end
  return ...
end

-- One call: its seconds, the most bytes that tensors took at once beyond what they had before, and its results.
local function measure(f, ...)
  core.memory_reset_peak()
  local live, started = core.memory().live, clock()
  local results = table.pack(computed(f(...)))
  local seconds = clock() - started
  return seconds, math.max(0, core.memory().peak - live), results
end

--- time(f, ...) -> what f(...) returns; prints how long that took, and the memory that tensors took on the way.
function timing.time(f, ...)
  check_function("time", f)
  local seconds, bytes, results = measure(f, ...)
  print(("%s, %s for tensors"):format(seconds_text(seconds), bytes_text(bytes)))
  return table.unpack(results, 1, results.n)
end

--- profile(f, ...): calls f(...) and prints where the time of its computations goes: each plan (the kernel calls of a compiled
--- function, of a step of fit, or of tensors that were looked at) with the shortest time of a run and of each of its calls
--- (other programs can only lengthen it), and what the call gives.
function timing.profile(f, ...)
  check_function("profile", f)
  print((core.plan_times(function(...) computed(f(...)) end, ...):gsub("\n$", "")))
end

local Result = { doc = "What bench gives: seconds (the median), fastest, slowest, calls, bytes." }
Result.__index = Result
Result.__name = "plumb.bench"
Result.__tostring = function(r)
  return ("%s (fastest %s, slowest %s) in %d calls, %s for tensors"):format(seconds_text(r.seconds), seconds_text(r.fastest),
    seconds_text(r.slowest), r.calls, bytes_text(r.bytes))
end

--- bench(f, {seconds = 1}) -> {seconds =, fastest =, slowest =, calls =, bytes =}: calls f over and over for about so many
--- seconds, after one call that does not count. `seconds` of the result is the median of a call's time; short calls are
--- timed in groups, whose means then stand for single calls. `bytes` is the most that tensors took at once.
function timing.bench(f, options)
  check_function("bench", f)
  local budget = report.number("bench", "seconds", report.options("bench", options, { seconds = 1 }).seconds, 0)
  local _, bytes = measure(f) -- what is planned or compiled at the first call is no part of the time
  local once = measure(f)
  local group = math.max(1, math.floor(20e-6 / math.max(once, 1e-8))) -- so that reading the clock does not count
  local times, started = {}, clock()
  repeat
    local begun = clock()
    for _ = 1, group do computed(f()) end
    times[#times + 1] = (clock() - begun) / group
  until clock() - started >= budget or #times >= 1000000
  table.sort(times)
  return setmetatable({ seconds = times[(#times + 1) // 2], fastest = times[1], slowest = times[#times],
    calls = #times * group, bytes = bytes }, Result)
end

return timing
