--- How plumb.fit obeys a schedule of the learning rate (plumb.optim.schedules).
local report = require "plumb.report"

local schedule = {}

--- schedule.check(given, optimizer, steps): given is nil or something that can :set an optimiser's rate, for `steps` steps.
function schedule.check(given, optimizer, steps)
  if given == nil then return end
  if type(given) ~= "table" or type(given.set) ~= "function" then
    report.fail("fit: schedule must be one such as optim.StepLR{step_size = 10}, not %s", type(given))
  end
  if rawget(given, "__index") == given then report.fail("fit: schedule is optim.%s without its {}", given.name) end
  if type(optimizer.lr) ~= "number" then report.fail("fit: the optimizer has no lr that a schedule could set") end
  if given.total_steps and given.total_steps < steps then
    report.fail("fit: the schedule is for %d steps, but the training has %d", given.total_steps, steps)
  end
end

--- schedule.follow(given, optimizer) -> follower, to be closed: follower:at("epoch" or "step", i) sets what belongs there, and
--- when the training is over, or broken off, the optimiser has its own settings again.
function schedule.follow(given, optimizer)
  local follower = { at = function() end }
  if given == nil then return setmetatable(follower, { __close = function() end }) end
  local per, own = given.per or "epoch", {}
  for _, name in ipairs { "lr", "momentum", "betas" } do own[name] = optimizer[name] end
  function follower:at(what, i)
    if what == per then given:set(optimizer, i, own.lr) end
  end
  return setmetatable(follower, { __close = function()
    for name, value in pairs(own) do optimizer[name] = value end
  end })
end

return schedule
