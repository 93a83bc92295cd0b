--- Schedules of the learning rate, with PyTorch's names and formulas. A schedule is a plain function of the place in the
--- training: schedule:lr(i, base) is the rate of epoch (or step) i = 1, 2, ... where the optimiser's own is `base`. It remembers
--- nothing, so a training can be taken up anywhere.
--
-- In the formulas t = i - 1 is the number of epochs (or steps) that are done, which is what PyTorch counts.
-- plumb.fit{schedule = ...} sets the rate; in a loop written by hand: schedule:set(optimizer, i, base).
local report = require "plumb.report"

local schedules = {}

local Schedule = {}

-- optim.NAME{...}: `formula(self, t, base)` is the rate. per: what is counted unless the options say otherwise.
local function class(name, defaults, per, doc)
  local new = { name = name, doc = doc }
  for key, value in pairs(Schedule) do new[key] = value end
  new.__index, new.__name = new, "optim." .. name
  new.__tostring = function(self) return ("%s per %s"):format(name, self.per) end
  local all = { per = per }
  for key, value in pairs(defaults) do all[key] = value end
  schedules[name] = setmetatable(new, { __call = function(_, options)
    local self = setmetatable(report.options(name, options, all), new)
    if self.per ~= "epoch" and self.per ~= "step" then
      report.fail("%s: per must be \"epoch\" or \"step\", not %s", name, tostring(self.per))
    end
    self:check()
    return self
  end })
  return new
end

function Schedule:number(name, low, high) return report.number(self.name, name, self[name], low, high) end
function Schedule:integer(name, low) return report.integer(self.name, name, self[name], low) end

--- schedule:lr(i, base) -> the learning rate of epoch (or step) i, counted from 1. base is the optimiser's own rate, which
--- OneCycleLR does not need.
function Schedule:lr(i, base)
  report.integer(self.name, "the epoch or step", i, 1)
  if self.needs_base ~= false then report.number(self.name, "the base learning rate", base, 0) end
  return self:formula(i - 1, base)
end

--- schedule:set(optimizer, i, base): gives the optimiser what belongs to epoch (or step) i.
function Schedule:set(optimizer, i, base) optimizer.lr = self:lr(i, base) end

--- schedules.name_of(value) -> "StepLR", ... for a schedule, otherwise nil.
local function name_of(value)
  local made_by = getmetatable(value)
  return type(made_by) == "table" and made_by.lr == Schedule.lr and made_by.name or nil
end

-- ---- steps ----

local StepLR = class("StepLR", { step_size = report.none, gamma = 0.1 }, "epoch", [[
optim.StepLR{step_size =, gamma = 0.1, per = "epoch"}: the rate is multiplied by gamma every step_size epochs:
  lr = base gamma^floor(t / step_size)]])
function StepLR:check() self:integer("step_size", 1) self:number("gamma", 0) end
function StepLR:formula(t, base) return base * self.gamma ^ (t // self.step_size) end

local MultiStepLR = class("MultiStepLR", { milestones = report.none, gamma = 0.1 }, "epoch", [[
optim.MultiStepLR{milestones = {30, 80}, gamma = 0.1, per = "epoch"}: the rate is multiplied by gamma after 30 and after 80
epochs: lr = base gamma^(number of milestones <= t)]])
local function check_milestones(self)
  if type(self.milestones) ~= "table" or #self.milestones == 0 then
    report.fail("%s: milestones is a list of numbers of epochs, such as {30, 80}", self.name)
  end
  local before = 0
  for i, milestone in ipairs(self.milestones) do
    report.integer(self.name, "milestones[" .. i .. "]", milestone, before)
    before = milestone
  end
end
function MultiStepLR:check() check_milestones(self) self:number("gamma", 0) end
local function milestones_reached(self, t)
  local reached = 0
  for _, milestone in ipairs(self.milestones) do reached = reached + (milestone <= t and 1 or 0) end
  return reached
end
function MultiStepLR:formula(t, base) return base * self.gamma ^ milestones_reached(self, t) end

-- ---- smooth ones ----

local ExponentialLR = class("ExponentialLR", { gamma = report.none }, "epoch", [[
optim.ExponentialLR{gamma =, per = "epoch"}: lr = base gamma^t]])
function ExponentialLR:check() self:number("gamma", 0) end
function ExponentialLR:formula(t, base) return base * self.gamma ^ t end

local CosineAnnealingLR = class("CosineAnnealingLR", { T_max = report.none, eta_min = 0 }, "epoch", [[
optim.CosineAnnealingLR{T_max =, eta_min = 0, per = "epoch"} (Loshchilov and Hutter 2017, without restarts): half a cosine
from base to eta_min in T_max epochs: lr = eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2]])
function CosineAnnealingLR:check() self:integer("T_max", 1) self:number("eta_min", 0) end
function CosineAnnealingLR:formula(t, base)
  return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2
end

local LinearLR = class("LinearLR", { start_factor = 1 / 3, end_factor = 1, total_iters = 5 }, "epoch", [[
optim.LinearLR{start_factor = 1/3, end_factor = 1, total_iters = 5, per = "epoch"}: a warm-up; the rate's factor goes from
start_factor to end_factor in total_iters epochs and stays: lr = base (start + (end - start) min(t, total_iters) / total_iters)]])
function LinearLR:check()
  self:number("start_factor", 0)
  self:number("end_factor", 0)
  self:integer("total_iters", 1)
end
function LinearLR:formula(t, base)
  local way = math.min(t, self.total_iters) / self.total_iters
  return base * (self.start_factor + (self.end_factor - self.start_factor) * way)
end

local LambdaLR = class("LambdaLR", { lr_lambda = report.none }, "epoch", [[
optim.LambdaLR(f) or optim.LambdaLR{lr_lambda = f, per = "epoch"}: lr = base f(t), where t is the number of epochs done: 0
during the first.]])
function LambdaLR:check()
  if type(self.lr_lambda) ~= "function" then
    report.fail("LambdaLR: lr_lambda must be a function of the number of epochs done, not %s", type(self.lr_lambda))
  end
end
function LambdaLR:formula(t, base) return base * report.number("LambdaLR", "what lr_lambda returns", self.lr_lambda(t), 0) end
do
  local meta = getmetatable(LambdaLR)
  local make = meta.__call
  function meta.__call(self, options) return make(self, type(options) == "function" and { lr_lambda = options } or options) end
end

-- ---- several in turn ----

local SequentialLR = class("SequentialLR", { schedulers = report.none, milestones = report.none }, "epoch", [[
optim.SequentialLR{schedulers = {a, b}, milestones = {5}, per = "epoch"}: a for the first 5 epochs, then b, which counts its
own from 1: a warm-up and what follows it. All have one per.]])
function SequentialLR:check()
  check_milestones(self)
  if type(self.schedulers) ~= "table" or #self.schedulers ~= #self.milestones + 1 then
    report.fail("SequentialLR: schedulers is a list of one schedule more than there are milestones")
  end
  for i, schedule in ipairs(self.schedulers) do
    if not name_of(schedule) then report.fail("SequentialLR: schedulers[%d] is not a schedule but %s", i, type(schedule)) end
    if schedule.per ~= self.per then
      report.fail("SequentialLR: schedulers[%d] counts %ss, but the sequence counts %ss; give all of them one per", i,
        schedule.per, self.per)
    end
  end
end
function SequentialLR:formula(t, base)
  local reached = milestones_reached(self, t)
  return self.schedulers[reached + 1]:lr(t - (self.milestones[reached] or 0) + 1, base)
end

-- ---- one cycle ----

local OneCycleLR = class("OneCycleLR", { max_lr = report.none, total_steps = report.none, epochs = report.none,
  steps_per_epoch = report.none, pct_start = 0.3, anneal_strategy = "cos", cycle_momentum = true, base_momentum = 0.85,
  max_momentum = 0.95, div_factor = 25, final_div_factor = 1e4, three_phase = false }, "step", [[
optim.OneCycleLR{max_lr =, total_steps = (or epochs =, steps_per_epoch =), pct_start = 0.3, anneal_strategy = "cos",
cycle_momentum = true, base_momentum = 0.85, max_momentum = 0.95, div_factor = 25, final_div_factor = 1e4,
three_phase = false} (Smith and Topin 2019): at every step, whatever the optimiser's own rate is, from max_lr / div_factor up
to max_lr in the first pct_start of the steps, then down to max_lr / div_factor / final_div_factor (with three_phase first to
where it began). The momentum (of SGD and RMSprop; betas[1] of Adam) goes the other way, between max_momentum and base_momentum;
an optimiser without one stays without.]])
OneCycleLR.needs_base = false

local anneal = {
  cos = function(from, to, way) return to + (from - to) / 2 * (1 + math.cos(math.pi * way)) end,
  linear = function(from, to, way) return from + (to - from) * way end,
}

-- The phases as PyTorch cuts them: where each ends (in steps done), and what lr and momentum go from and to.
local function phases_of(self)
  local first = self.max_lr / self.div_factor
  local last, low, high = first / self.final_div_factor, self.base_momentum, self.max_momentum
  local peak, finish = self.pct_start * self.total_steps - 1, self.total_steps - 1
  local rise = { ends = peak, lr = { first, self.max_lr }, momentum = { high, low } }
  if not self.three_phase then return { rise, { ends = finish, lr = { self.max_lr, last }, momentum = { low, high } } } end
  return { rise, { ends = 2 * peak, lr = { self.max_lr, first }, momentum = { low, high } },
    { ends = finish, lr = { first, last }, momentum = { high, high } } }
end

function OneCycleLR:check()
  if self.total_steps == nil and self.epochs and self.steps_per_epoch then
    self.total_steps = self:integer("epochs", 1) * self:integer("steps_per_epoch", 1)
  end
  if self.total_steps == nil then report.fail("OneCycleLR: needs total_steps, or epochs and steps_per_epoch") end
  self:integer("total_steps", 1)
  self:number("pct_start", 0, 1)
  for _, name in ipairs { "max_lr", "base_momentum", "max_momentum" } do self:number(name, 0) end
  for _, name in ipairs { "div_factor", "final_div_factor" } do self:number(name, 1e-300) end
  if not anneal[self.anneal_strategy] then report.fail("OneCycleLR: anneal_strategy must be \"cos\" or \"linear\"") end
  for _, name in ipairs { "cycle_momentum", "three_phase" } do
    if type(self[name]) ~= "boolean" then report.fail("OneCycleLR: %s must be true or false", name) end
  end
  self.phases = phases_of(self)
end

local function on_the_cycle(self, t, what)
  if t >= self.total_steps then
    report.fail("OneCycleLR: step %d is beyond the %d steps that the cycle was made for", t + 1, self.total_steps)
  end
  local begins = 0
  for i, phase in ipairs(self.phases) do
    if t <= phase.ends or i == #self.phases then
      local way = phase.ends > begins and (t - begins) / (phase.ends - begins) or 1
      return anneal[self.anneal_strategy](phase[what][1], phase[what][2], way)
    end
    begins = phase.ends
  end
end

function OneCycleLR:formula(t) return on_the_cycle(self, t, "lr") end

--- schedule:momentum(i) -> OneCycleLR's momentum at step i.
function OneCycleLR:momentum(i) return on_the_cycle(self, report.integer("OneCycleLR", "the step", i, 1) - 1, "momentum") end

function OneCycleLR:set(optimizer, i)
  optimizer.lr = self:lr(i)
  if self.cycle_momentum and optimizer.set_momentum then optimizer:set_momentum(self:momentum(i)) end
end

return schedules
