--- plumb's whole programs among the workloads: ./plumb tests/bench/program.lua FILE, the workload as JSON. Prints JSON: the
--- values that both sides must agree on, and mb, the most memory that the process has taken.
local plumb = require "plumb"
package.path = arg[0]:match("^(.*)/") .. "/?.lua;" .. package.path
local networks, peak = require "networks", require "peak"
local files, nn = plumb.files, plumb.nn

local input <close> = assert(io.open(arg[1]))
local w = files.json_decode(input:read("a"))

local programs = {}

-- Nothing but the start.
function programs.start() return {} end

-- The last loss of several trainings from given weights, in one process per core.
function programs.seeds()
  local set, states = networks.set(w), {}
  for seed = 1, w.seeds do states[seed] = {} end
  for name, tensor in pairs(files.load(w.weights)) do
    local seed, rest = name:match("^(%d+)/(.*)$")
    states[tonumber(seed)][rest] = tensor
  end
  local build = networks.build
  return plumb.experiment.map(states, function(state)
    local model = build(w)
    model:load_state_dict(state)
    plumb.fit(model, set, { loss = nn.MSELoss(), optimizer = plumb.optim.Adam { lr = 1e-3 }, epochs = w.steps, batch = w.batch,
      shuffle = false, progress = false })
    return nn.mse_loss(model(set.x), set.y):item()
  end)
end

print(files.json_encode { values = programs[w.task](), mb = peak.mb() })
