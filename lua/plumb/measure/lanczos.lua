--- Eigenvalues at the ends of a Hessian's spectrum, from products with vectors.
local core = require "plumb.core"
local report = require "plumb.report"
local objective = require "plumb.measure.objective"
local Krylov = require "plumb.measure.krylov"

local lanczos = {}

local CHECK_EVERY = 10           -- steps; a check is an eigenvalue problem of the size of the basis
local BASIS_BYTES = 2.0 ^ 30     -- of the basis, where the subspace is not asked for
local TOLERANCE = { float64 = 1e-8, float32 = 1e-4 }

-- Which of `count` ascending values are wanted, k from an end: a list of places, ascending.
local choose = {}
function choose.smallest(values, k)
  local places = {}
  for i = 1, math.min(k, #values) do places[i] = i end
  return places
end
function choose.largest(values, k)
  local places = {}
  for i = math.max(1, #values - k + 1), #values do places[#places + 1] = i end
  return places
end
function choose.both(values, k)
  local places = choose.smallest(values, k)
  for i = math.max(#places, #values - k) + 1, #values do places[#places + 1] = i end
  return places
end
function choose.magnitude(values, k)
  local low, high, places = 1, #values, {}
  while #places < k and low <= high do -- ascending: the largest |value| stands at one of the ends
    if math.abs(values[low]) > math.abs(values[high]) then
      places[#places + 1], low = low, low + 1
    else
      places[#places + 1], high = high, high - 1
    end
  end
  table.sort(places)
  return places
end

local function check_options(self, options, size)
  local who = self.who
  if not choose[options.which] then
    report.fail("%s: which must be 'largest', 'smallest', 'both' or 'magnitude', not '%s'", who, tostring(options.which))
  end
  local k = report.integer(who, "k", options.k or math.min(5, size), 1, size)
  local wanted = math.min(size, options.which == "both" and 2 * k or k)
  local fitting = math.max(2 * wanted + 10, BASIS_BYTES // (8 * size))
  local rows = options.subspace or math.min(math.max(4 * wanted, 100), fitting, size)
  report.integer(who, "subspace", rows, math.min(size, wanted + 2), size)
  report.integer(who, "steps", options.steps, 1)
  report.integer(who, "seed", options.seed)
  return math.tointeger(k), math.tointeger(rows), report.number(who, "tolerance", options.tolerance or TOLERANCE[self.dtype], 0)
end

local function all_within(places, residuals, bound)
  for _, place in ipairs(places) do
    if not (residuals[place] <= bound) then return false end
  end
  return true
end

-- Within an invariant subspace every residual is 0, but wanted eigenvalues may lie outside of it: two directions drawn anew
-- have to bring nothing.
local function may_stop(krylov, k) return krylov.count > k and (krylov.beta > 0 or krylov.drawn > 2) end

-- Grows and restarts the basis until the wanted Ritz pairs have converged or the steps are used up.
local function iterate(krylov, pick, k, tolerance, steps)
  while true do
    krylov:multiply()
    local full, finished = krylov.count == krylov.rows, krylov.steps >= steps
    local complete = krylov.count == krylov.size
    if full or finished or krylov.count % CHECK_EVERY == 0 and krylov.count > k then
      local values, vectors, residuals = krylov:ritz()
      local places = pick(values, k)
      local bound = tolerance * math.max(math.abs(values[1]), math.abs(values[#values])) / 2
      local converged = may_stop(krylov, k) and all_within(places, residuals, bound)
      if complete or finished or converged then return values, vectors, places end
      if full then krylov:restart(values, vectors, pick(values, k + (krylov.rows - #places) // 2 // (#places // k))) end
    end
    if not full then krylov:extend() end
  end
end

-- |H x - value x| of each row x, computed from products and not from the recurrence.
local function true_residuals(krylov, values, rows)
  local residuals = {}
  for i, value in ipairs(values) do
    local x = rows:slice(1, i, i):flatten()
    residuals[i] = (krylov.product(x) - x * value):norm():item()
  end
  return residuals
end

--- measure.lanczos(L, theta, options) or (model, loss, data, options) -> {values, vectors, residuals, converged, ...}:
--- eigenvalues and vectors of the Hessian of the mean loss over the whole data set, from products with vectors alone.
--- options: k = 5, which = "largest" (by default), "smallest", "both" (k from each end) or "magnitude"; layer = (its diagonal
--- block); tolerance = 1e-8 (in float32 1e-4), relative to the largest |eigenvalue| found; subspace = how many vectors are kept
--- (by default 100, or 4 k); steps = 1000 products at most; seed = 0 of the start; batch.
--- values (k): ascending, as from linalg.eigh; vectors (P, k): columns of unit length; residuals (k): |H v - value v|, computed
--- anew at the end; converged: a list of booleans, residual <= tolerance |value|max; all_converged; steps: products used.
--- Lanczos with full reorthogonalisation and thick restarts (Wu and Simon 2000). What has not converged in `steps` says so.
--- A known limit: of an eigenvalue that occurs several times one copy is found surely, the others only when rounding errors
--- or a breakdown bring them in; converged tells that each pair is one of the Hessian's, not that none between is missing.
function lanczos.lanczos(...)
  local self, options = objective.read("measure.lanczos", { k = report.none, which = "largest", tolerance = report.none,
    subspace = report.none, steps = 1000, seed = 0, layer = report.none }, ...)
  local product, size = self:hessian_product(options.layer)
  local k, rows, tolerance = check_options(self, options, size)
  local krylov = Krylov.new(self.who, product, size, rows, self.dtype)
  krylov:start(options.seed, 0)
  local ritz, vectors, places = iterate(krylov, choose[options.which], k, tolerance, options.steps)
  local values, scale = {}, math.max(math.abs(ritz[1]), math.abs(ritz[#ritz]))
  for i, place in ipairs(places) do values[i] = ritz[place] end
  local steps, found = krylov.steps, krylov:vectors(vectors, places):evaluate()
  local residuals, converged, all = true_residuals(krylov, values, found), {}, #places >= math.min(k, size)
  for i, residual in ipairs(residuals) do
    converged[i] = residual <= tolerance * scale
    all = all and converged[i]
  end
  return { values = core.from_nested(values, "float64"), vectors = found:transpose(1, 2),
    residuals = core.from_nested(residuals, "float64"), converged = converged, all_converged = all, steps = steps,
    tolerance = tolerance }
end

return lanczos
