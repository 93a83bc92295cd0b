--- One line that shows how far something is, how fast it goes and how long it will take.
--
-- On a terminal the line is redrawn in place, elsewhere plain lines come now and then; nothing is shown for what takes less
-- than a second. No colour and no escape sequences are used.

local process = require("plumb.core").process

local progress = {}

local REDRAW_SECONDS = 0.1
local LINE_SECONDS = 10    -- between plain lines
local QUIET_SECONDS = 1
local SMOOTHING_SECONDS = 10
local RELAY_SECONDS = 0.5  -- between lines for another process
local MAX_STRIDE = 16      -- updates between looks at the clock; bounds how late a slowing loop is noticed
local DEFAULT_WIDTH = 80

-- Where lines go instead of a stream, in a process that works for another one; see progress.relay.
local relay

-- What stands on a stream's current line: its width in characters, so that it can be erased with spaces.
local on_screen = setmetatable({}, { __mode = "k" })

local Progress = {}
Progress.__index = Progress
Progress.__name = "plumb.progress"

-- The seconds until a line is drawn.
local function first_draw(bar)
  if bar.transient then return (relay or bar.terminal) and QUIET_SECONDS or math.huge end
  return relay and 0 or bar.terminal and QUIET_SECONDS or LINE_SECONDS
end

--- progress.new{label = "", total =, done = 0, stream = io.stderr}: total is the number of steps, nil when nobody knows;
--- `done` is where a resumed loop starts; transient = true: a line for whoever waits at a terminal, gone when it ends; pace =
--- false leaves out how fast it goes, where steps differ much. For tests:
--- terminal = boolean, width = columns, clock = function.
function progress.new(settings)
  local self = setmetatable({
    label = settings.label or "", total = settings.total, stream = settings.stream or io.stderr,
    clock = settings.clock or process.time, width = settings.width,
    done = settings.done or 0, stride = 1, countdown = 1, transient = settings.transient, paced = settings.pace ~= false,
  }, Progress)
  self.terminal = settings.terminal
  if self.terminal == nil then
    self.terminal = self.stream == io.stderr and process.isatty(2) or self.stream == io.stdout and process.isatty(1)
  end
  self.started = self.clock()
  self.looked_at, self.drawn_at, self.drawn_done = self.started, self.started, self.done
  self.next_draw = self.started + first_draw(self)
  return self
end

--- progress.relay(f): from here on f(line) is called in place of drawing lines.
function progress.relay(f) relay = f end

--- progress.hide(stream): takes a line that is being redrawn off the terminal, so that something else can be printed. It
--- comes back by itself.
function progress.hide(stream)
  stream = stream or io.stderr
  local columns = on_screen[stream]
  if not columns then return end
  stream:write("\r", (" "):rep(columns), "\r")
  stream:flush()
  on_screen[stream] = nil
end

-- ---- the line ----------------------------------------------------------------------------------------------------

local function duration(seconds)
  if seconds < 9.95 then return ("%.1f s"):format(seconds) end
  if seconds < 59.5 then return ("%.0f s"):format(seconds) end
  local minutes = math.floor(seconds / 60 + 0.5)
  if minutes < 60 then return ("%d:%02d min"):format(seconds // 60, seconds % 60 // 1) end
  if minutes < 100 * 60 then return ("%d:%02d h"):format(minutes // 60, minutes % 60) end
  return ("%.0f days"):format(minutes / 1440)
end

local function pace(rate)
  if rate >= 1e6 then return ("%.3gM/s"):format(rate / 1e6) end
  if rate >= 1e4 then return ("%.3gk/s"):format(rate / 1e3) end
  if rate >= 100 then return ("%.0f/s"):format(rate) end
  return ("%.3g/s"):format(rate)
end

-- The first `columns` characters, in one line.
local function fit(line, columns)
  line = line:gsub("%c", " ")
  local length = utf8.len(line)
  if not length then line = line:gsub("[\128-\255]", "?") end
  if (length or #line) <= columns then return line, length or #line end
  local cut = utf8.offset(line, columns + 1)
  return line:sub(1, cut - 1), columns
end

-- Steps per second: lately, rather than on the whole, since training slows down and speeds up. With dt since the last line,
-- rate = w * old + (1 - w) * (steps in dt) / dt, w = exp(-dt / SMOOTHING_SECONDS).
function Progress:measure_rate(now)
  local elapsed = now - self.drawn_at
  if elapsed > 0 then
    local lately = (self.done - self.drawn_done) / elapsed
    local weight = self.rate and math.exp(-elapsed / SMOOTHING_SECONDS) or 0
    self.rate = weight * (self.rate or 0) + (1 - weight) * lately
  end
  self.drawn_at, self.drawn_done = now, self.done
  return self.rate or 0
end

local function resolve(note)
  if type(note) == "function" then note = note() end
  return note and tostring(note) or nil
end

function Progress:compose(now, last)
  local rate = self:measure_rate(now)
  local elapsed = now - self.started
  local parts = {}
  if self.label ~= "" then parts[1] = self.label end
  if self.total and self.total > 0 then
    parts[#parts + 1] = ("%3d%%"):format(math.min(100, 100 * self.done // self.total))
    parts[#parts + 1] = ("%.14g/%.14g"):format(self.done, self.total)
  else
    parts[#parts + 1] = ("%.14g"):format(self.done)
  end
  if last then
    parts[#parts + 1] = "in " .. duration(elapsed)
  elseif self.paced then
    parts[#parts + 1] = pace(rate)
    if self.total and rate > 0 and self.done <= self.total then
      parts[#parts + 1] = duration((self.total - self.done) / rate) .. " left"
    end
  end
  parts[#parts + 1] = resolve(self.note)
  return table.concat(parts, "  ")
end

-- The last column stays free, since some terminals wrap when it is written.
function Progress:columns()
  return math.max(1, (self.width or process.terminal_width() or tonumber(os.getenv("COLUMNS")) or DEFAULT_WIDTH) - 1)
end

function Progress:draw(now, last)
  local line = self:compose(now, last)
  if relay then return relay(line) end
  if not self.terminal then
    self.stream:write(fit(line, math.maxinteger - 1), "\n")
  else
    local shown, columns = fit(line, self:columns())
    local leftover = math.max(0, math.min(on_screen[self.stream] or 0, self:columns()) - columns)
    self.stream:write("\r", shown, (" "):rep(leftover), last and "\n" or "")
    on_screen[self.stream] = not last and columns or nil
  end
  self.stream:flush()
end

-- ---- from the loop -----------------------------------------------------------------------------------------------

--- progress:update(done, note): `done` steps are done. note is a text behind the line, or a function that returns it and is
--- called only when the line is drawn. Costs next to nothing, so call it as often as you like.
function Progress:update(done, note)
  self.done, self.note = done, note
  self.countdown = self.countdown - 1
  if self.countdown > 0 then return end
  local now = self.clock()
  local busy = now - self.looked_at < REDRAW_SECONDS / (2 * MAX_STRIDE)
  self.stride = busy and math.min(2 * self.stride, MAX_STRIDE) or 1
  self.looked_at, self.countdown = now, self.stride
  if now >= self.next_draw then
    self:draw(now, false)
    self.next_draw = now + (relay and RELAY_SECONDS or self.terminal and REDRAW_SECONDS or LINE_SECONDS)
  end
end

--- progress:step(): another step begins, and those before it are done.
function Progress:step()
  self.begun = (self.begun or self.done) + 1
  self:update(self.begun - 1)
end

--- progress:finish(note): draws the line a last time, with the time it took; a transient one goes. Calling it again does nothing.
function Progress:finish(note)
  if self.finished then return end
  self.finished = true
  if note ~= nil then self.note = note end
  if self.transient then return progress.hide(self.stream) end
  local now = self.clock()
  if now - self.started >= QUIET_SECONDS then self:draw(now, true) end
end

-- local bar <close> = progress.new{...} leaves a clean line behind also when an error passes through.
function Progress:__close() self:finish() end

return progress
