--- Draws a run's losses live, while it trains: in a window, or in the terminal.
--
-- The loop calls watch:update at every step. That adds the loss to a short list and now and then sends a figure to a gnuplot
-- that draws on its own; it never waits. A figure that is not drawn yet is waited for by leaving the next ones out.

local process = require("plumb.core").process
local progress = require "plumb.progress"
local channel = require "plumb.plot.channel"
local display = require "plumb.plot.display"
local figures = require "plumb.plot.figure"
local gnuplot = require "plumb.plot.gnuplot"
local options_of = require "plumb.plot.options"
local panel = require "plumb.plot.panel"
local script = require "plumb.plot.script"
local series = require "plumb.plot.series"

local watch = {}

local Watch = {}
Watch.__index = Watch
Watch.__name = "plumb.watch"

local OPTIONS = { interval = "seconds", logy = "flag", as = { "window", "sixel", "text" }, timeout = "seconds", gnuplot = "text",
  window = "count" }
local INTERVAL = 1        -- seconds between figures
local SHARE = 0.01        -- of the time that drawing may take, here and in gnuplot
local MOST_POINTS = 400   -- of one curve
local FEW_EPOCHS = 20
local MAX_STRIDE = 1024   -- steps between looks at the clock
local TEXT_COLUMNS = 80
local LAST_SECONDS = 3    -- that the last figure may take

-- ---- curves that stay short -----------------------------------------------------------------------------------

-- Each point is the mean of `width` values; when there are too many points, pairs of neighbours become one.
local Track = {}
Track.__index = Track

local function new_track() return setmetatable({ x = {}, y = {}, width = 1, sum = 0, count = 0 }, Track) end

function Track:add(x, value)
  self.sum, self.count = self.sum + value, self.count + 1
  if self.count < self.width then return end
  local at = #self.x + 1
  self.x[at], self.y[at] = x - (self.width - 1) / 2, self.sum / self.count
  self.sum, self.count = 0, 0
  if at >= MOST_POINTS then self:halve() end
end

function Track:halve()
  local x, y = {}, {}
  for k = 1, #self.x // 2 do
    x[k], y[k] = (self.x[2 * k - 1] + self.x[2 * k]) / 2, (self.y[2 * k - 1] + self.y[2 * k]) / 2
  end
  self.x, self.y, self.width = x, y, 2 * self.width
end

function Track:name(base, unit)
  if self.width == 1 then return base end
  return ("%s, mean of %d %s"):format(base, self.width, unit)
end

-- ---- what is watched -------------------------------------------------------------------------------------------

local RECORDS = { "train_loss", "test_loss", "train_accuracy", "test_accuracy" }

--- watch.new(run, options): watches a run. options: interval = seconds between figures, 1 (longer where drawing takes more than
--- a hundredth of the time), logy = true (false where a loss is not positive), as = "window", "sixel" or "text" (by default as
--- figure:show does), window = number of the window, 1; timeout = seconds, gnuplot = the program.
function watch.new(run, options)
  options = options_of.check(options, "watch", OPTIONS)
  local self = setmetatable({ run = run, options = options, interval = options.interval or INTERVAL, stride = 1, countdown = 1,
    steps = new_track(), records = {} }, Watch)
  for _, name in ipairs(RECORDS) do self.records[name] = { track = new_track(), seen = 0 } end
  self.kind = display.choose(options)
  -- Without a screen and a terminal nobody could see it; the progress line is for that.
  self.is_on = self.kind == "window" or options.as ~= nil or process.isatty(1) and os.getenv("TERM") ~= "dumb"
  self.looked_at = process.time()
  self.next_draw = self.looked_at + self.interval
  return self
end

function Watch:take_records()
  for name, record in pairs(self.records) do
    local list = self.run[name]
    for epoch = record.seen + 1, #list do record.track:add(epoch, list[epoch]) end
    record.seen = #list
  end
end

local function curve_of(track, name, color) return { name = name, x = track.x, y = track.y, color = color, dash = color } end

local function all_positive(curves)
  for _, curve in ipairs(curves) do
    for _, value in ipairs(curve.y) do
      if not (value > 0) then return false end
    end
  end
  return true
end

function Watch:curves(what)
  local curves = {}
  for color, record in ipairs { { "train_" .. what, "training" }, { "test_" .. what, "test" } } do
    local track = self.records[record[1]].track
    if #track.y > 0 then curves[#curves + 1] = curve_of(track, track:name(record[2], "epochs"), color) end
  end
  return curves
end

-- The losses of single steps (some of them) matter while there are few epochs.
function Watch:losses()
  local losses = self:curves("loss")
  if self.run.epoch < FEW_EPOCHS and #self.steps.y > 0 then
    local x, per_epoch = {}, self.run.steps_per_epoch
    for k, step in ipairs(self.steps.x) do x[k] = step / per_epoch end
    local batches = { name = "batches", x = x, y = self.steps.y, color = 8, dash = 1, width = 1 }
    table.insert(losses, 1, batches)
  end
  return losses
end

local function one_panel(curves, options) return panel.make(series.check(curves, "watch", { style = "lines" }), options) end

--- watch:figure(): the losses and the accuracies as they are now.
function Watch:figure()
  local run = self.run
  self:take_records()
  local losses, accuracies, title = self:losses(), self:curves("accuracy"), ("step %d, epoch %d"):format(run.step, run.epoch)
  local is_text = self.kind == "text" -- a terminal is small: the losses alone
  local panels = { one_panel(losses, { title = is_text and title or nil, xlabel = "epoch", ylabel = "loss",
    logy = self.options.logy ~= false and all_positive(losses) }) }
  if #accuracies > 0 and not is_text then panels[2] = one_panel(accuracies, { xlabel = "epoch", ylabel = "accuracy" }) end
  return figures.of_panels(panels, { title = not is_text and title or nil })
end

-- ---- drawing ---------------------------------------------------------------------------------------------------

-- After one warning the run goes on unwatched. What would have been drawn is kept.
function Watch:give_up(message)
  self.is_on = false
  self:close()
  figures.keep_script(self:figure(), message)
end

--- watch:close(): draws no more for now; what is under way is left out. watch:update() begins again.
function Watch:close()
  if self.channel and self.kind ~= "window" then self.channel:stop() end
  self.channel, self.lines, self.used = nil, nil, nil
end

function Watch:open()
  local message
  if self.kind == "window" then self.channel, message = display.open_window(self.options)
  else self.channel, message = channel.open(self.options) end
  if not self.channel then self:give_up(message) end
  return self.channel
end

function Watch:script()
  local figure = self:figure()
  if self.kind == "window" then return display.window_script(figure, self.options.window or 1, self.options) end
  if self.kind == "sixel" then
    local drawing, rows = display.sixel_script(figure)
    self.rows = rows
    return "reset\n" .. drawing
  end
  local columns = math.min(TEXT_COLUMNS, process.terminal_width() or TEXT_COLUMNS) - 1
  return "reset\n" .. script.write(figure, script.canvas("text", figure, math.max(40, columns)))
end

-- A figure of characters with its line ends, and how many lines they are.
local function text_lines(output)
  local drawn = output:gsub("\f", ""):gsub("[ \t]+\n", "\n"):gsub("^\n+", ""):gsub("%s+$", "")
  if drawn == "" then return nil end
  return drawn .. "\n", select(2, drawn:gsub("\n", "")) + 1
end

-- Where the cursor stands behind a picture differs between terminals: it goes back to where it was (DECSC, DECRC), in rows
-- that were made free before.
local function picture_lines(output, rows)
  local drawn = display.sixel(output)
  if not drawn then return nil end
  return ("%s\27[%dA\0277%s\0278\27[%dB"):format(("\n"):rep(rows), rows, drawn, rows), rows
end

-- In a terminal each figure takes the place of the one before.
function Watch:print()
  local output = self.channel:take_output()
  local drawn, lines
  if self.kind == "sixel" then drawn, lines = picture_lines(output, self.rows) else drawn, lines = text_lines(output) end
  if not drawn then return end
  progress.hide()
  if self.lines and process.isatty(1) then io.stdout:write(("\27[%dA\27[J"):format(self.lines)) end
  io.stdout:write(drawn)
  io.stdout:flush()
  self.lines = lines
end

function Watch:give_up_stuck(seconds)
  self.channel:stop()
  gnuplot.note_stuck()
  self:give_up(("gnuplot did not finish within %g seconds and was ended"):format(seconds))
end

-- Takes in what gnuplot has done. Returns true when it can have the next figure.
function Watch:collect()
  local state = self.channel:poll()
  if state == "dead" then
    local said = self.channel:take_words()
    self:give_up("gnuplot ended while it was drawing" .. (said and ":\n" .. said or ""))
  elseif state == "busy" then
    local seconds = gnuplot.timeout(self.options)
    if process.time() - self.channel.sent_at > seconds then self:give_up_stuck(seconds) end
  elseif self.kind ~= "window" then
    self:print()
  end
  return state == "idle"
end

-- What gnuplot took for the figure before; nothing for its first one, with which it has to start, too.
function Watch:drawing_seconds()
  local before = self.channel.drawn > 1 and self.used
  self.used = self.channel:processor_seconds()
  return before and self.used - before or 0
end

function Watch:draw(now)
  if not self.channel and not self:open() then return end
  if not self:collect() then
    self.next_draw = now + 0.1
    return
  end
  if self.changed == self.run.step then return end
  self.changed = self.run.step
  local seconds = self:drawing_seconds()
  self.channel:send(self:script())
  self.next_draw = now + math.max(self.interval, (process.time() - now + seconds) / SHARE)
end

--- watch:update(): one step is done, and run.loss is its loss. Call it at every step; it costs next to nothing.
function Watch:update()
  local countdown = self.countdown - 1
  self.countdown = countdown
  if countdown == 0 then self:look() end
end

-- What need not be done at every step: as often as twenty times in a second.
function Watch:look()
  local now, run = process.time(), self.run
  local is_busy = now - self.looked_at < 0.05 / 2
  self.stride = is_busy and math.min(2 * self.stride, MAX_STRIDE) or math.max(1, self.stride // 2)
  self.looked_at, self.countdown = now, self.stride
  if not self.is_on then return end
  if run.epoch < FEW_EPOCHS then self.steps:add(run.step, run.loss) end
  if now >= self.next_draw then self:draw(now) end
end

-- Waits until gnuplot has drawn what it has. Returns true when it did.
function Watch:settle()
  local seconds = math.min(LAST_SECONDS, gnuplot.timeout(self.options))
  if self.channel:wait(seconds) == "busy" then
    self:give_up_stuck(seconds)
    return false
  end
  return self:collect()
end

--- watch:finish(): draws the last figure, and waits for it, but not for long.
function Watch:finish()
  if not self.is_on then return end
  if not self.channel and (process.time() < self.next_draw or not self:open()) then return end -- too short to be watched
  if self:settle() and self.changed ~= self.run.step then
    self.channel:send(self:script())
    self:settle()
  end
  self:close()
end

return watch
