--- The report of a course: runs its experiments, or takes finished runs, and writes one HTML page and the same as Markdown.
-- scripts/report.lua says what is in it.
local core = require "plumb.core"
local data = require "plumb.data"
local config = require "plumb.experiment.config"
local folder = require "plumb.experiment.folder"
local options = require "plumb.experiment.options"
local text = require "plumb.experiment.text"
local progress = require "plumb.progress"
local conduct = require "plumb.experiment.report.conduct"
local html = require "plumb.experiment.report.html"
local markdown = require "plumb.experiment.report.markdown"
local run_folder = require "plumb.experiment.report.run_folder"
local sections = require "plumb.experiment.report.sections"
local words = require "plumb.experiment.report.words"

local process = core.process

local report = {}

local NAME = "report"
local COMMON = { quick = true, seed = true, seeds = true, threads = true, out = true, overwrite = true, resume = true }

local function say(line, ...)
  progress.hide()
  io.stdout:write(line:format(...), "\n")
  io.stdout:flush()
end

local function names_in(list)
  local names = {}
  for name in (list .. ","):gmatch("%s*([^,]-)%s*,") do
    if name ~= "" then names[#names + 1] = name end
  end
  return names
end

-- ---- what is asked for -------------------------------------------------------------------------------------------

local function declare(known)
  local names = {}
  for i, section in ipairs(known) do names[i] = section.name end
  local function check_names(value)
    for _, name in ipairs(names_in(value)) do
      if not known[name] then
        local meant = text.nearest(name, names)
        return false, ("names no experiment of this report with '%s'%s (there are %s)"):format(name,
          meant and "; did you mean '" .. meant .. "'?" or "", table.concat(names, ", "))
      end
    end
    return true
  end
  local images = data.setting()
  images.help = "which images, where there are some"
  images.missing = nil -- each experiment that needs them says so itself
  return options.declare({
    { name = "only", default = "", help = "run only these experiments: names with commas between them", check = check_names },
    { name = "from", default = "", help = "take the finished runs in these folders, with commas between them, and run nothing "
      .. "but what --only names" },
    images,
  }, COMMON)
end

-- The finished runs of --from. Nil and a message when one is not fit for a report.
local function take_runs(from)
  local taken = {}
  for _, path in ipairs(names_in(from)) do
    local run, message = run_folder.read((path:gsub("(.)/+$", "%1")))
    if not run then return nil, "option --from: " .. message end
    taken[#taken + 1] = run
  end
  return taken
end

-- What the sections run: their own settings, and the report's own options as theirs.
local function arguments_of(section, values)
  local arguments = {}
  local function add(...) table.move({ ... }, 1, select("#", ...), #arguments + 1, arguments) end
  if values.quick then add("--quick") end
  if values.seed ~= 1 then add("--seed", ("%d"):format(values.seed)) end
  if values.seeds > 1 then add("--seeds", ("%d"):format(values.seeds)) end
  if values.overwrite then add("--overwrite") end
  if section.knows_dataset and values.dataset ~= "mnist" then add("--dataset", values.dataset) end
  add(table.unpack(sections.arguments(section, values.quick)))
  return arguments
end

-- The sections in the order of the page, each with its folder: those that are run, and those that show a taken run. The folder
-- of a second run of the same experiment gets a number.
local function plan(known, values, taken, path)
  local planned, chosen, used = {}, {}, {}
  for _, name in ipairs(names_in(values.only)) do chosen[name] = true end
  local function add(section, run)
    used[section.name] = (used[section.name] or 0) + 1
    section.id = section.name .. (used[section.name] > 1 and "-" .. used[section.name] or "")
    section.folder, section.taken = path .. "/" .. section.id, run
    section.arguments = not run and arguments_of(section, values) or nil
    section.seconds = section.cost and section.cost[values.quick and 1 or 2] -- about so many
    planned[#planned + 1] = section
  end
  local function add_taken(from)
    for _, run in ipairs(taken) do
      local section, origin = sections.of_run(run, known)
      if origin == from then add(section, run) end
    end
  end
  for _, section in ipairs(known) do
    add_taken(section)
    if chosen[section.name] or (values.only == "" and values.from == "") then add(section) end
  end
  add_taken(nil)
  return planned
end

-- ---- the work ----------------------------------------------------------------------------------------------------

-- Nothing of somebody else's is overwritten, unless --overwrite says so. Returns true, or nil and a message.
local function check_free(planned)
  for _, section in ipairs(planned) do
    if run_folder.state(section.folder) ~= "none" then
      return nil, ("the folder '%s' already holds a run; choose another one with --out, or replace what is there with "
        .. "--overwrite"):format(section.folder)
    end
  end
  return true
end

-- Copies what is taken, and sorts out what has to be run. The summary of a run that is replaced goes first: if the new one
-- fails, the old one must not pass for it.
local function prepare(planned, resuming)
  local waiting = {}
  for _, section in ipairs(planned) do
    if not section.taken and not resuming then os.remove(section.folder .. "/summary.json") end
    local finished = resuming and run_folder.state(section.folder) == "finished"
    if section.taken and not finished then
      local ok, message = run_folder.copy(section.taken, section.folder)
      if not ok then section.failure = message end
    elseif not finished then
      waiting[#waiting + 1] = section
    end
  end
  return waiting
end

local function tell(section, message)
  if message then
    say("%s failed: %s (all it said is in %s/output.log)", section.name, message:match("^[^\n]*"), section.folder)
    section.failure = message
    return
  end
  local run = run_folder.read(section.folder)
  local verdicts = {}
  for _, verdict in ipairs(run and run.verdicts or {}) do verdicts[#verdicts + 1] = verdict.name .. " " .. verdict.value end
  say("%s took %s%s", section.name, words.duration(run and run.seconds or 0),
    #verdicts > 0 and ": " .. table.concat(verdicts, ", ") or "")
end

local function read_sections(planned)
  for _, section in ipairs(planned) do
    if not section.failure then section.run, section.failure = run_folder.read(section.folder) end
  end
end

local function write(path, content)
  local ok, message = folder.write(path, { content })
  if not ok then error(("%s is not written: %s"):format(path, message), 0) end
end

-- The page and its Markdown; returns how many sections failed.
local function write_pages(page, path)
  write(path .. "/report.html", html.page(page))
  write(path .. "/report.md", markdown.page(page))
  local failed = 0
  for _, section in ipairs(page.sections) do failed = failed + (section.failure and 1 or 0) end
  return failed
end

-- ---- from the command line ---------------------------------------------------------------------------------------

local function command_of(arguments)
  local command = { arg and arg[-1] or "plumb", arg and arg[0] or "report.lua" }
  local start = text.shell(command)
  table.move(arguments, 1, #arguments, #command + 1, command)
  return start, text.shell(command)
end

local function claim(values, given, settings, command)
  if values.resume ~= "" then return (values.resume:gsub("(.)/+$", "%1")) end
  local plumb, listed = require "plumb", {}
  for _, setting in ipairs(settings) do
    if setting.own then listed[#listed + 1] = { setting.name, values[setting.name] } end
  end
  return folder.claim { name = NAME, out = given.out, parent = values.out, overwrite = values.overwrite,
    config = config.text { name = NAME, description = "A report.", settings = text.object(listed), values = values,
      plumb = plumb, threads = values.threads, command = command } }
end

-- What is to be done, or nil and a message.
local function read_request(request, known, arguments)
  local settings = declare(known)
  local start, command = command_of(arguments)
  local values, given = options.parse(settings, arguments, { command = start, description = request.description,
    base = function(chosen) return config.base(chosen, settings, NAME) end })
  if values == "help" or not values then return values, given, start end
  if not given.threads then values.threads = core.threads() end
  local taken, message = take_runs(values.from)
  if not taken then return nil, message, start end
  local free, path = true, nil
  if given.out and not values.overwrite then free, message = check_free(plan(known, values, taken, given.out)) end
  if free then path, message = claim(values, given, settings, command) end
  if not path then return nil, message, start end
  return { values = values, planned = plan(known, values, taken, path), path = path, start = start }
end

local function execute(request, asked)
  local values, planned, resuming, began = asked.values, asked.planned, asked.values.resume ~= "", process.time()
  local waiting = prepare(planned, resuming)
  for _, name in ipairs { "/report.html", "/report.md" } do os.remove(asked.path .. name) end -- an older page would mislead
  say("report: %s in %s/ (%d experiment%s to run, %d finished)", resuming and "goes on" or "written", asked.path, #waiting,
    #waiting == 1 and "" or "s", #planned - #waiting)
  conduct.run { sections = waiting, cores = values.threads, program = arg and arg[-1] or "plumb", resuming = resuming,
    ended = tell }
  read_sections(planned)
  local seconds = process.time() - began
  local stored = run_folder.read_config(asked.path .. "/config.json")
  local failed = write_pages({ title = request.title, subtitle = request.subtitle, sections = planned, quick = values.quick,
    command = words.command(stored), started = stored.started,
    seconds = #waiting == #planned and not resuming and seconds or nil }, asked.path)
  say("\nreport took %s%s\n  %s/report.html\n  %s/report.md", words.duration(seconds),
    failed > 0 and (", %d of %d sections failed"):format(failed, #planned) or "", asked.path, asked.path)
  return failed
end

--- report.write{title =, subtitle =, description =, sections = {{name of the script, title, number =, cost =}, ...}}: the
--- program of a script like scripts/report.lua. cost: {seconds of the quick form, of the whole}, roughly.
--- A script that stands in a second section, with other settings: {name, title, experiment = name of the script, settings =
--- {batch = 100, ...}, quick = what differs in the quick form, question =, task = {paragraph, ...}}. The name is that of its
--- folder; question and task stand in place of those in the script's header.
--- For tests: arguments = list of strings instead of the command line, exit = function(code) instead of os.exit.
function report.write(request)
  local exit = request.exit or function(code) os.exit(code, true) end
  local known = sections.find(request.sections, arg and arg[0]:match("^(.*)/[^/]*$") or ".")
  local asked, message, start = read_request(request, known, request.arguments or arg or {})
  if asked == "help" then
    io.stdout:write(message)
    return exit(0)
  elseif not asked then
    io.stderr:write(("%s: %s\nTry '%s --help'.\n"):format(NAME, message, start))
    return exit(2)
  end
  local ok, result = process.attempt(execute, request, asked)
  if ok then return exit(result == 0 and 0 or 1) end
  io.stderr:write(("%s: %s\n%s --resume %s goes on with what is missing.\n"):format(NAME, tostring(result), asked.start,
    text.shell { asked.path }))
  return exit(process.interrupted() and 130 or 1)
end

return report
