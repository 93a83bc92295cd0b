--- Tensors as text: like matrices, with shape and dtype, summarised when large.
local format = {}

local EDGE = 3          -- elements kept at either end of an axis that is summarised
local SUMMARISE = 1000  -- tensors with more elements are summarised, as in PyTorch
local WIDTH = 80

--- format.shape(t) -> "(3, 4)"
function format.shape(t) return "(" .. table.concat(t:shape(), ", ") .. ")" end

-- The nested lists of what is shown: of long axes only the ends, with "..." between them.
local function shown(t, summarise)
  if t:dim() == 0 then return t:item() end
  local n = #t
  if not summarise or n <= 2 * EDGE then
    if not summarise then return t:tolist() end
    local list = {}
    for i = 1, n do list[i] = shown(t[i], summarise) end
    return list
  end
  local list = {}
  for i = 1, EDGE do list[i] = shown(t[i], summarise) end
  list[EDGE + 1] = "..."
  for i = EDGE, 1, -1 do list[#list + 1] = shown(t[-i], summarise) end
  return list
end

local function each_number(list, f)
  if type(list) == "number" then return f(list) end
  if type(list) == "table" then
    for _, element in ipairs(list) do each_number(element, f) end
  end
end

-- One way of writing for all numbers of a tensor: integers plainly, else four decimals, or exponents where the range asks.
local function pattern_for(list)
  local whole, largest, smallest = true, 0, math.huge
  each_number(list, function(x)
    if x ~= x or x == math.huge or x == -math.huge then return end
    local size = math.abs(x)
    if math.floor(x) ~= x then whole = false end
    if size > largest then largest = size end
    if size > 0 and size < smallest then smallest = size end
  end)
  if whole and largest < 1e8 then return "%.0f" end
  return (largest >= 1e8 or smallest < 1e-4 or largest / smallest > 1e6) and "%.4e" or "%.4f"
end

local function number_format(list)
  local pattern = pattern_for(list)
  return function(x) return x ~= x and "nan" or pattern:format(x) end -- C writes some NaN as -nan
end

local function integer_text(x) return ("%d"):format(x) end

-- Numbers become texts of one width.
local function to_text(list, write)
  local width = 0
  local function convert(value)
    if type(value) == "table" then
      local out = {}
      for i, element in ipairs(value) do out[i] = convert(element) end
      return out
    end
    local text = value == "..." and value or write(value)
    if value ~= "..." and #text > width then width = #text end
    return text
  end
  return convert(list), width
end

local function pad(text, width) return text == "..." and text or (" "):rep(width - #text) .. text end

-- A row of numbers, wrapped to the width of a page.
local function write_row(row, width, indent)
  local parts, line, lines = {}, indent + 1, {}
  for i, text in ipairs(row) do
    text = pad(text, width) .. (i < #row and "," or "")
    if line + #text + 1 > WIDTH and #parts > 0 then
      lines[#lines + 1], parts, line = table.concat(parts, " "), {}, indent + 1
    end
    parts[#parts + 1] = text
    line = line + #text + 1
  end
  lines[#lines + 1] = table.concat(parts, " ")
  return "[" .. table.concat(lines, "\n" .. (" "):rep(indent + 1)) .. "]"
end

local function write(list, width, indent, rank)
  if rank == 0 then return list end
  if rank == 1 then return write_row(list, width, indent) end
  local parts = {}
  for i, element in ipairs(list) do
    parts[i] = element == "..." and element or write(element, width, indent + 1, rank - 1)
  end
  return "[" .. table.concat(parts, "," .. ("\n"):rep(rank - 1) .. (" "):rep(indent + 1)) .. "]"
end

--- format.tensor(t): what tostring(t) and print(t) show.
function format.tensor(t)
  local list = shown(t, t:numel() > SUMMARISE)
  local integers = t:dtype() == "int64" or t:dtype() == "uint8"
  local texts, width = to_text(list, integers and integer_text or number_format(list))
  local body = write(texts, width, 0, t:dim())
  local kind = t:dtype() .. " " .. format.shape(t)
  if t:dim() == 0 then return body .. "  [" .. t:dtype() .. "]" end
  return body .. "\n[" .. kind .. "]"
end

return format
