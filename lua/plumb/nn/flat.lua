--- The flat vectors of a tree of modules: theta, its parameters, and buffers, what it remembers beside them.
--
-- Each module has a part of each vector: a list of entries (name, shape, how they start), behind them the parts of its
-- children. The outermost module owns the vector, in a variable; every entry is a view into it.
local core = require "plumb.core"
local report = require "plumb.report"

local LARGEST = 2 ^ 48 -- elements of a tensor

local flat = {}

--- flat.kinds: the fields of a module in which its parts stand.
flat.kinds = { "theta_part", "buffer_part" }

function flat.new_part() return { offset = 0, size = 0, entries = {} } end

--- flat.declare(part, entry): one more entry {name =, shape =} that starts uniform in [low, high) under a key (seed, stream),
--- or, without `high`, as the number `low`.
function flat.declare(part, entry)
  entry.count = 1
  for _, size in ipairs(entry.shape) do
    if size > LARGEST / math.max(entry.count, 1) then
      report.fail("%s of shape (%s) would be too large", entry.name, table.concat(entry.shape, ", "))
    end
    entry.count = entry.count * size
  end
  entry.first = part.size + 1
  part.entries[#part.entries + 1] = entry
  part.size = part.size + entry.count
end

--- flat.names(module) -> the names of the vectors and of the module's own entries
function flat.names(module)
  local names = { "theta", "buffers", "size" }
  for _, kind in ipairs(flat.kinds) do
    for _, entry in ipairs(module[kind].entries) do names[#names + 1] = entry.name end
  end
  return names
end

-- ---- becoming part of a larger model ----

-- Children move along. What belongs to nobody (a layer without state may stand in several models) stays.
local function move(module, kind, shift)
  module[kind].offset = module[kind].offset + shift
  for _, child in ipairs(module) do
    if rawget(child, "owner") == module then move(child, kind, shift) end
  end
end

--- flat.adopt(module, child, kind): the child's part follows what the module has, with the values it had before.
function flat.adopt(module, child, kind)
  local part, own = child[kind], module[kind]
  if part.variable then part.known, part.variable = part.variable:get(), nil end
  move(child, kind, own.offset + own.size - part.offset)
  own.size = own.size + part.size
end

-- ---- first values ----

local function first_value(entry)
  if not entry.high then return core.full({ entry.count }, entry.low, "float64") end
  return core.random("uniform", { entry.count }, "float64", entry.seed, entry.stream) * (entry.high - entry.low) + entry.low
end

-- Adds the first values of a module's entries to `values`, in float64. Those that it had before it became part of a larger
-- model stay; `known` holds them until the root's vector is made.
local function gather(module, kind, values, dtypes)
  local part = module[kind]
  if part.known then
    values[#values + 1], dtypes[part.known:dtype()] = part.known:cast("float64"), true
    part.known = nil
    return
  end
  for _, entry in ipairs(part.entries) do values[#values + 1] = first_value(entry) end
  for _, child in ipairs(module) do gather(child, kind, values, dtypes) end
end

--- flat.variable(root, kind, dtype): the variable that holds the root's vector; made when it is first asked for, in this
--- dtype, or by default float64 when one of the parts had been made so, else the default dtype.
function flat.variable(root, kind, dtype)
  local part = root[kind]
  if not part.variable then
    local values, dtypes = {}, {}
    gather(root, kind, values, dtypes)
    dtype = dtype or dtypes.float64 and "float64" or next(dtypes) or require("plumb.tensor").get_default_dtype()
    local vector = #values > 0 and core.concat(values, 1) or core.full({ 0 }, 0, "float64")
    part.variable = core.variable(vector:cast(dtype):evaluate())
  end
  return part.variable
end

--- flat.convert(root, kind, dtype): the vector in another dtype, in a variable of its own.
function flat.convert(root, kind, dtype)
  local part = root[kind]
  if part.variable then part.variable = core.variable(part.variable:get():cast(dtype):evaluate()) end
end

-- ---- views ----

--- flat.view(vector, part, entry, shift): the entry as a tensor of its shape; the vector begins `shift` elements into the
--- root's. An entry may show another dtype than the vector has.
function flat.view(vector, part, entry, shift)
  local first = part.offset - shift + entry.first
  local view = vector:slice(1, first, first + entry.count - 1):reshape(entry.shape)
  return entry.dtype and view:cast(entry.dtype) or view
end

--- flat.replaced(vector, first, values): the vector with values (n) from element `first` on.
function flat.replaced(vector, first, values)
  local count = values:numel()
  if count == vector:numel() then return values end
  return core.concat({ vector:slice(1, 1, first - 1), values, vector:slice(1, first + count) }, 1)
end

--- flat.find(module, name) -> kind, entry: the module's own entry of this name, or nil.
function flat.find(module, name)
  for _, kind in ipairs(flat.kinds) do
    local part = rawget(module, kind)
    for _, entry in ipairs(part and part.entries or {}) do
      if entry.name == name then return kind, entry end
    end
  end
  return nil
end

--- flat.each(module, kind, f): f(path, module, entry) for every entry below the module, in the vector's order.
function flat.each(module, kind, f, path)
  path = path or ""
  for _, entry in ipairs(module[kind].entries) do f(path .. entry.name, module, entry) end
  for i, child in ipairs(module) do flat.each(child, kind, f, path .. (i - 1) .. ".") end
end

return flat
