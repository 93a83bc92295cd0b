--- A report as Markdown (GitHub's, with tables); figures are links into the folders beside it.
local text = require "plumb.experiment.text"
local words = require "plumb.experiment.report.words"

local markdown = {}

-- Text that means nothing to Markdown or HTML.
local function escape(raw)
  return (words.escape(raw):gsub("&quot;", '"'):gsub("[\\`*_%[%]|~#]", "\\%0"):gsub("%s+", " "))
end

local function code(raw) -- in double backticks, so that it may hold single ones
  raw = tostring(raw):gsub("[%c]", " "):gsub("``+", "`")
  return raw:find("`", 1, true) and "`` " .. raw .. " ``" or "`" .. raw .. "`"
end

local function value(any)
  if type(any) == "number" then return text.short(any) end
  return escape(words.value(any))
end

local function write(out, format, ...) out[#out + 1] = select("#", ...) > 0 and format:format(...) or format end

local function verdict_line(verdict)
  local _, symbol = words.mark(verdict.value)
  return ("**%s %s**: %s"):format(symbol, escape(verdict.value), escape(verdict.meaning))
end

local function title_of(section) return (section.number and section.number .. " " or "") .. escape(section.title) end

local function row(out, ...) write(out, "| " .. table.concat({ ... }, " | "):gsub("%%", "%%%%") .. " |") end

local function write_figures(out, section)
  for i, figure in ipairs(section.run.figures) do
    local label = escape(figure.caption or words.name(figure.name))
    write(out, "![%s](%s/%s)\n", label, section.id, figure.file)
    write(out, "*Figure %s.%d: %s*\n", section.number or section.id, i, label)
  end
end

local function write_numbers(out, run)
  if #run.numbers == 0 then return end
  write(out, "### Numbers\n\n| name | value | meaning |\n|---|---|---|")
  for _, entry in ipairs(run.numbers) do
    row(out, code(entry.name), value(entry.value) .. (entry.std and " ± " .. value(entry.std) or ""), escape(entry.meaning))
  end
  write(out, "")
end

local function write_run(out, run)
  write(out, "### Settings and run\n\n| setting | value |\n|---|---|")
  for _, setting in ipairs(run.settings) do row(out, escape(words.name(setting.name)), value(setting.value)) end
  row(out, run.seeds and "seeds" or "seed", words.seeds(run))
  if run.seconds then row(out, "took", words.duration(run.seconds)) end
  if run.started then row(out, "started", escape(words.when(run.started))) end
  row(out, "machine", escape(words.machine(run)))
  local command = words.command(run)
  if command then row(out, "again", code((command:gsub("|", "\\|")))) end
  write(out, "")
end

local function write_section(out, section)
  write(out, '<a id="%s"></a>\n\n## %s\n', section.id, title_of(section))
  if section.question then write(out, "*%s*\n", escape(section.question)) end
  for _, paragraph in ipairs(section.task or {}) do write(out, "%s\n", escape(paragraph)) end
  if not section.run then
    write(out, "**! failed**: %s (what it printed: [output.log](%s/output.log))\n", escape(section.failure), section.id)
    return
  end
  for _, verdict in ipairs(section.run.verdicts) do
    write(out, "- %s (%s)", verdict_line(verdict), escape(verdict.numbers))
  end
  if #section.run.verdicts > 0 then write(out, "") end
  write_figures(out, section)
  write_numbers(out, section.run)
  write_run(out, section.run)
end

--- markdown.page(page) -> the report as Markdown, of the same table as html.page
function markdown.page(page)
  local out = {}
  write(out, "# %s\n", escape(page.title))
  if page.subtitle then write(out, "*%s*\n", escape(page.subtitle)) end
  write(out, "%s\n", words.facts(page, escape))
  write(out, "## At a glance\n")
  for _, section in ipairs(page.sections) do
    write(out, "- [%s](#%s)%s", title_of(section), section.id, section.failure and ": **! failed**" or "")
    for _, verdict in ipairs(section.run and section.run.verdicts or {}) do write(out, "  - %s", verdict_line(verdict)) end
  end
  write(out, "")
  for _, section in ipairs(page.sections) do write_section(out, section) end
  return table.concat(out, "\n")
end

return markdown
