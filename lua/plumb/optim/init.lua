--- plumb.optim: optimisers, schedules of the learning rate and limits on the gradient, with PyTorch's names and formulas.
local optim = { name_of = require("plumb.optim.optimizer").name_of }

for _, part in ipairs { "plumb.optim.rules", "plumb.optim.schedules", "plumb.optim.clip" } do
  for name, value in pairs(require(part)) do optim[name] = value end
end

return optim
