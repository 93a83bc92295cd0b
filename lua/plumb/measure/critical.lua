--- Critical points of a loss: places where its gradient vanishes, minima or saddles.
local core = require "plumb.core"
local progress = require "plumb.progress"
local report = require "plumb.report"
local transform = require "plumb.transform"
local linalg = core.linalg
local optim = require "plumb.optim"
local objective = require "plumb.measure.objective"
local hessian = require "plumb.measure.hessian"
local Krylov = require "plumb.measure.krylov"

local critical = {}

local DENSE = 600     -- parameters up to which the polish uses the whole Hessian
local SUBSPACE = 100  -- else this many Lanczos vectors, started at the gradient

-- ---- stages 1 and 2: descent ----

-- What a descent follows at theta: a function theta -> loss, |g|, direction.
local descents = {}

function descents.minimise(self)
  local gradient = self:value_and_gradient()
  return function(theta)
    local loss, g = gradient(theta)
    return loss, g:norm(), g
  end
end

-- The gradient of |g|^2 / 2 is H g; with several batches g has to be known before the products with it can be added up.
function descents.gradient(self)
  if #self.batches > 1 then
    local gradient, product = self:value_and_gradient(), self:hessian_product()
    return function(theta)
      local loss, g = gradient(theta)
      return loss, g:norm(), product(g, theta)
    end
  end
  return self:sum(function(f, theta)
    local half, loss, direction = core.value_and_grad(function(parameters)
      local loss, g = core.value_and_grad(f, 1, nil, parameters)
      return g:square():sum() / 2, loss
    end, 1, nil, theta)
    return loss, (half * 2):sqrt(), direction
  end)
end

-- A step of Adam along a descent, (theta, rate, correction) -> theta', loss, |g|; it keeps the optimiser's state. For a single
-- batch the whole of it is one plan, which updates the state in place.
local function compile_step(self, descent, optimizer, start)
  local function step(m, v, theta, rate, correction)
    local loss, norm, direction = descent(theta)
    local new_theta, state = optimizer:update(theta, direction, { m, v }, { rate, correction })
    return state[1], state[2], new_theta, loss, norm
  end
  local m, v = table.unpack(optimizer:start(start))
  if #self.batches == 1 then
    local compiled <const>, m_variable <const>, v_variable <const> = transform.compile(step), core.variable(m), core.variable(v)
    return function(...) return compiled(m_variable, v_variable, ...) end
  end
  return function(...)
    local theta, loss, norm
    m, v, theta, loss, norm = step(m, v, ...)
    return theta, loss, norm
  end
end

local function label_of(self, stage) return self.who .. ", " .. stage end

-- Runs a descent and returns the point with the smallest `score` ("loss" or "norm") on the way, as a stage's report.
local function descend(self, name, score, start, steps, lr, tolerance)
  local bar <close> = progress.new { label = label_of(self, name), total = steps, transient = true }
  local best = { name = name, steps = 0, theta = start.theta, loss = start.loss, norm = start.norm }
  if steps == 0 or start.norm <= tolerance then return best end
  local optimizer = optim.Adam { lr = lr }
  local step = compile_step(self, descents[name](self), optimizer, start.theta)
  local theta, here = start.theta, {}
  local function note() return ("loss %.4g, |gradient| %.3g"):format(here.loss, here.norm) end
  for i = 1, steps do
    local numbers, share = optimizer:numbers(i), (1 + math.cos(math.pi * (i - 1) / steps)) / 2
    local new_theta, loss, norm = step(theta, numbers[1] * share, numbers[2]) -- the first is Adam's rate
    here.loss, here.norm, best.steps = loss:item(), norm:item(), i
    bar:update(i, note)
    if here.loss - here.loss ~= 0 or here.norm - here.norm ~= 0 then -- diverged: the best point stands
      best.ended = "the loss or its gradient is not finite"
      break
    end
    if here[score] < best[score] or here.norm <= tolerance then
      best.theta, best.loss, best.norm = theta, here.loss, here.norm
    end
    if here.norm <= tolerance then break end
    theta = new_theta
  end
  return best
end

-- ---- stage 3: polish ----

-- A function (theta, g) -> eigenvalues (k) and orthonormal eigenvectors (k, P; rows) of the Hessian: all of them, or those
-- that Lanczos finds from g; nothing where the Hessian is not finite.
local function eigenpairs(self)
  if self.size <= DENSE then
    local rows = hessian.rows(self)
    return function(theta)
      local h = rows(theta)
      if objective.count_not_finite(h) > 0 then return nil end
      local values, vectors = linalg.eigh((hessian.symmetrised(h)))
      return values, vectors:transpose(1, 2)
    end
  end
  local product, at = self:hessian_product(), nil
  local krylov = Krylov.new(self.who, function(v) return product(v, at) end, self.size, SUBSPACE, self.dtype)
  return function(theta, g)
    at = theta
    krylov:start(0, 0, g)
    while krylov:try_multiply() do
      if krylov.count == SUBSPACE or krylov.beta == 0 then
        local values, vectors = krylov:ritz()
        local places = {}
        for i = 1, krylov.count do places[i] = i end
        return core.from_nested(values, "float64"), krylov:vectors(vectors, places)
      end
      krylov:extend()
    end
  end
end

-- Two families of damped steps along the eigenvectors, each with the damping as a share mu of |lambda|max or its square. One
-- decomposition of H serves every mu, so the best of a wide range is taken instead of one that is adapted from step to step.
local families = {
  -- Levenberg-Marquardt on g(theta) = 0: d = -(H^2 + mu)^-1 H g. Taken where |g| falls tenfold: elsewhere it creeps into
  -- places where H g vanishes though g does not (Frye et al. 2021).
  { score = "norm", share = 0.1, first = 0, last = -16,
    factors = function(values, largest, mu) return values / (values:square() + largest ^ 2 * mu) end },
  -- Newton's step on L with |H| for H, which leaves saddles downhill (Dauphin et al. 2014): d = -(|H| + mu)^-1 g.
  { score = "loss", share = 1, first = 0, last = -12,
    factors = function(values, largest, mu) return 1 / (values:abs() + largest * mu) end },
}

-- The point after a step from this one, or nil and why there is none.
local function polish_step(gradient, decompose, point)
  local values, vectors = decompose(point.theta, point.g)
  if not values then return nil, "the Hessian is not finite" end
  local along, largest = vectors:matmul(point.g), values:abs():max():item()
  for _, family in ipairs(families) do
    local best, limit = nil, family.share * point[family.score]
    for power = family.first, family.last, -1 do
      local d = (along * family.factors(values, largest, 10.0 ^ power)):matmul(vectors)
      local theta = (point.theta - d):evaluate()
      local loss, g = gradient(theta)
      local here = { theta = theta, g = g, loss = loss:item(), norm = g:norm():item() }
      local is_finite = here.loss - here.loss == 0 and here.norm - here.norm == 0
      if is_finite and here[family.score] < limit then best, limit = here, here[family.score] end
    end
    if best then return best end
  end
  return nil, "no step lowers |grad L| or L"
end

local function polish(self, start, steps, tolerance)
  local bar <close> = progress.new { label = label_of(self, "polish"), total = steps, transient = true }
  local best = { name = "polish", steps = 0, theta = start.theta, loss = start.loss, norm = start.norm }
  if start.norm <= tolerance then return best end
  local gradient, decompose = self:value_and_gradient(), eigenpairs(self)
  local _, g = gradient(start.theta)
  local point = { theta = start.theta, g = g, loss = start.loss, norm = start.norm }
  while best.steps < steps and point.norm > tolerance do
    local after, why = polish_step(gradient, decompose, point)
    best.ended = why
    if not after then break end
    point, best.steps = after, best.steps + 1
    bar:update(best.steps, ("|gradient| %.3g"):format(point.norm))
    if point.norm < best.norm then best.theta, best.loss, best.norm = point.theta, point.loss, point.norm end
  end
  return best
end

-- ---- all three ----

local defaults = { minimise_steps = 2000, gradient_steps = 2000, polish_steps = 200, lr = 1e-2, gradient_lr = 1e-3,
  tolerance = 1e-8 }

--- measure.find_critical_point(L, theta, options) or (model, loss, data, options) -> {theta, loss, gradient_norm, converged,
--- stage, stages, tolerance}: a point near theta where the gradient of the mean loss over the whole data set vanishes. Stages:
---   "minimise"  Adam on L, minimise_steps = 2000, lr = 1e-2 falling to 0 as a cosine
---   "gradient"  Adam on |grad L|^2 / 2, whose gradient H g is taken through the graph, gradient_steps = 2000, gradient_lr = 1e-3
---   "polish"    with the Hessian's eigenvectors (above 600 parameters: in the space of 100 Lanczos vectors), polish_steps = 200:
---               Levenberg-Marquardt on grad L = 0, and a damped Newton step on L where that does not lower |grad L| tenfold
--- each from the best point of the one before, ended when |grad L| <= tolerance = 1e-8. converged says whether that was reached,
--- stage by which stage (nil if by none); stages lists name, steps, theta, loss, gradient_norm of each, and why it `ended`:
--- "converged", "all steps taken", or what kept it from going on, such as a Hessian that is not finite. A stage with 0 steps is
--- left out. What is found may be a minimum or a saddle (see measure.minimal_ratio), or, not converged, a point where |grad L|
--- itself has a minimum that is not 0. theta in float64.
function critical.find_critical_point(...)
  local self, options = objective.read("measure.find_critical_point", defaults, ...)
  hessian.check_float64(self)
  for _, name in ipairs { "minimise_steps", "gradient_steps", "polish_steps" } do
    report.integer(self.who, name, options[name], 0)
  end
  for _, name in ipairs { "lr", "gradient_lr", "tolerance" } do report.number(self.who, name, options[name], 0) end
  local loss, g = self:gradient()
  local point = { theta = self.theta, loss = loss, norm = g:norm():item() }
  local stages, reached = {}, nil
  local function follow(name, steps, run)
    if steps == 0 then return end
    point = run()
    local converged = point.norm <= options.tolerance
    stages[#stages + 1] = { name = name, steps = point.steps, theta = point.theta, loss = point.loss, gradient_norm = point.norm,
      ended = converged and "converged" or point.ended or "all steps taken" }
    if converged and not reached then reached = name end
  end
  follow("minimise", options.minimise_steps, function()
    return descend(self, "minimise", "loss", point, options.minimise_steps, options.lr, options.tolerance)
  end)
  follow("gradient", options.gradient_steps, function()
    return descend(self, "gradient", "norm", point, options.gradient_steps, options.gradient_lr, options.tolerance)
  end)
  follow("polish", options.polish_steps, function() return polish(self, point, options.polish_steps, options.tolerance) end)
  return { theta = point.theta, loss = point.loss, gradient_norm = point.norm, converged = point.norm <= options.tolerance,
    stage = reached, stages = stages, tolerance = options.tolerance }
end

return critical
