--- Reading the samples of operators (core/operator.h, core/elementwise.def), for the specs that walk through all of them.
local plumb = require "plumb"
local support = require "support"

local samples = {}

--- evaluate(text, environment): the value of a Lua expression
function samples.evaluate(text, environment)
  return assert(load("return " .. text, text, "t", environment))()
end

-- ---- elementwise operators: "low high reference" ----

local letters = { "x", "y", "z" }

--- read_elementwise(row) -> {low =, high =, arity =, parameters =, f =} of a row "low high reference": the range of inputs,
-- how many tensors, the parameters with their defaults, and f(inputs, parameters) -> number
function samples.read_elementwise(row)
  local low, high, reference = row.samples:match("^(%S+) (%S+) (.*)$")
  local tensors, parameters = {}, {}
  for part in row.signature:gmatch("[^, ]+") do
    local name, default = part:match("^(.-)=(.*)$")
    if name then
      local value = tonumber(default) or (default == "inf" and math.huge or -math.huge)
      parameters[#parameters + 1] = { name = name, value = value }
    else tensors[#tensors + 1] = part end
  end
  local environment = setmetatable({ erf = support.erf }, { __index = _G })
  local formula = assert(load("return " .. reference, row.name, "t", environment))
  local function f(inputs, values)
    for k, name in ipairs(tensors) do environment[name], environment[letters[k]] = inputs[k], inputs[k] end
    for k, parameter in ipairs(parameters) do environment[parameter.name] = values and values[k] or parameter.value end
    return formula()
  end
  return { low = tonumber(low), high = tonumber(high), arity = #tensors, parameters = parameters, f = f }
end

--- random_list(count, low, high, random): a list of numbers
function samples.random_list(count, low, high, random)
  local list = {}
  for i = 1, count do list[i] = random(low, high) end
  return list
end

--- read_sample(line) -> {inputs =, call =, indices =, element =} of a line "inputs ; call ; indices -> element"
function samples.read_sample(line)
  local inputs, call, indices, element = line:match("^(.-)%s*;%s*(.-)%s*;%s*(.-)%s*%->%s*(.*)$")
  assert(inputs, "not a sample: " .. line)
  return { inputs = inputs, call = call, indices = indices, element = element }
end

--- inputs(sample, dtype, random) -> {name = tensor}: floats in the dtype, integers (names that begin with n) as int64
function samples.inputs(sample, dtype, random)
  local environment = {
    randn = function(...)
      local shape, count = { ... }, 1
      for _, size in ipairs(shape) do count = count * size end
      return support.make(samples.random_list(count, -2, 2, random), shape, dtype)
    end,
    tensor = function(list) return plumb.tensor(list, { dtype = "int64" }) end,
  }
  return samples.evaluate("{" .. sample.inputs .. "}", environment)
end

--- run(sample, inputs): what the sample's call gives
function samples.run(sample, inputs)
  return samples.evaluate(sample.call, setmetatable({}, { __index = function(_, name) return inputs[name] or plumb[name] end }))
end

return samples
