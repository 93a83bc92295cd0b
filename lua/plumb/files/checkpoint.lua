--- Where a computation stands, in one file: nested tables of tensors, numbers, strings and booleans, bit by bit.
--
-- The file is a safetensors file, so that the tensors can be read elsewhere. What is not a tensor is the tensor "plain" (bytes
-- of plumb.pack), and the metadata hold a checksum (CRC-32) of the whole file, computed with zeros in its place: it notices
-- each single flipped bit and each burst of up to 32.
local core = require "plumb.core"
local pack = require "plumb.pack"
local safetensors = require "plumb.files.safetensors"

local checkpoint = {}

local FORMAT = "plumb checkpoint 1"
local MARK, ZEROS = '"crc32":"', "00000000"

local function checksum(parts) return ("%08x"):format(core.files.crc32(parts)) end

--- checkpoint.encode(value, who) -> list of strings, the file's parts. What cannot be kept is an error that begins with `who`.
function checkpoint.encode(value, who)
  local bytes, kept = pack.encode_data(value, who, "state")
  local tensors = { plain = core.files.from_bytes(bytes, "uint8", { #bytes }) }
  for i, entry in ipairs(kept) do tensors[("%d %s"):format(i, entry.name)] = entry.tensor end
  local parts = safetensors.encode(tensors, { format = FORMAT, crc32 = ZEROS })
  local first, last = parts[1]:find(MARK .. ZEROS, 1, true)
  parts[1] = parts[1]:sub(1, first + #MARK - 1) .. checksum(parts) .. parts[1]:sub(last + 1)
  return parts
end

-- The bytes with zeros in place of the checksum, in parts, and the checksum.
local function split(bytes)
  local _, last = bytes:find(MARK, 1, true)
  local found = last and bytes:match("^%x%x%x%x%x%x%x%x", last + 1)
  if not found then error("it is damaged, or not a checkpoint of plumb", 0) end
  return { bytes:sub(1, last), ZEROS, bytes:sub(last + 9) }, found
end

-- What safetensors.decode reads from.
local function reader(bytes)
  local at = 1
  return { read = function(_, count)
    at = at + count
    return bytes:sub(at - count, at - 1)
  end }
end

--- checkpoint.decode(bytes) -> the value that was encoded. A damaged file is an error, without its name.
function checkpoint.decode(bytes)
  local parts, found = split(bytes)
  if checksum(parts) ~= found then error("it is damaged: its checksum is not that of its contents", 0) end
  local tensors, metadata = safetensors.decode(reader(bytes), #bytes)
  if metadata.format ~= FORMAT then
    error(("it is in the format '%s'; this plumb reads '%s'"):format(tostring(metadata.format), FORMAT), 0)
  end
  local numbered = {}
  for name, t in pairs(tensors) do
    local number = math.tointeger(name:match("^(%d+) "))
    if number then numbered[number] = t end
  end
  return pack.decode_data(core.files.bytes(tensors.plain), numbered)
end

return checkpoint
