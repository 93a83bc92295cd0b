--- What a report is about: its sections, each an experiment with a title, and what the scripts say of themselves.
local files = require("plumb.core").files
local run_folder = require "plumb.experiment.report.run_folder"
local text = require "plumb.experiment.text"
local words = require "plumb.experiment.report.words"

local sections = {}

--- sections.story(source) -> question, paragraphs: a script's header comment, its first line and what follows up to the list of
--- what stands in summary.json.
function sections.story(source)
  local paragraphs, fresh = {}, true
  for line in source:gmatch("([^\n]*)\n") do
    local comment = line:match("^%-%-+%s*(.-)%s*$")
    if not comment or comment:find("^summary%.json") then break end
    if comment == "" then
      fresh = true
    elseif fresh then
      paragraphs[#paragraphs + 1], fresh = comment, false
    else
      paragraphs[#paragraphs] = paragraphs[#paragraphs] .. " " .. comment
    end
  end
  return table.remove(paragraphs, 1), paragraphs
end

-- A section's own settings, of the whole form and of the quick one, which may differ in some.
local function settings_of(one)
  local quick = {}
  for _, settings in ipairs { one.settings or {}, one.quick or {} } do
    for name, value in pairs(settings) do quick[name] = value end
  end
  return { whole = one.settings or {}, quick = quick }
end

--- sections.find(listed, scripts) -> the sections whose scripts are in the folder `scripts`, in order and by name:
--- {name =, title =, number =, cost =, experiment = name of the script, script = path, question =, task = paragraphs,
---  knows_dataset =, settings = {whole = by name, quick = by name}: what it gives the script}
function sections.find(listed, scripts)
  local found = {}
  for _, one in ipairs(listed) do
    local experiment = one.experiment or one[1]
    local script = ("%s/%s.lua"):format(scripts, experiment)
    local source = files.exists(script) and run_folder.read_bytes(script)
    if source then
      local section = { name = one[1], title = one[2], number = one.number, cost = one.cost or { 0, 0 }, experiment = experiment,
        script = script, settings = settings_of(one), knows_dataset = source:find("data.setting()", 1, true) ~= nil }
      section.question, section.task = sections.story(source)
      if one.question then section.question, section.task = one.question, one.task end
      found[#found + 1], found[section.name] = section, section
    end
  end
  return found
end

local function written(value)
  if type(value) ~= "table" then return type(value) == "number" and text.number(value) or tostring(value) end
  local parts = {}
  for i, one in ipairs(value) do parts[i] = written(one) end
  return table.concat(parts, ",")
end

--- sections.arguments(section, quick) -> its own settings as words of a command line, in the order of their names.
function sections.arguments(section, quick)
  local settings, names, arguments = section.settings[quick and "quick" or "whole"], {}, {}
  for name in pairs(settings) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local option, value = name:gsub("_", "-"), settings[name]
    arguments[#arguments + 1] = (value == false and "--no-" or "--") .. option
    if type(value) ~= "boolean" then arguments[#arguments + 1] = written(value) end
  end
  return arguments
end

-- Could the run be the section's: is it of its script, with its settings?
local function fits(section, run)
  local has = {}
  for _, setting in ipairs(run.settings) do has[setting.name] = written(setting.value) end
  for name, value in pairs(section.settings[run.quick and "quick" or "whole"]) do
    if has[name] ~= written(value) then return false end
  end
  return section.experiment == run.name
end

--- sections.of_run(run, known) -> a section that shows a finished run, and the known one that it copies: one with settings of its
--- own, which the run has, before one that has none. Of an experiment that is not among the known ones, by what its config.json
--- says.
function sections.of_run(run, known)
  local origin
  for _, section in ipairs(known) do
    if fits(section, run) and (not origin or next(section.settings.whole)) then origin = section end
  end
  local section = {}
  for field, value in pairs(origin or { name = run.name, title = words.name(run.name), question = run.description }) do
    section[field] = value
  end
  return section, origin
end

return sections
