--- Numbers of every training step, for plumb.fit: computed in the plan of the step itself, so that they cost next to nothing.
local core = require "plumb.core"
local report = require "plumb.report"

local recorder = {}

local known = {
  loss = function(step) return step.loss end,
  gradient_norm = function(step) return step.gradient:norm() end,
  gradient_loss_ratio = function(step) return step.gradient:norm() / step.loss end,
}

--- recorder.read(record) -> a list of {name =, of = function(step)}: fit's option `record`, checked.
function recorder.read(record)
  if record == nil then return {} end
  if type(record) ~= "table" then report.fail("fit: record must be a list such as {\"gradient_norm\"}, not %s", type(record)) end
  local list = {}
  for key, value in pairs(record) do
    local name, of = key, value
    if math.type(key) == "integer" then name, of = value, known[value] end
    if type(of) ~= "function" then
      report.fail("fit: record knows 'loss', 'gradient_norm' and 'gradient_loss_ratio', and functions by name; '%s' is neither",
        tostring(name))
    end
    list[#list + 1] = { name = tostring(name), of = of }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- recorder.tensors(list, step) -> a tensor of one element for each, from step = {loss, gradient, theta, new_theta}. Called while
--- the step is compiled.
function recorder.tensors(list, step)
  local tensors = {}
  for i, entry in ipairs(list) do
    local value = entry.of(step)
    if not core.is_tensor(value) or value:numel() ~= 1 then
      report.fail("fit: what is recorded as '%s' must be a tensor of one element, not %s", entry.name,
        core.is_tensor(value) and "of shape (" .. table.concat(value:shape(), ", ") .. ")" or type(value))
    end
    tensors[i] = value
  end
  return tensors
end

--- recorder.keep(list, recorded, values, first): adds values[first], values[first + 1], ... to the lists in `recorded`.
function recorder.keep(list, recorded, values, first)
  for i, entry in ipairs(list) do
    local numbers = recorded[entry.name] or {}
    recorded[entry.name], numbers[#numbers + 1] = numbers, values[first + i - 1]:item()
  end
end

--- measure.recorder(model) -> a table for plumb.fit's option record: the norm of each parameter's gradient at every step, under
--- the names of model:parameters(), and "gradient_norm", that of the whole.
function recorder.recorder(model)
  if not require("plumb.nn.module").is(model) then
    report.fail("measure.recorder: the model must be a module, not %s", type(model))
  end
  local record = { "gradient_norm" }
  for _, parameter in ipairs(model:parameters()) do
    local first, last = parameter.first, parameter.first + parameter.count - 1
    record[parameter.name] = function(step) return step.gradient:slice(1, first, last):norm() end
  end
  return record
end

return recorder
