--- Functions of functions: gradients, Hessian-vector products, mapped functions, compiled functions.
--
-- They see the tensors that go in as arguments and come out as results. A gradient's graph is made of ordinary operators,
-- so grad(grad(f)) is nothing special.
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"

local transform = {}

local function check_function(who, f)
  local meta = getmetatable(f)
  if type(f) ~= "function" and not (type(meta) == "table" and meta.__call) then
    report.fail("%s: a function was expected, not %s", who, type(f))
  end
  return f
end

-- How many of its first arguments a function is differentiated by.
local function check_count(who, options)
  return report.integer(who, "count", report.options(who, options, { count = 1 }).count, 1, 16)
end

--- value_and_grad(f, {count = 1}) -> a function of f's arguments that returns what f returns, then the gradients of its
--- first result, a single number, by its first `count` arguments.
function transform.value_and_grad(f, options)
  check_function("value_and_grad", f)
  local count = check_count("value_and_grad", options)
  return function(...) return core.value_and_grad(f, count, nil, ...) end
end

--- grad(f, {count = 1}) -> a function of f's arguments that returns the gradients of f's first result, a single number,
--- by its first `count` arguments: zeros by those that the result does not depend on (for a model's parameters write
--- model:at(theta)(x), since model(x) uses model.theta, not theta).
--- For any order: grad(function(x) return (grad(f)(x) * v):sum() end).
function transform.grad(f, options)
  check_function("grad", f)
  local count = check_count("grad", options)
  return function(...)
    local results = table.pack(core.value_and_grad(f, count, nil, ...))
    return table.unpack(results, results.n - count + 1, results.n)
  end
end

--- vjp(f)(x, v, ...) -> f(x, ...), v^T J: the vector-Jacobian product, for any result shape; v has the result's shape.
function transform.vjp(f)
  check_function("vjp", f)
  return function(x, v, ...)
    if not core.is_tensor(v) then report.fail("vjp: v must be a tensor of the result's shape, not %s", type(v)) end
    return core.value_and_grad(f, 1, v, x, ...)
  end
end

--- hvp(f)(x, v, ...) -> the Hessian of f at x times v (x's shape): the gradient of <grad f(x), v> (Pearlmutter 1994).
function transform.hvp(f)
  local gradient = transform.grad(f)
  return function(x, v, ...)
    if not core.is_tensor(x) or not core.is_tensor(v) or format.shape(x) ~= format.shape(v) then
      report.fail("hvp: x and v must be tensors of one shape, not %s and %s", core.is_tensor(x) and format.shape(x) or type(x),
        core.is_tensor(v) and format.shape(v) or type(v))
    end
    local rest = table.pack(...)
    return transform.grad(function(y)
      return (gradient(y, table.unpack(rest, 1, rest.n)) * v):sum()
    end)(x)
  end
end

--- vmap(f, {in_axes = 1, chunk_size = all}) -> a function of f's arguments that maps f over an axis of every tensor among
--- them and gives f's results (tensors) for all values, along a new first axis. in_axes: the axis, from 1, for all or in a
--- list one for each argument; 0 for an argument that is not mapped, as numbers never are. f is called once, with tensors
--- that lack the axis and have no values yet; its graph is rebuilt for all values at once, or for at most chunk_size of them
--- at a time, which takes less memory. What depends on no mapped argument is computed once.
--- Per-sample gradients: vmap(grad(loss), {in_axes = {0, 1, 1}})(theta, x, y). A Hessian, all columns at once:
--- vmap(function(v) return hvp(loss)(theta, v) end)(eye(n)).
function transform.vmap(f, options)
  check_function("vmap", f)
  options = report.options("vmap", options, { in_axes = report.none, chunk_size = report.none })
  local in_axes, chunk_size = options.in_axes, options.chunk_size
  if chunk_size then report.integer("vmap", "chunk_size", chunk_size, 1) end
  return function(...) return core.vmap(f, in_axes, chunk_size, ...) end
end

--- hessian(f, {chunk_size = 24}) -> a function of f's arguments that gives the Hessian (n, n) of f, a single number, at its
--- first argument, a vector (n): Hessian-vector products by vmap, chunk_size columns at a time. For more than one call
--- compile it: compile(hessian(f)).
function transform.hessian(f, options)
  local product = transform.hvp(f)
  local size = report.integer("hessian", "chunk_size", report.options("hessian", options, { chunk_size = 24 }).chunk_size, 1)
  return function(x, ...)
    if not core.is_tensor(x) or x:dim() ~= 1 then
      report.fail("hessian: the first argument must be a vector, not %s", core.is_tensor(x) and format.shape(x) or type(x))
    end
    local n, rest, chunks = x:numel(), table.pack(...), {}
    for first = 1, math.max(n, 1), size do
      local last = math.min(first + size - 1, n)
      local rows = core.arange(last - first + 1, 1, 1, x:dtype())
      local units = core.eq(core.reshape(rows, -1, 1), rows)
      chunks[#chunks + 1] = core.vmap(function(unit) -- where it is padded, that a part is zero is known beforehand
        return product(x, core.pad(unit, 1, first - 1, n - last), table.unpack(rest, 1, rest.n))
      end, nil, nil, units)
    end
    return core.concat(chunks, 1)
  end
end

--- compile(f) -> a function that runs f's graph without building it again. f gets tensors, numbers and variables and returns
--- tensors. It is traced once for each kind of arguments (dtype, shape, layout): what it does beside tensor operators, such
--- as printing, happens only then, and tensors that it uses without being given them are constants. For each variable among
--- the arguments f gets the tensor in it and must return the new value, in order, before its other results.
function transform.compile(f)
  check_function("compile", f)
  return core.compile(type(f) == "function" and f or function(...) return f(...) end)
end

--- variable(tensor): holds a tensor that changes from step to step: v:get(), v:set(tensor). A compiled function updates it in
--- place when nobody else holds the old value.
function transform.variable(t) return core.variable(t) end

return transform
