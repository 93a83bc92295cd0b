--- The process of an experiment that a report runs.
local core = require "plumb.core"
local progress = require "plumb.progress"

local child = {}

--- child.arguments(words) -> what plumb is started with to run a script, words = {[-1] = program, [0] = script, argument, ...},
--- as if those words had been typed, but under this process: it ends when this one ends, and its progress lines come here.
function child.arguments(words)
  local list = {}
  for i = -1, #words do list[#list + 1] = ("[%d]=%q"):format(i, words[i]) end
  return { "-e", ("require('plumb.experiment.report.child').run(%d,{%s})"):format(core.process.pid(), table.concat(list, ",")) }
end

--- child.run(parent, words): in that process.
function child.run(parent, words)
  core.process.obey(parent)
  local replies = assert(io.open("/dev/fd/4", "wb"))
  progress.relay(function(line)
    replies:write(("<s1s8"):pack("note", line))
    replies:flush()
  end)
  io.stdout:setvbuf("line")
  arg = words -- luacheck: ignore 121
  assert(loadfile(words[0]))(table.unpack(words))
end

return child
