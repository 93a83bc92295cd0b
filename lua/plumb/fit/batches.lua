--- Where plumb.fit's batches come from: a set, of which the compiled step itself picks the samples, or a loader (data.loader),
--- which makes them beside the training. A source has
---   indexed                     is a batch x, y and an index (k) into them, or x and y alone?
---   pick(x, y, index) -> x, y   the batch itself, within the step
---   count, steps                the samples and batches of an epoch
---   epoch(source, e)            for n, x, y, index in source:epoch(e): n is the number of samples
---   inputs(x, y, index) -> x    the batch's x as it is kept, outside of the step
local core = require "plumb.core"
local Loader = require "plumb.data.loader"
local report = require "plumb.report"
local set = require "plumb.data.set"

local batches = {}

-- ---- checks ----

--- batches.defaults: fit's options that decide on the batches.
batches.defaults = { batch = 64, shuffle = true, seed = 0, drop_last = false, augment = report.none, normalize = report.none }

--- batches.check(train, given, options): those options; a loader has its own, but a seed may be given for what else is random.
function batches.check(train, given, options)
  for _, name in ipairs { "shuffle", "drop_last" } do
    if type(options[name]) ~= "boolean" then report.fail("fit: %s must be true or false, not %s", name, type(options[name])) end
  end
  report.integer("fit", "batch", options.batch, 1)
  report.integer("fit", "seed", options.seed)
  for _, name in ipairs { "augment", "normalize" } do
    if options[name] ~= nil and type(options[name]) ~= "table" then
      report.fail("fit: %s must be a table, such as %s, not %s", name,
        name == "augment" and "{shift = 2, flip = true}" or "{mean = 0.13, std = 0.31}", type(options[name]))
    end
  end
  if not Loader.is(train) then return end
  if given.seed == nil then options.seed = train.seed end
  for name in pairs(batches.defaults) do
    if given[name] ~= nil and name ~= "seed" then report.fail("fit: %s is the loader's affair: data.loader(set, {...})", name) end
  end
end

-- What stands in one table of fit's options, for the loader's.
local function take(options, table_name, names, into)
  for name, value in pairs(options[table_name] or {}) do
    if not names[name] then report.fail("fit: %s has no field '%s'", table_name, tostring(name)) end
    into[name] = value
  end
  return into
end

-- How the training set becomes batches, as data.loader's options say it; nil when the step can pick them itself.
local function loader_settings(train, options, dtype)
  if options.augment == nil and options.normalize == nil then return nil end
  local settings = { batch = options.batch, shuffle = options.shuffle, seed = options.seed, drop_last = options.drop_last,
    dtype = set.inputs(train):dtype() == "uint8" and dtype or nil }
  take(options, "augment", { shift = true, flip = true }, settings)
  return take(options, "normalize", { mean = true, std = true }, settings)
end

--- batches.check_set(who, what, given, dtype): a data set or a loader whose x suits parameters of dtype.
function batches.check_set(who, what, given, dtype)
  local x_dtype
  if Loader.is(given) then
    x_dtype = given.dtype
  else
    set.check(who, what, given)
    x_dtype = set.inputs(given):dtype()
    if x_dtype == "uint8" then return end
  end
  if x_dtype ~= dtype then
    report.fail("%s: x of %s is %s, but the model's parameters are %s", who, what, x_dtype, dtype)
  end
end

-- ---- sources ----

-- A single batch that is the whole set, in its order: nothing is to be picked.
local function whole_set(train, dtype)
  local x, y = set.inputs(train), train.y
  local n = #x
  local source = { indexed = false, count = n, steps = 1 }
  function source.pick(all_x, all_y) return set.numbers(all_x, dtype), all_y end
  function source.inputs(all_x) return all_x end
  function source.epoch(_, _, done)
    return function()
      done = done + 1
      if done == 1 then return n, x, y end
    end
  end
  return source
end

local function from_set(train, options, dtype)
  local x, y = set.inputs(train), train.y
  local n, size = #x, options.batch
  local count = options.drop_last and n - n % size or n
  if count == 0 then report.fail("fit: drop_last leaves nothing of %d samples in batches of %d", n, size) end
  local source = { indexed = true, count = count, steps = math.ceil(count / size) }
  function source.pick(all_x, all_y, index)
    return set.numbers(all_x:index_select(1, index), dtype), all_y:index_select(1, index)
  end
  function source.inputs(all_x, _, index) return all_x:index_select(1, index) end
  function source:epoch(e, done)
    local order = options.shuffle and core.permutation(n, options.seed, e) or core.arange(n, 1, 1, "int64")
    local first = 1 + (done - 1) * size
    return function()
      first = first + size
      if first > count then return nil end
      local last = math.min(first + size - 1, count)
      return last - first + 1, x, y, order:slice(1, first, last)
    end
  end
  return source
end

local function from_loader(loader)
  local source = { indexed = false, count = loader:samples(), steps = #loader, loader = loader }
  function source.pick(x, y) return x, y end
  function source.inputs(x) return x end
  function source:epoch(e, done)
    local pass = loader:epoch(e)
    local x, y
    for _ = 1, done do x, y = pass(x, y) end
    return function()
      x, y = pass(x, y) -- the same handles again
      if x ~= nil then return #x, x, y end
    end, nil, nil, pass
  end
  return source
end

--- batches.source(train, options, dtype) -> the source of a training on a set or a loader.
function batches.source(train, options, dtype)
  if Loader.is(train) then return from_loader(train) end
  local settings = loader_settings(train, options, dtype)
  if settings then return from_loader(Loader.new(train, settings)) end
  local n = #train.y
  local whole = options.batch == n or options.batch > n and not options.drop_last
  if whole and not options.shuffle then return whole_set(train, dtype) end
  return from_set(train, options, dtype)
end

-- ---- evaluation ----

--- batches.validation(given, source, size) -> what to evaluate on: a set is normalised as the training is.
function batches.validation(given, source, size)
  local trained_on = source.loader
  if given == nil or Loader.is(given) or not trained_on or not trained_on.mean then return given end
  return Loader.new(given, { batch = size, shuffle = false, mean = trained_on.mean, std = trained_on.std,
    dtype = set.inputs(given):dtype() == "uint8" and trained_on.dtype or nil })
end

--- batches.in_order(given, size): for share, x, y in batches.in_order(...): all of a set, x as it is kept, or of a loader, in
--- batches that hold this share of its samples.
function batches.in_order(given, size)
  if Loader.is(given) then
    local pass, count = given:epoch(1), given:samples()
    local x, y
    return function()
      x, y = pass(x, y)
      if x ~= nil then return #x / count, x, y end
    end, nil, nil, pass
  end
  local x, y = set.inputs(given), given.y:evaluate() -- once, and not for each batch
  local n, first = #x, 1 - size
  return function()
    first = first + size
    if first > n then return nil end
    local last = math.min(first + size - 1, n)
    return (last - first + 1) / n, x:slice(1, first, last), y:slice(1, first, last)
  end
end

return batches
