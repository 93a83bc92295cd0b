--- Values as text: numbers that read back as the same bits, JSON in a fixed order, words that fit a width.

local json = require "dkjson"

local text = {}

local PRECISIONS = { "%.15g", "%.16g", "%.17g" }

--- text.number(value): the shortest decimal text that reads back as the same number; "nan", "inf" or "-inf".
function text.number(value)
  if math.type(value) == "integer" then return ("%d"):format(value) end
  if value ~= value then return "nan" end
  if value == math.huge then return "inf" end
  if value == -math.huge then return "-inf" end
  for _, precision in ipairs(PRECISIONS) do
    local written = precision:format(value)
    if tonumber(written) == value then return written end
  end
end

--- text.short(value): a value for people; numbers with five digits.
function text.short(value)
  if math.type(value) == "float" then
    return value - value == 0 and ("%.5g"):format(value) or text.number(value)
  end
  return tostring(value)
end

--- text.scalar(value): a number, string or boolean as it is, a tensor of one element as a number; otherwise nil.
function text.scalar(value)
  local kind = type(value)
  if kind == "number" or kind == "string" or kind == "boolean" then return value end
  if kind ~= "table" and kind ~= "userdata" then return nil end
  local is_tensor, item = pcall(function() return value:item() end)
  return is_tensor and type(item) == "number" and item or nil
end

-- ---- JSON --------------------------------------------------------------------------------------------------------

-- dkjson writes numbers with 14 digits; this hands it the digits.
local Digits = { __tojson = function(self) return self[1] end }

local function valid_utf8(bytes)
  if utf8.len(bytes) then return bytes end
  return (bytes:gsub("[\128-\255]", "?"))
end

local function prepare(value)
  if type(value) == "string" then return valid_utf8(value) end
  if type(value) == "number" then
    local digits = text.number(value)
    return value - value == 0 and setmetatable({ digits }, Digits) or digits
  end
  if type(value) ~= "table" then return value end
  local prepared = setmetatable({}, getmetatable(value) or { __jsontype = "array" })
  for key, entry in pairs(value) do prepared[key] = prepare(entry) end
  return prepared
end

--- text.object(list): a JSON object from {{key, value}, ...} that is written in this order.
function text.object(list)
  local object, order = {}, {}
  for i, pair in ipairs(list) do
    order[i], object[pair[1]] = pair[1], pair[2]
  end
  return setmetatable(object, { __jsontype = "object", __jsonorder = order })
end

--- text.json(object): JSON, indented. JSON has no numbers that are not finite: they become "nan", "inf" and "-inf".
function text.json(object)
  return json.encode(prepare(object), { indent = true }) .. "\n"
end

-- ---- words -------------------------------------------------------------------------------------------------------

local function width(line) return utf8.len(line) or #line end

--- text.pad(line, columns): the line with spaces behind it up to this width.
function text.pad(line, columns) return line .. (" "):rep(columns - width(line)) end

--- text.wrap(sentence, columns): the list of lines that it takes, broken between words.
function text.wrap(sentence, columns)
  local lines = {}
  for word in sentence:gmatch("%S+") do
    local line = lines[#lines]
    if line and width(line) + 1 + width(word) <= columns then
      lines[#lines] = line .. " " .. word
    else
      lines[#lines + 1] = word
    end
  end
  return lines
end

--- text.table(rows, columns): lines of {name, value, sentence} rows, aligned, the sentences wrapped.
function text.table(rows, columns)
  local name_width, value_width = 0, 0
  for _, row in ipairs(rows) do
    name_width, value_width = math.max(name_width, width(row[1])), math.max(value_width, width(row[2]))
  end
  local indent = name_width + value_width + 6
  local beside = indent <= columns // 2
  if not beside then indent = 6 end
  local lines = {}
  for _, row in ipairs(rows) do
    local sentence = text.wrap(row[3], columns - indent)
    local head = "  " .. text.pad(row[1], name_width) .. "  " .. row[2]
    lines[#lines + 1] = beside and text.pad(head, indent) .. (sentence[1] or "") or head
    for i = beside and 2 or 1, #sentence do
      lines[#lines + 1] = (" "):rep(indent) .. sentence[i]
    end
  end
  return lines
end

--- text.shell(words): a command line that a POSIX shell reads as these words.
function text.shell(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = word:find("^[%w_./=,:@%%+-]+$") and word or "'" .. word:gsub("'", "'\\''") .. "'"
  end
  return table.concat(quoted, " ")
end

-- Edits (insert, delete, replace) that lead from one word to the other.
local function distance(from, to)
  local row = {}
  for j = 0, #to do row[j] = j end
  for i = 1, #from do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #to do
      local replaced = diagonal + (from:byte(i) == to:byte(j) and 0 or 1)
      diagonal = row[j]
      row[j] = math.min(replaced, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#to]
end

--- text.nearest(word, names): the name that was probably meant, or nil.
function text.nearest(word, names)
  local best, best_distance
  for _, name in ipairs(names) do
    local edits = #word > 1 and name:sub(1, #word) == word and 1 or distance(word, name)
    if edits <= 1 + #word // 4 and (not best or edits < best_distance) then
      best, best_distance = name, edits
    end
  end
  return best
end

--- text.fail(format, ...): raises an error that blames the nearest caller outside of the experiment library.
function text.fail(format, ...)
  local level = 2
  while true do
    local info = debug.getinfo(level, "S")
    if not info then break end
    if info.what ~= "C" and not info.source:find("plumb/experiment[/%w]*%.lua$") then break end
    level = level + 1
  end
  error(format:format(...), level)
end

return text
