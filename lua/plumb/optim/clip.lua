--- Limits on the gradient, for loops written by hand; plumb.fit takes them as clip_norm and clip_value.
local core = require "plumb.core"
local report = require "plumb.report"

local clip = {}

local function check(who, gradient, name, limit)
  if not core.is_tensor(gradient) then report.fail("%s: the gradient must be a tensor, not %s", who, type(gradient)) end
  report.number(who, name, limit, 0)
end

--- optim.clip_norm(gradient, max) -> gradient', norm: where the Euclidean norm of the whole gradient is above max, the
--- gradient is scaled down to it: by min(1, max / (norm + 1e-6)), as in PyTorch's clip_grad_norm_. norm is that before, a tensor.
--- (Pascanu, Mikolov, Bengio 2013.)
function clip.clip_norm(gradient, max)
  check("clip_norm", gradient, "max", max)
  local norm = gradient:norm()
  return gradient * (max / (norm + 1e-6)):clamp(-math.huge, 1), norm
end

--- optim.clip_value(gradient, limit) -> gradient': every element limited to -limit .. limit.
function clip.clip_value(gradient, limit)
  check("clip_value", gradient, "limit", limit)
  return gradient:clamp(-limit, limit)
end

return clip
