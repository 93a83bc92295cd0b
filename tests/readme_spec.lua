-- The examples in README.md are run, in order, as one program; what they print is compared with the text behind `-->`.
local plumb = require "plumb"
local folders = require "folders"
local read = folders.read

local function one_line(text) return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""):gsub("%[ ", "[")) end

-- Lua blocks of a Markdown text: { code =, line = }.
local function blocks_of(markdown)
  local blocks, current, number = {}, nil, 0
  for line in (markdown .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    if line == "```lua" then current = { line = number, code = {}, expected = {} }
    elseif line == "```" and current then
      blocks[#blocks + 1], current = current, nil
    elseif current then
      current.code[#current.code + 1] = line
      local expected = line:match("%-%-> (.*)$")
      if expected then current.expected[#current.expected + 1] = one_line(expected) end
    end
  end
  return blocks
end

-- `local` at the start of a line becomes global, so that later blocks see it, as at the prompt.
local function as_at_the_prompt(code)
  local lines = {}
  for i, line in ipairs(code) do
    local names, rest = line:match("^local ([%w_, ]+)(=.*)$")
    lines[i] = names and names .. rest or line
  end
  return table.concat(lines, "\n")
end

describe("README.md", function()
  local folder = os.tmpname()
  os.remove(folder)
  plumb.core.files.make_directory(folder)
  local environment = setmetatable({ OUT = folder }, { __index = _G })
  local saved = plumb.tensor and plumb.get_default_dtype()

  teardown(function()
    for _, command in ipairs { { "rm", "-r", folder } } do plumb.core.process.run(command, {}) end
    plumb.set_default_dtype(saved)
  end)

  for _, block in ipairs(blocks_of(read("README.md"))) do
    it("has an example that runs, from line " .. block.line, function()
      local printed = {}
      environment.print = function(...)
        local texts = table.pack(...)
        for i = 1, texts.n do texts[i] = tostring(texts[i]) end
        printed[#printed + 1] = one_line(table.concat(texts, " "))
      end
      local old_print = print
      _G.print = environment.print -- plumb.help prints too
      local ok, message = pcall(assert(load(as_at_the_prompt(block.code), "=README", "t", environment)))
      _G.print = old_print
      assert(ok, message)
      if #block.expected > 0 then assert.same(block.expected, printed) end
    end)
  end

  it("has examples at all", function() assert.is_true(#blocks_of(read("README.md")) >= 7) end)

  it("shows figures that exist", function()
    local figures = 0
    for path in read("README.md"):gmatch("!%[.-%]%((.-)%)") do
      figures = figures + 1
      assert.is_true(plumb.core.files.exists(path), path .. " is missing")
    end
    assert.is_true(figures >= 2)
  end)
end)
