--- What a data set is: a table {x =, y =} of tensors with as many samples each. Images may be uint8, either as x or, while
--- nobody has asked for x, as `images`; to a model they are numbers in [0, 1].
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"
require "plumb.tensor" -- methods

local set = {}

-- The sets of data.mnist and the like keep their uint8 images; x is made from them when somebody asks for it, and is from then
-- on what counts.
local Images = {}
function Images.__index(self, key)
  local images = key == "x" and rawget(self, "images")
  if not images then return nil end
  local x = set.numbers(images, "float32")
  rawset(self, "x", x)
  return x
end

--- set.of_images(fields) -> a set whose x is made from fields.images, uint8 (n, channels, h, w), when it is asked for.
function set.of_images(fields) return setmetatable(fields, Images) end

--- set.numbers(x, dtype) -> what a model takes: images in [0, 1], other numbers as they are.
function set.numbers(x, dtype)
  return x:dtype() == "uint8" and x:cast(dtype) / 255 or x
end

--- set.inputs(s) -> the x of a set as it is kept: uint8 or float; nil when there is none.
function set.inputs(s)
  local x = rawget(s, "x")
  if x == nil then x = rawget(s, "images") end
  if x == nil then x = s.x end
  return x
end

--- set.check(who, what, s): s must be a data set with samples; `what` names it in errors.
function set.check(who, what, s)
  local x = type(s) == "table" and set.inputs(s)
  if not core.is_tensor(x) or not core.is_tensor(s.y) then
    report.fail("%s: %s must be a data set {x = tensor, y = tensor}", who, what)
  end
  if x:dim() == 0 or s.y:dim() == 0 or #x ~= #s.y then
    report.fail("%s: %s has x of shape %s and y of shape %s: not as many samples", who, what, format.shape(x),
      format.shape(s.y))
  end
  if #x == 0 then report.fail("%s: %s has no samples", who, what) end
end

--- set.first(s, n) -> a set of the first n samples; images stay uint8.
function set.first(s, n)
  local result = {}
  for key, value in pairs(s) do result[key] = value end
  for _, key in ipairs { "x", "images", "y" } do
    if result[key] ~= nil then result[key] = result[key]:slice(1, 1, n) end
  end
  return setmetatable(result, getmetatable(s))
end

return set
