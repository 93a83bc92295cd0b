--- plumb's side of one workload as a process of its own: ./plumb tests/bench/side.lua THREADS FILE, the workload as JSON.
--- It answers each line of standard input with one of JSON, as tests/bench/peer_torch.py does:
---   run N    {"steps": , "seconds": }  after about N steps
---   check    {"values": [...]}         what both sides must agree on
---   peak     {"mb": }                  the most memory that the process has taken
local plumb = require "plumb"
package.path = arg[0]:match("^(.*)/") .. "/?.lua;" .. package.path
local steps, memory = require "steps", require "peak"
local files = plumb.files

plumb.threads(math.tointeger(tonumber(arg[1])))
local input <close> = assert(io.open(arg[2]))
local w = files.json_decode(input:read("a"))

local run, check = steps[w.kind](w, w.weights and files.load(w.weights) or {})
local answers = {
  run = function(n)
    local count, seconds = run(math.tointeger(tonumber(n)))
    return { steps = count, seconds = seconds }
  end,
  check = function() return { values = check() } end,
  peak = function() return { mb = memory.mb() } end,
}
io.stdout:setvbuf("line")
for line in io.lines() do
  local request, argument = line:match("^(%a+) ?(%d*)$")
  print(files.json_encode(answers[request](argument)))
end
