--- plumb: a laboratory for how neural networks learn.
--
-- Everything stands under `local plumb = require "plumb"`: tensors and their operators (plumb.zeros, plumb.exp, t:sum(1)),
-- plumb.linalg (linalg.eigh), transforms (plumb.grad, plumb.compile), plumb.nn, plumb.optim, plumb.fit, plumb.data,
-- plumb.plot, plumb.files.
-- At the prompt the same names are globals. plumb.help(x) explains.
local core = require "plumb.core"

local plumb = {
  version = "0.1.0",
  core = core,
  threads = core.threads,
  cpu_kernel = core.cpu_kernel,
  memory = core.memory,
  memory_budget = core.memory_budget,
  evaluate = core.evaluate,
  is_tensor = core.is_tensor,
  operators = core.operators,
  linalg = core.linalg,
}

for _, part in ipairs { "tensor", "transform", "timing" } do
  for name, value in pairs(require("plumb." .. part)) do plumb[name] = value end
end

--- help(x): prints the documentation of a function, a layer, an optimiser, a module or an object; of a string, that of the
--- operator of this name, else what in the reference has all its words.
function plumb.help(...) return require("plumb.help").help(...) end

-- What takes longer to load, or needs more than the core, is loaded when it is first used.
local on_demand = { nn = "plumb.nn", optim = "plumb.optim", fit = "plumb.fit", data = "plumb.data", plot = "plumb.plot",
  files = "plumb.files", experiment = "plumb.experiment", measure = "plumb.measure", progress = "plumb.progress" }

return setmetatable(plumb, {
  __names = function() -- for completion, help and the reference
    local names = {}
    for name in pairs(on_demand) do names[#names + 1] = name end
    return names
  end,
  __index = function(_, name)
    local module = on_demand[name]
    if not module then return nil end
    local value = require(module)
    rawset(plumb, name, value)
    return value
  end,
})
