--- Losses: single numbers to be minimised, the mean over the batch.
local core = require "plumb.core"
local format = require "plumb.format"
local report = require "plumb.report"

local losses = {}

local function check_pair(who, prediction, target)
  if not core.is_tensor(prediction) or not core.is_tensor(target) then
    local function kind(value) return core.is_tensor(value) and "a tensor" or type(value) end
    report.fail("%s: prediction and target must be tensors, not %s and %s", who, kind(prediction), kind(target))
  end
end

local function check_labels(who, logits, target)
  check_pair(who, logits, target)
  if logits:dim() ~= 2 or target:dim() ~= 1 or logits:size(1) ~= target:size(1) then
    report.fail("%s: logits must be (n, classes) and labels (n), not %s and %s", who, format.shape(logits),
      format.shape(target))
  end
  if target:dtype() ~= "int64" and target:dtype() ~= "uint8" then
    report.fail("%s: labels must be int64, counted from 1, not %s (see :long())", who, target:dtype())
  end
end

--- nn.mse_loss(prediction, target): the mean of (prediction - target)^2; both of one shape.
function losses.mse_loss(prediction, target)
  check_pair("mse_loss", prediction, target)
  if format.shape(prediction) ~= format.shape(target) then
    report.fail("mse_loss: prediction and target must have one shape (see reshape), not %s and %s",
      format.shape(prediction), format.shape(target))
  end
  return (prediction - target):square():mean()
end

--- nn.cross_entropy(logits, target): the mean of -log softmax(logits)[target] for logits (n, classes) and labels target (n),
--- int64 from 1. Exact for logits of any size.
function losses.cross_entropy(logits, target)
  check_labels("cross_entropy", logits, target)
  return -logits:log_softmax(2):gather(2, target:reshape(-1, 1)):mean()
end

--- nn.accuracy(logits, target): the share of rows whose largest element stands at the label.
function losses.accuracy(logits, target)
  check_labels("accuracy", logits, target)
  return logits:argmax(2):eq(target):mean()
end

--- nn.confusion_matrix(logits, target) -> (classes, classes) int64: how many samples of each true class (row) have their
--- largest logit at each class (column).
function losses.confusion_matrix(logits, target)
  check_labels("confusion_matrix", logits, target)
  local classes = logits:size(2)
  if target:numel() > 0 and (target:min():item() < 1 or target:max():item() > classes) then
    report.fail("confusion_matrix: labels from 1 to %d were expected, not from %d to %d", classes, target:min():item(),
      target:max():item())
  end
  local places = (target:long() - 1) * classes + logits:argmax(2)
  return core.index_add(core.full(places:shape(), 1, "int64"), 1, places, classes * classes):reshape(classes, classes)
end

-- nn.MSELoss() and the like: the loss as an object, as in PyTorch.
local function loss_class(name, f, classifies)
  local class = { name = name, classifies = classifies, doc = ("nn.%s(): the function nn.%s as an object."):format(name, f) }
  class.__index = class
  class.__call = function(_, prediction, target) return losses[f](prediction, target) end
  class.__tostring = function() return name .. "()" end
  losses[name] = setmetatable(class, { __call = function(_, ...)
    if select("#", ...) > 0 then report.fail("%s: takes no arguments; it is the mean over the batch", name) end
    return setmetatable({}, class)
  end })
end
loss_class("MSELoss", "mse_loss", false)
loss_class("CrossEntropyLoss", "cross_entropy", true)

return losses
