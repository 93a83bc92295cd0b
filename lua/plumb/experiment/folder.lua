--- The folder of a run: claimed before any work, never taken from another run by accident.

local json = require "dkjson"
local files = require("plumb.core").files

local folder = {}

local REMAINS = { "summary.json", "run.json", "metrics.csv", "checkpoint" }

local function attempt(operation, ...)
  local ok, message = pcall(operation, ...)
  if ok then return true end
  return nil, tostring(message)
end

--- folder.write(path, strings): writes a file whole or not at all. Returns true, or nil and a message.
function folder.write(path, strings) return attempt(files.write_atomically, path, strings) end

local function read(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local bytes = file:read("a")
  file:close()
  return bytes
end

-- May a run of the experiment `name` write into this folder? Returns true, or nil and a message.
local function check_existing(path, name, overwrite)
  if not files.is_writable_directory(path) then
    return nil, ("'%s' is no folder that can be written to"):format(path)
  end
  if not files.exists(path .. "/config.json") then
    for _, remains in ipairs(REMAINS) do
      if files.exists(path .. "/" .. remains) then
        return nil, ("the folder '%s' holds a %s but no config.json; choose another one with --out"):format(path, remains)
      end
    end
    return true
  end
  local config = json.decode(read(path .. "/config.json") or "")
  local owner = type(config) == "table" and config.name
  if type(owner) ~= "string" then
    return nil, ("the folder '%s' holds a config.json that is not of a run; choose another one with --out"):format(path)
  elseif owner ~= name then
    return nil, ("the folder '%s' belongs to another experiment, %s; choose another one with --out"):format(path, owner)
  elseif not overwrite then
    return nil, ("the folder '%s' already holds a run of %s, started %s; choose another one with --out, or replace it with "
                 .. "--overwrite"):format(path, name, tostring(config.started))
  end
  return true
end

local function remove_remains(path)
  for _, remains in ipairs(REMAINS) do
    local file = path .. "/" .. remains
    if files.exists(file) then
      local ok, message
      if remains == "checkpoint" then ok, message = attempt(files.remove_directory, file) else ok, message = os.remove(file) end
      if not ok then return nil, message end
    end
  end
  return true
end

local function claim_given(path, name, config, overwrite)
  path = path:gsub("(.)/+$", "%1")
  local ok, message
  if files.exists(path) then
    ok, message = check_existing(path, name, overwrite)
  else
    ok, message = attempt(files.make_directory, path)
  end
  if ok then ok, message = folder.write(path .. "/config.json", { config }) end
  if ok then ok, message = remove_remains(path) end
  if not ok then return nil, message end
  return path
end

-- The folder is made under a name of its own and then renamed. Nothing can be renamed onto a folder that holds a file, so
-- of two runs that start in the same second each gets its own.
local function claim_new(parent, name, config)
  local token = tostring({}):match("0x(%x+)") .. ("%x"):format(os.time())
  local draft = ("%s/.%s-%s"):format(parent, name, token)
  local ok, message = attempt(files.make_directory, draft)
  if ok then ok, message = folder.write(draft .. "/config.json", { config }) end
  local base = ("%s/%s-%s"):format(parent, name, os.date("%Y%m%d-%H%M%S"))
  for number = 1, ok and 1000 or 0 do
    local path = number == 1 and base or base .. "-" .. number
    ok, message = os.rename(draft, path)
    if ok then return path end
    if not files.exists(path) then break end
  end
  os.remove(draft .. "/config.json")
  os.remove(draft)
  return nil, message
end

--- folder.claim{name =, out = path or nil, parent = "runs", config = bytes, overwrite =}: makes or takes the folder of a run
--- and writes its config.json. Returns its path, or nil and a message; an earlier run is then still there.
function folder.claim(request)
  local path, message
  if request.out then
    path, message = claim_given(request.out, request.name, request.config, request.overwrite)
  else
    path, message = claim_new(request.parent, request.name, request.config)
  end
  if path then return path end
  return nil, "can't use the output folder: " .. message
end

return folder
