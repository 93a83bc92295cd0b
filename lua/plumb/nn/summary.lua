--- A model as a table: its layers, what shapes come out of them, and how many parameters they have.
local Module = require "plumb.nn.module"
local report = require "plumb.report"
local tensor = require "plumb.tensor"

-- Shapes are found by sending two batches of these sizes through: an axis that differs is the batch's. Nothing is computed,
-- since nobody looks at the values.
local BATCHES = { 2, 3 }

local function is_container(module) return #module > 0 and module.name == "Sequential" end

-- The layer that the input meets first with parameters of its own.
local function first_with_parameters(module)
  if #module == 0 then return module.size > 0 and module or nil end
  for _, child in ipairs(module) do
    local found = first_with_parameters(child)
    if found then return found end
  end
end

-- The shape of one sample: that of the last one, or as far as the layers tell, that of Linear's inputs.
local function guess_shape(module)
  local first = first_with_parameters(module)
  return rawget(module, "sample_shape") or first and first.name == "Linear" and { first.inputs } or nil
end

local function batches_of(module, shape)
  local inputs = {}
  for i, n in ipairs(BATCHES) do
    inputs[i] = tensor.zeros({ n, table.unpack(shape) }, { dtype = module.theta:dtype() })
  end
  return inputs
end

local function shape_text(outputs)
  local sizes, others = outputs[1]:shape(), outputs[2]:shape()
  for axis, size in ipairs(sizes) do
    if size ~= others[axis] then sizes[axis] = "n" end
  end
  return "(" .. table.concat(sizes, ", ") .. ")"
end

-- The layer's outputs, in evaluation mode so that nothing in the model changes.
local function outputs_of(module, inputs)
  local outputs = {}
  for i, x in ipairs(inputs) do outputs[i] = module:at(module.theta, { training = false })(x) end
  return outputs
end

local function grouped(count)
  local text = tostring(count):reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
  return text
end

-- Adds a row for the module, or for each of its layers, and returns what comes out of it; `inputs` is nil where unknown.
local function add_rows(rows, module, inputs, number)
  if not is_container(module) then
    local outputs = inputs and outputs_of(module, inputs)
    rows[#rows + 1] = { number, module:describe_self(), outputs and shape_text(outputs) or "", grouped(module.size) }
    return outputs
  end
  for i, child in ipairs(module) do inputs = add_rows(rows, child, inputs, number .. (number == "" and "" or ".") .. i) end
  return inputs
end

local function write(module, rows, with_shapes)
  local header = { "", module.name, with_shapes and "output" or "", "parameters" }
  table.insert(rows, 1, header)
  local widths = { 1, 1, 1, 1 }
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do widths[i] = math.max(widths[i], #text) end
  end
  local pattern = ("%%-%ds  %%-%ds  %%-%ds  %%%ds"):format(table.unpack(widths))
  local lines = {}
  for i, row in ipairs(rows) do lines[i] = pattern:format(table.unpack(row)) end
  lines[#lines + 1] = ("%s parameter%s, %s"):format(grouped(module.size), module.size == 1 and "" or "s", module.theta:dtype())
  return table.concat(lines, "\n")
end

--- nn.summary(model, shape) -> text: the model as a table of its layers with the shapes of their outputs and the numbers of
--- their parameters. shape is that of one sample, such as {1, 28, 28}; it may be left out when the model has been called
--- before, or where the first layer with parameters is Linear; otherwise the table has no shapes. `n` is the size of a batch.
local function summary(model, shape)
  if not Module.is(model) then report.fail("summary: a module was expected, not %s", type(model)) end
  if shape ~= nil and type(shape) ~= "table" then report.fail("summary: the shape is a table such as {1, 28, 28}") end
  local rows, guessed = {}, shape or guess_shape(model)
  if not guessed then
    add_rows(rows, model, nil, "")
  elseif shape then
    add_rows(rows, model, batches_of(model, shape), "")
  elseif not pcall(add_rows, rows, model, batches_of(model, guessed), "") then -- not what the layers wanted after all
    rows, guessed = {}, nil
    add_rows(rows, model, nil, "")
  end
  return write(model, rows, guessed ~= nil)
end

return { summary = summary }
