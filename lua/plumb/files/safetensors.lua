--- Named tensors in one file, in the safetensors format (https://huggingface.co/docs/safetensors):
---
---     8 bytes   length of the header, little-endian
---     header    JSON: {"__metadata__": {name: text}, name: {"dtype":, "shape":, "data_offsets": [begin, end]}, ...}
---     data      the elements, row-major and little-endian, without gaps
local core = require "plumb.core"
local json = require "plumb.files.json"

local safetensors = {}

local MAX_HEADER = 100 * 1000 * 1000 -- bytes, as in the reference implementation
local MAX_RANK = 8

local dtypes = {
  float32 = { code = "F32", width = 4 },
  float64 = { code = "F64", width = 8 },
  int64 = { code = "I64", width = 8 },
  uint8 = { code = "U8", width = 1 },
}
local dtype_of_code = {}
for name, dtype in pairs(dtypes) do dtype_of_code[dtype.code] = name end

-- ---- writing ----

local function checked_metadata(metadata)
  if type(metadata) ~= "table" then error(("metadata is a table of strings, not a %s"):format(type(metadata)), 0) end
  local copy = json.object()
  for key, value in pairs(metadata) do
    if type(key) ~= "string" or type(value) ~= "string" then
      error(("metadata holds strings by name; '%s' is a %s"):format(tostring(key), type(value)), 0)
    end
    copy[key] = value
  end
  return copy
end

local function bytes_of(name, tensor)
  if type(name) ~= "string" or name == "__metadata__" or not utf8.len(name) then
    error(("a tensor's name must be UTF-8 text other than __metadata__, not %s"):format(
      type(name) == "string" and ("%q"):format(name) or tostring(name)), 0)
  end
  if type(tensor) ~= "userdata" then error(("'%s' is a %s, not a tensor"):format(name, type(tensor)), 0) end
  local read, bytes = pcall(core.files.bytes, tensor)
  return read and bytes or error(("'%s': %s"):format(name, bytes), 0)
end

-- Wider elements come first, so that every tensor starts at a multiple of its elements' size; then by name.
local function in_file_order(tensors)
  local names, bytes, width = {}, {}, {}
  for name, tensor in pairs(tensors) do
    bytes[name] = bytes_of(name, tensor)
    names[#names + 1], width[name] = name, dtypes[tensor:dtype()].width
  end
  table.sort(names, function(a, b)
    if width[a] ~= width[b] then return width[a] > width[b] end
    return a < b
  end)
  return names, bytes
end

--- safetensors.encode({name = tensor, ...}, {name = text, ...}) -> list of strings, the file's parts
--- Raises errors without the file's name.
function safetensors.encode(tensors, metadata)
  local header, parts, offset = json.object(), {}, 0
  if metadata ~= nil then header.__metadata__ = checked_metadata(metadata) end
  local names, bytes = in_file_order(tensors)
  for i, name in ipairs(names) do
    header[name] = {
      dtype = dtypes[tensors[name]:dtype()].code,
      shape = tensors[name]:shape(),
      data_offsets = { offset, offset + #bytes[name] },
    }
    parts[i + 1], offset = bytes[name], offset + #bytes[name]
  end
  local text = json.encode(header)
  text = text .. (" "):rep(-#text % 8)
  parts[1] = string.pack("<I8", #text) .. text
  return parts
end

-- ---- reading ----

local function is_size(value) return math.type(value) == "integer" and value >= 0 end

-- The bytes of a tensor, nil when they are more than `limit`: sizes come from the file, products may overflow.
local function bytes_within(shape, width, limit)
  local bytes = width
  for _, size in ipairs(shape) do
    if size == 0 then return 0 end
  end
  for _, size in ipairs(shape) do
    if bytes > limit // size then return nil end
    bytes = bytes * size
  end
  return bytes <= limit and bytes or nil
end

local function check_fields(name, entry)
  local function refuse(problem) error(("tensor '%s': %s"):format(name, problem), 0) end
  if json.kind(entry) ~= "object" then refuse("its description is not an object") end
  for key in pairs(entry) do
    if key ~= "dtype" and key ~= "shape" and key ~= "data_offsets" then refuse(("unknown field '%s'"):format(key)) end
  end
  if not dtype_of_code[entry.dtype] then
    refuse(("dtype %s is not one of F32, F64, I64, U8"):format(json.encode(entry.dtype)))
  end
  if json.kind(entry.shape) ~= "array" or #entry.shape > MAX_RANK then
    refuse(("its shape is not a list of at most %d sizes"):format(MAX_RANK))
  end
  for _, size in ipairs(entry.shape) do
    if not is_size(size) then refuse(("its shape contains %s, not a whole number from 0"):format(json.encode(size))) end
  end
  local offsets = entry.data_offsets
  if json.kind(offsets) ~= "array" or #offsets ~= 2 or not is_size(offsets[1]) or not is_size(offsets[2]) then
    refuse("its data_offsets are not two whole numbers from 0")
  end
end

-- Checks one tensor's place and size against the data, which are `data_bytes` long and described up to `position`.
local function check_extent(name, entry, position, data_bytes)
  local first, last = entry.data_offsets[1], entry.data_offsets[2]
  if first ~= position then
    error(("tensor '%s': its data begin at byte %d; expected %d, where the data before it end"):format(
      name, first, position), 0)
  end
  if last < first or last > data_bytes then
    error(("tensor '%s': its data end at byte %d, outside %d to %d"):format(name, last, first, data_bytes), 0)
  end
  local dtype = dtype_of_code[entry.dtype]
  if bytes_within(entry.shape, dtypes[dtype].width, data_bytes) ~= last - first then
    error(("tensor '%s': %d bytes do not make a %s tensor of shape (%s)"):format(
      name, last - first, dtype, table.concat(entry.shape, ", ")), 0)
  end
end

local function check_header(header, data_bytes)
  if json.kind(header) ~= "object" then error("the header is not a JSON object", 0) end
  local metadata = header.__metadata__
  if metadata ~= nil then
    if json.kind(metadata) ~= "object" then error("__metadata__ is not an object", 0) end
    metadata = setmetatable(checked_metadata(metadata), nil)
  end
  header.__metadata__ = nil

  local names = {}
  for name, entry in pairs(header) do
    check_fields(name, entry)
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) -- empty tensors before the one that begins at the same place
    local p, q = header[a].data_offsets, header[b].data_offsets
    if p[1] ~= q[1] then return p[1] < q[1] end
    if p[2] ~= q[2] then return p[2] < q[2] end
    return a < b
  end)
  local position = 0
  for _, name in ipairs(names) do
    check_extent(name, header[name], position, data_bytes)
    position = header[name].data_offsets[2]
  end
  if position ~= data_bytes then
    error(("the header describes %d bytes of data, but the file holds %d"):format(position, data_bytes), 0)
  end
  return names, metadata or {}
end

local function read_exactly(file, bytes)
  if bytes == 0 then return "" end
  local text, message = file:read(bytes)
  if not text or #text < bytes then error(message or "it became shorter while it was read", 0) end
  return text
end

--- safetensors.decode(file, file_bytes) -> {name = tensor, ...}, {name = text, ...}
--- Reads an open file of the given length. Nothing is read before the header has vouched for it. Raises errors
--- without the file's name.
function safetensors.decode(file, file_bytes)
  if file_bytes < 8 then error(("not a safetensors file: it holds %d bytes, fewer than 8"):format(file_bytes), 0) end
  local header_bytes = string.unpack("<i8", read_exactly(file, 8))
  if header_bytes < 0 or header_bytes > MAX_HEADER or header_bytes > file_bytes - 8 then
    error(("not a safetensors file, or truncated: it announces a header of %s bytes; %d follow, and %d is the most")
      :format(header_bytes < 0 and "more than 2^63" or header_bytes, file_bytes - 8, MAX_HEADER), 0)
  end
  local header = json.decode(read_exactly(file, header_bytes), json.null)
  local names, metadata = check_header(header, file_bytes - 8 - header_bytes)
  local tensors = {}
  for _, name in ipairs(names) do
    local entry = header[name]
    local bytes = read_exactly(file, entry.data_offsets[2] - entry.data_offsets[1])
    local shape = setmetatable(entry.shape, nil)
    tensors[name] = core.files.from_bytes(bytes, dtype_of_code[entry.dtype], shape)
  end
  return tensors, metadata
end

return safetensors
