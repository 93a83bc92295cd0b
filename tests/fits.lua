--- Small networks and their trainings, for the specs of plumb.fit.
local plumb = require "plumb"
local nn, optim = plumb.nn, plumb.optim

local fits = {}

--- fits.network(widths, dtype) -> a dense network with tanh between its layers, always with the same weights
function fits.network(widths, dtype)
  plumb.manual_seed(7)
  local layers = {}
  for i = 1, #widths - 1 do
    layers[#layers + 1] = nn.Linear(widths[i], widths[i + 1])
    if i < #widths - 1 then layers[#layers + 1] = nn.Tanh() end
  end
  local model = nn.Sequential(layers)
  return dtype == "float64" and model:double() or model
end

--- fits.train(model, set, options) -> a run of plumb.fit with Adam and the mean squared error, unless options say otherwise
function fits.train(model, set, options)
  local all = { loss = nn.MSELoss(), optimizer = optim.Adam { lr = 0.01 }, batch = 16, progress = false }
  for name, value in pairs(options or {}) do all[name] = value end
  return plumb.fit(model, set, all)
end

return fits
