--- A gnuplot that stays: figures are sent to it and drawn while this program goes on.
--
-- Nothing here waits but channel:wait. Behind each figure gnuplot is asked to print a number; when that comes back, the
-- figure is drawn. gnuplot ends at its first error, whose words are then in channel.said.

local process = require("plumb.core").process
local gnuplot = require "plumb.plot.gnuplot"

local channel = {}

local Channel = {}
Channel.__index = Channel

local LAST_SECONDS = 1 -- to respond before it is let go
local MARK = "plumb_drawn_"

--- channel.open(options): a running gnuplot, or nil and a message. options: see gnuplot.draw.
function channel.open(options)
  local program = gnuplot.program(options)
  local worker, message = process.start { program, "-d", "-" }
  if not worker then return nil, gnuplot.advise(message) end
  return setmetatable({ worker = worker, queue = "", sent = 0, drawn = 0, output = "", said = "", started = process.time() },
    Channel)
end

local function read_all(worker, stream)
  local parts = {}
  repeat
    local bytes = worker:read(stream)
    parts[#parts + 1] = bytes
  until not bytes or bytes == ""
  return table.concat(parts)
end

-- Writes what the pipe takes.
local function flush(self)
  while self.queue ~= "" do
    local count = self.worker:write(self.queue)
    if not count then
      self.queue = ""
    elseif count == 0 then
      return
    else
      self.queue = self.queue:sub(count + 1)
    end
  end
end

--- channel:poll(): moves what there is to move, and returns "busy" while a figure is being drawn, "idle", or "dead".
function Channel:poll()
  flush(self)
  self.output = self.output .. read_all(self.worker, "stdout")
  self.said = (self.said .. read_all(self.worker, "stderr")):gsub(MARK .. "(%d+)\r?\n", function(number)
    self.drawn = math.max(self.drawn, tonumber(number))
    return ""
  end)
  if self.worker:status() then return "dead" end
  return self.drawn < self.sent and "busy" or "idle"
end

--- channel:send(script): starts the drawing of a figure.
function Channel:send(script)
  self.sent = self.sent + 1
  self.sent_at = process.time()
  self.queue = ("%s%s\nprint '%s%d'\n"):format(self.queue, script, MARK, self.sent)
  self:poll()
end

--- channel:wait(seconds): waits until all is drawn; returns what poll returns then: "busy" after that many seconds.
function Channel:wait(seconds)
  local deadline = process.time() + seconds
  local state = self:poll()
  while state == "busy" and process.time() < deadline do
    process.wait_for_workers { self.worker }
    state = self:poll()
  end
  return state
end

--- channel:processor_seconds(): how long gnuplot has been at work (proc_pid_stat(5): utime and stime, in hundredths).
function Channel:processor_seconds()
  local file <close> = io.open(("/proc/%d/stat"):format(self.worker:pid()))
  local user, system = (file and file:read("a") or ""):match("^.*%)" .. (" %S+"):rep(11) .. " (%d+) (%d+)")
  return user and (tonumber(user) + tonumber(system)) / 100 or 0
end

--- channel:take_output(): what gnuplot has drawn to its standard output since the last time.
function Channel:take_output()
  local output = self.output
  self.output = ""
  return output
end

--- channel:take_words(): what gnuplot has said since the last time, or nil.
function Channel:take_words()
  local said = gnuplot.clean(self.said)
  self.said = ""
  return said ~= "" and said or nil
end

--- channel:stop(): ends gnuplot, even one that hangs or was stopped.
function Channel:stop() self.worker:stop() end

--- channel:leave(): lets gnuplot go; its windows stay. One that does not respond is ended.
function Channel:leave()
  self:send("")
  if self:wait(LAST_SECONDS) == "idle" then self.worker:leave() else self.worker:stop() end
end

return channel
