--- The sides of a workload as the driver sees them: processes that answer requests (side.lua, peer_torch.py).
local plumb = require "plumb"
local process, json = plumb.core.process, plumb.files.json_decode

local TIMEOUT = 300 -- seconds for an answer

local Side = {}
Side.__index = Side
Side.__gc = function(self) self.process:stop() end
Side.__close = Side.__gc

local conversation = {}

--- conversation.start(command) -> side: starts a program that answers requests line by line
function conversation.start(command)
  local started, message = process.start(command)
  if not started then error(message, 0) end
  return setmetatable({ process = started, command = table.concat(command, " "), pending = "", errors = "" }, Side)
end

function Side:fail(what)
  error(("%s\n  %s:\n%s"):format(self.command, what, self.errors), 0)
end

-- The next line of its output.
function Side:line()
  local deadline = process.time() + TIMEOUT
  while true do
    local line, rest = self.pending:match("^([^\n]*)\n(.*)$")
    if line then
      self.pending = rest
      return line
    end
    process.wait_for_workers { self.process }
    local output = self.process:read("stdout")
    self.errors = self.errors .. (self.process:read("stderr") or "")
    if not output then self:fail("ended") end
    self.pending = self.pending .. output
    if process.time() > deadline then self:fail("does not answer") end
  end
end

--- side:ask("run 10") -> its answer
function Side:ask(request)
  self.process:write(request .. "\n")
  local line = self:line()
  local read, answer = pcall(json, line)
  if not read then self:fail("said " .. line) end
  return answer
end

--- side:stop(): ends the process
function Side:stop() self.process:stop() end

--- conversation.whole(command) -> its answer, a table, and the seconds that the whole program took
function conversation.whole(command)
  local started = process.time()
  local result, message = process.run(command, { timeout = TIMEOUT })
  local seconds = process.time() - started
  if not result or result.code ~= 0 then
    error(("%s\n  failed:\n%s"):format(table.concat(command, " "), message or result.stderr), 0)
  end
  return json(result.stdout), seconds
end

return conversation
