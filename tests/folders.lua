--- Files and folders for the specs.
local lfs = require "lfs"

local folders = {}

--- read(path) -> the file's bytes; an error where it cannot be read.
function folders.read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("a")
  file:close()
  return bytes
end

--- write(path, bytes) -> path
function folders.write(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  return path
end

--- remove(path): a file, or a folder with all that is in it.
function folders.remove(path)
  if lfs.symlinkattributes(path, "mode") == "directory" then
    for name in lfs.dir(path) do
      if name ~= "." and name ~= ".." then folders.remove(path .. "/" .. name) end
    end
  end
  os.remove(path)
end

--- new() -> the path of a new empty folder, to be removed by the caller.
function folders.new()
  local path = os.tmpname()
  os.remove(path)
  assert(lfs.mkdir(path))
  return path
end

--- list(path) -> the sorted names of what is in a folder.
function folders.list(path)
  local names = {}
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return folders
