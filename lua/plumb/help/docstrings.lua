--- Docstrings: the blocks of `---` lines above functions and at the top of files, and what their text is made of.
local sources = require "plumb.help.sources"

local docstrings = {}

local function begins_docstring(line) return line:find("^%s*%-%-%-[^-]") ~= nil or line:find("^%s*%-%-%-$") ~= nil end

-- A docstring begins with `---` and goes on through lines of either kind.
local function blocks_in(lines)
  local blocks, current = {}, nil
  for number = 1, #lines + 1 do
    local line = lines[number]
    if line and (current and line:find("^%s*%-%-") or begins_docstring(line)) then
      current = current or { first = number }
      current[#current + 1] = line:match("^%s*%-%-%-? ?(.*)$")
    elseif current then
      blocks[#blocks + 1], current = { first = current.first, text = table.concat(current, "\n") }, nil
    end
  end
  return blocks
end

--- docstrings.above(f) -> the docstring directly above a Lua function's definition, or nil
function docstrings.above(f)
  local info = debug.getinfo(f, "S")
  local lines = info.what ~= "C" and info.linedefined > 1 and sources.lines(info.source, 1, info.linedefined - 1)
  if not lines then return nil end
  local last = #lines -- functions of one line each may share a docstring
  while last > 1 and lines[last]:find("^function .*%f[%w]end$") do last = last - 1 end
  local first = last + 1
  while first > 1 and lines[first - 1]:find("^%s*%-%-") do first = first - 1 end
  local blocks = blocks_in(table.move(lines, first, last, 1, {}))
  return blocks[1] and blocks[#blocks].text or nil
end

--- docstrings.of_file(path) -> the docstring at its top or nil, and a list of the others
function docstrings.of_file(path)
  local lines = sources.lines("@" .. path, 1, math.maxinteger) or {}
  local blocks, rest, header = blocks_in(lines), {}, nil
  for _, block in ipairs(blocks) do
    if block.first == 1 then header = block.text else rest[#rest + 1] = block.text end
  end
  return header, rest
end

--- docstrings.split(text) -> signature, description: "f(x) -> y: what it does" is "f(x)" and "-> y: what it does".
function docstrings.split(text)
  local depth = 0
  for i = 1, #text do
    local c = text:sub(i, i)
    if c:find("[({%[]") then depth = depth + 1 elseif c:find("[)}%]]") then depth = depth - 1 end
    if depth == 0 and text:find("^%s*%->", i) then return text:sub(1, i - 1), text:match("^%s*(.*)$", i) end
    if depth == 0 and text:find("^:%s", i) then return text:sub(1, i - 1), text:match("^:%s?(.*)$", i) end
    if depth == 0 and c == "\n" then return text:sub(1, i - 1), text:sub(i + 1) end
  end
  return text, ""
end

--- docstrings.paragraphs(text) -> list of { text =, code = boolean }: what is indented is code, kept line by line.
function docstrings.paragraphs(text)
  local list, current = {}, nil
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do
    local code = line:find("^  ") ~= nil
    if line:find("^%s*$") then
      current = nil
    elseif current and current.code == code and not line:find("^%l[%w ]*: ") then
      current.text = current.text .. (code and "\n" or " ") .. line
    else
      current = { text = line, code = code }
      list[#list + 1] = current
    end
  end
  return list
end

--- docstrings.wrap(text, columns) -> the text with its paragraphs filled
function docstrings.wrap(text, columns)
  local out = {}
  for _, paragraph in ipairs(docstrings.paragraphs(text)) do
    if paragraph.code then
      out[#out + 1] = paragraph.text
    else
      local line = ""
      for word in paragraph.text:gmatch("%S+") do
        if line ~= "" and #line + 1 + #word > columns then out[#out + 1], line = line, "" end
        line = line == "" and word or line .. " " .. word
      end
      out[#out + 1] = line
    end
  end
  return table.concat(out, "\n")
end

--- docstrings.summary(text) -> the first sentence of the description
function docstrings.summary(text)
  local _, description = docstrings.split(text)
  local sentence = description:gsub("%s+", " ")
  return sentence:match("^(.-[%.:;])%s") or sentence
end

-- Cuts a text at the commas outside of brackets, up to the end of a sentence.
local function pieces(text)
  local list, depth, from = {}, 0, 1
  for i = 1, #text do
    local c = text:sub(i, i)
    if c:find("[({%[]") then depth = depth + 1 elseif c:find("[)}%]]") then depth = depth - 1 end
    local ends = depth == 0 and (text:find("^%.%s", i) or text:find("^[.;]$", i))
    if depth == 0 and (c == "," or c == ";") or ends then
      list[#list + 1], from = text:sub(from, i - 1), i + 1
    end
    if ends then return list end
  end
  list[#list + 1] = text:sub(from)
  return list
end

--- docstrings.option_names(text) -> the names of the options that a docstring tells: those with a default in the braces of
--- its first paragraph, and those listed behind "options:".
function docstrings.option_names(text)
  local names, seen = {}, {}
  local function add(name)
    if name and not seen[name] and name ~= "or" then names[#names + 1], seen[name] = name, true end
  end
  local first = docstrings.paragraphs(text)[1]
  for braces in (first and first.text or ""):gmatch("%b{}") do
    for _, piece in ipairs(pieces(braces:sub(2, -2))) do add(piece:match("^%s*([%a_][%w_]*)%s*=")) end
  end
  local list = text:match("%f[%w]options:%s(.*)$")
  for _, piece in ipairs(list and pieces(list) or {}) do
    for part in (piece .. " and "):gmatch("%s*(.-) and ") do add(part:match("^([%a_][%w_]*)")) end
  end
  return names
end

return docstrings
