--- The loss on lines and planes through a point: what a loss looks like around a solution.
local core = require "plumb.core"
local report = require "plumb.report"
local format = require "plumb.format"
local objective = require "plumb.measure.objective"
local Module = require "plumb.nn.module"
local pca = require "plumb.measure.pca"

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

-- ---- the path of a training ----

-- A list of vectors (P) as the rows of a float64 matrix.
local function matrix_of(vectors)
  local rows = {}
  for i, vector in ipairs(vectors) do rows[i] = vector:double():reshape(1, -1) end
  return core.concat(rows, 1)
end

-- A list of vectors, each as long as the first theta.
local function check_vectors(who, name, list, thetas)
  if type(list) ~= "table" or #list == 0 then report.fail("%s: %s must be a list of vectors", who, name) end
  for i, vector in ipairs(list) do
    if not core.is_tensor(vector) or vector:dim() ~= 1 or vector:numel() ~= thetas[1]:numel() then
      report.fail("%s: %s[%d] must be a vector like the first theta, not %s", who, name, i,
        core.is_tensor(vector) and "of shape " .. format.shape(vector) or type(vector))
    end
  end
end

-- `count` numbers from below the least to above the largest of a list, by a share of their distance.
local function around(list, count, margin)
  local low, high, steps = math.min(table.unpack(list)), math.max(table.unpack(list)), {}
  local room = margin * (high > low and high - low or 1)
  for i = 1, count do steps[i] = low - room + (high - low + 2 * room) * (i - 1) / (count - 1) end
  return steps
end

--- measure.path_plane(thetas, {points = 51, margin = 0.25}) -> plane, path, pca: the plane through the last of the recorded
--- thetas along their two principal components (Li et al. 2018, section 7), as measure.surface takes it: {x =, y = unit vectors
--- like theta, along_x =, along_y = `points` numbers each, which reach beyond the path by `margin` of its extent}; {x =, y =},
--- the path projected onto the plane, seen from the last theta; and what measure.pca returned.
function surface.path_plane(thetas, options)
  local who = "measure.path_plane"
  options = report.options(who, options, { points = 51, margin = 0.25 })
  local points, margin = report.integer(who, "points", options.points, 2), report.number(who, "margin", options.margin, 0)
  if type(thetas) ~= "table" or #thetas < 3 then
    report.fail("%s: a list of at least three recorded thetas, not %s", who, type(thetas) == "table" and #thetas or type(thetas))
  end
  local found = pca.pca(thetas, 2)
  local x, y = found:curve(thetas)
  local last, dtype = #x, thetas[1]:dtype()
  local end_x, end_y = x[last], y[last]
  for i = 1, last do x[i], y[i] = x[i] - end_x, y[i] - end_y end
  return { x = found.components[1]:cast(dtype):evaluate(), y = found.components[2]:cast(dtype):evaluate(),
    along_x = around(x, points, margin), along_y = around(y, points, margin) }, { x = x, y = y }, found
end

--- measure.variance_share(thetas, directions) -> the share, 0 to 1, of the variance of recorded thetas (a list of vectors) that
--- the space spanned by a list of independent directions shows; of principal components it is the sum of their ratios.
function surface.variance_share(thetas, directions)
  local who = "measure.variance_share"
  check_vectors(who, "thetas", thetas, thetas)
  check_vectors(who, "directions", directions, thetas)
  local mean = matrix_of(thetas):mean(1) -- (P)
  local d, total, along = matrix_of(directions), 0, nil -- (k, P)
  for _, theta in ipairs(thetas) do
    local centred = theta:double() - mean
    local a = d:matmul(centred) -- (k)
    total = total + centred:square():sum():item()
    along = (along and along + a:reshape(-1, 1) * a or a:reshape(-1, 1) * a):evaluate()
  end
  if total == 0 then return 0 end
  local ok, solved = pcall(function() return core.linalg.solve(d:matmul(d:transpose(1, 2)), along):tolist() end)
  if not ok then report.fail("%s: the directions are not independent", who) end
  local trace = 0
  for i, row in ipairs(solved) do trace = trace + row[i] end -- (D D^T)^-1 D C D^T
  return trace / total
end

return surface
