--- The texts of the statements typed at the prompt, by the names of their chunks: "stdin[1]", "stdin[2]", ...
local sources = {}

local texts, count = {}, 0

--- sources.next_name() -> the chunk name, as load wants it, of the statement that is read next
function sources.next_name() return ("=stdin[%d]"):format(count + 1) end

--- sources.keep(text, name): a statement begins to run.
function sources.keep(text, name)
  count = count + 1
  texts[name] = text
end

--- sources.last() -> the chunk name of the last statement
function sources.last() return ("=stdin[%d]"):format(count) end

local function read(source)
  local file = source:sub(1, 1) == "@" and io.open(source:sub(2), "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

--- sources.text(source) -> the text behind a chunk's `source` (as debug.getinfo gives it), or nil where it is not known
function sources.text(source)
  if source:sub(1, 1) == "=" then return texts[source] end
  if source:sub(1, 1) == "@" then return read(source) end
  return source
end

--- sources.lines(source, first, last) -> list of these lines (from 1), or nil
function sources.lines(source, first, last)
  local text = sources.text(source)
  if not text then return nil end
  local lines, number = {}, 0
  for line in (text .. "\n"):gmatch("([^\n]*)\r?\n") do
    number = number + 1
    if number >= first then lines[#lines + 1] = line end
    if number == last then break end
  end
  return #lines > 0 and lines or nil
end

return sources
