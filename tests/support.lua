--- What the specs of tensors and operators share: independent references, comparison, and finite differences.
local plumb = require "plumb"

local support = {}

-- ---- references ----

--- erf(x): the Taylor series near 0, Laplace's continued fraction of erfc beyond (Abramowitz and Stegun 7.1.5, 7.1.14).
function support.erf(x)
  local size = math.abs(x)
  if size ~= size then return x end
  if size < 2.5 then
    local sum, term, n = x, x, 0
    repeat
      n = n + 1
      term = -term * x * x / n
      sum = sum + term / (2 * n + 1)
    until math.abs(term) < 1e-18
    return 2 / math.sqrt(math.pi) * sum
  end
  local tail = 0
  for n = 60, 1, -1 do tail = n / 2 / (size + tail) end
  local erfc = math.exp(-x * x) / math.sqrt(math.pi) / (size + tail)
  return x > 0 and 1 - erfc or erfc - 1
end

--- total(n, f) = f(1) + ... + f(n)
function support.total(n, f)
  local sum = 0
  for i = 1, n do sum = sum + f(i) end
  return sum
end

--- philox(counter, key) -> four words: ten rounds of Philox 4x32 (Salmon et al. 2011), in the paper's notation: counter
-- (L0, R0, L1, R1) as four words, key as two.
function support.philox(counter, key)
  local r0, l0, r1, l1 = table.unpack(counter)
  local k0, k1 = table.unpack(key)
  for _ = 1, 10 do
    local a, b = 0xD2511F53 * r0, 0xCD9E8D57 * r1
    r0, l0, r1, l1 = (b >> 32) ~ l0 ~ k0, b & 0xffffffff, (a >> 32) ~ l1 ~ k1, a & 0xffffffff
    k0, k1 = (k0 + 0x9E3779B9) & 0xffffffff, (k1 + 0xBB67AE85) & 0xffffffff
  end
  return { r0, l0, r1, l1 }
end

local function words(seed, stream, block)
  local low = 0xffffffff
  return support.philox({ block & low, block >> 32, stream & low, stream >> 32 }, { seed & low, seed >> 32 })
end

local function unit(high, low) return ((high << 32 | low) >> 11) * 2.0 ^ -53 end

--- uniform(seed, stream, i, dtype): element i (from 1) of plumb's stream of uniform numbers.
function support.uniform(seed, stream, i, dtype)
  if dtype == "float32" then return (words(seed, stream, (i - 1) // 4)[(i - 1) % 4 + 1] >> 8) * 2.0 ^ -24 end
  local w, at = words(seed, stream, (i - 1) // 2), (i - 1) % 2 * 2
  return unit(w[at + 1], w[at + 2])
end

--- normal(seed, stream, i): the same for standard normal numbers: Box-Muller, two from each block.
function support.normal(seed, stream, i)
  local w = words(seed, stream, (i - 1) // 2)
  local radius, angle = math.sqrt(-2 * math.log(1 - unit(w[1], w[2]))), 2 * math.pi * unit(w[3], w[4])
  return radius * (i % 2 == 1 and math.cos(angle) or math.sin(angle))
end

-- ---- numbers in and out ----

--- generator(seed) -> f(low, high): uniform numbers that do not come from plumb.
function support.generator(seed)
  local state = seed * 0x9E3779B97F4A7C15 + 1
  return function(low, high)
    state = state * 6364136223846793005 + 1442695040888963407
    return low + (high - low) * ((state >> 11) * 2.0 ^ -53)
  end
end

--- flat(t) -> the elements of a tensor, row by row, in one list
function support.flat(t)
  local out = {}
  local function walk(value)
    if type(value) ~= "table" then out[#out + 1] = value return end
    for _, element in ipairs(value) do walk(element) end
  end
  walk(t:tolist())
  return out
end

--- make(list, shape, dtype): a tensor from a flat list
function support.make(list, shape, dtype) return plumb.tensor(list, { dtype = dtype or "float64" }):reshape(shape) end

--- accessor(t) -> f(i, j, ...): the element there, nil outside of t
function support.accessor(t)
  local list = t:tolist()
  return function(...)
    local value = list
    for k = 1, select("#", ...) do value = value and value[select(k, ...)] end
    return value
  end
end

-- Naive convolutions, element by element, of accessors x (n, groups * C, height, width), w (groups * F, C, k1, k2) and
-- g (n, groups * F, r1, r2); o = {C =, F =, k =, s = stride, p = padding, d = dilation, n =, r =}.
local function window(o, axis) return (o.s or { 1, 1 })[axis], (o.p or { 0, 0 })[axis], (o.d or { 1, 1 })[axis] end

local function seen(o, axis, place, tap) -- where place i of the result looks through tap p
  local stride, padding, dilation = window(o, axis)
  return (place - 1) * stride + (tap - 1) * dilation - padding + 1
end

local function seeing(o, axis, at, tap) -- the place that looks there through this tap, if there is one
  local stride, padding, dilation = window(o, axis)
  local distance = at - 1 + padding - (tap - 1) * dilation
  return distance % stride == 0 and distance // stride + 1 or 0
end

function support.conv(x, w, o, s, f, i, j)
  local first = (f - 1) // o.F * o.C
  return support.total(o.C, function(c) return support.total(o.k[1], function(p) return support.total(o.k[2], function(q)
    return w(f, c, p, q) * (x(s, first + c, seen(o, 1, i, p), seen(o, 2, j, q)) or 0)
  end) end) end)
end

function support.conv_input(g, w, o, s, c, a, b)
  local first = (c - 1) // o.C * o.F
  return support.total(o.F, function(f) return support.total(o.k[1], function(p) return support.total(o.k[2], function(q)
    return w(first + f, (c - 1) % o.C + 1, p, q) * (g(s, first + f, seeing(o, 1, a, p), seeing(o, 2, b, q)) or 0)
  end) end) end)
end

function support.conv_weight(x, g, o, f, c, p, q)
  local first = (f - 1) // o.F * o.C
  return support.total(o.n, function(s) return support.total(o.r[1], function(i) return support.total(o.r[2], function(j)
    return g(s, f, i, j) * (x(s, first + c, seen(o, 1, i, p), seen(o, 2, j, q)) or 0)
  end) end) end)
end

--- The largest element of image s, channel c in some rows and columns, those outside left out.
function support.largest(x, s, c, rows, columns)
  local most = -math.huge
  for _, i in ipairs(rows) do
    for _, j in ipairs(columns) do most = math.max(most, x(s, c, i, j) or -math.huge) end
  end
  return most
end

--- each_index(shape, f): f(i, j, ...) for every place, row by row
function support.each_index(shape, f)
  local index = {}
  local function walk(axis)
    if axis > #shape then return f(table.unpack(index)) end
    for i = 1, shape[axis] do
      index[axis] = i
      walk(axis + 1)
    end
  end
  walk(1)
end

--- near(a, b, tolerance): |a - b| <= tolerance * max(1, |b|); infinities and NaN must be the same
function support.near(a, b, tolerance)
  if b ~= b then return a ~= a end
  return a == b or math.abs(a - b) <= tolerance * math.max(1, math.abs(b))
end

--- same_numbers(actual, expected, tolerance, what): two flat lists agree, or an error names the first place.
function support.same_numbers(actual, expected, tolerance, what)
  if #actual ~= #expected then error(("%s: %d numbers, not %d"):format(what, #actual, #expected), 2) end
  for i = 1, #expected do
    if not support.near(actual[i], expected[i], tolerance) then
      error(("%s: element %d is %.17g, not %.17g"):format(what, i, actual[i], expected[i]), 2)
    end
  end
end

--- same_bits(a, b, what): two tensors agree in dtype, shape and every bit.
function support.same_bits(a, b, what)
  local x, y = support.flat(a), support.flat(b)
  assert(a:dtype() == b:dtype() and table.concat(a:shape(), ",") == table.concat(b:shape(), ","), what)
  for i = 1, math.max(#x, #y) do
    if ("%a"):format(x[i]) ~= ("%a"):format(y[i]) then
      error(("%s: element %d: %a and %a"):format(what, i, x[i], y[i]), 2)
    end
  end
end

-- ---- errors ----

--- message_of(f, ...) -> the error that f raises; it is an error if f does not.
function support.message_of(f, ...)
  local ok, message = pcall(f, ...)
  if ok then error("an error was expected", 2) end
  return tostring(message)
end

--- fails_here(f, ...): f raises an error that names the caller's file and contains each of the texts. f calls as
-- `return (g())`: a tail call would leave no trace of its line.
function support.fails_here(f, ...)
  local message = support.message_of(f)
  local file = debug.getinfo(2, "S").short_src:match("[^/]*$")
  for _, text in ipairs { file .. ":", ... } do
    if not message:find(text, 1, true) then error(("'%s' lacks '%s'"):format(message, text), 2) end
  end
  return message
end

--- live_bytes(): what the core holds when everything that can go is gone.
function support.live_bytes()
  collectgarbage()
  collectgarbage()
  plumb.core.clear_cache()
  return plumb.memory().live
end

-- ---- gradients ----

-- The central difference of the scalar f by every element of every input.
local function differences(f, inputs, step)
  local result = {}
  for k, x in ipairs(inputs) do
    local list, shape, changed = support.flat(x), x:shape(), { table.unpack(inputs) }
    result[k] = {}
    for i, value in ipairs(list) do
      local side = {}
      for s = -1, 1, 2 do
        list[i] = value + s * step
        changed[k] = support.make(list, shape)
        side[s] = f(table.unpack(changed)):item()
      end
      list[i] = value
      result[k][i] = (side[1] - side[-1]) / (2 * step)
    end
  end
  return result
end

local function random_like(t, random)
  local list = {}
  for i = 1, t:numel() do list[i] = random(0.5, 1.5) end
  return support.make(list, t:shape())
end

--- check_gradients(f, inputs, what): f maps float64 tensors to a tensor. The gradient of <f, w>, and that of <gradient, v>,
-- agree with central differences.
function support.check_gradients(f, inputs, what)
  local random = support.generator(7)
  local w = random_like(f(table.unpack(inputs)), random)
  local directions = {}
  for k, x in ipairs(inputs) do directions[k] = random_like(x, random) end
  local count = { count = #inputs }
  local function value(...) return (f(...) * w):sum() end
  local function slope(...)
    local sum = 0
    for k, g in ipairs { plumb.grad(value, count)(...) } do sum = (g * directions[k]):sum() + sum end
    return sum
  end
  for order, target in ipairs { value, slope } do
    local expected = differences(target, inputs, 1e-5)
    for k, g in ipairs { plumb.grad(target, count)(table.unpack(inputs)) } do
      support.same_numbers(support.flat(g), expected[k], 2e-7, ("%s: order %d, input %d"):format(what, order, k))
    end
  end
end

return support
