--- Making tensors, and the operators that are composed of others.
local core = require "plumb.core"
local report = require "plumb.report"
local format = require "plumb.format"

local tensor = {}
local methods, Tensor, operators = core.methods, core.Tensor, core.operators
local default_dtype = "float32"

-- ---- dtype and random state ----

--- set_default_dtype(dtype): "float32" (at the start) or "float64", for tensors made from here on.
function tensor.set_default_dtype(dtype)
  if dtype ~= "float32" and dtype ~= "float64" then
    report.fail("set_default_dtype: 'float32' or 'float64', not %s", tostring(dtype))
  end
  default_dtype = dtype
end

--- get_default_dtype() -> "float32" or "float64"
function tensor.get_default_dtype() return default_dtype end

-- The default stream of random numbers: each draw takes the next stream of the seed (Philox 4x32-10).
local seed, stream = 0, 0

--- manual_seed(seed): restarts the random numbers that rand, randn, randperm and new layers draw. The seed is 0 at the
--- start, so that a program does the same at every run.
function tensor.manual_seed(value)
  seed, stream = report.integer("manual_seed", "the seed", value), 0
end

--- get_rng_state() -> {seed =, stream =}: where the random numbers of manual_seed are.
function tensor.get_rng_state() return { seed = seed, stream = stream } end

--- set_rng_state(state): the random numbers go on from where they were when get_rng_state returned `state`.
function tensor.set_rng_state(state)
  if type(state) ~= "table" then report.fail("set_rng_state: what get_rng_state returned, not %s", type(state)) end
  local new_seed = report.integer("set_rng_state", "seed", state.seed)
  seed, stream = new_seed, report.integer("set_rng_state", "stream", state.stream)
end

--- next_key() -> seed, stream: a key that no draw has had yet.
function tensor.next_key()
  if core.is_compiling() or core.is_mapping() then
    report.fail("random numbers drawn while a function is %s would be the same %s: give them a seed, draw them outside, or use "
      .. "random_uniform(key, shape) with a key among the arguments", core.is_compiling() and "compiled" or "mapped",
      core.is_compiling() and "at every call" or "for every value")
  end
  stream = stream + 1
  return seed, stream
end

-- ---- making tensors ----

-- (3, 4, {dtype = ...}), ({3, 4}, {dtype = ...}) or (3, 4) -> shape, options
local function shape_and_options(who, ...)
  local arguments = table.pack(...)
  local options
  if type(arguments[arguments.n]) == "table" and (arguments.n > 1 or arguments[1][1] == nil and next(arguments[1])) then
    options = arguments[arguments.n]
    arguments.n = arguments.n - 1
  end
  if options == nil or #options == 0 then
    options = report.options(who, options, { dtype = default_dtype, seed = report.none })
  else
    report.fail("%s: the shape is one table or numbers, not both", who)
  end
  if type(arguments[1]) == "table" then return arguments[1], options end
  local shape = {}
  for i = 1, arguments.n do shape[i] = arguments[i] end
  return shape, options
end

--- tensor(list, {dtype = "float32"}): a tensor from a number or nested lists; lists of integers only become int64 if
--- asked for by dtype.
function tensor.tensor(list, options)
  if core.is_tensor(list) then
    return options and options.dtype and list:cast(options.dtype) or list
  end
  if type(list) ~= "table" and type(list) ~= "number" then
    report.fail("tensor: a number or nested lists of numbers, not %s", type(list))
  end
  return core.from_nested(list, report.options("tensor", options, { dtype = default_dtype }).dtype)
end

--- full({3, 4}, value, {dtype =}): every element is value.
function tensor.full(shape, value, options)
  if type(shape) ~= "table" then report.fail("full: full({3, 4}, value), with the shape as a table") end
  if type(value) ~= "number" then report.fail("full: the value must be a number, not %s", type(value)) end
  return core.full(shape, value, report.options("full", options, { dtype = default_dtype }).dtype)
end

--- zeros(3, 4) or zeros({3, 4}, {dtype = "float64"}): zeros of a shape.
function tensor.zeros(...)
  local shape, options = shape_and_options("zeros", ...)
  return core.full(shape, 0, options.dtype)
end

--- ones(3, 4) or ones({3, 4}, {dtype = "float64"}): ones of a shape.
function tensor.ones(...)
  local shape, options = shape_and_options("ones", ...)
  return core.full(shape, 1, options.dtype)
end

local function random(who, kind, ...)
  local shape, options = shape_and_options(who, ...)
  if options.seed then return core.random(kind, shape, options.dtype, report.integer(who, "seed", options.seed), 0) end
  return core.random(kind, shape, options.dtype, tensor.next_key())
end

--- rand(3, 4) or rand({3, 4}, {dtype =, seed =}): uniform numbers in [0, 1). With a seed they are always the same;
--- without, they continue the stream of manual_seed.
function tensor.rand(...) return random("rand", "uniform", ...) end

--- randn(3, 4) or randn({3, 4}, {dtype =, seed =}): standard normal numbers; see rand.
function tensor.randn(...) return random("randn", "normal", ...) end

--- randint(low, high, {3, 4}, {seed =}): int64 numbers from low to high, both included.
function tensor.randint(low, high, shape, options)
  options = report.options("randint", options, { seed = report.none })
  report.integer("randint", "high", high, report.integer("randint", "low", low))
  local uniform = tensor.rand(shape, { dtype = "float64", seed = options.seed })
  return (uniform * (high - low + 1)):floor():cast("int64") + low
end

--- randperm(n, {seed =}): 1 .. n in random order, int64.
function tensor.randperm(n, options)
  n = report.integer("randperm", "n", n, 0)
  options = report.options("randperm", options, { seed = report.none })
  if options.seed then return core.permutation(n, report.integer("randperm", "seed", options.seed), 0) end
  return core.permutation(n, tensor.next_key())
end

--- arange(first, last, step, {dtype =}): first, first + step, ... up to last, which is included as in Lua's `for`;
--- arange(n) counts 1 .. n. Integers give int64.
function tensor.arange(first, last, step, options)
  if type(last) == "table" or last == nil then first, last, step, options = 1, first, 1, last end
  if type(step) == "table" then step, options = 1, step end
  step = step or 1
  report.number("arange", "first", first)
  report.number("arange", "last", last)
  report.number("arange", "step", step)
  if step == 0 then report.fail("arange: the step must not be 0") end
  local integers = math.type(first) == "integer" and math.type(last) == "integer" and math.type(step) == "integer"
  options = report.options("arange", options, { dtype = integers and "int64" or default_dtype })
  local steps = (last - first) / step * (1 + 1e-15)
  if not (steps < 2 ^ 62) then report.fail("arange: from %s to %s in steps of %s", first, last, step) end
  return core.arange(steps < 0 and 0 or math.floor(steps) + 1, first, step, options.dtype)
end

--- linspace(first, last, n, {dtype =}): n numbers evenly spaced from first to last, both included.
function tensor.linspace(first, last, n, options)
  n = report.integer("linspace", "n", n, 1)
  report.number("linspace", "first", first)
  report.number("linspace", "last", last)
  options = report.options("linspace", options, { dtype = default_dtype })
  local t = core.arange(n, first, n > 1 and (last - first) / (n - 1) or 0, "float64")
  if n > 1 then t[n] = last end
  return t:cast(options.dtype)
end

--- eye(n, m, {dtype =}): the identity matrix (n, m); m is n if left out.
function tensor.eye(n, m, options)
  if type(m) == "table" then m, options = nil, m end
  n = report.integer("eye", "n", n, 0)
  m = report.integer("eye", "m", m or n, 0)
  options = report.options("eye", options, { dtype = default_dtype })
  local row, column = tensor.arange(n):reshape(n, 1), tensor.arange(m):reshape(1, m)
  return row:eq(column):cast(options.dtype)
end

-- ---- composed operators ----

-- Registers an operator that is composed of others, beside the rows of the core's table: as function, as method and as an
-- entry that the tests walk.
local function composed(row)
  row.kind, row.differentiable, row.doc = "composed", row.differentiable ~= false, row.doc
  operators[row.name] = row
  tensor[row.name] = row.call
  methods[row.name] = methods[row.name] or row.call
end

local function check(who, x)
  if not core.is_tensor(x) then report.fail("%s: a tensor was expected, not %s", who, type(x)) end
  return x
end

local function real(x)
  local dtype = x:dtype()
  return (dtype == "float32" or dtype == "float64") and x or x:cast("float32")
end

-- The number of elements that a reduction along `axes` puts together.
local function reduced_count(x, axes)
  if axes == nil then return x:numel() end
  local count = 1
  for _, axis in ipairs(type(axes) == "table" and axes or { axes }) do count = count * x:size(axis) end
  return count
end

composed { name = "mean", signature = "x, axes:axes?, keepdim:boolean?",
  doc = "The mean of all elements, or along an axis or a list of axes.",
  samples = "x=randn(2,3) ; x:mean(2) ; i -> total(3, function(j) return x(i,j) end) / 3",
  call = function(x, axes, keepdim)
    x = real(check("mean", x))
    return x:sum(axes, keepdim) / reduced_count(x, axes)
  end }

composed { name = "var", signature = "x, axes:axes?, keepdim:boolean?, correction=1",
  doc = "The variance of all elements or along axes, divided by n - correction (1: unbiased).",
  samples = "x=randn(2,3) ; x:var(2) ; i -> (x(i,1)^2 + x(i,2)^2 + x(i,3)^2 - (x(i,1)+x(i,2)+x(i,3))^2/3) / 2",
  call = function(x, axes, keepdim, correction)
    x = real(check("var", x))
    correction = report.number("var", "correction", correction or 1)
    local deviation = x - x:mean(axes, true)
    return deviation:square():sum(axes, keepdim) / (reduced_count(x, axes) - correction)
  end }

composed { name = "std", signature = "x, axes:axes?, keepdim:boolean?, correction=1",
  doc = "The standard deviation: the square root of var.",
  samples = "x=randn(2,3) ; x:std(2) ; i -> math.sqrt((x(i,1)^2 + x(i,2)^2 + x(i,3)^2 - (x(i,1)+x(i,2)+x(i,3))^2/3) / 2)",
  call = function(x, axes, keepdim, correction) return methods.var(x, axes, keepdim, correction):sqrt() end }

composed { name = "norm", signature = "x, axes:axes?, keepdim:boolean?",
  doc = "The Euclidean norm of all elements or along axes; its gradient at 0 is 0.",
  samples = "x=randn(2,3) ; x:norm(2) ; i -> math.sqrt(x(i,1)^2 + x(i,2)^2 + x(i,3)^2)",
  call = function(x, axes, keepdim)
    local squares = real(check("norm", x)):square():sum(axes, keepdim)
    local zero = squares:eq(0)
    return core.where(zero, 0, core.where(zero, 1, squares):sqrt())
  end }

composed { name = "logsumexp", signature = "x, axis:axis, keepdim:boolean?",
  doc = "log of the sum of e^x along an axis, exact for large x: the maximum is taken out first.",
  samples = "x=randn(2,3) ; x:logsumexp(2) ; i -> math.log(math.exp(x(i,1)) + math.exp(x(i,2)) + math.exp(x(i,3)))",
  call = function(x, axis, keepdim)
    local largest = real(check("logsumexp", x)):max(axis, true):detach()
    largest = core.where(largest:isfinite(), largest, 0)
    local result = (x - largest):exp():sum(axis, true):log() + largest
    return keepdim and result or result:sum(axis)
  end }

composed { name = "log_softmax", signature = "x, axis:axis",
  doc = "x - logsumexp(x) along an axis: the logarithms of softmax.",
  samples = "x=randn(2,3) ; x:log_softmax(2) ; i,j -> x(i,j) - math.log(math.exp(x(i,1)) + math.exp(x(i,2)) + math.exp(x(i,3)))",
  call = function(x, axis)
    local shifted = real(check("log_softmax", x)) - x:max(axis, true):detach()
    return shifted - shifted:exp():sum(axis, true):log()
  end }

composed { name = "softmax", signature = "x, axis:axis",
  doc = "e^x divided by its sum along an axis.",
  samples = "x=randn(2,3) ; x:softmax(2) ; i,j -> math.exp(x(i,j)) / (math.exp(x(i,1)) + math.exp(x(i,2)) + math.exp(x(i,3)))",
  call = function(x, axis)
    local e = (real(check("softmax", x)) - x:max(axis, true):detach()):exp()
    return e / e:sum(axis, true)
  end }

composed { name = "argmin", signature = "x, axis:axis?, keepdim:boolean?", differentiable = false,
  doc = "Where the smallest element stands along an axis (from 1; the first of equals), or in the flattened tensor.",
  samples = "x=randn(2,2) ; x:argmin(2) ; i -> x(i,1) <= x(i,2) and 1 or 2",
  call = function(x, axis, keepdim)
    local whole = check("argmin", x):dtype() == "int64" -- -1 - x reverses the order of integers without overflow
    return (whole and -1 - x or -x):argmax(axis, keepdim)
  end }

composed { name = "one_hot", signature = "x, classes:integer", differentiable = false,
  doc = "For labels (int64, from 1): a last axis of `classes` elements that is 1 at the label, else 0 (default dtype).",
  samples = "n=tensor({2,1,3}) ; n:one_hot(4) ; i,j -> n(i) == j and 1 or 0",
  call = function(x, classes)
    report.integer("one_hot", "classes", classes, 0)
    local shape = check("one_hot", x):shape()
    shape[#shape + 1] = 1
    return x:reshape(shape):eq(tensor.arange(classes)):cast(default_dtype)
  end }

composed { name = "stack", signature = "parts:tensors, axis:axis?",
  doc = "The tensors of a list, all of one shape, along a new axis (by default the first).",
  samples = "x=randn(3), y=randn(3) ; stack({x,y},2) ; i,j -> j == 1 and x(i) or y(i)",
  call = function(parts, axis)
    if type(parts) ~= "table" or #parts == 0 then report.fail("stack: a list of tensors, not %s", type(parts)) end
    local rows = {}
    for i, part in ipairs(parts) do rows[i] = check("stack", part):unsqueeze(axis or 1) end
    return core.concat(rows, axis or 1)
  end }

composed { name = "unsqueeze", signature = "x, axis:axis", doc = "x with a new axis of size 1 at this place.",
  samples = "x=randn(2,3) ; x:unsqueeze(2) ; i,j,k -> x(i,k)",
  call = function(x, axis)
    local shape = check("unsqueeze", x):shape()
    axis = report.integer("unsqueeze", "axis", axis, -#shape - 1, #shape + 1)
    if axis == 0 then report.fail("unsqueeze: axes count from 1 (or from the end with -1)") end
    if axis < 0 then axis = #shape + 2 + axis end
    table.insert(shape, axis, 1)
    return x:reshape(shape)
  end }

composed { name = "squeeze", signature = "x, axis:axis?", doc = "x without its axes of size 1, or without this one.",
  samples = "x=randn(2,1,3) ; x:squeeze() ; i,j -> x(i,1,j)",
  call = function(x, axis)
    local shape = {}
    if axis and check("squeeze", x):size(axis) ~= 1 then
      report.fail("squeeze: axis %d of shape %s is not of size 1", axis, format.shape(x))
    end
    for i, size in ipairs(check("squeeze", x):shape()) do
      local here = axis == nil or i == axis or i == axis + 1 + x:dim()
      if not (size == 1 and here) then shape[#shape + 1] = size end
    end
    return x:reshape(shape)
  end }

composed { name = "flatten", signature = "x, first:axis?", doc = "x with all axes from `first` (by default 1) on as one.",
  samples = "x=randn(2,3,2) ; x:flatten(2) ; i,j -> x(i,(j-1)//2+1,(j-1)%2+1)",
  call = function(x, first)
    local shape, left, rank = {}, 1, check("flatten", x):dim()
    first = report.integer("flatten", "first", first or 1, -rank, math.max(rank, 1))
    if first < 0 then first = rank + 1 + first end
    for i, size in ipairs(x:shape()) do
      if i < first then shape[i] = size else left = left * size end
    end
    shape[#shape + 1] = left
    return x:reshape(shape)
  end }

composed { name = "t", signature = "x", doc = "The transpose of a matrix.",
  samples = "x=randn(2,3) ; x:t() ; i,j -> x(j,i)",
  call = function(x)
    if check("t", x):dim() ~= 2 then report.fail("t: a matrix, not shape %s (see transpose)", format.shape(x)) end
    return x:transpose(1, 2)
  end }

composed { name = "dot", signature = "x, y", doc = "The sum of the products of two vectors' elements.",
  samples = "x=randn(3), y=randn(3) ; x:dot(y) ; -> x(1)*y(1) + x(2)*y(2) + x(3)*y(3)",
  call = function(x, y)
    if check("dot", x):dim() ~= 1 or check("dot", y):dim() ~= 1 or #x ~= #y then
      report.fail("dot: two vectors of one length, not shapes %s and %s", format.shape(x), format.shape(y))
    end
    return (x * y):sum()
  end }

composed { name = "lerp", signature = "x, y, weight", doc = "x + weight * (y - x).",
  samples = "x=randn(3), y=randn(3) ; x:lerp(y, 0.25) ; i -> 0.75 * x(i) + 0.25 * y(i)",
  call = function(x, y, weight)
    if not core.is_tensor(weight) then report.number("lerp", "weight", weight) end
    return check("lerp", x) * (1 - weight) + check("lerp", y) * weight
  end }

-- ---- average pooling: the mean over windows of rows, then of columns, each a product with a matrix ----

-- The matrix (windows, size) that takes means along an axis: a window's row holds 1 / count from its first to its last place.
local function averaging_matrix(size, windows, dtype)
  local rows = {}
  for i, window in ipairs(windows) do
    local row = {}
    for j = 1, size do row[j] = j >= window.first and j <= window.last and 1 / window.count or 0 end
    rows[i] = row
  end
  return core.from_nested(rows, dtype)
end

-- Images (..., h, w) with both axes averaged: windows[1] for rows, windows[2] for columns. nil: as they are.
local function average(x, windows)
  if windows[2] then x = x:matmul(averaging_matrix(x:size(-1), windows[2], x:dtype()):t()) end
  if windows[1] then x = averaging_matrix(x:size(-2), windows[1], x:dtype()):matmul(x) end
  return x
end

local function check_images(who, x)
  if check(who, x):dim() ~= 4 then
    report.fail("%s: images (n, channels, height, width) were expected, not shape %s", who, format.shape(x))
  end
  return real(x)
end

-- 3 or {3, 5} -> 3, 3 or 3, 5
local function pair(who, name, value, low)
  if type(value) ~= "table" then value = { value, value } end
  return report.integer(who, name, value[1], low), report.integer(who, name, value[2], low)
end

-- The windows along an axis of this size: {first, last, count}. With `ceil` a last one may reach beyond the padding behind,
-- where nothing counts, if it begins before that.
local function windows_of(size, width, stride, pad, count_pad, ceil)
  local windows = {}
  local last_first = ceil and math.min(size + pad - width + stride, size) or size + pad - width + 1
  for first = 1 - pad, last_first, stride do
    local from, to = math.max(first, 1), math.min(first + width - 1, size)
    local count = count_pad and math.min(first + width - 1, size + pad) - first + 1 or to - from + 1
    windows[#windows + 1] = { first = from, last = to, count = count }
  end
  return windows
end

composed { name = "avg_pool2d", signature = "x, kernel:integers, stride:integers?, padding:integers?, "
    .. "count_include_pad:boolean?, ceil_mode:boolean?",
  doc = "The mean of each window of images (n, c, h, w); numbers or {vertical, horizontal}; stride is by default the kernel.\n"
    .. "The padding's zeros count unless count_include_pad is false; with ceil_mode a last window may reach beyond the image.",
  samples = "x=randn(1,2,3,4) ; x:avg_pool2d({2,1},1) ; n,c,i,j -> (x(n,c,i,j) + x(n,c,i+1,j)) / 2\n"
    .. "x=randn(2,1,2,3) ; x:avg_pool2d(2,2,1) ; n,c,i,j -> (j == 1 and x(n,c,i,1) or x(n,c,i,2) + x(n,c,i,3)) / 4\n"
    .. "x=randn(2,1,2,3) ; x:avg_pool2d(2,2,1,false) ; n,c,i,j -> j == 1 and x(n,c,i,1) or (x(n,c,i,2) + x(n,c,i,3)) / 2\n"
    .. "x=randn(1,2,1,3) ; x:avg_pool2d({1,2},2,0,true,true) ; n,c,i,j -> j == 1 and (x(n,c,1,1) + x(n,c,1,2)) / 2 or x(n,c,1,3)",
  call = function(x, kernel, stride, padding, count_include_pad, ceil_mode)
    x = check_images("avg_pool2d", x)
    local windows = {}
    local kernels = { pair("avg_pool2d", "kernel", kernel, 1) }
    local strides = { pair("avg_pool2d", "stride", stride or kernel, 1) }
    local paddings = { pair("avg_pool2d", "padding", padding or 0, 0) }
    for axis = 1, 2 do
      local size, width, pad = x:size(2 + axis), kernels[axis], paddings[axis]
      if pad > width // 2 then report.fail("avg_pool2d: padding %d is more than half the kernel %d", pad, width) end
      if width > size + 2 * pad + (ceil_mode and strides[axis] - 1 or 0) then
        report.fail("avg_pool2d: a kernel of %d does not fit into shape %s with padding %d", width, format.shape(x), pad)
      end
      windows[axis] = windows_of(size, width, strides[axis], pad, count_include_pad ~= false, ceil_mode)
    end
    return average(x, windows)
  end }

composed { name = "adaptive_avg_pool2d", signature = "x, size:integers",
  doc = "Images (n, c, h, w) averaged to (n, c, height, width): a number or {height, width}. Row i is the mean of rows\n"
    .. "floor((i - 1) h / height) + 1 .. ceil(i h / height), columns likewise.",
  samples = "x=randn(2,1,2,3) ; x:adaptive_avg_pool2d({1,2}) ; n,c,i,j -> "
    .. "(x(n,c,1,j) + x(n,c,1,j+1) + x(n,c,2,j) + x(n,c,2,j+1)) / 4",
  call = function(x, size)
    x = check_images("adaptive_avg_pool2d", x)
    local sizes, windows = { pair("adaptive_avg_pool2d", "size", size, 1) }, {}
    for axis = 1, 2 do
      local from, to = x:size(2 + axis), sizes[axis]
      if from == 0 then report.fail("adaptive_avg_pool2d: shape %s has no pixels", format.shape(x)) end
      windows[axis] = from ~= to and {} or nil
      for i = 1, from ~= to and to or 0 do
        local first, last = (i - 1) * from // to + 1, (i * from + to - 1) // to
        windows[axis][i] = { first = first, last = last, count = last - first + 1 }
      end
    end
    return average(x, windows)
  end }

-- ---- the rest of the methods ----

--- t:float(), t:double(), t:long(): t as float32, float64, int64.
function methods.float(x) return x:cast("float32") end
function methods.double(x) return x:cast("float64") end
function methods.long(x) return x:cast("int64") end

--- t:clone(): the same value under a new handle, which assignment to elements does not share.
function methods.clone(x) return x:reshape(x:shape()) end

--- t:contiguous(): t itself; layouts are the planner's affair.
function methods.contiguous(x) return x end

--- t:equal(other): are shapes and all elements the same? A Lua boolean; NaN equals nothing.
function methods.equal(x, y)
  if not core.is_tensor(y) or format.shape(x) ~= format.shape(y) then return false end
  return x:numel() == 0 or x:eq(y):min():item() == 1
end

--- t:allclose(other, rtol = 1e-5, atol = 1e-8): |x - y| <= atol + rtol |y| everywhere? A Lua boolean.
function methods.allclose(x, y, rtol, atol)
  local bound = y:abs() * (rtol or 1e-5) + (atol or 1e-8)
  return x:numel() == 0 or (x - y):abs():le(bound):min():item() == 1
end

Tensor.__add, Tensor.__sub, Tensor.__mul, Tensor.__div = core.add, core.sub, core.mul, core.div
Tensor.__mod, Tensor.__pow, Tensor.__idiv = core.remainder, core.pow, core.floor_divide
Tensor.__unm = function(x) return core.neg(x) end
Tensor.__tostring = format.tensor
Tensor.__name = "tensor"
Tensor.__methods = methods

for name, row in pairs(operators) do
  if row.call and tensor[name] == nil and not name:find(".", 1, true) then tensor[name] = row.call end
end

return tensor
