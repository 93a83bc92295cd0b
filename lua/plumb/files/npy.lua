--- One tensor in NumPy's .npy format (numpy.lib.format in NumPy's documentation):
---
---     6 bytes   \x93NUMPY
---     2 bytes   version: 1.0 or 2.0
---     2 bytes   length of the header, little-endian (4 bytes in version 2.0)
---     header    a Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
---     data      the elements, row-major and little-endian
---
--- The header is read by patterns that know these three entries and nothing else.
local core = require "plumb.core"

local npy = {}

local MAGIC = "\x93NUMPY"
local MAX_RANK = 8
local MAX_HEADER = 1 << 16 -- bytes; three entries need far fewer

local descriptions = { float32 = "<f4", float64 = "<f8", int64 = "<i8", uint8 = "|u1" }
local dtype_of = { ["<u1"] = "uint8" }
for dtype, description in pairs(descriptions) do dtype_of[description] = dtype end

--- npy.encode(tensor) -> list of strings, the file's parts
function npy.encode(tensor)
  local bytes = core.files.bytes(tensor)
  local sizes = table.concat(tensor:shape(), ", ") .. (#tensor:shape() == 1 and "," or "")
  local header = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"):format(
    descriptions[tensor:dtype()], sizes)
  local prefix = #MAGIC + 4
  local padding = -(prefix + #header + 1) % 64 -- so that the data begin at a multiple of 64
  header = header .. (" "):rep(padding) .. "\n"
  return { MAGIC .. "\1\0" .. string.pack("<s2", header), bytes }
end

local function parse_shape(text)
  local shape, position = {}, 2
  while true do
    local size, after = text:match("^%s*(%d+)%s*()", position)
    if not size then break end
    shape[#shape + 1] = math.tointeger(tonumber(size))
    if not shape[#shape] or #size > 18 then error(("the shape %s is beyond any memory"):format(text), 0) end
    if #shape > MAX_RANK then error(("the shape %s has more than %d axes"):format(text, MAX_RANK), 0) end
    position = text:match("^,()", after)
    if not position then
      if #shape == 1 then error(("the shape %s is a number, not a tuple"):format(text), 0) end
      position = after
      break
    end
  end
  if not text:find("^%s*%)$", position) then error(("the shape %s is not a tuple of sizes"):format(text), 0) end
  return shape
end

-- One value at `position` of the header: its text, with a string's quotes, and where it ends.
local function match_value(header, position)
  for _, pattern in ipairs { "^('[^'\\]*')()", '^("[^"\\]*")()', "^(%u%l+)()", "^(%([%d%s,]*%))()" } do
    local value, after = header:match(pattern, position)
    if value then return value, after end
  end
end

local function parse_entries(header)
  local entries, position = {}, header:match("^%s*{%s*()")
  while position do
    local _, key, after = header:match("^(['\"])([%w_]+)%1%s*:%s*()", position)
    if not key then break end
    local value, ending = match_value(header, after)
    if not value then error(("the value of '%s' in the header can't be read"):format(key), 0) end
    if entries[key] then error(("'%s' stands twice in the header"):format(key), 0) end
    entries[key] = value
    position = ending
    local comma = header:match("^%s*,%s*()", position)
    if not comma then break end
    position = comma
  end
  if not position or not header:find("^%s*}%s*$", position) then
    error("the header is not a dict of descr, fortran_order and shape", 0)
  end
  return entries
end

local function parse_header(header)
  local entries = parse_entries(header)
  for _, key in ipairs { "descr", "fortran_order", "shape" } do
    if not entries[key] then error(("the header lacks '%s'"):format(key), 0) end
  end
  for key in pairs(entries) do
    if key ~= "descr" and key ~= "fortran_order" and key ~= "shape" then
      error(("the header has the unknown entry '%s'"):format(key), 0)
    end
  end
  local dtype = dtype_of[entries.descr:match("^['\"](.*)['\"]$") or ""]
  if not dtype then
    error(("element type %s is not one of <f4, <f8, <i8, |u1"):format(entries.descr), 0)
  end
  if entries.fortran_order ~= "False" then
    error(("fortran_order is %s; save it from numpy.ascontiguousarray(a)"):format(entries.fortran_order), 0)
  end
  if entries.shape:sub(1, 1) ~= "(" then error("the shape is not a tuple", 0) end
  return dtype, parse_shape(entries.shape)
end

local function read_exactly(file, bytes, what)
  if bytes == 0 then return "" end
  local text, message = file:read(bytes)
  if message then error(message, 0) end
  if not text or #text < bytes then
    error(("truncated: found %d of the %d bytes of %s"):format(text and #text or 0, bytes, what), 0)
  end
  return text
end

local widths = { float32 = 4, float64 = 8, int64 = 8, uint8 = 1 }

-- As a float: a product of sizes from a file may be beyond any integer, and must then only differ.
local function bytes_of(dtype, shape)
  local bytes = widths[dtype] + 0.0
  for _, size in ipairs(shape) do bytes = bytes * size end
  return bytes
end

--- npy.decode(file, file_bytes) -> tensor
--- Reads an open file of the given length. The data must be exactly what the header says before they are read.
--- Raises errors without the file's name.
function npy.decode(file, file_bytes)
  local start = read_exactly(file, math.min(file_bytes, #MAGIC + 2), "the magic string")
  if start:sub(1, #MAGIC) ~= MAGIC then error("not a .npy file: it doesn't begin with \\x93NUMPY", 0) end
  local major, minor = start:byte(#MAGIC + 1, #MAGIC + 2)
  if not minor or major < 1 or major > 2 or minor ~= 0 then
    error(("version %s.%s of the format is not known, only 1.0 and 2.0"):format(major, minor), 0)
  end
  local length_format, length_bytes = "<I2", 2
  if major == 2 then length_format, length_bytes = "<I4", 4 end
  local header_bytes = string.unpack(length_format, read_exactly(file, length_bytes, "the header's length"))
  local data_bytes = file_bytes - #MAGIC - 2 - length_bytes - header_bytes
  if data_bytes < 0 or header_bytes > MAX_HEADER then
    error(("truncated or damaged: it announces a header of %d bytes in a file of %d"):format(
      header_bytes, file_bytes), 0)
  end
  local dtype, shape = parse_header(read_exactly(file, header_bytes, "the header"))
  if bytes_of(dtype, shape) ~= data_bytes then
    error(("%s: a %s tensor of shape (%s) takes %.0f bytes, but %d follow the header"):format(
      bytes_of(dtype, shape) > data_bytes and "truncated" or "oversized", dtype, table.concat(shape, ", "),
      bytes_of(dtype, shape), data_bytes), 0)
  end
  return core.files.from_bytes(read_exactly(file, data_bytes, "the data"), dtype, shape)
end

return npy
