--- What came out of a run: numbers with their meanings, verdicts on claims, figures with captions; printed at the end, and
--- written to summary.json (numbers and verdicts) and run.json (figures, the time it took).
local folder = require "plumb.experiment.folder"
local text = require "plumb.experiment.text"

local results = {}

local COLUMNS = 80 -- of everything that is printed
local ENDINGS = { "svg", "png", "gp" }

local Results = {}
Results.__index = Results

--- results.new() -> what has come out so far: nothing.
function results.new() return setmetatable({ entries = {}, names = {}, figures = {} }, Results) end

-- ---- numbers and verdicts ----

local function check_entry(self, who, name, words, what)
  if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
    text.fail("%s: the name '%s' must be made of letters, digits and _", who, tostring(name))
  end
  if type(words) ~= "string" or not words:find("%S") then text.fail("%s: '%s' needs %s, in words", who, name, what) end
  if self.names[name] then text.fail("%s: there is already a '%s'", who, name) end
end

--- results:add{name =, value =, meaning =, numbers = (of a verdict), std =, values = (of several seeds), shown = value in words}
function Results:add(entry)
  self.names[entry.name] = true
  self.entries[#self.entries + 1] = entry
end

--- results:summary(name, value, meaning): see run:summary.
function Results:summary(name, value, meaning)
  local scalar = text.scalar(value)
  if scalar == nil then text.fail("run:summary: '%s' is a %s, expected a number or text", tostring(name), type(value)) end
  check_entry(self, "run:summary", name, meaning, "its meaning")
  self:add { name = name, value = scalar, meaning = meaning }
end

local OUTCOMES = { [true] = "holds", [false] = "does not hold", ["not converged"] = "not converged" }

--- results:verdict(name, claim, outcome, numbers): see run:verdict.
function Results:verdict(name, claim, outcome, numbers)
  check_entry(self, "run:verdict", name, claim, "its claim")
  local word = OUTCOMES[outcome]
  if not word then
    text.fail("run:verdict: the outcome of '%s' must be true, false or \"not converged\", not %s", name, tostring(outcome))
  end
  if type(numbers) ~= "string" or not numbers:find("%d") then
    text.fail("run:verdict: '%s' needs the numbers that decide it, such as \"0.009 against 0.059\"", name)
  end
  self:add { name = name, value = word, meaning = claim, numbers = numbers }
end

-- ---- figures ----

--- results:figure(path, name, figure, caption) -> whether all of path.svg, path.png and path.gp are there, and a message if not.
function Results:figure(path, name, figure, caption)
  if type(figure) ~= "table" or type(figure.save) ~= "function" then
    text.fail("run:figure: '%s' must be a figure made by plumb.plot, not a %s", name, type(figure))
  end
  if caption ~= nil and type(caption) ~= "string" then
    text.fail("run:figure: the caption of '%s' must be words, not a %s", name, type(caption))
  end
  local saved, missing, trouble = {}, {}, nil
  for _, ending in ipairs(ENDINGS) do
    local file = path .. "." .. ending
    local ok, result, message = pcall(figure.save, figure, file)
    local list = ok and result and saved or missing
    list[#list + 1] = "." .. ending
    if list == missing then
      trouble = trouble or tostring(ok and message or result)
      if not self.figures[name] then os.remove(file) end -- an overwritten run's figure would pass for this one's
    end
  end
  local entry = self.figures[name]
  if not entry then
    entry = { name = name }
    self.figures[#self.figures + 1], self.figures[name] = entry, entry
  end
  entry.saved, entry.caption = saved, caption
  if #missing > 0 then return false, ("figure %s: no %s: %s"):format(name, table.concat(missing, ", "), trouble) end
  return true
end

-- ---- the end ----

--- results:write(run_folder, seconds) -> true, or nil and a message: summary.json and run.json.
function Results:write(run_folder, seconds)
  local entries, figures = {}, {}
  for i, entry in ipairs(self.entries) do
    entries[i] = { entry.name, text.object { { "value", entry.value }, { "std", entry.std }, { "values", entry.values },
      { "meaning", entry.meaning }, { "numbers", entry.numbers } } }
  end
  for i, figure in ipairs(self.figures) do figures[i] = text.object { { "name", figure.name }, { "caption", figure.caption } } end
  local ok, message = folder.write(run_folder .. "/run.json", { text.json(text.object { { "seconds", seconds },
    { "finished", os.date("!%Y-%m-%dT%H:%M:%SZ") }, { "figures", figures } }) })
  if not ok then return nil, ("%s/run.json is not written: %s"):format(run_folder, message) end
  ok, message = folder.write(run_folder .. "/summary.json", { text.json(text.object(entries)) })
  if not ok then return nil, ("%s/summary.json is not written: %s"):format(run_folder, message) end
  return true
end

-- The claim, what came of it, and the numbers.
local function say_verdict(say, entry)
  local sentence = ("%s: %s (%s)"):format(entry.meaning, entry.value:upper(), entry.numbers)
  for i, line in ipairs(text.wrap(sentence, COLUMNS - 4)) do say((i == 1 and "  " or "    ") .. line) end
end

--- results:print(say, run_folder): a table of the numbers, the verdicts, and where the figures are.
function Results:print(say, run_folder)
  local rows, verdicts = {}, {}
  for _, entry in ipairs(self.entries) do
    if entry.numbers then verdicts[#verdicts + 1] = entry
    else rows[#rows + 1] = { entry.name, entry.shown or text.short(entry.value), entry.meaning } end
  end
  for _, line in ipairs(text.table(rows, COLUMNS)) do say(line) end
  for _, entry in ipairs(verdicts) do say_verdict(say, entry) end
  for i, figure in ipairs(self.figures) do
    if i == 1 then say(("figures in %s/"):format(run_folder)) end
    say(("  %s %s"):format(figure.name, #figure.saved > 0 and table.concat(figure.saved, " ") or "(not saved)"))
  end
end

return results
