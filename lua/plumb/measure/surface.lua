--- The loss on lines and planes through a point: what a loss looks like around a solution.
local core = require "plumb.core"
local report = require "plumb.report"
local format = require "plumb.format"
local objective = require "plumb.measure.objective"
local Module = require "plumb.nn.module"

local surface = {}

-- ---- directions ----

-- Rows of d (n, ...) made as long as those of w: d_i |w_i| / |d_i|. Vectors (biases, normalisation) get zeros.
local function normalised(d, w)
  if w:dim() < 2 then return w * 0 end
  local rows, lengths = d:reshape(w:size(1), -1), w:reshape(w:size(1), -1):square():sum(2, true):sqrt()
  local own = rows:square():sum(2, true):sqrt()
  return core.where(own:gt(0), rows / own * lengths, rows * 0)
end

--- measure.filter_normalised_direction(model, {seed = 0, theta = model.theta}) -> a random direction (P) for surfaces that can be
--- compared between networks (Li et al. 2018, section 4): normal random numbers, of which each filter is scaled to the length
--- of the model's own: of a convolution's weight (out, in, kh, kw) the in * kh * kw numbers of an output channel, of a linear
--- layer's (out, in) a row. Tensors of one axis (biases, batch normalisation) get zeros.
function surface.filter_normalised_direction(model, options)
  local who = "measure.filter_normalised_direction"
  options = report.options(who, options, { seed = 0, theta = report.none })
  if not Module.is(model) then report.fail("%s: the model must be a module, not %s", who, type(model)) end
  local seed, theta = report.integer(who, "seed", options.seed), options.theta == nil and model.theta or options.theta
  if not core.is_tensor(theta) or theta:dim() ~= 1 or theta:numel() ~= model.size or theta:numel() == 0 then
    report.fail("%s: theta must be a vector (%d) of parameters of %s, not %s", who, model.size, model:describe_self(),
      core.is_tensor(theta) and "of shape " .. format.shape(theta) or type(theta))
  end
  local random, parts = core.random("normal", { model.size }, theta:dtype(), seed, 0), {}
  for i, parameter in ipairs(model:parameters()) do
    local function part(of)
      return of:slice(1, parameter.first, parameter.first + parameter.count - 1):reshape(parameter.value:shape())
    end
    parts[i] = normalised(part(random), part(theta)):flatten()
  end
  return core.concat(parts, 1):evaluate()
end

-- ---- values ----

local function check_direction(self, name, direction)
  if not core.is_tensor(direction) or direction:dim() ~= 1 or direction:numel() ~= self.size then
    report.fail("%s: %s must be a vector (%d) like theta, not %s", self.who, name, self.size,
      core.is_tensor(direction) and "of shape " .. format.shape(direction) or type(direction))
  end
  if objective.count_not_finite(direction) > 0 then report.fail("%s: %s has elements that are not finite", self.who, name) end
  return direction:cast(self.dtype):evaluate()
end

local function check_steps(who, name, steps)
  if core.is_tensor(steps) then steps = steps:flatten():tolist() end
  if type(steps) ~= "table" or #steps == 0 then
    report.fail("%s: %s must be a list of numbers such as {-1, 0, 1}, not %s", who, name,
      type(steps) == "table" and "an empty one" or type(steps))
  end
  for i, step in ipairs(steps) do
    if report.number(who, ("%s[%d]"):format(name, i), step) - step ~= 0 then
      report.fail("%s: %s[%d] is not finite", who, name, i)
    end
  end
  return steps
end

-- One row after another, here.
local function in_turn(rows, f)
  local results = {}
  for i, row in ipairs(rows) do results[i] = f(row) end
  return results
end

--- measure.surface(L, theta, {x = direction, along_x = steps}) -> losses, a list: L(theta + a x) for each a in steps, a list of
--- numbers. With {x =, y =, along_x =, along_y =} a list of rows, one for each b in along_y, of L(theta + a x + b y), as
--- plot.contour(losses, {x = along_x, y = along_y}) takes it. L may be measure.loss(model, loss, data). At a = b = 0 the value is
--- that at theta itself; values may be infinite or NaN. Like other functions of measure it can be called as (model, loss, data,
--- options). Option map = function(rows, f) that returns the list of f(row): rows can go to several processes,
--- map = function(rows, f) return run:map(rows, f) end (or plumb.experiment.map); the values are the same bits.
function surface.surface(...)
  local self, options = objective.read("measure.surface", { x = report.none, y = report.none, along_x = report.none,
    along_y = report.none, map = in_turn }, ...)
  local x, along_x = check_direction(self, "x", options.x), check_steps(self.who, "along_x", options.along_x)
  if (options.y == nil) ~= (options.along_y == nil) then report.fail("%s: y and along_y go together", self.who) end
  local y = options.y ~= nil and check_direction(self, "y", options.y) or nil
  local along_y = y and check_steps(self.who, "along_y", options.along_y) or { 0 }
  if type(options.map) ~= "function" then report.fail("%s: map must be a function, not %s", self.who, type(options.map)) end
  local theta, values = self.theta, nil
  local rows = options.map(along_y, function(b)
    values = values or self:values() -- compiled anew in another process
    local losses, start = {}, b ~= 0 and (theta + y * b):evaluate() or theta
    for i, a in ipairs(along_x) do losses[i] = values(a ~= 0 and (start + x * a):evaluate() or start):item() end
    return losses
  end)
  return y and rows or rows[1]
end

return surface
