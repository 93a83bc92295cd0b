--- plumb.nn: layers, models and losses, with PyTorch's names and defaults. Labels count from 1.
local nn = { Module = require "plumb.nn.module" }

for _, part in ipairs { "plumb.nn.layers", "plumb.nn.losses" } do
  for name, value in pairs(require(part)) do nn[name] = value end
end

return nn
