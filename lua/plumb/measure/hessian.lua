--- The Hessian of a loss: its products with vectors, and the whole matrix where it fits into memory.
local core = require "plumb.core"
local report = require "plumb.report"
local transform = require "plumb.transform"
local objective = require "plumb.measure.objective"

local hessian = {}

-- Columns of the Hessian at a time: enough to fill the processor, few enough to fit into its caches.
local FEWEST, MOST = 32, 144
local PAIRS = 40000 -- columns times samples of a batch, where that lies between

--- measure.hvp(model, loss, data, {layer =}) or (L, theta, {layer =}) -> f, n: f(v) is the Hessian of the mean loss over the
--- whole data set times v (n), n the number of parameters (of the layer). Compiled once: the way to multiply often at one theta.
function hessian.hvp(...)
  local self, options = objective.read("measure.hvp", { layer = report.none }, ...)
  local product, size = self:hessian_product(options.layer)
  return function(v)
    if not core.is_tensor(v) or v:dim() ~= 1 or v:numel() ~= size then
      report.fail("measure.hvp: a vector of %d elements was expected, not %s", size,
        core.is_tensor(v) and "shape (" .. table.concat(v:shape(), ", ") .. ")" or type(v))
    end
    if v:dtype() ~= self.dtype then report.fail("measure.hvp: theta is %s, but the vector is %s", self.dtype, v:dtype()) end
    return product(v)
  end, size
end

--- hessian.check_float64(self): second derivatives are taken in double precision only.
function hessian.check_float64(self)
  if self.dtype == "float64" then return end
  report.fail("%s: theta is %s, but float64 is needed: measure.loss(model, loss, data) as L and theta:double(), or "
    .. "model:double() with data in :double()", self.who, self.dtype)
end

-- The matrix, its transpose and their mean are held at once.
local function check_memory(self, size)
  local memory = core.memory()
  local bytes = 8.0 * size * size
  if 3 * bytes > memory.budget - memory.live then
    report.fail("%s: a dense Hessian of %d x %d takes %.0f MB and is computed with three times that, but the memory budget "
      .. "leaves %.0f MB; measure.lanczos, measure.trace and measure.density need a few vectors only", self.who, size, size,
      bytes / 2 ^ 20, (memory.budget - memory.live) / 2 ^ 20)
  end
end

-- The unit vectors with a 1 at place first .. last, one a row.
local function unit_rows(first, last, size)
  local places = core.arange(last - first + 1, first, 1, "int64"):reshape(-1, 1)
  return places:eq(core.arange(size, 1, 1, "int64")):double():evaluate()
end

-- In how many columns at a time, at most `columns`, a matrix of `size` is computed: about as many each time, and a multiple of 8,
-- which threads share out.
local function width_of(self, size, columns)
  local x = self.batches[1][1]
  columns = columns or math.max(FEWEST, math.min(MOST, x and PAIRS // #x or 0))
  local even = math.ceil(size / math.ceil(size / columns))
  return math.min((even + 7) // 8 * 8, columns, size)
end

--- hessian.passes(self, layer, columns) -> how often hessian.rows goes through the data set.
function hessian.passes(self, layer, columns)
  local first, last = self:range(layer)
  local size = last - first + 1
  return math.ceil(size / width_of(self, size, columns))
end

--- hessian.rows(self, layer, columns) -> f: f(theta) is the matrix as it is computed, not symmetrised and not checked.
function hessian.rows(self, layer, columns)
  hessian.check_float64(self)
  local first, last = self:range(layer)
  local size = last - first + 1
  check_memory(self, size)
  local multiply = self:sum(function(f, theta, v)
    local product = transform.hvp(f)
    return transform.vmap(function(row) return product(theta, row):slice(1, first, last) end)(v)
  end)
  local width = width_of(self, size, columns)
  return function(theta)
    local rows, done = {}, 0
    while done < size do -- the last block reaches back, so that one compiled function serves all
      local from = math.min(done, size - width)
      local block = multiply(theta, unit_rows(first + from, first + from + width - 1, self.size))
      rows[#rows + 1] = block:slice(1, done - from + 1, width)
      done = from + width
    end
    return core.concat(rows, 1):evaluate()
  end
end

--- hessian.symmetrised(h) -> (h + h^T) / 2 of a finite matrix, and max |h - h^T| / max |h|
function hessian.symmetrised(h)
  local transposed, largest = h:transpose(1, 2), h:abs():max():item()
  local asymmetry = largest > 0 and (h - transposed):abs():max():item() / largest or 0
  return (h / 2 + transposed / 2):evaluate(), asymmetry -- halves first: the sum of two large elements may not be finite
end

--- hessian.dense(self, layer, columns) -> f: f(theta) is what measure.hessian returns, of an objective.
function hessian.dense(self, layer, columns)
  local rows = hessian.rows(self, layer, columns)
  return function(theta) return hessian.symmetrised(self:check_finite("the Hessian", rows(theta))) end
end

--- measure.hessian(L, theta, {layer =, columns =}) or (model, loss, data, {batch = 1000, layer =, columns =}) -> H, asymmetry.
--- The Hessian (P, P) of the mean loss over the whole data set at theta, in float64, symmetrised as (H + H^T) / 2; `asymmetry`
--- is max |H - H^T| / max |H| before that, a measure of the rounding error. layer: the diagonal block of one layer. `columns`
--- are computed at once: 32, or up to 144 for few samples. Eigenvalues: plumb.linalg.eigh(H). A matrix beyond the memory budget
--- is an error that names its size.
function hessian.hessian(...)
  local self, options = objective.read("measure.hessian", { columns = report.none, layer = report.none }, ...)
  local columns = options.columns ~= nil and report.integer(self.who, "columns", options.columns, 1) or nil
  local _ <close> = self:follow(hessian.passes(self, options.layer, columns))
  return hessian.dense(self, options.layer, columns)(self.theta)
end

return hessian
