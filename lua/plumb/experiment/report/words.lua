--- How a report words things, the same in HTML and Markdown.
local text = require "plumb.experiment.text"

local words = {}

words.ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

--- words.escape(any text) -> as text of an HTML page: valid UTF-8, without control characters
function words.escape(raw)
  raw = tostring(raw)
  if not utf8.len(raw) then raw = raw:gsub("[\128-\255]", "?") end
  return (raw:gsub("[%z\1-\8\11-\31\127]", " "):gsub('[&<>"]', words.ENTITIES))
end

--- words.duration(seconds) -> "0.6 s", "12 s", "3 min 20 s", "1 h 5 min"
function words.duration(seconds)
  if seconds < 9.95 then return ("%.1f s"):format(seconds) end
  local whole = math.floor(seconds + 0.5)
  if whole < 60 then return ("%d s"):format(whole) end
  if whole < 3600 then return ("%d min %d s"):format(whole // 60, whole % 60) end
  return ("%d h %d min"):format(whole // 3600, whole % 3600 // 60)
end

--- words.value(value): a setting's value
function words.value(value)
  if type(value) == "boolean" then return value and "yes" or "no" end
  if type(value) ~= "table" then return text.short(value) end
  local parts = {}
  for i, one in ipairs(value) do parts[i] = words.value(one) end
  return table.concat(parts, ", ")
end

--- words.name("image_epochs") -> "image epochs"
function words.name(name) return (name:gsub("_", " ")) end

local MARKS = { ["holds"] = { "holds", "✓" }, ["does not hold"] = { "fails", "✗" }, ["not converged"] = { "open", "?" } }

--- words.mark(outcome) -> kind ("holds", "fails", "open", "mixed"), symbol: of a verdict's value. Several seeds are counted in
--- words ("4 holds, 1 does not hold"); where they agree, the mark is theirs.
function words.mark(outcome)
  outcome = tostring(outcome)
  local one = MARKS[outcome] or MARKS[outcome:match("^%d+ ([%a ]+)$")]
  if one then return one[1], one[2] end
  return "mixed", "±"
end

--- words.machine(run) -> "AMD EPYC, 2 cores; AVX-512 kernels; 2 threads; plumb 0.1.0"
function words.machine(run)
  local parts = { run.processor }
  if run.cpu_kernel then parts[#parts + 1] = run.cpu_kernel .. " kernels" end
  if run.threads then parts[#parts + 1] = ("%d thread%s"):format(run.threads, run.threads == 1 and "" or "s") end
  if run.version then parts[#parts + 1] = "plumb " .. run.version end
  return table.concat(parts, ", ")
end

--- words.seeds(run) -> "1", or "1 to 5" of a run of several
function words.seeds(run)
  if not run.seed then return "not known" end
  return run.seeds and ("%d to %d"):format(run.seed, run.seed + run.seeds - 1) or ("%d"):format(run.seed)
end

--- words.when("2026-11-25T12:18:26Z") -> "2026-11-25 12:18 UTC"
function words.when(stamp) return stamp and (stamp:gsub("^(%S+)T(%d+:%d+):%d+Z$", "%1 %2 UTC")) end

--- words.facts(page, escape) -> when, on what, and how long, in one line
function words.facts(page, escape)
  local parts, together, machine = {}, 0, nil
  for _, section in ipairs(page.sections) do
    if section.run then
      together, machine = together + (section.run.seconds or 0), machine or section.run.processor
    end
  end
  if page.started then parts[1] = escape(words.when(page.started)) end
  parts[#parts + 1] = machine and escape(machine)
  parts[#parts + 1] = page.seconds and ("written in %s"):format(words.duration(page.seconds))
    or ("its runs took %s together"):format(words.duration(together))
  return table.concat(parts, " · ")
end

-- The words of a command line that text.shell has written.
local function split_shell(line)
  local list, at = {}, 1
  while at <= #line do
    local from, to = line:find("^[^%s']*", at)
    local word = line:sub(from, to)
    at = to + 1
    while line:sub(at, at) == "'" or line:sub(at, at + 1) == "\\'" do
      local inside, after = line:match("^'([^']*)'()", at)
      if not inside then inside, after = line:match("^\\(')()", at) end
      if not inside then return nil end
      local more, next_at = line:match("^([^%s'\\]*)()", after)
      word, at = word .. inside .. more, next_at
    end
    list[#list + 1] = word
    at = line:match("^%s*()", at)
  end
  return list
end

local VALUE_FOLLOWS = { ["--out"] = true, ["--threads"] = true }

--- words.command(run) -> the command that makes the run again, in a new folder; nil where it is not known
function words.command(run)
  local all = run.command and split_shell(run.command)
  if not all then return run.command end
  local kept, i = {}, 1
  while all[i] do
    if VALUE_FOLLOWS[all[i]] then
      i = i + 1
    elseif all[i] ~= "--overwrite" and not all[i]:find("^%-%-out=") and not all[i]:find("^%-%-threads=") then
      kept[#kept + 1] = all[i]
    end
    i = i + 1
  end
  return text.shell(kept)
end

return words
