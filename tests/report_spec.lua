--- The report: finished runs and real ones as one page, failures, stops, and texts that mean harm.
local plumb = require "plumb"
local folders = require "folders"
local json = require "dkjson"
local lfs = require "lfs"
local sections = require "plumb.experiment.report.sections"
local words = require "plumb.experiment.report.words"

local process = plumb.core.process
local read, write = folders.read, folders.write

local HOSTILE = [[100 % </title><script>alert(1)</script> & "quoted" 'single' |a|b| `c` <img src=x onerror=y> $(touch x)]]

-- ---- reading HTML, by means of its own -----------------------------------------------------------------------------

local KNOWN_ENTITIES = { ["&amp;"] = true, ["&lt;"] = true, ["&gt;"] = true, ["&quot;"] = true, ["&apos;"] = true }

local function check_text(text, where)
  assert.is_nil(text:find("[<>]"), where .. ": " .. text:sub(1, 80))
  for entity in text:gmatch("&[^;%s]*;?") do
    assert.is_true(KNOWN_ENTITIES[entity] or entity:find("^&#x?%x+;$") ~= nil, where .. ": " .. entity)
  end
end

-- The elements of a page that is well-formed XML after its <!DOCTYPE html>: {{name =, attributes =}, ...}. Anything else is an
-- error: a tag that is not closed, an attribute that stands twice or without quotes, an ampersand alone.
local function elements_of(page)
  local found, open = {}, {}
  assert.equal("<!DOCTYPE html>", page:sub(1, 15))
  local at = 16
  while true do
    local from, to, closing, name, rest = page:find("<(/?)([%a][%w]*)([^<>]*)>", at)
    local between = page:sub(at, (from or #page + 1) - 1)
    if open[#open] ~= "style" then check_text(between, "text") end
    if not from then break end
    local single = rest:sub(-1) == "/"
    if closing == "/" then
      assert.equal(table.remove(open), name)
      assert.equal("", rest)
    else
      local attributes, seen = {}, rest:gsub("/$", "")
      local left = seen:gsub('%s+([%a][%w:-]*)="([^"]*)"', function(key, value)
        assert.is_nil(attributes[key], key)
        check_text(value, key)
        attributes[key] = value
        return ""
      end)
      assert.equal("", (left:gsub("%s", "")), name)
      found[#found + 1] = { name = name, attributes = attributes }
      if not single then open[#open + 1] = name end
    end
    at = to + 1
  end
  assert.same({}, open)
  return found
end

-- A page that stands alone: no script, nothing loaded, every link leads to a place on it, ids are unique.
local function assert_alone(page)
  local ids, links = {}, {}
  for _, element in ipairs(elements_of(page)) do
    assert.is_nil(({ script = 1, link = 1, iframe = 1, object = 1, foreignObject = 1, base = 1, img = 1 })[element.name], element.name)
    for name, value in pairs(element.attributes) do
      assert.is_nil(name:lower():find("^on"), name)
      if name == "id" then
        assert.is_nil(ids[value], value)
        ids[value] = true
      elseif name == "href" or name == "src" then
        if value:sub(1, 1) == "#" then links[#links + 1] = value:sub(2) else assert.equal("data:image/png", value:sub(1, 14)) end
      end
      for target in value:gmatch("url%(([^)]*)%)") do links[#links + 1] = assert(target:match("^['\"]?#([^'\"]*)"), target) end
    end
  end
  for _, link in ipairs(links) do assert.is_true(ids[link], link) end
  assert.is_nil(page:find("https?:"))
  assert.is_nil(page:find("@import", 1, true))
  assert.is_nil(page:match("<style>(.-)</style>"):find("url(", 1, true))
  return ids
end

-- The numbers of a section of the page by name: {value, what is shown}, and their names in order.
local function numbers_on(page, id)
  local section = assert(page:match('<section class="experiment" id="' .. id:gsub("%-", "%%-") .. '">(.-)</section>'), id)
  local table_text = section:match('<table class="numbers">(.-)</table>') or ""
  local found, order = {}, {}
  for name, cell in table_text:gmatch('<th scope="row"><code>(.-)</code></th><td class="%a+">(.-)</td>') do
    name = name:gsub("<wbr/>", "")
    order[#order + 1], found[name] = name, cell
  end
  return found, order, section
end

-- "3.6 × 10<sup>−6</sup>" as a number
local function shown_number(shown)
  return tonumber((shown:gsub("−", "-"):gsub(" × 10<sup>(.-)</sup>", "e%1")))
end

-- Every entry of summary.json stands on the page with its value, all digits of it, and shown with five.
local function assert_numbers(page, id, folder)
  local summary, count = assert(json.decode(read(folder .. "/summary.json"))), 0
  local found, _, section = numbers_on(page, id)
  for name, entry in pairs(summary) do
    if entry.numbers then
      assert.is_truthy(section:find(words.escape(entry.meaning), 1, true), name)
      assert.is_truthy(section:find(words.escape(entry.numbers), 1, true), name)
      assert.is_truthy(section:find("</span> " .. entry.value .. "</span>", 1, true), name)
    elseif type(entry.value) == "number" then
      local exact, shown = found[name]:match('^<data value="(.-)">(.-)</data>')
      assert.equal(entry.value, tonumber(exact), name)
      assert.is_true(math.abs(shown_number(shown) - entry.value) <= 1e-4 * math.abs(entry.value), name .. shown)
    else
      assert.equal(words.escape(entry.value), found[name])
    end
    count = count + 1
  end
  return count
end

-- ---- runs ----------------------------------------------------------------------------------------------------------

local base

-- A finished run: real, but of no training.
local function finished_run(name, options)
  options = options or {}
  local printed, io_stdout = {}, io.stdout
  io.stdout = { write = function(_, ...) printed[#printed + 1] = table.concat { ... } end, flush = function() end } -- luacheck: ignore
  local path = base .. "/" .. (options.folder or name)
  local run = plumb.experiment.start { name = name, description = options.description or "A run.",
    settings = { { name = "lr", default = 1e-3 }, { name = "widths", default = { 50, 100 } }, { name = "shuffle", default = true },
      { name = "words", default = options.words or "plain" } },
    arguments = { "--out", path }, exit = function() error("refused") end }
  run:summary("zeta", 3.63421e-6, "comes first, mean squared error")
  run:summary("alpha", -0.25, "comes second")
  run:summary("middle", 421642, "parameters")
  run:summary("nothing", 0 / 0, "is not a number")
  run:summary("said", options.words or "yes", options.words or "a word")
  run:verdict("deeper", options.claim or "deep is better than shallow", true, "0.009 against 0.059")
  run:verdict("flat", "flat is better than sharp", false, "0.92 against 0.95")
  run:verdict("arrives", "the training arrives", "not converged", "0.73 of 0.99")
  for _, figure in ipairs(options.figures or { "curve", "other" }) do
    run:figure(figure, plumb.plot.lines({ { name = options.words or "a & b", y = { 1, 3, 2 } } },
      { title = options.words or "A <title>", xlabel = "epoch" }), options.caption)
  end
  run:finish()
  io.stdout = io_stdout -- luacheck: ignore
  return path
end

-- ./plumb SCRIPT words ...
local function report(script, ...)
  return assert(process.run({ "./plumb", script, ... }, { timeout = 300 }))
end

local function refused(...)
  local result = report("scripts/report.lua", ...)
  assert.equal(2, result.code, result.stdout)
  assert.is_truthy(result.stderr:find("Try './plumb scripts/report.lua --help'", 1, true), result.stderr)
  return result.stderr
end

setup(function() base = folders.new() end)
teardown(function() folders.remove(base) end)

describe("a report of finished runs", function()
  local page, text, out, path, hostile

  setup(function()
    path = finished_run("simulate_function", { caption = "Losses fall; the deep network's farthest." })
    hostile = finished_run("my_experiment", { description = HOSTILE, words = HOSTILE, claim = HOSTILE, caption = HOSTILE })
    out = base .. "/page"
    local result = report("scripts/report.lua", "--from", hostile .. "/," .. path, "--out", out)
    assert.same({ 0, "" }, { result.code, result.stderr })
    page, text = read(out .. "/report.html"), read(out .. "/report.md")
  end)

  it("is one well-formed page that needs nothing beside it", function()
    local ids = assert_alone(page)
    for _, id in ipairs { "contents", "simulate_function", "my_experiment", "simulate_function--deeper" } do assert.is_true(ids[id], id) end
    local _, figures = page:gsub("<svg ", "")
    assert.equal(4, figures)
    assert.is_nil(page:find('class="missing"', 1, true))
  end)

  it("shows every number of summary.json, in the order in which the script gave them", function()
    assert.equal(8, assert_numbers(page, "simulate_function", path))
    assert.equal(8, assert_numbers(page, "my_experiment", hostile))
    local _, order = numbers_on(page, "simulate_function")
    assert.same({ "zeta", "alpha", "middle", "nothing", "said" }, order)
    assert.is_truthy(page:find('<data value="3.63421e-06">3.6342 × 10<sup>−6</sup></data>', 1, true))
    local at = 1
    for _, name in ipairs(order) do at = assert(text:find("| `" .. name .. "` | ", at, true), name) end
  end)

  it("gives the course's title, the script's own words, settings, seed, machine, time and command", function()
    local question, paragraphs = sections.story(read("scripts/simulate_function.lua"))
    for _, expected in ipairs { "Simulate a function", question, paragraphs[1] } do
      assert.is_truthy(page:find(words.escape(expected), 1, true), expected)
    end
    local config = json.decode(read(path .. "/config.json"))
    for _, expected in ipairs { '<th scope="row">lr</th><td><data value="0.001">0.001</data></td>', "<td>50, 100</td>",
      '<th scope="row">shuffle</th><td>yes</td>', "<dt>Seed</dt><dd>1</dd>", "<dt>Took</dt>", config.processor, config.cpu_kernel,
      "<dt>Again</dt>" } do
      assert.is_truthy(page:find(expected, 1, true), expected)
    end
  end)

  it("tells verdicts apart without colour, in the contents and in the section", function()
    for _, mark in ipairs { "✓</span> holds", "✗</span> does not hold", "?</span> not converged" } do
      local _, count = page:gsub((mark:gsub("%p", "%%%0")), "")
      assert.equal(1 + 2 * 2, count, mark) -- the key, and twice for each of two runs
    end
    assert.is_truthy(text:find("- **✓ holds**: deep is better than shallow (0.009 against 0.059)", 1, true))
  end)

  it("escapes what is hostile, in HTML and Markdown, and names figures for those who can't see them", function()
    assert.is_truthy(page:find("alert(1)", 1, true))
    assert.is_nil(page:find("<script", 1, true))
    assert.is_nil(page:find("<img", 1, true))
    assert.is_nil(text:find("<script", 1, true))
    assert.is_nil(text:find("[^\\]|a|"))
    assert.is_truthy(text:find("| 100 % &lt;/title&gt;", 1, true))
    assert.is_truthy(page:find('role="img" aria-label="Losses fall; the deep network\'s farthest."', 1, true))
  end)

  it("has figures beside the Markdown, and keeps all it shows in its folder", function()
    local count = 0
    for link in text:gmatch("%]%(([^)#]+)%)") do
      assert.is_truthy(read(out .. "/" .. link):find("<svg", 1, true))
      count = count + 1
    end
    assert.equal(4, count)
    assert.equal(read(path .. "/summary.json"), read(out .. "/simulate_function/summary.json"))
    assert.is_truthy(lfs.attributes(out .. "/simulate_function/curve.png"))
  end)

  it("takes two runs of one experiment, and runs that have no run.json", function()
    local second = finished_run("simulate_function", { folder = "second", figures = { "curve" } })
    os.remove(second .. "/run.json")
    local result = report("scripts/report.lua", "--from", path .. "," .. second, "--out", base .. "/twice")
    assert.same({ 0, "" }, { result.code, result.stderr })
    local twice = read(base .. "/twice/report.html")
    assert_alone(twice)
    assert_numbers(twice, "simulate_function-2", second)
    local _, figures = twice:gsub("<svg ", "")
    assert.equal(3, figures)
  end)
end)

describe("what a report can't take", function()
  local path
  setup(function() path = finished_run("gradient_norm", { folder = "whole", figures = { "curve" } }) end)

  local function copy(name)
    assert(lfs.mkdir(base .. "/" .. name))
    for _, file in ipairs { "config.json", "summary.json", "run.json", "curve.svg" } do
      write(base .. "/" .. name .. "/" .. file, read(path .. "/" .. file))
    end
    return base .. "/" .. name
  end

  it("is named, before anything is done", function()
    local out = base .. "/never"
    assert(lfs.mkdir(base .. "/empty"))
    local begun, foreign = copy("begun"), copy("foreign")
    os.remove(begun .. "/summary.json")
    write(foreign .. "/config.json", '{"compilerOptions": {"strict": true}}')
    for _, case in ipairs {
      { base .. "/nowhere", "there is no folder" },
      { base .. "/empty", "holds no run: there is no config.json" },
      { begun, "the run of gradient_norm in '" .. begun .. "' has not finished; its script goes on with --resume " .. begun },
      { foreign, "config.json' is damaged: it has no name and settings" },
    } do
      local message = refused("--from", path .. "," .. case[1], "--out", out)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
    assert.is_nil(lfs.attributes(out))
  end)

  it("is any damaged file", function()
    for i, case in ipairs {
      { "summary.json", "", "damaged" }, { "summary.json", '{"loss": {"value": 1', "damaged" },
      { "summary.json", "[1, 2]", "holds no JSON object" }, { "summary.json", '{"loss": 3}', "its 'loss' has no value and meaning" },
      { "summary.json", '{"loss": {"value": {}, "meaning": "x"}}', "no value and meaning" },
      { "run.json", '{"seconds": "long"}', "its seconds are no number" }, { "run.json", "\0\1", "damaged" },
      { "run.json", '{"figures": [{"name": "../../secret"}]}', "its figure 1 has no proper name" },
      { "config.json", '{"name": "gradient_norm", "settings": {}, "seed": "one"}', "its seed is no integer" },
      { "config.json", '{"name": "../x", "settings": {}}', "no name and settings" },
    } do
      local damaged = copy("damaged" .. i)
      write(damaged .. "/" .. case[1], case[2])
      local message = refused("--from", damaged, "--out", base .. "/never")
      assert.is_truthy(message:find(case[1], 1, true) and message:find(case[3], 1, true), message)
    end
  end)

  it("is an option that means nothing", function()
    assert.is_truthy(refused("--only", "gradient_nrom"):find("did you mean 'gradient_norm'?", 1, true))
    assert.is_truthy(refused("--qiuck"):find("did you mean --quick?", 1, true))
    assert.is_truthy(refused("--dataset", "cats"):find("must be one of mnist, fashion_mnist", 1, true))
    assert.is_truthy(refused("--resume", path):find("belongs to another experiment, gradient_norm", 1, true)
      or refused("--resume", path):find("has finished", 1, true))
    assert.is_truthy(refused("--resume", base .. "/nowhere"):find("no folder that can be written to", 1, true))
    assert.is_truthy(refused("--out", path, "--from", path):find("belongs to another experiment", 1, true))
    local help = report("scripts/report.lua", "--help")
    assert.equal(0, help.code)
    for _, option in ipairs { "--quick", "--only", "--from", "--resume", "--seeds", "--dataset" } do
      assert.is_truthy(help.stdout:find(option, 1, true), option)
    end
  end)
end)

-- ---- running -------------------------------------------------------------------------------------------------------

-- Three experiments and their report; broken.lua fails, or is killed, as long as there is a file that says so.
local EXPERIMENT = [[
--- Does NAME work?
--
-- It says so.
-- summary.json: zeta, alpha.
local plumb = require "plumb"
local nn = plumb.nn
local run = plumb.experiment.start { name = "NAME", settings = { { name = "epochs", default = 40, quick = 4 } } }
plumb.manual_seed(run.seed)
local x = plumb.linspace(0, 1, 64):reshape(-1, 1)
local history = run:fit(nn.Sequential { nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1) }, { x = x, y = x * x }, { loss = nn.MSELoss(),
  optimizer = plumb.optim.Adam{}, epochs = run.settings.epochs, batch = 16, seed = run.seed,
  on_epoch = function(h) run:record { epoch = h.epoch, loss = h.train_loss[h.epoch] } end })
local mode = io.open("BASE/NAME.mode")
mode = mode and mode:read("l")
if mode == "fail" then error("this is broken <on purpose>") end
if mode == "kill" then os.execute("kill -9 $PPID") end
run:summary("zeta", history.train_loss[#history.train_loss], "loss at the end")
run:summary("alpha", run.seed, "the seed")
run:verdict("falls", "the loss falls", history.train_loss[#history.train_loss] < history.train_loss[1], "from 1 to 0")
run:figure("loss", plumb.plot.lines({ loss = history.train_loss }), "The loss falls.")
run:finish()
]]

local REPORT = [[
require("plumb.experiment.report").write { title = "Three", description = "Three experiments.",
  sections = { { "first", "The first" }, { "second", "The second", cost = { 2, 3 } }, { "third", "The third" },
    { "missing", "Not written yet" } } }
]]

-- The command line of a process that has this word in it; nil when there is none.
local function running(word)
  for name in lfs.dir("/proc") do
    local file <close> = name:find("^%d+$") and io.open("/proc/" .. name .. "/cmdline") or nil
    local line = file and file:read("a")
    if line and line:find(word, 1, true) then return line end
  end
end

describe("a report that runs experiments", function()
  local script, out

  local function runs_well(...)
    local result = report(...)
    assert.equal(0, result.code, result.stderr)
    assert.is_nil(result.stderr:gsub("report +%d+%%[^\n]*\n", ""):find("%S"), result.stderr) -- there may be progress lines
  end

  before_each(function()
    script, out = write(base .. "/all.lua", REPORT), base .. "/all"
    for _, name in ipairs { "first", "second", "third" } do
      write(("%s/%s.lua"):format(base, name), (EXPERIMENT:gsub("NAME", name):gsub("BASE", base)))
    end
  end)
  after_each(function()
    for _, name in ipairs { "first", "second", "third" } do os.remove(("%s/%s.mode"):format(base, name)) end
    folders.remove(out)
  end)

  it("runs those that are there, as if each had been run alone", function()
    runs_well(script, "--quick", "--seed", "3", "--out", out)
    local page = read(out .. "/report.html")
    assert_alone(page)
    for _, name in ipairs { "first", "second", "third" } do
      assert_numbers(page, name, out .. "/" .. name)
      assert.is_truthy(read(out .. "/" .. name .. "/output.log"):find(name .. " took", 1, true))
    end
    assert.is_nil(page:find("Not written yet", 1, true))
    assert.is_truthy(page:find("Does first work?", 1, true))
    assert.is_truthy(page:find(("%s/second.lua"):format(base), 1, true)) -- the command that repeats it
    local alone = report(base .. "/second.lua", "--quick", "--seed", "3", "--out", base .. "/alone")
    assert.equal(0, alone.code, alone.stderr)
    assert.equal(read(base .. "/alone/metrics.csv"), read(out .. "/second/metrics.csv"))
    assert.equal(read(base .. "/alone/summary.json"), read(out .. "/second/summary.json"))
  end)

  it("names what failed or was killed, leaves the rest unharmed, and --resume runs only that again", function()
    write(base .. "/second.mode", "fail\n")
    write(base .. "/third.mode", "kill\n")
    local result = report(script, "--quick", "--out", out)
    assert.equal(1, result.code)
    local page, text = read(out .. "/report.html"), read(out .. "/report.md")
    assert_alone(page)
    assert_numbers(page, "first", out .. "/first")
    assert.is_truthy(page:find("this is broken &lt;on purpose&gt;", 1, true))
    assert.is_truthy(page:find("Its process was killed by signal 9.", 1, true))
    assert.is_truthy(text:find("! failed", 1, true))
    assert.is_truthy(result.stdout:find("2 of 3 sections failed", 1, true))
    assert.is_truthy(read(out .. "/second/output.log"):find("stack traceback", 1, true))
    local first = read(out .. "/first/config.json") .. read(out .. "/first/run.json")

    os.remove(base .. "/second.mode")
    os.remove(base .. "/third.mode")
    runs_well(script, "--resume", out)
    page = read(out .. "/report.html")
    for _, name in ipairs { "first", "second", "third" } do assert_numbers(page, name, out .. "/" .. name) end
    assert.equal(first, read(out .. "/first/config.json") .. read(out .. "/first/run.json"))
    assert.is_truthy(read(out .. "/second/output.log"):find("second: goes on in", 1, true))
    local alone = report(base .. "/third.lua", "--quick", "--out", base .. "/alone3")
    assert.equal(0, alone.code)
    assert.equal(read(base .. "/alone3/metrics.csv"), read(out .. "/third/metrics.csv"))
  end)

  it("overwrites nothing unless it is told to, and an old result does not pass for one that failed", function()
    assert(lfs.mkdir(out))
    assert.equal(0, report(base .. "/third.lua", "--quick", "--out", out .. "/third").code)
    local summary = read(out .. "/third/summary.json")
    local result = report(script, "--quick", "--seed", "2", "--out", out)
    assert.equal(2, result.code)
    assert.is_truthy(result.stderr:find("third' already holds a run; choose another one with --out", 1, true), result.stderr)
    assert.equal(summary, read(out .. "/third/summary.json"))
    assert.same({ "third" }, folders.list(out))
    write(base .. "/third.mode", "fail\n")
    assert.equal(1, report(script, "--quick", "--seed", "2", "--overwrite", "--out", out).code)
    assert.equal(1, report(script, "--resume", out).code)
    os.remove(base .. "/third.mode")
    runs_well(script, "--resume", out)
    assert_numbers(read(out .. "/report.html"), "third", out .. "/third")
    assert.not_equal(summary, read(out .. "/third/summary.json"))
  end)

  it("repeats with several seeds, in the script's order, and takes runs beside those it runs", function()
    runs_well(script, "--quick", "--only", "first,second", "--seeds", "2", "--out", out)
    local page = read(out .. "/report.html")
    assert_alone(page)
    local found, order = numbers_on(page, "first")
    assert.same({ "zeta", "alpha" }, order)
    assert.equal('<data value="1.5">1.5</data> ± <data value="0.7071067811865476">0.70711</data>', found.alpha)
    assert.is_truthy(page:find("<dt>Seeds</dt><dd>1 to 2</dd>", 1, true))
    assert.is_truthy(page:find("Drawn from the run with seed 1.", 1, true))
    assert.is_truthy(page:find("2 holds", 1, true))
    assert.is_nil(page:find('id="third"', 1, true))
    runs_well(script, "--quick", "--from", out .. "/first", "--only", "third", "--out", base .. "/beside")
    page = read(base .. "/beside/report.html")
    assert_alone(page)
    assert.is_truthy(page:find('id="first"', 1, true) and page:find('id="third"', 1, true))
    assert.is_nil(page:find('id="second"', 1, true))
  end)

  it("runs a script in a second section with settings of its own, and knows such a run again", function()
    write(script, (REPORT:gsub('{ "missing", "Not written yet" }', [[{ "longer", "Longer", experiment = "first",
      settings = { epochs = 50 }, quick = { epochs = 6 }, question = "And if it goes on?", task = { "For more epochs." } }]])))
    local function section_of(page, id) return page:match('<section class="experiment" id="' .. id .. '">(.-)</section>') end
    write(base .. "/first.mode", "kill\n")
    assert.equal(1, report(script, "--quick", "--only", "first,longer", "--seed", "3", "--out", out).code)
    os.remove(base .. "/first.mode")
    runs_well(script, "--resume", out)
    local page = read(out .. "/report.html")
    assert_alone(page)
    for name, epochs in pairs { first = 4, longer = 6 } do
      assert_numbers(page, name, out .. "/" .. name)
      local config = json.decode(read(out .. "/" .. name .. "/config.json"))
      assert.same({ "first", epochs, true, 3 }, { config.name, config.settings.epochs, config.quick, config.seed })
      assert.is_truthy(read(out .. "/" .. name .. "/output.log"):find("first: goes on in", 1, true))
    end
    local longer = section_of(page, "longer")
    assert.is_truthy(longer:find("And if it goes on?", 1, true) and longer:find("<p>For more epochs.</p>", 1, true))
    assert.is_nil(longer:find("Does first work?", 1, true) or longer:find("It says so.", 1, true))
    assert.is_truthy(longer:find('/first.lua <span class="whole">--quick</span> <span class="whole">--seed 3</span> '
      .. '<span class="whole">--epochs 6</span></code>', 1, true), longer)
    assert.is_truthy(section_of(page, "first"):find("Does first work?", 1, true))

    assert.equal(0, report(base .. "/first.lua", "--epochs", "50", "--out", base .. "/fifty").code)
    assert.equal(0, report(base .. "/first.lua", "--epochs", "7", "--out", base .. "/seven").code)
    local taken = table.concat({ base .. "/fifty", out .. "/longer", base .. "/seven" }, ",")
    runs_well(script, "--from", taken, "--out", base .. "/known")
    page = read(base .. "/known/report.html")
    for id, folder in pairs { first = "/seven", longer = "/fifty", ["longer-2"] = "/all/longer" } do
      assert.equal(read(base .. folder .. "/summary.json"), read(base .. "/known/" .. id .. "/summary.json"), id)
      assert_numbers(page, id, base .. folder)
    end
  end)

  it("stops at Ctrl-C or kill with all it started, and goes on", function()
    local path = ("%s/third.lua"):format(base)
    write(path, (read(path):gsub("epochs\", default = 40", "epochs\", default = 4000000")))
    for _, signal in ipairs { "INT", "KILL" } do
      folders.remove(out)
      local one = assert(process.start { "./plumb", script, "--only", "third", "--out", out })
      local deadline = process.time() + 60
      repeat process.run { "sleep", "0.05" } until lfs.attributes(out .. "/third/metrics.csv") or process.time() > deadline
      os.execute(("kill -%s %d"):format(signal, one:pid()))
      local how, code
      repeat
        one:read("stdout")
        how, code = one:status()
      until how or process.time() > deadline
      assert.same(signal == "INT" and { "code", 130 } or { "signal", 9 }, { how, code })
      if signal == "INT" then
        assert.is_truthy(one:read("stderr"):find("--resume " .. out .. " goes on with what is missing", 1, true))
      end
      one:stop()
      while running(out) and process.time() < deadline do process.run { "sleep", "0.05" } end
      assert.is_nil(running(out))
    end
    write(path, (read(path):gsub("epochs\", default = 4000000", "epochs\", default = 40")))
  end)
end)

describe("scripts/report.lua", function()
  it("reports on a real experiment", function()
    local dataset = not plumb.data.missing("mnist") and "mnist" or not plumb.data.missing("fashion_mnist") and "fashion_mnist"
    if not dataset then return pending("no images on this machine") end
    local out = base .. "/real"
    local result = report("scripts/report.lua", "--quick", "--only", "gradient_norm", "--dataset", dataset, "--out", out)
    assert.equal(0, result.code, result.stderr)
    local page = read(out .. "/report.html")
    assert_alone(page)
    assert.is_true(assert_numbers(page, "gradient_norm", out .. "/gradient_norm") >= 10)
    assert.is_truthy(page:find("scripts/gradient_norm.lua <span class=\"whole\">--quick</span>", 1, true))
  end)

  it("names each script of the folder", function()
    local source = read("scripts/report.lua")
    for _, name in ipairs(folders.list("scripts")) do
      local experiment = name:match("^(.*)%.lua$")
      if experiment and experiment ~= "report" then
        assert.is_truthy(source:find(('{ "%s", '):format(experiment), 1, true), name)
        local question, paragraphs = sections.story(read("scripts/" .. name))
        assert.is_truthy(question and paragraphs[1], name)
      end
    end
  end)
end)

describe("the command on a page", function()
  it("breaks between options, and in a list only where it is long", function()
    local path = finished_run("gradient_norm", { folder = "listed", figures = { "curve" } })
    local config = read(path .. "/config.json")
    local numbers = table.concat({ 1, 2, 4, 8, 16, 32, 64, 128, 256, 512 }, ",")
    write(path .. "/config.json", (config:gsub('("command":)"[^"]*"', '%1"./plumb a.lua --quick --widths ' .. numbers
      .. ' --shares 0,0.5 --no-fit"')))
    assert.equal(0, report("scripts/report.lua", "--from", path, "--out", base .. "/command").code)
    local page = read(base .. "/command/report.html")
    assert_alone(page)
    assert.is_truthy(page:find('<code class="command">./plumb a.lua <span class="whole">--quick</span> <span class="whole">'
      .. "--widths</span> " .. numbers:gsub(",", ",<wbr/>") .. ' <span class="whole">--shares 0,0.5</span> '
      .. '<span class="whole">--no-fit</span></code>', 1, true))
  end)
end)
