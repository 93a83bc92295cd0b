--- The Krylov basis under measure.lanczos and measure.density: A Q = Q T + beta q e^T for a symmetric A known by its products.
--
-- Every new vector is orthogonalised against all earlier ones, twice, which keeps the basis orthogonal to machine precision
-- (Parlett 1998, section 6.9: "twice is enough"); so there are no ghost copies of eigenvalues. T is taken from all coefficients
-- of that process, not just the last two, and so stays right after a thick restart too (Wu and Simon 2000).
local core = require "plumb.core"
local report = require "plumb.report"
local transform = require "plumb.transform"
local linalg = core.linalg

local Krylov = {}
Krylov.__index = Krylov

local EPSILON = 2.0 ^ -52

--- Krylov.new(who, product, size, rows, dtype): room for `rows` basis vectors (size) in float64. product(v) is A v, for v of
--- `dtype`; it may be float32.
function Krylov.new(who, product, size, rows, dtype)
  local memory, bytes = core.memory(), 8.0 * rows * size
  if 2 * bytes > memory.budget - memory.live then -- a restart holds the basis twice
    report.fail("%s: a basis of %d vectors of %d parameters takes %.0f MB and is held twice, but the memory budget leaves "
      .. "%.0f MB", who, rows, size, bytes / 2 ^ 20, (memory.budget - memory.live) / 2 ^ 20)
  end
  local self = setmetatable({ who = who, size = size, rows = rows, steps = 0 }, Krylov)
  self.product = function(v)
    self.steps = self.steps + 1
    return dtype == "float64" and product(v) or product(v:cast(dtype)):double()
  end
  local row_numbers = core.arange(rows, 1, 1, "float64"):reshape(-1, 1):evaluate()
  self.orthogonalise = transform.compile(function(basis, w)
    local first = basis:matmul(w)
    local once = w - first:matmul(basis)
    local second = basis:matmul(once)
    local twice = once - second:matmul(basis)
    return first + second, twice, twice:norm()
  end)
  self.place = transform.compile(function(basis, q, row) return core.where(row_numbers:eq(row), q, basis) end)
  self.rotate = transform.compile(function(basis, rotation) return rotation:matmul(basis) end)
  return self
end

-- A unit vector orthogonal to the basis, in a direction that (seed, stream) draw.
local function fresh_direction(self)
  self.drawn = self.drawn + 1
  local v = core.random("normal", { self.size }, "float64", self.seed, self.stream + self.drawn)
  local _, rest, norm = self.orthogonalise(self.basis:get(), v / v:norm())
  local _, again, last = self.orthogonalise(self.basis:get(), rest / norm) -- it may have been almost within the basis
  return again / last
end

-- q becomes basis vector self.count + 1.
local function append(self, q)
  self.count = self.count + 1
  self.q = q:evaluate()
  self.place(self.basis, self.q, self.count)
end

--- krylov:start(seed, stream, v): begins anew with the direction v (size), or a random one; the random numbers are those of
--- (seed, stream + 1), and of the streams after it where more directions are needed: self.drawn tells how many were.
function Krylov:start(seed, stream, v)
  self.basis = core.variable(core.full({ self.rows, self.size }, 0, "float64"))
  self.seed, self.stream, self.drawn = seed, stream, 0
  self.count, self.scale, self.matrix = 0, 0, {}
  append(self, v and v / v:norm() or fresh_direction(self))
end

--- krylov:try_multiply() -> whether the product is finite: multiplies the newest basis vector: one more column of T, and the
--- next direction in self.next with its length self.beta, 0 where the basis spans an invariant subspace.
function Krylov:try_multiply()
  local image = self.product(self.q)
  local coefficients, rest, length = self.orthogonalise(self.basis:get(), image)
  local h, beta, j = coefficients:tolist(), length:item(), self.count
  if beta ~= beta or beta == math.huge then return false end
  self.matrix[j] = self.matrix[j] or {}
  for i = 1, j do
    self.matrix[i][j], self.matrix[j][i] = h[i], h[i]
    self.scale = math.max(self.scale, math.abs(h[i]))
  end
  local is_invariant = beta <= 10 * EPSILON * self.scale
  self.beta, self.next = is_invariant and 0 or beta, not is_invariant and rest / beta or nil
  return true
end

--- krylov:multiply(): the same, where a product that is not finite is an error.
function Krylov:multiply()
  if not self:try_multiply() then report.fail("%s: a product with the Hessian is not finite", self.who) end
end

--- krylov:extend(): makes the next direction a basis vector; a new random one where there is none.
function Krylov:extend()
  append(self, self.next or fresh_direction(self))
end

--- krylov:ritz() -> values (a list, ascending), vectors (count, count; columns, in terms of the basis), and the residual norms
--- |A x - value x| of each, which are beta times the vectors' last elements.
function Krylov:ritz()
  local rows = {}
  for i = 1, self.count do rows[i] = table.move(self.matrix[i], 1, self.count, 1, {}) end
  local values, vectors = linalg.eigh(core.from_nested(rows, "float64"))
  local residuals = {}
  for i, last in ipairs(vectors:slice(1, self.count, self.count):flatten():tolist()) do
    residuals[i] = math.abs(self.beta * last)
  end
  return values:tolist(), vectors, residuals
end

-- The chosen columns of Ritz vectors as rows (places, rows), zero beyond the basis.
local function rotation_of(self, vectors, places)
  local chosen = vectors:index_select(2, core.from_nested(places, "int64")):transpose(1, 2)
  if self.count == self.rows then return chosen end
  return core.concat({ chosen, core.full({ #places, self.rows - self.count }, 0, "float64") }, 2)
end

--- krylov:vectors(vectors, places) -> the Ritz vectors at these places, as rows (#places, size)
function Krylov:vectors(vectors, places)
  return rotation_of(self, vectors, places):matmul(self.basis:get())
end

--- krylov:restart(values, vectors, places, anew): keeps the Ritz vectors at these places only and goes on from there; with
--- `anew` in a random direction, after which the residuals of those that are kept count from what they are now.
function Krylov:restart(values, vectors, places, anew)
  local rotation = rotation_of(self, vectors, places)
  if #places < self.rows then
    rotation = core.concat({ rotation, core.full({ self.rows - #places, self.rows }, 0, "float64") }, 1)
  end
  self.rotate(self.basis, rotation)
  self.matrix = {}
  for i = 1, #places do
    self.matrix[i] = {}
    for j = 1, #places do self.matrix[i][j] = i == j and values[places[i]] or 0 end
  end
  self.count = #places
  if anew then self.next = nil end
  self:extend()
end

return Krylov
