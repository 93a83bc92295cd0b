--- Eigenvalues at the ends of a Hessian's spectrum, from products with vectors.
local core = require "plumb.core"
local report = require "plumb.report"
local objective = require "plumb.measure.objective"
local Krylov = require "plumb.measure.krylov"

local lanczos = {}

local CHECK_EVERY = 10           -- steps; a check is an eigenvalue problem of the size of the basis
local BASIS_BYTES = 2.0 ^ 30     -- of the basis, where the subspace is not asked for
local TOLERANCE = { float64 = 1e-8, float32 = 1e-4 }
local SEARCH = 20                -- steps that a search for further copies of equal eigenvalues takes at least
local SETTLED = 1e-4             -- of the largest |value|: how well the values next to the wanted ones are known then

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

-- ---- equal eigenvalues ----
--
-- The Krylov space of one vector holds one direction of each eigenspace only. So when the wanted pairs have converged, the
-- iteration goes on from a random vector orthogonal to them, until nothing that belongs among them turns up any more.

-- Is an unwanted value known well enough to say that it does not belong beyond its wanted neighbour?
local function is_settled(ritz, wanted, unwanted)
  local gap = math.abs(ritz.values[wanted] - ritz.values[unwanted])
  return ritz.residuals[unwanted] <= math.max(0.1 * gap, SETTLED * ritz.scale)
end

-- The wanted places are the first ones, the last ones, or some of both: are the values next to them settled?
local function are_neighbours_settled(ritz)
  local places, low = ritz.places, 0
  while places[low + 1] == low + 1 do low = low + 1 end
  if low == #ritz.values then return false end
  local high = places[low + 1]
  return (low == 0 or is_settled(ritz, low, low + 1)) and (not high or is_settled(ritz, high, high - 1))
end

local function are_same(before, wanted, tolerance)
  for i, value in ipairs(wanted) do
    if not before[i] or math.abs(before[i] - value) > tolerance then return false end
  end
  return true
end

-- ---- the iteration ----

-- What the basis gives: Ritz values, vectors, residuals, the largest |value|, and the places and values of those wanted.
local function ritz_of(krylov, pick, k)
  local ritz, wanted = {}, {}
  ritz.values, ritz.vectors, ritz.residuals = krylov:ritz()
  ritz.places, ritz.wanted = pick(ritz.values, k), wanted
  for i, place in ipairs(ritz.places) do wanted[i] = ritz.values[place] end
  ritz.scale = math.max(math.abs(ritz.values[1]), math.abs(ritz.values[#ritz.values]))
  return ritz
end

-- Grows and restarts the basis until the wanted Ritz pairs have converged and none is missing, or the steps are used up.
-- Returns what the basis gives then, and whether it is sure that these are the ones.
local function iterate(krylov, pick, k, tolerance, steps)
  local before, begun -- the wanted values when the latest search for equal ones began, and the step
  while true do
    krylov:multiply()
    local full, finished = krylov.count == krylov.rows, krylov.steps >= steps
    local has_restarted = false
    if full or finished or krylov.count % CHECK_EVERY == 0 and krylov.count > k then
      local ritz = ritz_of(krylov, pick, k)
      local bound = tolerance * ritz.scale / 4
      local converged = krylov.count > k and all_within(ritz.places, ritz.residuals, bound)
      local searched = before ~= nil and krylov.steps - begun >= SEARCH and are_neighbours_settled(ritz)
      local is_sure = krylov.count == krylov.size or converged and searched and are_same(before, ritz.wanted, 4 * bound)
      if is_sure or finished then return ritz, is_sure end
      local anew = converged and (searched or not before)
      if anew then before, begun = ritz.wanted, krylov.steps end
      if anew or full then
        local kept = anew and ritz.places or pick(ritz.values, k + (krylov.rows - #ritz.places) // 2 // (#ritz.places // k))
        krylov:restart(ritz.values, ritz.vectors, kept, anew)
        has_restarted = true
      end
    end
    if not has_restarted then krylov:extend() end
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
--- Lanczos with full reorthogonalisation and thick restarts (Wu and Simon 2000). Of equal eigenvalues one start finds one copy,
--- so that further ones follow, from random vectors orthogonal to what was found, until they bring nothing new.
--- all_converged: every pair has converged, and none is missing as far as that search can tell. What was not reached in
--- `steps` says so.
function lanczos.lanczos(...)
  local self, options = objective.read("measure.lanczos", { k = report.none, which = "largest", tolerance = report.none,
    subspace = report.none, steps = 1000, seed = 0, layer = report.none }, ...)
  local product, size = self:hessian_product(options.layer)
  local k, rows, tolerance = check_options(self, options, size)
  local krylov = Krylov.new(self.who, product, size, rows, self.dtype)
  local _ <close> = self:follow() -- how many products it takes depends on the spectrum
  krylov:start(options.seed, 0)
  local ritz, is_sure = iterate(krylov, choose[options.which], k, tolerance, options.steps)
  local steps, found = krylov.steps, krylov:vectors(ritz.vectors, ritz.places):evaluate()
  local residuals, converged, all = true_residuals(krylov, ritz.wanted, found), {}, is_sure and #ritz.places >= k
  for i, residual in ipairs(residuals) do
    converged[i] = residual <= tolerance * ritz.scale
    all = all and converged[i]
  end
  return { values = core.from_nested(ritz.wanted, "float64"), vectors = found:transpose(1, 2),
    residuals = core.from_nested(residuals, "float64"), converged = converged, all_converged = all, steps = steps,
    tolerance = tolerance }
end

return lanczos
