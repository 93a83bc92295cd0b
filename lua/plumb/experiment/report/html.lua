--- A report as one HTML page that needs nothing beside it: no script, no font, no picture from elsewhere. It is also well-formed
--- XML, so that other programs can read it; a number is a <data> element whose value has all its digits.
local text = require "plumb.experiment.text"
local drawing = require "plumb.experiment.report.drawing"
local run_folder = require "plumb.experiment.report.run_folder"
local style = require "plumb.experiment.report.style"
local words = require "plumb.experiment.report.words"

local html = {}

local escape = words.escape
local LONG_LIST = 24 -- characters

-- ---- small parts -------------------------------------------------------------------------------------------------

-- "1.1e-06" as 1.1 × 10⁻⁶, "-3" with a true minus
local function digits(short)
  local mantissa, exponent = short:match("^(.-)e([+-]%d+)$")
  local shown = (mantissa or short):gsub("^%-", "−")
  if not exponent then return shown end
  return ("%s × 10<sup>%s</sup>"):format(shown, (("%d"):format(math.tointeger(tonumber(exponent))):gsub("^%-", "−")))
end

local function value(any)
  if type(any) ~= "number" then return escape(words.value(any)) end
  return ('<data value="%s">%s</data>'):format(text.number(any), digits(text.short(any)))
end

local function mark(outcome)
  local kind, symbol = words.mark(outcome)
  return ('<span class="mark %s"><span aria-hidden="true">%s</span> %s</span>'):format(kind, symbol, escape(outcome))
end

local function number_of(section) return section.number and ("<b>%s</b> "):format(escape(section.number)) or "" end

local function anchor(section, name) return ("%s--%s"):format(section.id, name) end

local function write(out, format, ...) out[#out + 1] = select("#", ...) > 0 and format:format(...) or format end

-- A code line may break before its options and, where a list is long, behind its commas.
local function command(line)
  return (escape(line):gsub(" (%-%-[%w-]+) ([^-%s][^%s]*)", function(option, given)
    if #given > LONG_LIST then return (' <span class="whole">%s</span> %s'):format(option, (given:gsub(",", ",<wbr/>"))) end
    return (' <span class="whole">%s %s</span>'):format(option, given)
  end):gsub(" (%-%-[%w-]+)", ' <span class="whole">%1</span>'))
end

-- ---- one section -------------------------------------------------------------------------------------------------

local function write_verdicts(out, section)
  local verdicts = section.run.verdicts
  if #verdicts == 0 then return end
  write(out, '<h3>%s</h3>\n<ul class="verdicts">', #verdicts == 1 and "Verdict" or "Verdicts")
  for _, verdict in ipairs(verdicts) do
    write(out, '<li id="%s">%s<p class="claim">%s</p><p class="evidence">%s</p></li>', anchor(section, verdict.name),
      mark(verdict.value), escape(verdict.meaning), escape(verdict.numbers))
  end
  write(out, "</ul>")
end

local function write_figure(out, section, figure, number)
  local label = figure.caption or "Figure: " .. words.name(figure.name)
  local bytes, message = run_folder.read_bytes(section.folder .. "/" .. figure.file)
  local picture, tall = bytes, nil
  if bytes then picture, message, tall = drawing.inline(bytes, anchor(section, figure.name) .. "-", label) end
  write(out, '<figure id="%s">', anchor(section, "figure-" .. figure.name))
  if picture then
    write(out, '<div class="plot%s" tabindex="0" role="group" aria-label="Figure %s">%s</div>', tall and " tall" or "", number,
      picture)
  else
    write(out, '<p class="missing">The figure %s could not be shown: %s.</p>', escape(figure.name), escape(message))
  end
  write(out, '<figcaption><b>Figure %s</b> %s</figcaption>\n</figure>', number,
    escape(figure.caption or words.name(figure.name)))
end

local function write_figures(out, section)
  if #section.run.figures == 0 then return end
  write(out, "<h3>Figures</h3>")
  if section.run.figures_below then
    write(out, '<p class="aside">Drawn from the run with seed %d.</p>', section.run.seed or 1)
  end
  for i, figure in ipairs(section.run.figures) do
    write_figure(out, section, figure, ("%s.%d"):format(escape(section.number or section.id), i))
  end
end

local function spread(entry)
  local list = {}
  for i, one in ipairs(entry.values or {}) do list[i] = value(one) end
  return #list > 0 and ('<span class="each">each: %s</span>'):format(table.concat(list, ", ")) or ""
end

local function write_numbers(out, section)
  if #section.run.numbers == 0 then return end
  write(out, '<h3>Numbers</h3>\n<table class="numbers">\n<thead><tr><th scope="col">Name</th><th scope="col">Value</th>'
    .. '<th scope="col">Meaning</th></tr></thead>\n<tbody>')
  for _, entry in ipairs(section.run.numbers) do
    local shown = value(entry.value) .. (entry.std and " ± " .. value(entry.std) or "")
    write(out, '<tr><th scope="row"><code>%s</code></th><td class="%s">%s</td><td>%s%s</td></tr>',
      (escape(entry.name):gsub("_", "_<wbr/>")), type(entry.value) == "number" and "number" or "word", shown,
      escape(entry.meaning), spread(entry))
  end
  write(out, "</tbody></table>")
end

local function write_settings(out, run)
  if #run.settings == 0 then return end
  write(out, '<div><h3>Settings</h3>\n<table class="settings"><tbody>')
  for _, setting in ipairs(run.settings) do -- on paper two to a line, but for lists
    write(out, '<tr%s><th scope="row">%s</th><td>%s</td></tr>', type(setting.value) == "table" and ' class="wide"' or "",
      escape(words.name(setting.name)), value(setting.value))
  end
  write(out, "</tbody></table></div>")
end

local function write_run(out, run)
  write(out, "<div><h3>The run</h3>\n<dl>")
  local function fact(term, shown)
    if shown and shown ~= "" then write(out, "<dt>%s</dt><dd>%s</dd>", term, shown) end
  end
  fact(run.seeds and "Seeds" or "Seed", words.seeds(run))
  fact("Took", run.seconds and words.duration(run.seconds))
  fact("Started", run.started and escape(words.when(run.started)))
  fact("Machine", escape(words.machine(run)))
  local line = words.command(run)
  fact("Again", line and ("<code class=\"command\">%s</code>"):format(command(line)))
  write(out, "</dl></div>")
end

local function write_failure(out, section)
  write(out, '<div class="failure"><p><span class="mark failed"><span aria-hidden="true">!</span> failed</span></p>'
    .. '<pre>%s</pre>\n<p class="aside">What it printed is in <code>%s/output.log</code>.</p></div>', escape(section.failure),
    escape(section.folder))
end

local function write_section(out, section)
  write(out, '<section class="experiment" id="%s">\n<h2><a href="#%s">%s%s</a></h2>', section.id, section.id,
    number_of(section), escape(section.title))
  if section.question then write(out, '<p class="question">%s</p>', escape(section.question)) end
  for _, paragraph in ipairs(section.task or {}) do write(out, "<p>%s</p>", escape(paragraph)) end
  if section.run then
    write_verdicts(out, section)
    write_figures(out, section)
    write_numbers(out, section)
    write(out, '<div class="facts">')
    write_settings(out, section.run)
    write_run(out, section.run)
    write(out, "</div>")
  else
    write_failure(out, section)
  end
  write(out, "</section>")
end

-- ---- the page ----------------------------------------------------------------------------------------------------

local function write_contents(out, page)
  write(out, '<section id="contents"><h2><a href="#contents">At a glance</a></h2>')
  write(out, '<p class="aside">What these runs say of each claim, from their numbers: %s, %s, or %s where a training had not '
    .. 'come far enough to tell.</p>', mark("holds"), mark("does not hold"), mark("not converged"))
  write(out, '<ol class="contents">')
  for _, section in ipairs(page.sections) do
    local run = section.run
    write(out, '<li><div class="entry"><a href="#%s">%s<span>%s</span></a><span class="took">%s</span></div>', section.id,
      number_of(section), escape(section.title), run and (run.seconds and words.duration(run.seconds) or "")
      or '<span class="mark failed"><span aria-hidden="true">!</span> failed</span>')
    if run and #run.verdicts > 0 then
      write(out, "<ul>")
      for _, verdict in ipairs(run.verdicts) do
        write(out, '<li>%s<a href="#%s">%s</a></li>', mark(verdict.value), anchor(section, verdict.name),
          escape(verdict.meaning))
      end
      write(out, "</ul>")
    end
    write(out, "</li>")
  end
  write(out, "</ol></section>")
end

local function write_head(out, page)
  write(out, '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
    .. '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n<meta name="color-scheme" content="light dark"/>')
  write(out, "<title>%s – plumb</title>\n<style>\n%s</style>\n</head>\n<body>", escape(page.title), style)
end

-- Beside the text on wide screens: the way around.
local function write_navigation(out, page)
  write(out, '<nav aria-label="Sections"><a href="#top"><strong>Report</strong></a><a href="#contents">At a glance</a>')
  for _, section in ipairs(page.sections) do
    write(out, '<a href="#%s">%s<span>%s</span></a>', section.id, number_of(section), escape(section.title))
  end
  write(out, "</nav>")
end

local function write_title(out, page)
  write(out, '<header id="top"><p class="kicker">plumb%s</p>\n<h1>%s</h1>', page.quick and ": quick report" or ": report",
    escape(page.title))
  if page.subtitle then write(out, '<p class="subtitle">%s</p>', escape(page.subtitle)) end
  if page.quick then
    write(out, '<p class="aside">Quick runs, with less data and fewer epochs than the experiments are meant for: they show '
      .. "that everything works, and their verdicts are those of small trainings.</p>")
  end
  write(out, '<p class="aside">%s</p></header>', words.facts(page, escape))
end

--- html.page{title =, subtitle =, quick =, command =, started =, seconds =, sections =} -> the page. A section is {id =,
--- number =, title =, question =, task = paragraphs, folder =, run = (see run_folder.read) or failure = message}.
function html.page(page)
  local out = {}
  write_head(out, page)
  write_navigation(out, page)
  write(out, "<main>")
  write_title(out, page)
  write_contents(out, page)
  for _, section in ipairs(page.sections) do write_section(out, section) end
  write(out, '<footer>Written by plumb%s.</footer>\n</main>\n</body>\n</html>\n',
    page.command and (" with <code>%s</code>"):format(escape(page.command)) or "")
  return table.concat(out, "\n")
end

return html
