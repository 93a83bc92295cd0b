--- What a finished run left in its folder, read for a report: checked, and in the order in which the script gave it.
local core = require "plumb.core"
local folder = require "plumb.experiment.folder"
local json = require "plumb.files.json"

local files = core.files

local run_folder = {}

local FIGURE_NAME = "^[%w_][%w_.-]*$" -- as run:figure wants it; nothing that leads out of the folder

local function read_bytes(path)
  local file <close>, message = io.open(path, "rb")
  if not file then return nil, message end
  local bytes, trouble = file:read("a")
  if not bytes then return nil, ("%s: %s"):format(path, trouble) end
  return bytes
end
run_folder.read_bytes = read_bytes

-- The object in a JSON file; raises a message that names the file.
local function read_object(path)
  local bytes, message = read_bytes(path)
  if not bytes then error("can't read " .. message, 0) end
  local read, value = pcall(json.decode, bytes)
  if not read then error(("'%s' is damaged: %s"):format(path, value), 0) end
  if json.kind(value) ~= "object" then error(("'%s' is damaged: it holds no JSON object"):format(path), 0) end
  return value
end

local function check(path, condition, what)
  if not condition then error(("'%s' is damaged: %s"):format(path, what), 0) end
end

-- ---- the parts ----

local CONFIG_FIELDS = { description = "string", seed = "integer", seeds = "integer", quick = "boolean", version = "string",
  threads = "integer", processor = "string", cpu_kernel = "string", command = "string", started = "string" }

-- The config.json alone; raises what is wrong with it.
local function read_config(path)
  local config = read_object(path)
  check(path, type(config.name) == "string" and config.name:find("^%w[%w_-]*$") and json.kind(config.settings) == "object",
    "it has no name and settings of an experiment")
  local run = { name = config.name, settings = {} }
  for field, kind in pairs(CONFIG_FIELDS) do
    local value = config[field]
    check(path, value == nil or type(value) == kind or math.type(value) == kind, ("its %s is no %s"):format(field, kind))
    run[field] = value
  end
  for _, name in ipairs(json.keys(config.settings)) do
    run.settings[#run.settings + 1] = { name = name, value = config.settings[name] }
  end
  return run
end

-- Numbers and verdicts; an entry with `numbers` is a verdict.
local function read_summary(path, run)
  local summary = read_object(path)
  run.numbers, run.verdicts = {}, {}
  for _, name in ipairs(json.keys(summary)) do
    local entry = summary[name]
    check(path, json.kind(entry) == "object" and entry.value ~= nil and type(entry.value) ~= "table"
      and type(entry.meaning) == "string", ("its '%s' has no value and meaning"):format(name))
    check(path, (entry.std == nil or type(entry.std) ~= "table") and (entry.values == nil or json.kind(entry.values) == "array")
      and (entry.numbers == nil or type(entry.numbers) == "string"), ("its '%s' is no result"):format(name))
    local list = entry.numbers and run.verdicts or run.numbers
    list[#list + 1] = { name = name, value = entry.value, meaning = entry.meaning, std = entry.std, values = entry.values,
      numbers = entry.numbers }
  end
end

-- Figures of a folder that has no run.json: all there are, by name.
local function listed_figures(path)
  local names, figures = {}, {}
  for _, name in ipairs(files.list(path) or {}) do names[#names + 1] = name:match("^([%w_][%w_.-]*)%.svg$") end
  table.sort(names)
  for i, name in ipairs(names) do figures[i] = { name = name } end
  return figures
end

-- run.json: how long it took, and the figures with their captions. Older runs have none.
local function read_figures(path, run)
  local file = path .. "/run.json"
  if not files.exists(file) then return listed_figures(path) end
  local found, figures = read_object(file), {}
  check(file, found.seconds == nil or type(found.seconds) == "number", "its seconds are no number")
  run.seconds = run.seconds or found.seconds
  run.finished = run.finished or type(found.finished) == "string" and found.finished or nil
  check(file, found.figures == nil or json.kind(found.figures) == "array", "its figures are no list")
  for i, figure in ipairs(found.figures or {}) do
    check(file, json.kind(figure) == "object" and type(figure.name) == "string" and figure.name:find(FIGURE_NAME)
      and (figure.caption == nil or type(figure.caption) == "string"), ("its figure %d has no proper name and caption"):format(i))
    figures[i] = { name = figure.name, caption = figure.caption }
  end
  return figures
end

local function read_run(path)
  local run = read_config(path .. "/config.json")
  run.path = path
  read_summary(path .. "/summary.json", run)
  run.figures = read_figures(path, run)
  if run.seeds then -- a run of several seeds has its figures in the folder of each; the first one's stand for all
    run.figures_below = "seed-" .. (run.seed or 1)
    run.figures = read_figures(path .. "/" .. run.figures_below, run)
  end
  for _, figure in ipairs(run.figures) do
    figure.file = (run.figures_below and run.figures_below .. "/" or "") .. figure.name .. ".svg"
  end
  return run
end

run_folder.read_config = read_config

-- ---- the folder ----

--- run_folder.state(path) -> "finished", "begun" (it can go on with --resume), or "none" (no run is there).
function run_folder.state(path)
  if not files.exists(path .. "/config.json") then return "none" end
  return files.exists(path .. "/summary.json") and "finished" or "begun"
end

--- run_folder.read(path) -> the run in a folder, or nil and a message that says what is wrong with it:
--- {path =, name =, description =, settings = {{name =, value =}, ...}, seed =, seeds =, ..., seconds =, finished =,
---  numbers = {{name =, value =, meaning =, std =, values =}, ...}, verdicts = {{..., numbers = words}, ...},
---  figures = {{name =, caption =, file = the svg within the folder}, ...}}
function run_folder.read(path)
  local state = run_folder.state(path)
  if state == "none" then
    local what = files.exists(path) and "the folder '%s' holds no run: there is no config.json" or "there is no folder '%s'"
    return nil, what:format(path)
  end
  local read, run = pcall(read_config, path .. "/config.json")
  if not read then return nil, run end
  if state == "begun" then
    return nil, ("the run of %s in '%s' has not finished; its script goes on with --resume %s"):format(run.name, path, path)
  end
  read, run = pcall(read_run, path)
  if not read then return nil, run end
  return run
end

-- ---- copies ----

local function copy_file(from, to)
  if not files.exists(from) then return end
  local bytes, message = read_bytes(from)
  if not bytes then error("can't read " .. message, 0) end
  local ok, trouble = folder.write(to, { bytes })
  if not ok then error(trouble, 0) end
end

local function copy_files(from, to, figures)
  files.make_directory(to)
  for _, name in ipairs { "config.json", "run.json", "metrics.csv", "output.log" } do
    copy_file(from .. "/" .. name, to .. "/" .. name)
  end
  for _, figure in ipairs(figures) do
    for _, ending in ipairs { ".svg", ".png", ".gp" } do
      copy_file(from .. "/" .. figure.name .. ending, to .. "/" .. figure.name .. ending)
    end
  end
end

--- run_folder.copy(run, path) -> true, or nil and a message: what a report needs of a run, into another folder. summary.json,
--- which makes it a finished run, comes last.
function run_folder.copy(run, path)
  local ok, message = pcall(function()
    copy_files(run.path, path, run.figures_below and {} or run.figures)
    if run.figures_below then
      local from, to = run.path .. "/" .. run.figures_below, path .. "/" .. run.figures_below
      copy_files(from, to, run.figures)
      copy_file(from .. "/summary.json", to .. "/summary.json")
    end
    copy_file(run.path .. "/summary.json", path .. "/summary.json")
  end)
  if ok then return true end
  return nil, message
end

return run_folder
