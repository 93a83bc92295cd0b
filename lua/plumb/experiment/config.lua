--- config.json: what a run was made with, enough to make it again.

local json = require "dkjson"
local files = require("plumb.core").files
local options = require "plumb.experiment.options"
local text = require "plumb.experiment.text"

local config = {}

-- "AMD EPYC, 2 cores": the machine as its users know it; nil where the system does not tell.
local function processor()
  local file <close> = io.open("/proc/cpuinfo")
  local listed = file and file:read("a") or ""
  local model, _, cores = listed:match("model name%s*:%s*([^\n]*)"), listed:gsub("processor%s*:", "")
  return model and ("%s, %d core%s"):format(model, cores, cores == 1 and "" or "s")
end

--- config.text{name =, description =, settings = JSON object, values =, plumb =, threads =, command =} -> the file
function config.text(run)
  local plumb = run.plumb
  return text.json(text.object{
    { "name", run.name },
    { "description", run.description },
    { "settings", run.settings },
    { "seed", run.values.seed },
    { "seeds", run.values.seeds > 1 and run.values.seeds or nil },
    { "quick", run.values.quick },
    { "version", plumb.version },
    { "threads", run.threads },
    { "processor", processor() },
    { "cpu_kernel", type(plumb.cpu_kernel) == "function" and plumb.cpu_kernel() or nil },
    { "command", run.command },
    { "started", os.date("!%Y-%m-%dT%H:%M:%SZ") },
  })
end

--- config.read(path, name) -> the config.json of a run of the experiment `name`, as a table; or nil and a message.
function config.read(path, name)
  local file, message = io.open(path, "rb")
  if not file then return nil, "can't read the config: " .. message end
  local bytes = file:read("a")
  file:close()
  local found = json.decode(bytes or "")
  if type(found) ~= "table" or type(found.name) ~= "string" or type(found.settings) ~= "table" then
    return nil, ("'%s' is not the config.json of a run"):format(path)
  elseif found.name ~= name then
    return nil, ("'%s' belongs to another experiment, %s"):format(path, found.name)
  end
  return found
end

--- config.values(found, settings) -> the values by name that a config.json holds; or nil and a message. A setting that the
--- script has got since then keeps its default.
function config.values(found, settings)
  local values, known = {}, {}
  for _, setting in ipairs(settings) do
    local value
    if setting.own then
      value = found.settings[setting.name]
      known[setting.name] = true
    elseif setting.name == "seed" or setting.name == "seeds" or setting.name == "quick" then
      value = found[setting.name]
    end
    if value ~= nil then
      local checked, message = options.check(setting, value)
      if checked == nil then return nil, ("the config's %s %s"):format(setting.name, message) end
      values[setting.name] = checked
    end
  end
  for name in pairs(found.settings) do
    if not known[name] then return nil, ("the config has a setting '%s', which the script doesn't have"):format(name) end
  end
  return values
end

-- What may stand beside --resume: it changes no result.
local BESIDE_RESUME = { resume = true, threads = true, checkpoint_every = true, words = true }

local function check_resumable(path, given)
  for name in pairs(given) do
    if not BESIDE_RESUME[name] then
      return nil, ("--%s can't be given with --resume: a run goes on with the settings it has"):format((name:gsub("_", "-")))
    end
  end
  if not files.is_writable_directory(path) then return nil, ("'%s' is no folder that can be written to"):format(path) end
  if files.exists(path .. "/summary.json") then
    return nil, ("the run in '%s' has finished; --config %s/config.json repeats it"):format(path, path)
  end
  return true
end

--- config.base(given, settings, name) -> the values that --config or --resume stand for, {} without them; or nil and a message.
function config.base(given, settings, name)
  local path = given.config
  if given.resume then
    local ok, message = check_resumable(given.resume, given)
    if not ok then return nil, message end
    path = given.resume .. "/config.json"
  elseif path and given.quick ~= nil then
    return nil, "--quick can't be given with --config, which has all settings"
  end
  if not path then return {} end
  local found, message = config.read(path, name)
  if not found then return nil, message end
  return config.values(found, settings)
end

return config
