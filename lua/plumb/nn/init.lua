--- plumb.nn: layers, models and losses, with PyTorch's names and defaults. Labels count from 1.
local nn = { Module = require "plumb.nn.module" }

for _, part in ipairs { "layers", "convolution", "normalisation", "dropout", "losses", "summary" } do
  for name, value in pairs(require("plumb.nn." .. part)) do nn[name] = value end
end

return nn
