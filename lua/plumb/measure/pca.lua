--- Principal components of recorded parameters: where a training went, in a plane.
local core = require "plumb.core"
local report = require "plumb.report"
local format = require "plumb.format"
local linalg = core.linalg
local objective = require "plumb.measure.objective"
local Module = require "plumb.nn.module"

local pca = {}

local COLUMNS = 65536 -- of the rows at a time, in float64
local EPSILON = 2.0 ^ -52

local PCA = { doc = [[
What measure.pca returns: components (k, P), orthogonal unit rows; mean (P); projections (n, k) of the rows;
explained_variance and explained_variance_ratio (lists of k); total_variance; :project(points) -> (m, k) of a theta or
several; :curve(thetas) -> x, y and :label(axis) for a plot.]] }
PCA.__index = PCA
PCA.__name = "measure.pca"

-- A tensor (n, P), or a list of tensors (P), as a list of vectors.
local function list_of_rows(who, rows)
  if core.is_tensor(rows) then
    if rows:dim() ~= 2 then report.fail("%s: rows must be a tensor (n, P), not of shape %s", who, format.shape(rows)) end
    local list = {}
    for i = 1, rows:size(1) do list[i] = rows:slice(1, i, i):flatten() end
    return list
  end
  if type(rows) ~= "table" then report.fail("%s: rows must be a tensor (n, P) or a list of thetas, not %s", who, type(rows)) end
  for i, row in ipairs(rows) do
    if not core.is_tensor(row) or row:dim() ~= 1 or row:numel() ~= rows[1]:numel() then
      report.fail("%s: row %d must be a theta like the first, not %s", who, i,
        core.is_tensor(row) and "of shape " .. format.shape(row) or type(row))
    end
  end
  return rows
end

-- The part of the rows that a layer is.
local function cut(who, rows, layer)
  local size = rows[1]:numel()
  local first, last = 1, size
  if Module.is(layer) then
    first, last = objective.module_range(who, layer, size)
  elseif type(layer) == "table" and #layer == 2 then
    first = report.integer(who, "layer[1]", layer[1], 1, size)
    last = report.integer(who, "layer[2]", layer[2], first, size)
  elseif layer ~= nil then
    report.fail("%s: layer must be a layer of the model or {first, last} in theta, not %s", who, type(layer))
  end
  local parts = {}
  for i, row in ipairs(rows) do parts[i] = row:slice(1, first, last) end
  return parts, last - first + 1
end

-- Calls f(x) with the rows' columns, COLUMNS at a time, as x (n, columns) in float64.
local function each_block(rows, size, f)
  for first = 1, size, COLUMNS do
    local last, parts = math.min(first + COLUMNS - 1, size), {}
    for i, row in ipairs(rows) do parts[i] = row:slice(1, first, last):cast("float64"):reshape(1, -1) end
    f(core.concat(parts, 1))
  end
end

local function centred(x) return x - x:mean(1, true) end

-- Eigenvalues, largest first, and the k leading eigenvectors as rows of X X^T or X^T X, whichever is smaller. Eigenvalues below
-- `floor` or below the rounding error of the largest one are 0.
local function leading(matrix, k, floor)
  local values, vectors = linalg.eigh(matrix)
  local list, size = {}, values:numel()
  for i, value in ipairs(values:tolist()) do list[size + 1 - i] = value end
  floor = math.max(floor, 10 * size * EPSILON * list[1])
  for i, value in ipairs(list) do list[i] = value > floor and value or 0 end
  return list, vectors:slice(2, size - k + 1, size):transpose(1, 2):slice(1, -1, 1, -1)
end

-- Rows of length 1, orthogonal to those before, which small ones computed from the Gram matrix are not; zeros where the
-- eigenvalue is 0. Gram and Schmidt's process, twice.
local function orthonormal(rows, values)
  local basis = {}
  for i = 1, rows:size(1) do
    local row = rows:slice(1, i, i)
    for _ = 1, i > 1 and values[i] > 0 and 2 or 0 do
      local before = core.concat(basis, 1)
      row = row - row:matmul(before:transpose(1, 2)):matmul(before)
    end
    basis[i] = (values[i] > 0 and row / row:norm() or row * 0):evaluate()
  end
  return core.concat(basis, 1)
end

-- Each component's sign is such that its element of largest size is positive.
local function fix_signs(components)
  local places = components:abs():argmax(2, true)
  return components * components:gather(2, places):sign()
end

local function total(list)
  local sum = 0
  for _, value in ipairs(list) do sum = sum + value end
  return sum
end

--- measure.pca(rows, k, {layer =}) -> the k (by default 2) principal components of n recorded thetas, a tensor (n, P) or a list
--- of vectors (P); with layer = a layer of the model or {first, last} of that part of them. A table: components (k, P), mean (P),
--- projections (n, k) of the rows, explained_variance (with n - 1), explained_variance_ratio, total_variance, and
--- :project(points) for other thetas; :curve(thetas) and :label(axis) for a plot. Computed in float64; where P > n from the
--- n x n Gram matrix, so that thetas may be long. A component's sign is fixed: its element of largest size is positive. Where
--- the rows span fewer than k directions, to rounding, the components beyond are zeros.
function pca.pca(rows, k, options)
  local who = "measure.pca"
  options = report.options(who, options, { layer = report.none })
  rows = list_of_rows(who, rows)
  local n = #rows
  if n < 2 then report.fail("%s: at least two rows are needed, not %d", who, n) end
  local parts, size = cut(who, rows, options.layer)
  k = report.integer(who, "k", k == nil and math.min(2, n, size) or k, 1, math.min(n, size))
  local wide = size > n
  local matrix, means, largest = nil, {}, 0
  each_block(parts, size, function(x)
    if objective.count_not_finite(x) > 0 then report.fail("%s: the rows have elements that are not finite", who) end
    means[#means + 1], largest = x:mean(1):evaluate(), math.max(largest, x:abs():max():item())
    if not wide then return end
    local c = centred(x)
    matrix = matrix and matrix + c:matmul(c:transpose(1, 2)) or c:matmul(c:transpose(1, 2))
  end)
  if not wide then
    each_block(parts, size, function(x) matrix = centred(x) end)
    matrix = matrix:transpose(1, 2):matmul(matrix)
  end
  local values, vectors = leading(matrix, k, n * size * (EPSILON * largest) ^ 2) -- which is what rounding the mean leaves
  local components = vectors
  if wide then
    components = {}
    each_block(parts, size, function(x) components[#components + 1] = vectors:matmul(centred(x)):evaluate() end)
    components = core.concat(components, 2)
  end
  components = orthonormal(components, values)
  local variances, ratios, all = {}, {}, total(values)
  for i = 1, k do variances[i], ratios[i] = values[i] / (n - 1), all > 0 and values[i] / all or 0 end
  local self = setmetatable({ components = fix_signs(components):evaluate(), mean = core.concat(means, 1):evaluate(),
    explained_variance = variances, explained_variance_ratio = ratios, total_variance = all / (n - 1), layer = options.layer },
    PCA)
  self.projections = self:project(rows)
  return self
end

--- pca:project(points) -> (m, k): the coordinates of thetas, a tensor (m, P), a list, or a single theta (P). Points are whole
--- thetas also where the components are those of a layer.
function PCA:project(points)
  local who = "pca:project"
  if core.is_tensor(points) and points:dim() == 1 then points = { points } end
  local rows = list_of_rows(who, points)
  if #rows == 0 then report.fail("%s: there are no points", who) end
  local size = self.mean:numel()
  local coordinates, first = nil, 1
  local parts, found = cut(who, rows, rows[1]:numel() ~= size and self.layer or nil)
  if found ~= size then report.fail("%s: points of %d elements, but the components have %d", who, found, size) end
  each_block(parts, size, function(x)
    if objective.count_not_finite(x) > 0 then report.fail("%s: the points have elements that are not finite", who) end
    local last = first + x:size(2) - 1
    local part = (x - self.mean:slice(1, first, last)):matmul(self.components:slice(2, first, last):transpose(1, 2))
    coordinates, first = (coordinates and coordinates + part or part):evaluate(), last + 1
  end)
  return coordinates
end

--- pca:curve(thetas, {axes = {1, 2}}) -> x, y (lists): the path of recorded thetas in the plane of two components, for a plot.
function PCA:curve(thetas, options)
  local who = "pca:curve"
  local axes = report.options(who, options, { axes = { 1, 2 } }).axes
  if type(axes) ~= "table" or #axes ~= 2 then
    report.fail("%s: axes must be the numbers of two components, such as {1, 2}", who)
  end
  local lists, coordinates = {}, self:project(thetas)
  for i, axis in ipairs(axes) do
    report.integer(who, ("axes[%d]"):format(i), axis, 1, coordinates:size(2))
    lists[i] = coordinates:slice(2, axis, axis):flatten():tolist()
  end
  return lists[1], lists[2]
end

--- pca:label(axis) -> "component 1 (28 % of the variance)", for the axis of a plot.
function PCA:label(axis)
  report.integer("pca:label", "axis", axis, 1, #self.explained_variance_ratio)
  return ("component %d (%.0f %% of the variance)"):format(axis, 100 * self.explained_variance_ratio[axis])
end

return pca
