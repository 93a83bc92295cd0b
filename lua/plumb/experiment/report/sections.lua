--- What a report is about: its sections, each an experiment with a title, and what the scripts say of themselves.
local files = require("plumb.core").files
local run_folder = require "plumb.experiment.report.run_folder"
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

--- sections.find(listed, scripts) -> the sections whose scripts are in the folder `scripts`, in order and by name:
--- {name =, title =, number =, cost =, script = path, question =, task = paragraphs, knows_dataset =}
function sections.find(listed, scripts)
  local found = {}
  for _, one in ipairs(listed) do
    local script = ("%s/%s.lua"):format(scripts, one[1])
    local source = files.exists(script) and run_folder.read_bytes(script)
    if source then
      local section = { name = one[1], title = one[2], number = one.number, cost = one.cost or { 0, 0 }, script = script,
        knows_dataset = source:find("data.setting()", 1, true) ~= nil }
      section.question, section.task = sections.story(source)
      found[#found + 1], found[section.name] = section, section
    end
  end
  return found
end

--- sections.of_run(run, known) -> the section that shows a finished run; of an experiment that is not among the known ones, by
--- what its config.json says.
function sections.of_run(run, known)
  local section = {}
  for field, value in pairs(known[run.name] or { name = run.name, title = words.name(run.name), question = run.description }) do
    section[field] = value
  end
  return section
end

return sections
