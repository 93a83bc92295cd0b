--- Tensors in files that other programs read and write too: named tensors as .safetensors, one tensor as .npy.
--- Files are data: nothing in them is ever run, and a damaged one is an error that names it and says what is wrong.
local checkpoint = require "plumb.files.checkpoint"
local core = require "plumb.core"
local json = require "plumb.files.json"
local npy = require "plumb.files.npy"
local safetensors = require "plumb.files.safetensors"

local files = {
  json_encode = json.encode,
  json_decode = json.decode,
  json_object = json.object,
}

local function ending_of(path, level)
  if type(path) ~= "string" then error(("a path is a string, not a %s"):format(type(path)), level + 1) end
  local ending = path:match("%.(%w+)$")
  if ending ~= "safetensors" and ending ~= "npy" then
    error(("%s: the file's name must end in .safetensors or .npy"):format(path), level + 1)
  end
  return ending
end

--- files.write(path, text)
--- Writes a string, or a list of strings one after another, so that `path` holds either all of it or what it held
--- before, also when the machine stops half-way. Raises an error that names the path and the reason.
function files.write(path, text)
  local written, message = pcall(core.files.write_atomically, path, type(text) == "table" and text or { text })
  if not written then error(message, 2) end
end

local function encode(ending, tensors, metadata)
  if ending == "npy" then
    if type(tensors) ~= "userdata" then error("a .npy file holds one tensor, not a " .. type(tensors), 0) end
    if metadata ~= nil then error("a .npy file has no metadata; use .safetensors", 0) end
    return npy.encode(tensors)
  end
  if type(tensors) ~= "table" then
    error("a .safetensors file holds a table of tensors by name, not a " .. type(tensors), 0)
  end
  return safetensors.encode(tensors, metadata)
end

--- files.save(path, {name = tensor, ...}, metadata)
--- files.save("name.npy", tensor)
--- Saves named tensors, with an optional table of strings, in the safetensors format; or one tensor in NumPy's.
--- The file is written whole or not at all. Raises an error that names the path.
function files.save(path, tensors, metadata)
  local encoded, parts = pcall(encode, ending_of(path, 2), tensors, metadata)
  if not encoded then error(("%s: %s"):format(path, parts), 2) end
  local written, message = pcall(core.files.write_atomically, path, parts)
  if not written then error(message, 2) end
end

--- files.load("name.safetensors") -> {name = tensor, ...}, metadata (a table of strings, maybe empty)
--- files.load("name.npy") -> tensor
--- Raises an error that names the file and what is wrong with it; its sizes are checked before anything is allocated.
function files.load(path)
  local decode = ending_of(path, 2) == "npy" and npy.decode or safetensors.decode
  local file <close>, message = io.open(path, "rb")
  if not file then error("cannot read " .. message, 2) end
  local bytes, reason = file:seek("end")
  if not bytes or not file:seek("set") then error(("cannot read %s: %s"):format(path, reason), 2) end
  local done, value, metadata = pcall(decode, file, bytes)
  if not done then error(("%s: %s"):format(path, value), 2) end
  return value, metadata
end

--- files.save_checkpoint(path, value)
--- Saves a value made of tables, tensors, numbers, strings and booleans, such as run:state(), with all its bits. The file is
--- written whole or not at all; it is a safetensors file with a checksum. Raises an error that names the path.
function files.save_checkpoint(path, value)
  if type(path) ~= "string" then error(("a path is a string, not a %s"):format(type(path)), 2) end
  local parts = checkpoint.encode(value, "save_checkpoint")
  local written, message = pcall(core.files.write_atomically, path, parts)
  if not written then error(message, 2) end
end

--- files.load_checkpoint(path) -> value
--- What save_checkpoint saved. Any damage (a flipped bit, a missing end) is an error that names the file.
function files.load_checkpoint(path)
  if type(path) ~= "string" then error(("a path is a string, not a %s"):format(type(path)), 2) end
  local file <close>, message = io.open(path, "rb")
  if not file then error("cannot read " .. message, 2) end
  local bytes, reason = file:read("a")
  if not bytes then error(("cannot read %s: %s"):format(path, reason), 2) end
  local done, value = pcall(checkpoint.decode, bytes)
  if not done then error(("%s: %s"):format(path, value), 2) end
  return value
end

return files
