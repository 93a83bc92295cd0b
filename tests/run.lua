-- Runs the specs with busted inside plumb: ./plumb tests/run.lua [options of busted] [spec ...]
-- Without a spec, all of tests/*_spec.lua. The exit code is 0 only when every test passed.
local lfs = require "lfs"

-- busted unloads, after each file, the modules that the file required. The core stays, so that all files share one set
-- of metatables and one memory; plumb's Lua modules are loaded anew for each file, with their settings at the defaults.
require "plumb.core"

local function absolute(path)
  return path:sub(1, 1) == "/" and path or lfs.currentdir() .. "/" .. path
end

local script = absolute(arg[0])
local arguments = { [0] = arg[0], "--pattern=_spec%.lua$" }
local names_a_spec = false
for _, argument in ipairs(arg) do
  local exists = lfs.attributes(argument) ~= nil
  names_a_spec = names_a_spec or exists or argument:find("%.lua$") ~= nil
  arguments[#arguments + 1] = exists and absolute(argument) or argument
end
if not names_a_spec then arguments[#arguments + 1] = "tests" end

-- Specs may rely on the root of the repository as their working directory.
assert(lfs.chdir(script:match("^(.*)/") .. "/.."))

arg = arguments -- where busted looks for its options
require "busted.runner" { standalone = false, output = "plainTerminal" }
