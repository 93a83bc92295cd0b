--- plumb.measure: second-order quantities and geometry of a loss: gradient norms, Hessians, spectra, minimal ratios, critical
--- points, principal components of a trajectory, interpolation, surfaces, sharpness, sensitivity.
--
-- Nearly every function is called in one of two ways:
--     measure.NAME(model, loss, data, options)        the mean loss over a data set {x =, y =} at model.theta
--     measure.NAME(L, theta, options)                 L(theta) -> a single number, or L = measure.loss(model, loss, data)
-- Sums over a data set are taken batch by batch in compiled functions, weighted by the batches' sizes. Measuring changes neither
-- theta nor running statistics nor the random state; random vectors come from the option `seed`.
local parts = {
  objective = { "loss" },
  gradient = { "gradient_norm", "gradient_loss_ratio" },
  recorder = { "recorder" },
  hessian = { "hvp", "hessian" },
  lanczos = { "lanczos" },
  spectrum = { "trace", "density" },
  ratio = { "minimal_ratio", "sampled_minimal_ratio" },
  critical = { "find_critical_point" },
  pca = { "pca" },
  trajectory = { "travel" },
  interpolate = { "interpolate" },
  sharpness = { "sharpness", "sampled_sharpness" },
  sensitivity = { "sensitivity" },
  surface = { "filter_normalised_direction", "surface" },
  statistics = { "correlation", "median", "median_of_tenth", "columns" },
}

local measure = {}
for part, names in pairs(parts) do
  local module = require("plumb.measure." .. part)
  for _, name in ipairs(names) do measure[name] = module[name] end
end
return measure
