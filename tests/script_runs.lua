--- What the specs of scripts share: running one as a user does, as a process of its own, and reading what it leaves.
local plumb = require "plumb"
local assert = require "luassert"
local lfs = require "lfs"
local json = require "dkjson"
local folders = require "folders"
local read = folders.read
local process = plumb.core.process

local script_runs = {}

--- The images that this machine has: "mnist", "fashion_mnist" or false.
script_runs.dataset = not plumb.data.missing("mnist") and "mnist" or not plumb.data.missing("fashion_mnist") and "fashion_mnist"

--- read_json(path) -> what a JSON file says.
function script_runs.read_json(path) return assert(json.decode(read(path))) end

--- read_csv(path) -> the list of column names and a list of rows by name.
function script_runs.read_csv(path)
  local rows, columns = {}, nil
  for line in read(path):gmatch("([^\n]*)\n") do
    local cells = {}
    for cell in (line .. ","):gmatch("([^,]*),") do cells[#cells + 1] = cell end
    if columns then
      local row = {}
      for i, name in ipairs(columns) do row[name] = tonumber(cells[i]) or cells[i] end
      rows[#rows + 1] = row
    else
      columns = cells
    end
  end
  return columns, rows
end

--- run(name, words, environment) -> {code, stdout, stderr} of ./plumb scripts/NAME.lua; environment: a list of NAME=value.
function script_runs.run(name, words, environment)
  local command = { "env" }
  table.move(environment or {}, 1, #(environment or {}), 2, command)
  command[#command + 1] = "./plumb"
  command[#command + 1] = "scripts/" .. name .. ".lua"
  table.move(words, 1, #words, #command + 1, command)
  return assert(process.run(command, { timeout = 120 }))
end

--- run_well(name, words) -> what it printed; it ended without error or warning.
function script_runs.run_well(name, words)
  local result = script_runs.run(name, words)
  assert.equal(0, result.code, result.stderr)
  assert.is_nil(result.stderr:find("warning", 1, true), result.stderr) -- there may be progress lines
  return result.stdout
end

--- assert_figures(out, names): every figure has its three files, and its script alone draws it anew.
function script_runs.assert_figures(out, names)
  for _, name in ipairs(names) do
    assert.is_truthy(read(out .. "/" .. name .. ".svg"):find("<svg", 1, true), name)
    assert.equal("\137PNG", read(out .. "/" .. name .. ".png"):sub(1, 4), name)
    local again = out .. "/again"
    assert(lfs.mkdir(again))
    local drawn = assert(process.run({ "gnuplot", "-d", "../" .. name .. ".gp" }, { cwd = again, timeout = 60 }))
    local complaints = drawn.stderr:gsub("[^\n]*matrix contains missing or undefined values\n", "") -- empty cells
    assert.same({ 0, "" }, { drawn.code, complaints }, name)
    assert.is_truthy(read(again .. "/" .. name .. ".svg"):find("<svg", 1, true), name)
    folders.remove(again)
  end
end

local OUTCOMES = { holds = true, ["does not hold"] = true, ["not converged"] = true }

--- assert_summary(name, out, printed, numbers, verdicts) -> summary.json: it has these entries and no others, each is printed, and
--- the script's header speaks of each (a name that stands for several by its last words).
function script_runs.assert_summary(name, out, printed, numbers, verdicts)
  local summary = script_runs.read_json(out .. "/summary.json")
  local header, count = read("scripts/" .. name .. ".lua"):match("^.-\nlocal"), 0
  for _ in pairs(summary) do count = count + 1 end
  assert.equal(#numbers + #verdicts, count)
  for _, list in ipairs { numbers, verdicts } do
    for _, entry in ipairs(list) do
      assert.is_truthy(summary[entry] and summary[entry].meaning:find("%a"), entry)
      local words = entry
      while words and not header:find(words, 1, true) do words = words:match("^[^_]*_(.*)") end
      assert.is_truthy(words, entry)
    end
  end
  local squeezed = printed:gsub("%s+", " ")
  for _, entry in ipairs(numbers) do assert.is_truthy(printed:find("  " .. entry .. " ", 1, true), entry) end
  for _, entry in ipairs(verdicts) do
    local verdict = summary[entry]
    assert.is_true(OUTCOMES[verdict.value], entry)
    local said = ("%s: %s (%s)"):format(verdict.meaning, verdict.value:upper(), verdict.numbers)
    assert.is_truthy(squeezed:find(said, 1, true), said)
  end
  return summary
end

--- assert_config(out, expected) -> config.json, with these settings.
function script_runs.assert_config(out, expected)
  local config = script_runs.read_json(out .. "/config.json")
  for setting, value in pairs(expected) do assert.same(value, config.settings[setting], setting) end
  assert.equal(plumb.version, config.version)
  assert.equal("string", type(config.cpu_kernel))
  assert.is_true(config.threads >= 1)
  return config
end

return script_runs
