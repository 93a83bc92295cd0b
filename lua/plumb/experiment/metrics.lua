--- metrics.csv: one row per recorded step or epoch, on its way to the disk as soon as it is recorded.
--
-- Invariant: the first `size` bytes of the file are whole rows of `written_columns` columns; rows that could not be written
-- wait in `pending`, and a row torn by a full disk lies behind `size` and goes with the next rewrite.

local text = require "plumb.experiment.text"
local folder = require "plumb.experiment.folder"

local Metrics = {}
Metrics.__index = Metrics

local COUNTERS = { trial = 1, seed = 2, epoch = 3, step = 4 }
local RETRY_EVERY = 100 -- rows, while the disk refuses

local metrics = {}

local function check_name(name)
  if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
    text.fail("run:record: column '%s': a name is made of letters, digits and _", tostring(name))
  end
end

--- metrics.new(path, columns, warn): the file appears with its first row, or at once when the columns are declared; then no
--- others are allowed. warn(message) is called when the disk refuses, once. Returns nil and a message when it does so now.
function metrics.new(path, columns, warn)
  local self = setmetatable({ path = path, columns = {}, known = {}, declared = columns ~= nil, warn = warn,
                              size = 0, written_columns = 0, pending = {} }, Metrics)
  for i, name in ipairs(columns or {}) do
    check_name(name)
    if self.known[name] then text.fail("experiment: column '%s' is declared twice", name) end
    self.columns[i], self.known[name] = name, true
  end
  if not columns then return self end
  local ok, message = self:rewrite()
  return ok and self, message
end

local function cell(name, value)
  local scalar = text.scalar(value)
  if scalar == nil then
    text.fail("run:record: column '%s' is a %s, expected a number, text or a tensor of one element", name, type(value))
  end
  if type(scalar) == "number" then return text.number(scalar) end
  local written = tostring(scalar):gsub("%c", " ")
  return written:find('[,"]') and '"' .. written:gsub('"', '""') .. '"' or written
end

-- Counters first, then what names the row, then the measured numbers; each by name, so the order never changes between runs.
local function sort_columns(names, row)
  local function rank(name) return COUNTERS[name] or (type(row[name]) == "string" and 5 or 6) end
  table.sort(names, function(a, b)
    if rank(a) ~= rank(b) then return rank(a) < rank(b) end
    return a < b
  end)
  return names
end

local function line(cells, count)
  local parts = {}
  for i = 1, count do parts[i] = cells[i] or "" end
  return table.concat(parts, ",") .. "\n"
end

--- metrics.check(row, known, declared) -> cells, new: the row's values as text by column, and the columns that are not
--- known yet; declared = list of the only columns allowed, or nil. Mistakes raise.
function metrics.check(row, known, declared)
  if type(row) ~= "table" then text.fail("run:record: expected {name = value, ...}, not a %s", type(row)) end
  local new, cells = {}, {}
  for name, value in pairs(row) do
    check_name(name)
    cells[name] = cell(name, value)
    if not known[name] then new[#new + 1] = name end
  end
  sort_columns(new, row)
  if #new > 0 and declared then
    text.fail("run:record: column '%s' is not among the declared ones (%s)", new[1], table.concat(declared, ", "))
  end
  return cells, new
end

--- metrics:record(row): row is {column name = value}; a column that is missing stays empty, a new one is empty in the
--- earlier rows. Mistakes raise before anything is written; a disk that refuses doesn't raise.
function Metrics:record(row)
  local cells, new = metrics.check(row, self.known, self.declared and self.columns)
  for _, name in ipairs(new) do
    self.columns[#self.columns + 1], self.known[name] = name, true
  end
  local ordered = {}
  for i, name in ipairs(self.columns) do ordered[i] = cells[name] or "" end
  self.pending[#self.pending + 1] = ordered
  if not self.refused or #self.pending % RETRY_EVERY == 0 then self:write() end
end

function Metrics:write()
  local ok, message
  if self.file and self.written_columns == #self.columns then
    ok, message = self:append()
  else
    ok, message = self:rewrite()
  end
  if not ok and not self.refused then
    self.warn(("can't write %s: %s; the run goes on and its rows wait in memory"):format(self.path, message))
  end
  self.refused = not ok
  return ok, message
end

function Metrics:pending_lines()
  local lines = {}
  for i, cells in ipairs(self.pending) do lines[i] = line(cells, #self.columns) end
  return table.concat(lines)
end

function Metrics:append()
  local lines = self:pending_lines()
  local ok, message = self.file:write(lines)
  if ok then ok, message = self.file:flush() end
  if not ok then
    self.file:close()
    self.file = nil
    return nil, message
  end
  self.size, self.pending = self.size + #lines, {}
  return true
end

-- The rows that are safely written, without the header and with empty cells for the columns that came later.
function Metrics:earlier_rows()
  if self.size == 0 then return "" end
  local file, message = io.open(self.path, "rb")
  if not file then return nil, message end
  local bytes = file:read(self.size)
  file:close()
  if not bytes or #bytes < self.size then return nil, "somebody else has shortened it" end
  local padding = (","):rep(#self.columns - self.written_columns)
  return (bytes:gsub("^[^\n]*\n", ""):gsub("\n", padding .. "\n"))
end

-- Replaces the file as a whole, so that whoever kills the process finds the old rows or all of them.
function Metrics:rewrite()
  local earlier, message = self:earlier_rows()
  if not earlier then return nil, message end
  local parts = { table.concat(self.columns, ",") .. "\n", earlier, self:pending_lines() }
  local ok
  ok, message = folder.write(self.path, parts)
  if not ok then return nil, message end
  if self.file then self.file:close() end
  self.size, self.pending, self.written_columns = #parts[1] + #parts[2] + #parts[3], {}, #self.columns
  self.file, message = io.open(self.path, "ab")
  return self.file ~= nil, message
end

--- metrics:finish(): writes what still waits and closes the file. Returns true, or nil and a message.
function Metrics:finish()
  local ok, message = true, nil
  if #self.pending > 0 then ok, message = self:write() end
  if self.file then self.file:close() end
  self.file = nil
  return ok, message
end

return metrics
