--- One worker process as the process that started it sees it: requests queue up, replies and printed lines come in pieces.
--- What is said is listed in plumb.experiment.worker. Nothing here waits.
local core = require "plumb.core"
local progress = require "plumb.progress"

local Worker = {}
Worker.__index = Worker

local crew = {}

--- crew.start(arguments) -> worker, with worker.process and worker.pid: plumb with these arguments, by default one that waits
--- for trials.
function crew.start(arguments)
  local process = core.process
  local started = process.start_worker(arguments or { "-E", "-e",
    ("require('plumb.experiment.worker').serve(%d)"):format(process.pid()) })
  return setmetatable({ process = started, pid = started:pid(), outgoing = {}, sent = 0, incoming = {}, incoming_bytes = 0,
    lines = { stdout = "", stderr = "" }, show = crew.show }, Worker)
end

--- crew.show(stream, line): prints a line, with the progress line out of the way.
function crew.show(stream, line)
  progress.hide()
  stream:write(line, "\n")
  stream:flush()
end

--- worker:send(kind, payload): queues a request.
function Worker:send(kind, payload)
  local queue = self.outgoing
  queue[#queue + 1] = ("<s1I8"):pack(kind, #payload)
  queue[#queue + 1] = payload
end

--- worker:write(): as much of the queue as the pipe takes.
function Worker:write()
  while self.outgoing[1] do
    local count = self.process:write(self.outgoing[1], self.sent + 1)
    if not count then return end -- it is dying: its exit code says more
    self.sent = self.sent + count
    if self.sent < #self.outgoing[1] then return end
    table.remove(self.outgoing, 1)
    self.sent = 0
  end
end

--- worker:pass_output(prefix, at_end): shows the whole lines that it has printed, and at_end what is left. They go to
--- worker.show(stream, line), which is crew.show unless somebody replaces it.
function Worker:pass_output(prefix, at_end)
  for _, name in ipairs { "stdout", "stderr" } do
    local stream, pending = io[name], self.lines[name]
    repeat
      local bytes = self.process:read(name)
      pending = pending .. (bytes or "")
    until not bytes or bytes == ""
    for line in pending:gmatch("([^\n]*)\n") do self.show(stream, prefix .. line) end
    pending = pending:match("[^\n]*$")
    if at_end and pending ~= "" then
      self.show(stream, prefix .. pending)
      pending = ""
    end
    self.lines[name] = pending
  end
end

--- worker:next_reply() -> kind, payload; or nil and whether it is worth while to ask again at once.
function Worker:next_reply()
  local bytes = self.process:read("reply")
  if bytes and bytes ~= "" then
    self.incoming[#self.incoming + 1] = bytes
    self.incoming_bytes = self.incoming_bytes + #bytes
  end
  if self.incoming_bytes < (self.awaited or 1) then return nil, bytes and bytes ~= "" end
  local whole = table.concat(self.incoming)
  local kind_bytes = whole:byte(1)
  local needed = 1 + kind_bytes + 8
  if #whole >= needed then needed = needed + ("<I8"):unpack(whole, kind_bytes + 2) end
  self.incoming, self.awaited = { whole }, needed
  if #whole < needed then return nil, true end
  self.incoming, self.incoming_bytes, self.awaited = { whole:sub(needed + 1) }, #whole - needed, nil
  return whole:sub(2, kind_bytes + 1), whole:sub(kind_bytes + 10, needed)
end

return crew
